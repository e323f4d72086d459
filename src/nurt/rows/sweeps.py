"""Sweep rows that a full snapshot did not see: they were deleted without a delete event.

A full snapshot begins a source epoch in every partition that it writes to. When the snapshot is complete, and on the
operator's word, a table's rows that stand in an earlier epoch of such a partition are deleted. The control log keeps
the word: a run that replays earlier messages treats them as old news, and sweeps an older restored state again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nurt.columnar.types import Bools
from nurt.control.generations import first_epoch, generation_of
from nurt.rows.layouts import EPOCH, PARTITION
from nurt.state.row_major import RowArrays

Records = Sequence[tuple[int, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class SweptTable:
    """The table of one topic."""

    kind: str
    system: str
    entity: str
    topic: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """Rows to delete from a table.

    Attributes:
        number: of the operator's word; 0: the operator has not given one.
        fences: partition -> source epoch of its snapshot: rows of earlier ones go.
    """

    table: SweptTable
    number: int
    fences: Mapping[int, int]

    def takes(self, rows: RowArrays) -> Bools:
        """Return which rows or events of the table stand before its snapshot; an earlier generation does, anywhere."""
        found = np.zeros(len(rows), dtype=np.bool_)
        epochs = rows.numbers[:, EPOCH]
        for partition, epoch in self.fences.items():
            earlier = epochs < first_epoch(generation_of(epoch))
            found |= earlier | (rows.numbers[:, PARTITION] == partition) & (epochs < epoch)
        return found


def sweep_record(sweeps: Iterable[Sweep]) -> dict[str, Any]:
    """Make the record of the operator's word."""
    tables = [
        {
            "kind": one.table.kind,
            "system": one.table.system,
            "entity": one.table.entity,
            "topic": one.table.topic,
            "fences": [list(fence) for fence in one.fences.items()],
        }
        for one in sweeps
    ]
    return {"kind": "sweep", "tables": tables}


def ordered_sweeps(records: Records) -> list[Sweep]:
    """List the sweeps that the operator ordered; of several sweeps of one table, the latest fence of each partition."""
    found: dict[SweptTable, Sweep] = {}
    for number, record in records:
        for table_record in record["tables"] if record["kind"] == "sweep" else ():
            table = SweptTable(
                table_record["kind"], table_record["system"], table_record["entity"], table_record["topic"]
            )
            before = found[table].fences if table in found else {}
            fences = {partition: max(epoch, before.get(partition, 0)) for partition, epoch in table_record["fences"]}
            found[table] = Sweep(table, number, {**before, **fences})
    return list(found.values())


def possible_sweeps(records: Records, table_of: Callable[[str], SweptTable | None]) -> list[Sweep]:
    """List tables with a full snapshot: in each partition, the newest snapshot that is complete.

    A snapshot is complete where streamed changes follow it, in that partition or in any other of its system before
    another snapshot: a connector streams after its whole snapshot is written. One that was interrupted is followed by
    another. A partial one, asked for amid the stream, may have been filtered: it is never complete. Sweeps that were
    ordered already are left out.
    """
    begun: dict[SweptTable, list[_Begun]] = defaultdict(list)
    of_system: dict[str, list[_Begun]] = defaultdict(list)
    for number, record in records:
        if record["kind"] == "source_epoch" and (table := table_of(record["topic"])) is not None:
            one = _Begun(
                record["partition"],
                record["epoch"],
                number,
                record.get("written_ms", 0),
                tuple(record.get("snapshot", ())),
                record.get("partial", False),
            )
            begun[table].append(one)
            of_system[table.system].append(one)
    ordered = {one.table: one.fences for one in ordered_sweeps(records)}
    fences: dict[SweptTable, dict[int, int]] = defaultdict(dict)
    for table, some in sorted(begun.items(), key=lambda one: one[0].topic):
        streamed = {(one.partition, one.epoch) for one in some if one.streams}
        for one in sorted(some, key=lambda one: (one.partition, one.epoch)):
            directly = (one.partition, one.epoch + 1) in streamed
            complete = not one.streams and not one.partial and (directly or _is_followed(one, of_system[table.system]))
            if complete and one.epoch > ordered.get(table, {}).get(one.partition, 0):
                fences[table][one.partition] = one.epoch
    return [Sweep(table, 0, some) for table, some in fences.items()]


@dataclass(frozen=True, slots=True)
class _Begun:
    """Begin of a source epoch.

    Attributes:
        number: of its record.
        written_ms: when the message that begins it was written; 0: a version wrote the record that did not say so.
        snapshot: identity of the full snapshot that begins it; (): not known, or none does.
    """

    partition: int
    epoch: int
    number: int
    written_ms: int
    snapshot: tuple[int, ...]
    partial: bool

    @property
    def streams(self) -> bool:
        return self.epoch % 2 == 1

    def is_before(self, other: _Begun) -> bool:
        if self.written_ms and other.written_ms:
            return (self.written_ms, self.number) < (other.written_ms, other.number)
        return self.number < other.number


def _is_followed(snapshot: _Begun, system: Sequence[_Begun]) -> bool:
    """Say whether a system streamed behind a snapshot, and before another one."""
    end: _Begun | None = None
    for one in system:
        is_other = not one.streams and one.snapshot != snapshot.snapshot and snapshot.is_before(one)
        if is_other and (end is None or one.is_before(end)):
            end = one
    return any(one.streams and snapshot.is_before(one) and (end is None or one.is_before(end)) for one in system)
