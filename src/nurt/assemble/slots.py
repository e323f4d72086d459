"""How rows beside a row lie in its value: the table, the part of each use, and the slots of what is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from nurt.columnar.distinct import id_list
from nurt.columnar.ids import Ids
from nurt.columnar.texts import Texts
from nurt.columnar.types import Bools, Int64s, Words
from nurt.mapping.joins.plan import CompiledUse, StoredTable
from nurt.model.entities import FieldType
from nurt.rows.children.contributions import Contributions, no_ids, no_texts
from nurt.rows.children.write import RecordPlan, pack_records
from nurt.rows.layouts import ROW_LAYOUTS
from nurt.state.row_major import Layout, RowArrays
from nurt.state.table import Table

ASSEMBLY = Table.stored("assembly")
"""What other rows tell a row that is made of several: child records, and what could not be made."""

ASSEMBLY_LAYOUT = Layout(ASSEMBLY)

OWN_PART = 0
"""`part` of the record of what a row lacks: bits of fields that could not be made in `n0`, of uses in `n1`."""

TABLES_MAX = 16
"""How many tables one use may take for one; `part` is the use's number times this, and the table's place."""

_SLOTS = [name for name in ASSEMBLY.columns if name[0] in "vn" and name[1:].isdigit()]


@dataclass(frozen=True, slots=True)
class Sent:
    """What the rows of a use send to the row beside which they lie.

    Attributes:
        fields: in order: values, then what decides between several rows.
        slots: by field: the column of ASSEMBLY that holds it.
    """

    fields: tuple[str, ...]
    slots: dict[str, str]


def sent_of(use: CompiledUse) -> Sent:
    """List what the rows of a use send."""
    values = use.columns if use.pivot is None else (use.pivot[1],)
    fields = tuple(dict.fromkeys((*values, *(rank.field for rank in use.first if rank.field in use.tables[0].slots))))
    texts = [name for name in fields if use.tables[0].types[name] is FieldType.STR]
    numbers = [name for name in fields if name not in texts]
    slots = {name: f"v{place}" for place, name in enumerate(texts)}
    return Sent(fields, slots | {name: f"n{place}" for place, name in enumerate(numbers)})


def part_of(use: CompiledUse, place: int) -> int:
    """Give the `part` of records of one of a use's tables, by its place among them."""
    return use.number * TABLES_MAX + place


def record_plan(use: CompiledUse, table: StoredTable) -> RecordPlan:
    """Plan how rows of a table become records of a use."""
    renamed: dict[str, str | None] = dict.fromkeys((*_SLOTS, "name"))
    renamed |= {slot: table.slots[field] for field, slot in sent_of(use).slots.items()}
    if use.pivot is not None:
        renamed["name"] = table.slots[use.pivot[0]]
    return RecordPlan(ASSEMBLY_LAYOUT, ROW_LAYOUTS[table.kind], renamed)


def bare_records(
    to: Words, child: Words, part: Int64s, gone: Bools, stamp: int, numbers: tuple[Int64s, Int64s]
) -> Contributions:
    """Make records that hold two numbers at most.

    Args:
        to: rows whose values they go to.
        child, part: what they are of.
        gone: there is none any more.
        numbers: columns n0 and n1.
    """
    rows, none = len(to), no_texts(len(to))
    columns: dict[str, Any] = {
        "owner": np.arange(rows),
        "part": part,
        "child": pl.Series(id_list(child), dtype=pl.Binary),
        "stamp": np.full(rows, stamp, dtype=np.int64),
    }
    packed = ASSEMBLY.raw(pl.DataFrame({**columns, "n0": numbers[0], "n1": numbers[1]}))
    body, ends = ASSEMBLY.pack_raw_rows(packed)
    texts = Texts(ends[:-1], np.where(gone, ends[:-1], ends[1:]), body)
    return Contributions(to, child, np.full(rows, stamp), part, gone, texts, none, none, none, no_ids(rows))


def digests_of(plan: RecordPlan, rows: RowArrays, at: Int64s, gone: Bools, child: Words, ids: Ids) -> Int64s:
    """Give a number for what a use reads of each row; of a row that is gone 0."""
    packed = pack_records(plan, rows, at, gone, child, 0, 0)
    if not len(at):
        return np.zeros(0, dtype=np.int64)
    hashed = ids.of_joined(packed.body, np.append(packed.starts, packed.stops[-1:]))
    found: Int64s = np.ascontiguousarray(hashed[:, 0]).view(np.int64)
    return np.where(gone, 0, found)
