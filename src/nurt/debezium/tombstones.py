"""Separate tombstones that repeat a delete from tombstones that are the delete."""

from __future__ import annotations

import numpy as np

from nurt.columnar.types import Int64s
from nurt.debezium.change_reader import Changes
from nurt.debezium.envelope import TOMBSTONE
from nurt.debezium.positions import Family, read_positions
from nurt.debezium.translation_batch import Group, TranslationBatch
from nurt.model.entity_frame import DELETE, STREAMED


class Tombstones:
    """Sorter of one topic's tombstones, batch by batch.

    Debezium writes a tombstone right behind its row's delete: this tombstone is only counted. Any other tombstone is a
    delete itself: the flattened form may have no other delete, and compaction may remove an envelope's delete. After a
    restart, which forgets the delete before it, a tombstone deletes once more; this changes nothing.
    """

    def __init__(self) -> None:
        self._ended: dict[tuple[int, int], bytes | None] = {}  # partition and offset -> key, of last deletes

    def sort(self, batch: TranslationBatch, tombstones: Int64s) -> None:
        """Count the tombstones at these places of a batch, or add them to its groups as deletes."""
        raw = batch.raw
        deletes = np.zeros(len(batch.offsets), dtype=np.bool_)
        for group in batch.groups:
            deletes[group.rows] = (group.changes.op == DELETE) & (group.changes.bad == 0)
        if len(tombstones):
            ended = self._ended
            ended = ended | {_place(batch, row): raw.keys[row] for row in np.flatnonzero(deletes).tolist()}
            alone = [
                row
                for row in tombstones.tolist()
                if (key := raw.keys[row]) is not None and ended.get(_place(batch, row, -1)) != key
            ]
            batch.count(np.setdiff1d(tombstones, alone), TOMBSTONE)
            if alone:
                batch.groups.append(_group(np.array(alone, dtype=np.int64)))
        if deletes.any() or self._ended:
            last = np.full(int(batch.partitions.max()) + 1, -1, dtype=np.int64)
            last[batch.partitions] = np.arange(len(batch.partitions))
            present = {int(batch.partitions[row]): int(row) for row in last[last >= 0]}
            ended = {_place(batch, row): raw.keys[row] for row in present.values() if deletes[row]}
            others = {place: key for place, key in self._ended.items() if place[0] not in present}
            self._ended = others | ended


def _place(batch: TranslationBatch, row: int, behind: int = 0) -> tuple[int, int]:
    return int(batch.partitions[row]), int(batch.offsets[row]) + behind


def _group(rows: Int64s) -> Group:
    n = len(rows)
    changes = Changes(
        np.zeros(n, dtype=np.uint8),
        np.full(n, DELETE, dtype=np.int8),
        np.full(n, STREAMED, dtype=np.int8),
        read_positions(Family.UNKNOWN, {}, n),
    )
    return Group(rows, changes, None, np.ones(n, dtype=np.bool_))
