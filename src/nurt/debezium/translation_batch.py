"""A batch on its way through the translator: its messages by schema, and where each has ended so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from nurt.columnar.types import Bools, Int64s
from nurt.debezium.change_reader import ChangeReader, Changes
from nurt.debezium.wire import Wire
from nurt.model.entity_frame import Counts
from nurt.model.raw import RawBatch
from nurt.model.refusal import Reason, Refused
from nurt.model.units import Millis

NOT_OURS_OUTCOME = "not_ours"
"""Outcome under which what is not ours is counted."""


@dataclass(slots=True)
class Group:
    """Messages of one batch that one schema wrote, or tombstones: `rows` are their places in the batch."""

    rows: Int64s
    changes: Changes
    reader: ChangeReader | None  # None: tombstones, which have a key only
    keep: Bools  # those that become rows


@dataclass(slots=True)
class TranslationBatch:
    """A batch on its way, and where its messages have ended so far."""

    raw: RawBatch
    wire: Wire
    partitions: Int64s
    offsets: Int64s
    groups: list[Group] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    counts: Counts = field(default_factory=dict)
    passed: dict[tuple[str, int], int] = field(default_factory=dict)
    fresh: Bools | None = None  # those that count; None: all

    def refuse(self, rows: Iterable[int], reason: Reason, detail: str) -> None:
        """Let messages end in quarantine."""
        self.refused.extend(refuse(self.raw, rows, reason, detail))

    def count(self, rows: Int64s, reason: str) -> None:
        """Let messages end as not ours; those that an earlier run has counted do not count."""
        if self.fresh is not None:
            rows = rows[self.fresh[rows]]
        if not len(rows):
            return
        place = (self.raw.topic, NOT_OURS_OUTCOME, reason)
        self.counts[place] = self.counts.get(place, 0) + len(rows)
        for partition in np.unique(self.partitions[rows]).tolist():
            last = int(self.offsets[rows][self.partitions[rows] == partition].max())
            self.passed[self.raw.topic, partition] = max(last, self.passed.get((self.raw.topic, partition), -1))


def refuse(batch: RawBatch, rows: Iterable[int], reason: Reason, detail: str) -> list[Refused]:
    """Keep messages of a batch with why they could not be folded; `detail` names no value."""
    return [
        Refused(
            batch.topic,
            int(batch.partitions[row]),
            int(batch.offsets[row]),
            Millis(int(batch.timestamps_ms[row])),
            batch.keys[row],
            batch.values[row],
            batch.headers[row],
            reason,
            detail,
        )
        for row in rows
    ]
