"""The partitions of Kafka's topics, and whether recent messages lie where their keys hash."""

from __future__ import annotations

import logging
import time
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from nurt.adapters.kafka.outage import Outage
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.adapters.kafka.topics import offsets_at, open_admin
from nurt.model.log import KeyPlaces
from nurt.translate.key_places import KEYS_ENOUGH, are_hashed

LOOK_EVERY_S = 10.0
ANSWER_MAX_S = 5.0
KEYS_READ = 100
"""Messages at the end of a partition whose keys are looked at."""
READ_MAX_S = 10.0

_logger = logging.getLogger(__name__)


class KafkaPartitioning:
    """The partitions of all topics; implements `ports.log.Partitioning`.

    Brokers that are away change nothing: the last answer counts until they are back, and keys that could not be read
    count as not hashed.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._outage = Outage("asking for the partitions of topics", settings.bootstrap)
        self._admin: Any = None
        self._counts: dict[str, int] = {}
        self._hashed: dict[tuple[str, int], bool] = {}
        self._looked_s: float | None = None

    def partitions(self, topic: str) -> int:
        """See ports.log.Partitioning; asks every few seconds, for all topics at once."""
        if self._looked_s is None or time.monotonic() - self._looked_s > LOOK_EVERY_S:
            self._look()
        return self._counts.get(topic, 0)

    def key_places(self, topic: str, partition: int) -> KeyPlaces:
        """See ports.log.Partitioning; reads some messages at the ends of partitions when their number is new."""
        count = self.partitions(topic)
        if partition >= count:
            self._look()
            count = max(self._counts.get(topic, 0), partition + 1)
        if count > 1 and (topic, count) not in self._hashed:
            self._hashed[topic, count] = self._are_hashed(topic, count)
        return KeyPlaces(count, self._hashed.get((topic, count), False))

    def offsets_at(self, topic: str, time_ms: int) -> tuple[int, ...]:
        """See ports.log.Partitioning."""
        try:
            return offsets_at(self._opened(), topic, self.partitions(topic), time_ms)
        except KafkaException as failed:
            _logger.warning(
                "asking topic %s what was written when: %s; its truncate is compared by positions alone",
                topic, failed.args[0].name(),
            )  # fmt: skip
            return ()

    def _opened(self) -> Any:
        if self._admin is None:
            self._admin = open_admin(self._settings, self._outage)
        return self._admin

    def _look(self) -> None:
        self._looked_s = time.monotonic()
        try:
            topics = self._opened().list_topics(timeout=ANSWER_MAX_S).topics
        except KafkaException:
            return
        self._counts = {name: len(topic.partitions) for name, topic in topics.items() if topic.error is None}

    def _are_hashed(self, topic: str, count: int) -> bool:
        fixed = {
            "group.id": "nurt-partitioning",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "error_cb": self._outage.on_error,
        }
        consumer: Any = self._settings.open(Consumer, "consumer", self._settings.client_options(fixed))
        keys: dict[int, list[bytes]] = {}
        until = time.monotonic() + READ_MAX_S
        try:
            for partition in range(count - 1, -1, -1):
                if sum(map(len, keys.values())) >= KEYS_ENOUGH or time.monotonic() > until:
                    break
                if found := _last_keys(consumer, TopicPartition(topic, partition), until):
                    keys[partition] = found
        except KafkaException as failed:
            _logger.warning("reading keys of topic %s: %s; nurt takes them as not hashed", topic, failed.args[0].name())
            return False
        finally:
            consumer.close()
        return are_hashed(keys, count)


def _last_keys(consumer: Any, place: TopicPartition, until: float) -> list[bytes]:
    first, end = consumer.get_watermark_offsets(place, timeout=ANSWER_MAX_S)
    if end <= first:
        return []
    consumer.assign([TopicPartition(place.topic, place.partition, max(first, end - KEYS_READ))])
    keys: list[bytes] = []
    while time.monotonic() < until:
        message = consumer.poll(0.2)
        if message is None:
            continue
        if (error := message.error()) is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                break
            raise KafkaException(error)
        if message.key() is not None:
            keys.append(message.key())
        if message.offset() >= end - 1:
            break
    return keys
