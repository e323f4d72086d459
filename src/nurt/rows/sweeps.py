"""Sweep rows that a full snapshot did not see: they were deleted without a delete event.

A full snapshot begins a source epoch in every partition that it writes to. When the snapshot is complete, and on the
operator's word, a table's rows that stand in an earlier epoch of such a partition are deleted. The control log keeps
the word: a run that replays earlier messages treats them as old news, and sweeps an older restored state again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nurt.columnar.types import Bools
from nurt.control.generations import first_epoch, generation_of
from nurt.control.logs import known_logs
from nurt.model.entity_frame import topic_code
from nurt.rows.layouts import EPOCH, OFFSET, PARTITION, TOPIC_AT
from nurt.rows.positions import of_topic
from nurt.state.row_major import RowArrays

NO_PARTITION = -1
"""Partition of the fence of all rows from before a rebuild."""

Records = Sequence[tuple[int, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class SweptTable:
    """The table of one topic; after a rebuild, all tables of a kind: their other names are empty."""

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
        places: partition -> offset of a snapshot from before a rebuild, which numbers source epochs anew.
        since: the first source epoch of the last rebuild.
        order: what the mapping says of the order of the table's topics.
    """

    table: SweptTable
    number: int
    fences: Mapping[int, int]
    places: Mapping[int, int] = field(default_factory=dict)
    since: int = 0
    order: tuple[str, ...] = ()

    def takes(self, rows: RowArrays) -> Bools:
        """Return which rows or events of the table stand before its snapshot; an earlier generation does, anywhere.

        Of a table that several topics hold, only the instances in this topic are taken.
        """
        found = np.zeros(len(rows), dtype=np.bool_)
        epochs = rows.numbers[:, EPOCH]
        for partition, epoch in self.fences.items():
            earlier = epochs < first_epoch(generation_of(epoch))
            found |= earlier | (rows.numbers[:, PARTITION] == partition) & (epochs < epoch)
        for partition, offset in self.places.items():
            of_log = (rows.numbers[:, PARTITION] == partition) & (epochs >= self.since)
            found |= of_log & (rows.numbers[:, OFFSET] < offset)
        if not self.table.topic:
            return found
        codes = rows.numbers[:, TOPIC_AT[self.table.kind][1]]
        return found & of_topic(codes, topic_code(self.table.topic))


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
    """List the sweeps that the operator ordered; of several sweeps of one table, the latest fence of each partition.

    A rebuild numbers source epochs anew, so sweeps from before it are known by the offsets of their snapshots. When a
    topic becomes another log, its sweeps are void.
    """
    found: dict[SweptTable, Sweep] = {}
    begun: dict[tuple[str, int, int], int] = {}  # topic, partition, epoch -> offset
    logs: dict[str, int] = {}
    of_all = 0
    for number, record in records:
        kind = record["kind"]
        if kind == "source_epoch":
            begun[record["topic"], record["partition"], record["epoch"]] = record["offset"]
        elif kind == "log":
            if record["log"] > logs.get(record["topic"], of_all):
                found = {table: one for table, one in found.items() if table.topic != record["topic"]}
            logs[record["topic"]] = record["log"]
        elif kind == "rebuild":
            logs, of_all = {}, record["log"]
            since = first_epoch(record["generation"])
            found = {
                table: Sweep(table, one.number, {}, _places(one, begun), since)
                for table, one in found.items()
                if table.topic
            }
        elif kind == "rebuilt" and record["erases"]:
            for one in unread_sweeps(record):
                found[one.table] = replace(one, number=number)
        for table_record in record["tables"] if kind == "sweep" else ():
            table = SweptTable(
                table_record["kind"], table_record["system"], table_record["entity"], table_record["topic"]
            )
            before = found.get(table, Sweep(table, 0, {}))
            fences = {
                partition: max(epoch, before.fences.get(partition, 0)) for partition, epoch in table_record["fences"]
            }
            found[table] = replace(before, number=number, fences={**before.fences, **fences})
    return list(found.values())


def _places(sweep: Sweep, begun: Mapping[tuple[str, int, int], int]) -> dict[int, int]:
    topic = sweep.table.topic
    offsets = {partition: begun.get((topic, partition, epoch), 0) for partition, epoch in sweep.fences.items()}
    return {one: max(offsets.get(one, 0), sweep.places.get(one, 0)) for one in offsets.keys() | sweep.places.keys()}


def rebuilt_record(generation: int, kinds: Iterable[str], erases: bool) -> dict[str, Any]:
    """Make the record that a rebuild has read everything that was there when it began.

    Args:
        kinds: those with rows that were not read again.
        erases: rows that were not read again go.
    """
    return {"kind": "rebuilt", "generation": generation, "kinds": sorted(kinds), "erases": erases}


def unread_sweeps(rebuilt: Mapping[str, Any]) -> list[Sweep]:
    """List the sweeps of rows that a rebuild did not read again."""
    fences = {NO_PARTITION: first_epoch(rebuilt["generation"])}
    return [Sweep(SweptTable(kind, "", "", ""), 0, fences) for kind in rebuilt["kinds"]]


def unfinished_rebuild(records: Records) -> Mapping[str, Any] | None:
    """Return the record of the rebuild that has not read everything yet, if any."""
    last = None
    for _, record in records:
        if record["kind"] == "rebuild":
            last = record
        elif record["kind"] == "rebuilt" or (record["kind"] == "register" and record["lost"]):
            last = None
    return last


def possible_sweeps(records: Records, tables_of: Callable[[str], Sequence[SweptTable]]) -> list[Sweep]:
    """List tables with a full snapshot: in each partition, the newest snapshot that is complete.

    A snapshot is complete where streamed changes follow it, in that partition or in any other of its system before
    another snapshot: a connector streams after its whole snapshot is written. One that was interrupted is followed by
    another. A partial one, asked for amid the stream, may have been filtered: it is never complete. Sweeps that were
    ordered already are left out.

    Args:
        records: of the control log.
        tables_of: names the tables of a topic, one for each entity that its rows are; all are of one system.
    """
    begun: dict[SweptTable, list[_Begun]] = defaultdict(list)
    of_system: dict[str, list[_Begun]] = defaultdict(list)
    logs = known_logs(records)
    unread: list[Sweep] = []
    for topic, log in logs.topics.items():
        for table in tables_of(topic):
            begun[table] = [_Begun(partition, first_epoch(log.generation), log.record) for partition in log.snapshot]
    for number, record in records:
        if record["kind"] == "source_epoch" and generation_of(record["epoch"]) == logs.generation(record["topic"]):
            if tables := tables_of(record["topic"]):
                one = _begun_of(record, number)
                of_system[tables[0].system].append(one)
                if one.epoch > first_epoch(generation_of(one.epoch)):  # there is nothing before a first snapshot
                    for table in tables:
                        begun[table].append(one)
        elif record["kind"] == "rebuilt":
            unread = [] if record["erases"] else unread_sweeps(record)
        elif record["kind"] == "rebuild":
            unread = []
    ordered = {one.table: one for one in ordered_sweeps(records)}
    fences: dict[SweptTable, dict[int, int]] = defaultdict(dict)
    for table, some in sorted(begun.items(), key=lambda one: one[0].topic):
        done = ordered.get(table, Sweep(table, 0, {}))
        for one in _newest_complete(some, of_system[table.system]):
            is_before = one.offset <= done.places.get(one.partition, -1)
            if one.epoch > done.fences.get(one.partition, 0) and not is_before:
                fences[table][one.partition] = one.epoch
    found = [Sweep(table, 0, some) for table, some in fences.items()]
    return found + [one for one in unread if one.table not in ordered]


@dataclass(frozen=True, slots=True)
class _Begun:
    """Begin of a source epoch.

    Attributes:
        number: of its record.
        offset: of the message that begins it.
        written_ms: when the message that begins it was written; 0: a version wrote the record that did not say so.
        snapshot: identity of the full snapshot that begins it; (): not known, or none does.
    """

    partition: int
    epoch: int
    number: int
    offset: int = 0
    written_ms: int = 0
    snapshot: tuple[int, ...] = ()
    partial: bool = False

    @property
    def streams(self) -> bool:
        return self.epoch % 2 == 1

    def is_before(self, other: _Begun) -> bool:
        if self.written_ms and other.written_ms:
            return (self.written_ms, self.number) < (other.written_ms, other.number)
        return self.number < other.number


def _begun_of(record: Mapping[str, Any], number: int) -> _Begun:
    return _Begun(
        record["partition"],
        record["epoch"],
        number,
        record["offset"],
        record.get("written_ms", 0),
        tuple(record.get("snapshot", ())),
        record.get("partial", False),
    )


def _newest_complete(some: Iterable[_Begun], system: Sequence[_Begun]) -> list[_Begun]:
    """Choose the newest complete snapshot of each partition of a table."""
    some = list(some)
    streamed = {(one.partition, one.epoch) for one in some if one.streams}
    partial = {(one.partition, one.epoch) for one in some if one.partial}
    newest: dict[int, _Begun] = {}
    for one in sorted(some, key=lambda one: (one.partition, one.epoch)):
        directly = (one.partition, one.epoch + 1) in streamed
        is_whole = not one.streams and (one.partition, one.epoch) not in partial
        if is_whole and (directly or _is_followed(one, system)):
            newest[one.partition] = one
    return list(newest.values())


def _is_followed(snapshot: _Begun, system: Sequence[_Begun]) -> bool:
    """Say whether a system streamed behind a snapshot, and before another one."""
    end: _Begun | None = None
    first = first_epoch(generation_of(snapshot.epoch))
    for one in system:
        is_other = not one.streams and one.snapshot != snapshot.snapshot and not first == one.epoch == snapshot.epoch
        if is_other and snapshot.is_before(one) and (end is None or one.is_before(end)):
            end = one
    return any(one.streams and snapshot.is_before(one) and (end is None or one.is_before(end)) for one in system)
