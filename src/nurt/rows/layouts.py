"""How rows are stored: the table of every entity kind, and where its columns lie in arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import polars as pl

from nurt.model.entities import ENTITIES, IDENTIFIED_KINDS
from nurt.model.entity_frame import entity_columns
from nurt.model.table_kinds import CODES, FIRST_CODE, table_kind, width_of
from nurt.state.row_major import Layout
from nurt.state.table import Table

ROOTS = frozenset({"customer", "order", "product", "document"})
"""Kinds whose row is its own parent: the parent's id is the row's id, so the row never leaves it."""

ROW, LEFT, OTHER = 0, 1, 2
"""Values of the column `part`: the row itself, a parent that it left, an instance in a topic that does not speak."""

POSITION = ("p0", "p1", "p2", "p3")
HIGHEST = ("h0", "h1", "h2", "h3")
"""The highest known position of a row, where the position of its newest event lacks a part; else null."""

PARENT_COLUMNS = ("parent_kind", "parent", "parent_entity", "parent_key")

_STORED = (
    *("system", "entity", "key", "op", "source_epoch", *POSITION, "partition", "offset", "ts_ms"),
    *(*PARENT_COLUMNS, "moved_to"),
)


def row_table(kind: str) -> Table:
    """Make the table of the stored rows of one entity kind, which has a column for each of its fields."""
    columns = entity_columns(kind)
    needs: dict[str, pl.DataType] = {"part": pl.Int64()}
    for name in (*_STORED, *field_names(kind)):
        needs[name] = pl.Int64() if columns[name].is_integer() else columns[name]
    return Table.stored(layout_name(kind), needs | dict.fromkeys((*HIGHEST, "topic"), pl.Int64()))


def layout_name(kind: str) -> str:
    """Name the layout of the stored rows of an entity kind."""
    return f"row.{kind}" if kind in ENTITIES else width_of(ENTITIES[kind].code - FIRST_CODE).layout


def field_names(kind: str) -> list[str]:
    """Name the columns with the fields of a row of this kind, extra identifiers included."""
    return [*ENTITIES[kind].fields, *(["identifiers"] if kind in IDENTIFIED_KINDS else [])]


V = TypeVar("V")


class ByKind(dict[str, V]):
    """Values by entity kind; kinds of stored tables, which have two layouts, are here when they are asked for."""

    def __init__(self, value: Callable[[str], V]) -> None:
        super().__init__((kind, value(kind)) for kind in ENTITIES)
        by_layout: dict[str, V] = {}
        self._tables: dict[str, V] = {}
        for kind in (table_kind(code - FIRST_CODE) for code in CODES):
            layout = layout_name(kind)
            if layout not in by_layout:
                by_layout[layout] = value(kind)
            self._tables[kind] = by_layout[layout]

    def __missing__(self, kind: str) -> V:
        return self._tables[kind]


ROW_TABLES = ByKind(row_table)
ROW_LAYOUTS = ByKind(lambda kind: Layout(ROW_TABLES[kind]))

# the rows of every kind begin with the same columns: their places for the kernels
_FIRST = ROW_LAYOUTS["order"]
assert all([*one.columns][: 1 + len(_STORED)] == ["part", *_STORED] for one in ROW_TABLES.values())
PART, OP = _FIRST.place("part"), _FIRST.place("op")
EPOCH, PARTITION, OFFSET, TS = (_FIRST.place(name) for name in ("source_epoch", "partition", "offset", "ts_ms"))
P0, P0_BIT = _FIRST.place("p0"), _FIRST.column("p0")
PARENT, PARENT_BIT, PARENT_KIND = _FIRST.place("parent"), _FIRST.column("parent"), _FIRST.place("parent_kind")
HIGHEST_AT = ByKind(lambda kind: (ROW_LAYOUTS[kind].column("h0"), ROW_LAYOUTS[kind].place("h0")))
"""By kind, the bit and the place of h0; h1 to h3 follow it."""
TOPIC_AT = ByKind(lambda kind: (ROW_LAYOUTS[kind].column("topic"), ROW_LAYOUTS[kind].place("topic")))
"""By kind, the bit and the place of the column `topic`."""
LEFT_BITS = sum(1 << _FIRST.column(name) for name in ("part", "system", "parent_kind", "parent"))
"""The bits of the columns that are stored of a parent that the row left."""
