"""Open the inputs of a delivery: topics, the profiles of the state, figures and orders in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nurt.adapters.kafka.log import KafkaLog
from nurt.adapters.redis.client import open_redis
from nurt.adapters.redis.delivery.state_log import StateLog
from nurt.adapters.redis.delivery.topic_log import RedisTopicLog
from nurt.app.delivery_config import InputSpec, inputs_of
from nurt.delivery.mapping import DestinationMapping
from nurt.delivery.read.logs_in_order import Gate, LogsInOrder
from nurt.mapping.load import read_mapping
from nurt.model.delivery import PROFILES
from nurt.model.keys import Keys
from nurt.ports.log import MessageLog
from nurt.settings import Settings, stock_settings

GROUP = "nurt-deliver"


class DeliveryInput:
    """Opener of one destination's logs, profiles before their orders.

    Args:
        purpose: what the offsets are for; empty: live changes.
        workers: how many workers read the logs.
        looks: nothing will be settled, so no log waits for another.
    """

    def __init__(
        self,
        settings: Settings,
        mapping: DestinationMapping,
        purpose: str = "",
        *,
        workers: int = 1,
        ends: bool = False,
        looks: bool = False,
    ) -> None:
        self._settings, self._name, self._purpose = settings, mapping.name, purpose
        self._inputs = inputs_of(settings, mapping)
        self._workers, self._ends = workers, ends
        self._gate = Gate(0 if looks else workers)

    def open(self, worker: int = 0) -> MessageLog:
        """Open a worker's part."""
        of_profiles = [one for one in self._inputs if one.of == PROFILES]
        others = [one for one in self._inputs if one.of != PROFILES]
        return LogsInOrder(self._logs(of_profiles, worker), self._logs(others, worker), self._gate, worker)

    def _logs(self, inputs: Sequence[InputSpec], worker: int) -> list[Any]:
        """Open logs of topics, of kept contracts, and of the state."""
        topics = [one.name for one in inputs if one.is_topic]
        kept = [one.name for one in inputs if not one.is_topic and one.of != PROFILES]
        logs: list[MessageLog] = []
        if topics:
            logs.append(self._topics(topics, worker))
        if kept:
            logs.append(self._redis_topics(kept, worker))
        if any(not one.is_topic and one.of == PROFILES for one in inputs):
            logs.append(self._state(worker))
        return logs

    def _topics(self, names: Sequence[str], worker: int) -> KafkaLog:
        settings = self._settings
        assert settings.kafka is not None, "settings with a topic name its cluster"
        group = "-".join(part for part in (GROUP, settings.prefix, self._name, self._purpose) if part)
        return KafkaLog(settings.kafka, names, group, worker=worker, workers=self._workers, stop_at_end=self._ends)

    def _state(self, worker: int) -> StateLog:
        client, keys = open_redis(self._settings.redis_url), self._keys(self._settings)
        return StateLog(client, keys, self._group, worker=worker, workers=self._workers, stop_at_end=self._ends)

    def _redis_topics(self, names: Sequence[str], worker: int) -> RedisTopicLog:
        settings = self._settings
        realms = {system.realm for system in read_mapping(settings.mapping_files).systems.values()}
        return RedisTopicLog(
            open_redis(settings.redis_url),
            self._keys(stock_settings(settings)),
            sorted(realms),
            names,
            self._keys(settings),
            self._group,
            worker=worker,
            workers=self._workers,
            stop_at_end=self._ends,
        )

    @property
    def _group(self) -> str:
        return f"{self._name}:{self._purpose}" if self._purpose else self._name

    def _keys(self, settings: Settings) -> Keys:
        return Keys(settings.prefix, settings.shards)
