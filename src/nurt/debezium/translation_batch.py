"""A batch on its way through the translator: its messages by schema, and the outcome of each so far."""

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
"""Outcome of messages that are not ours."""


@dataclass(slots=True)
class Group:
    """Group of a batch's messages of one schema, or of tombstones: `rows` are their places in the batch."""

    rows: Int64s
    changes: Changes
    reader: ChangeReader | None  # None: tombstones; they have only a key
    keep: Bools  # messages that become rows


@dataclass(slots=True)
class TranslationBatch:
    """Batch on its way, with the outcomes of its messages so far."""

    raw: RawBatch
    wire: Wire
    partitions: Int64s
    offsets: Int64s
    groups: list[Group] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    counts: Counts = field(default_factory=dict)
    passed: dict[tuple[str, int], int] = field(default_factory=dict)
    fresh: Bools | None = None  # messages that count; None: all
    rekeyed: Int64s | None = None  # messages whose header has their row's old key; None: none has
    spoilt: Bools | None = None  # where rows are of several entities: messages that one of them has refused
    item: str = ""  # there: the entity that is being made, for details

    def refuse(self, rows: Iterable[int], reason: Reason, detail: str) -> None:
        """Put messages into quarantine."""
        if self.spoilt is not None:
            rows = list(rows)
            self.spoilt[rows] = True
        self.refused.extend(refuse(self.raw, rows, reason, f"{self.item}{detail}"))

    def count(self, rows: Int64s, reason: str) -> None:
        """Count messages as not ours, except those that an earlier run has counted."""
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
    """Keep messages of a batch with the reason why they could not be folded; `detail` names no value."""
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
