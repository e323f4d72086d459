"""Figures and orders in Redis, read as a log: for deployments that publish them to no topic.

Each contract of each realm is a topic with one partition, and so has one reader among the workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from redis import Redis

from nurt.adapters.redis.delivery.topic import RedisTopic, RedisTopicMessage
from nurt.adapters.redis.outage import DELIVERY_AWAY_MAX_S, patiently
from nurt.model.keys import Keys
from nurt.model.log import Committed, Leaders, Offsets
from nurt.model.raw import RawBatch

LOOK_S = 0.1
"""Pause after a poll that found nothing."""
MAGIC = b"\x00"
Part = tuple[str, int]


class RedisTopicLog:
    """Log of one worker's partitions; implements ports.log.MessageLog. `client` returns bytes.

    A value's schema id is the version of the contract that its body was written by.

    Args:
        of: the stock flow's keys: messages are kept under them.
        names: of the contracts.
        keys, group: where the offsets are kept.
    """

    def __init__(
        self,
        client: Redis,
        of: Keys,
        realms: Sequence[str],
        names: Sequence[str],
        keys: Keys,
        group: str,
        *,
        worker: int = 0,
        workers: int = 1,
        stop_at_end: bool = False,
    ) -> None:
        self._client: Any = client
        self._committed = keys.named(f"d:{group}:kept")
        every = [(name, realm) for name in sorted(names) for realm in sorted(realms)]
        mine = every[worker::workers]
        self._topics = {(f"{name}/{realm}", 0): RedisTopic(client, of.realm_place(realm), name) for name, realm in mine}
        self._names = {(f"{name}/{realm}", 0): name for name, realm in mine}
        self._stop_at_end = stop_at_end
        self._ends: dict[Part, int] = {}
        self._next: dict[Part, int] = {}
        self._look_s = 0.0

    def committed(self) -> Committed | None:
        """See ports.log.MessageLog."""
        stored = self._ask(lambda: self._client.hgetall(self._committed))
        offsets = {(name.decode(), 0): int(at) for name, at in stored.items() if (name.decode(), 0) in self._topics}
        return Committed(offsets, 0, 0) if offsets else None

    def start(self, offsets: Offsets | None, leaders: Leaders | None = None) -> None:
        """See ports.log.MessageLog. An offset is the number behind the last message that was read."""
        self._next = {part: (offsets or {}).get(part, 0) for part in self._topics}
        self._ends = {part: topic.end() for part, topic in self._topics.items()} if self._stop_at_end else {}

    def poll(self, rows_max: int) -> list[RawBatch]:
        """See ports.log.MessageLog."""
        if time.monotonic() < self._look_s:
            return []
        batches: list[RawBatch] = []
        for part, topic in self._topics.items():
            if rows_max <= 0:
                return batches
            some = topic.read(self._next[part] - 1, self._ends.get(part), rows_max)
            if some:
                self._next[part] = some[-1].number + 1
                batches.append(_batch(self._names[part], some))
            if len(some) < rows_max and part in self._ends:
                self._next[part] = max(self._next[part], self._ends[part] + 1)
            rows_max -= len(some)
        if not batches and not self._stop_at_end:
            self._look_s = time.monotonic() + LOOK_S
        return batches

    def leaders(self) -> Leaders:
        """See ports.log.MessageLog: what is kept in Redis has no leaders."""
        return {}

    def offsets(self) -> Offsets:
        """See ports.log.MessageLog."""
        return dict(self._next)

    def exhausted(self) -> bool:
        """See ports.log.MessageLog."""
        return self._stop_at_end and all(self._next[part] > end for part, end in self._ends.items())

    def commit(self, committed: Committed) -> None:
        """See ports.log.MessageLog."""
        mine = {name: at for (name, number), at in committed.offsets.items() if (name, number) in self._topics}
        if mine:
            self._ask(lambda: self._client.hset(self._committed, mapping=mine))

    def _ask(self, ask: Callable[[], Any]) -> Any:
        return patiently(self._client, ask, DELIVERY_AWAY_MAX_S, "noting what was delivered")

    def lag(self) -> int:
        """See ports.log.MessageLog."""
        return sum(topic.waiting(self._next[part] - 1) for part, topic in self._topics.items())

    def close(self) -> None:
        """See ports.log.MessageLog."""
        self._client.close()


def _batch(name: str, some: Sequence[RedisTopicMessage]) -> RawBatch:
    heads = [MAGIC + one.version.to_bytes(4) for one in some]
    return RawBatch(
        name,
        [0] * len(some),
        [one.number for one in some],
        [0] * len(some),
        [head + one.key for head, one in zip(heads, some, strict=True)],
        [None if one.body is None else head + one.body for head, one in zip(heads, some, strict=True)],
        [None] * len(some),
    )
