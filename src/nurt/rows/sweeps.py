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
from nurt.model.entity_frame import topic_code
from nurt.rows.layouts import EPOCH, PARTITION, TOPIC_AT
from nurt.rows.positions import of_topic
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
        order: what the mapping says of the order of the table's topics.
    """

    table: SweptTable
    number: int
    fences: Mapping[int, int]
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

    A snapshot is complete where streamed changes follow it, in that partition or in any other of its system: a
    connector streams after its whole snapshot is written. Sweeps that were ordered already are left out.
    """
    begun: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for number, record in records:
        if record["kind"] == "source_epoch":
            begun[record["topic"], record["partition"]].append((record["epoch"], number))
    streams: dict[str, int] = {}
    for (topic, _), epochs in begun.items():
        epoch, number = max(epochs)
        if (table := table_of(topic)) is not None and epoch % 2 == 1:
            streams[table.system] = max(number, streams.get(table.system, 0))
    ordered = {one.table: one.fences for one in ordered_sweeps(records)}
    fences: dict[SweptTable, dict[int, int]] = defaultdict(dict)
    for (topic, partition), epochs in sorted(begun.items()):
        table = table_of(topic)
        if table is None:
            continue
        newest, _ = max(epochs)
        complete = [
            epoch
            for epoch, number in epochs
            if epoch % 2 == 0 and (epoch < newest or number < streams.get(table.system, 0))
        ]
        epoch = max(complete, default=0)
        if epoch > ordered.get(table, {}).get(partition, 0):
            fences[table][partition] = epoch
    return [Sweep(table, 0, some) for table, some in fences.items()]
