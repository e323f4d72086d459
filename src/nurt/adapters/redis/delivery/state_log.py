"""Profiles as Redis keeps them, read as a log: for deployments that publish to no topic.

A shard is a partition and a revision is an offset: within a shard revisions only grow. A poll walks over the shard's
profiles and returns those above the last revision, so its cost grows with all profiles. The next poll waits twenty
times as long as the walk took: right for thousands of profiles; for more, publish to a topic.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from redis import Redis

from nurt.adapters.redis.outage import DELIVERY_AWAY_MAX_S, patiently, walk
from nurt.contracts.profile_reader import current_body
from nurt.model.fence import FencingToken, stamp
from nurt.model.keys import Keys
from nurt.model.log import Committed, Leaders, Offsets
from nurt.model.raw import RawBatch
from nurt.model.stored_profile import ERASED, KeptProfile

TOPIC = "nurt.profiles"
SCAN_ROWS = 2_000
LOOK_S_MIN = 0.25
LOOK_SHARE = 20
KEY_HEADER = b"\x00\x00\x00\x00\x00\x40"
VALUE_HEADER = b"\x00\x00\x00\x00\x00"


class StateLog:
    """Log of one worker's shards; implements ports.log.MessageLog. `client` returns bytes."""

    def __init__(
        self, client: Redis, keys: Keys, group: str, *, worker: int = 0, workers: int = 1, stop_at_end: bool = False
    ) -> None:
        self._client: Any = client
        self._keys = keys
        self._name = keys.named(f"d:{group}:offsets")
        self._shards = [shard for shard in range(keys.shards) if shard % workers == worker]
        self._stop_at_end = stop_at_end
        self._next: dict[int, int] = {}
        self._waiting: list[tuple[int, int, bytes, bytes | None]] = []  # (shard, revision, id, body), oldest first
        self._walked: dict[int, int] = {}  # where a shard ends when all waiting profiles are passed on
        self._heads: dict[int, FencingToken | None] = {}
        self._look_s = 0.0
        self._ended = self._looked = self._caught_up = False

    def committed(self) -> Committed | None:
        """See ports.log.MessageLog."""
        stored = self._ask(lambda: self._client.hgetall(self._name))
        offsets = {(TOPIC, int(shard)): int(at) for shard, at in stored.items() if int(shard) in self._shards}
        return Committed(offsets, 0, 0) if offsets else None

    def start(self, offsets: Offsets | None, leaders: Leaders | None = None) -> None:
        """See ports.log.MessageLog."""
        self._next = {shard: (offsets or {}).get((TOPIC, shard), 0) for shard in self._shards}

    def poll(self, rows_max: int) -> list[RawBatch]:
        """See ports.log.MessageLog."""
        if not self._waiting and time.monotonic() >= self._look_s and not self._ended:
            began_s = time.monotonic()
            self._walk()
            took_s = time.monotonic() - began_s
            self._look_s = time.monotonic() + max(LOOK_S_MIN, LOOK_SHARE * took_s)
            self._ended, self._looked = self._stop_at_end, True
        some, self._waiting = self._waiting[:rows_max], self._waiting[rows_max:]
        for shard, revision, _, _ in some:
            self._next[shard] = max(self._next[shard], revision)  # others of this revision may still wait
        waiting = {shard for shard, _, _, _ in self._waiting}
        for shard in [shard for shard in self._walked if shard not in waiting]:
            self._next[shard] = max(self._next[shard], self._walked.pop(shard))
        self._caught_up |= self._looked and not self._waiting
        if not some:
            return []
        return [
            RawBatch(
                TOPIC,
                [shard for shard, _, _, _ in some],
                [revision for _, revision, _, _ in some],
                [0] * len(some),
                [KEY_HEADER + id_.hex().encode() for _, _, id_, _ in some],
                [None if body is None else VALUE_HEADER + body for _, _, _, body in some],
                [None] * len(some),
            )
        ]

    def _walk(self) -> None:
        """Find profiles written since; profiles written meanwhile may be found again, and are never missed."""
        for shard in self._shards:
            place = self._keys.shard_place(shard)
            head = FencingToken.decode(self._ask(partial(self._client.get, place + b"h")))
            if head is None or head == self._heads.get(shard):
                continue
            self._heads[shard] = head
            found = self._newer(place + b"f", self._next[shard])
            self._waiting += [(shard, revision, id_, body) for revision, id_, body in sorted(found)]
            self._walked[shard] = stamp(head.run, head.sequence) + 1

    def _newer(self, prefix: bytes, at: int) -> list[tuple[int, bytes, bytes | None]]:
        pattern = (
            b"".join(b"\\" + bytes((byte,)) if byte in b"*?[]\\^" else bytes((byte,)) for byte in prefix) + b"?" * 16
        )
        found: dict[bytes, tuple[int, bytes | None]] = {}
        for names in walk(self._client, pattern, SCAN_ROWS):
            values = self._ask(partial(self._client.mget, names)) if names else []
            for name, value in zip(names, values, strict=True):
                kept = KeptProfile.decode(value)
                if kept is not None and kept.revision >= at:
                    body = None if kept.state == ERASED else current_body(kept.body, kept.version)
                    found[name[-16:]] = (kept.revision, body)
        return [(revision, id_, body) for id_, (revision, body) in found.items()]

    def _ask(self, ask: Callable[[], Any]) -> Any:
        return patiently(self._client, ask, DELIVERY_AWAY_MAX_S, "reading profiles from the state")

    def leaders(self) -> Leaders:
        """See ports.log.MessageLog: state has no leaders."""
        return {}

    def offsets(self) -> Offsets:
        """See ports.log.MessageLog."""
        return {(TOPIC, shard): at for shard, at in self._next.items()}

    def caught_up(self) -> bool:
        """Say whether all that the log held at `start` has been polled; once true, always true."""
        return self._caught_up

    def exhausted(self) -> bool:
        """See ports.log.MessageLog."""
        return self._ended and not self._waiting

    def commit(self, committed: Committed) -> None:
        """See ports.log.MessageLog."""
        mine: Mapping[int, int] = {
            shard: at for (topic, shard), at in committed.offsets.items() if topic == TOPIC and shard in self._next
        }
        if mine:
            self._ask(lambda: self._client.hset(self._name, mapping=mine))

    def lag(self) -> int:
        """See ports.log.MessageLog."""
        return len(self._waiting)

    def close(self) -> None:
        """See ports.log.MessageLog."""
        self._client.close()
