"""Remember which messages are counted, so messages that are read again after a crash do not count again.

Hot path. Each place keeps, by topic and partition, the highest counted offset, in the same write as the counts. A
place's messages of one partition come in the order of their offsets, so no message below is uncounted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nurt.columnar.types import Bools, Int64s

Place = tuple[str, int]
"""(topic, partition)."""

_NOTHING = -1


class CountedOffsets:
    """Highest counted offset of every partition, by shard.

    Args:
        shards: how many there are.
    """

    def __init__(self, shards: int) -> None:
        self._shards = shards
        self._counted: dict[str, Int64s] = {}  # topic -> by partition * shards + shard

    def topics(self) -> list[str]:
        """List the topics of which messages were counted."""
        return list(self._counted)

    def load(self, shard: int, stored: Mapping[Place, int]) -> None:
        """Load the stored offsets of a shard."""
        for (topic, partition), offset in stored.items():
            self._of(topic, partition)[partition * self._shards + shard] = offset

    def count(
        self, topic: str, partitions: Int64s, offsets: Int64s, shards: Int64s
    ) -> tuple[Bools, list[tuple[int, int, int]]]:
        """Say which messages of a topic are not counted yet, and count these.

        Returns the mask, and (shard, partition, highest offset) of every counted offset that rose.
        """
        counted = self._of(topic, int(partitions.max(initial=0)))
        at = partitions * self._shards + shards
        fresh = offsets > counted[at]
        if not fresh.all():
            at, offsets = at[fresh], offsets[fresh]
        np.maximum.at(counted, at, offsets)
        risen = np.flatnonzero(np.bincount(at, minlength=1)) if len(at) else at
        return fresh, [(*divmod(one, self._shards)[::-1], int(counted[one])) for one in risen.tolist()]

    def count_one(self, topic: str, partition: int, offset: int) -> bool:
        """Count one message in shard 0; False: it was counted before."""
        counted = self._of(topic, partition)
        at = partition * self._shards
        if offset <= counted[at]:
            return False
        counted[at] = offset
        return True

    def _of(self, topic: str, partition: int) -> Int64s:
        counted = self._counted.get(topic)
        room = (partition + 1) * self._shards
        if counted is None or len(counted) < room:
            grown = np.full(room, _NOTHING, dtype=np.int64)
            if counted is not None:
                grown[: len(counted)] = counted
            self._counted[topic] = counted = grown
        return counted


class Passed:
    """Offsets up to which an earlier run has counted messages without a row; replayed batches may hold such messages.

    Args:
        stored: the highest counted offset of each partition.
    """

    def __init__(self, stored: Mapping[Place, int] | None = None) -> None:
        self._left: dict[str, dict[int, int]] = {}
        for (topic, partition), offset in (stored or {}).items():
            self._left.setdefault(topic, {})[partition] = offset

    def of(self, topic: str) -> dict[int, int]:
        """Return what is left of a topic."""
        return dict(self._left.get(topic, {}))

    def put_back(self, topic: str, left: dict[int, int]) -> None:
        """Take back what `fresh` has passed since `of`: the messages are read once more."""
        if left:
            self._left[topic] = left

    def fresh(self, topic: str, partitions: Sequence[int] | Int64s, offsets: Sequence[int] | Int64s) -> Bools | None:
        """Say which messages are not counted yet; None: all of them; always so after the replay."""
        left = self._left.get(topic)
        if left is None:
            return None
        at = np.asarray(partitions, dtype=np.int64)
        until = np.full(int(at.max(initial=0)) + 1, _NOTHING, dtype=np.int64)
        for partition, offset in left.items():
            if partition < len(until):
                until[partition] = offset
        fresh: Bools = np.asarray(offsets, dtype=np.int64) > until[at]
        for partition in np.unique(at[fresh]).tolist():
            left.pop(partition, None)
        if not left:
            del self._left[topic]
        return None if fresh.all() else fresh
