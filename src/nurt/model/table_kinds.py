"""Kinds of stored tables: rows that others are joined with, which no canonical entity names.

A table has a number, which the state gives it (`adapters/redis/joins.py`), and its rows are the kind `table/<number>`
with an entity code of their own. So all that works by kind or by code works for tables. Their columns have no names of
their own: texts lie in `c0`, `c1` and so on, all else in `n0`, `n1` and so on.
"""

from __future__ import annotations

from dataclasses import dataclass

TABLE = "table"
"""What the mapping calls the entity; its kind until the state has numbered it."""


@dataclass(frozen=True, slots=True)
class Width:
    """How many columns the rows of a table have."""

    layout: str
    texts: tuple[str, ...]
    numbers: tuple[str, ...]


def _width(layout: str, texts: int, numbers: int) -> Width:
    return Width(layout, tuple(f"c{one}" for one in range(texts)), tuple(f"n{one}" for one in range(numbers)))


NARROW, WIDE = _width("row.table", 8, 8), _width("row.wide", 24, 14)
"""Layouts of tables: most have few columns, and a row in memory pays for each that its layout has."""

TABLES_MAX = 127
NARROW_MAX = 64
"""Numbers from here on are of wide tables."""
FIRST_CODE = 128
CODES = range(FIRST_CODE, FIRST_CODE + TABLES_MAX)
"""Entity codes of tables, by number."""


def table_kind(number: int) -> str:
    """Name the kind of a table's rows."""
    return f"{TABLE}/{number}"


def width_of(number: int) -> Width:
    """Return the columns of the table with this number."""
    return NARROW if number < NARROW_MAX else WIDE
