"""Compare layouts of stored tables: which columns were added, were lost, or changed their meaning. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from nurt.state.layouts import Column

Layouts = Mapping[str, Mapping[str, Sequence[Any]]]
"""Table -> column -> [bit, type]: the form of snapshots and records."""


@dataclass(frozen=True, slots=True)
class LayoutDifference:
    """A column that differs between two layouts; before, after: its bit and type; None: the column is not there."""

    table: str
    column: str
    before: Sequence[Any] | None
    after: Sequence[Any] | None

    def __str__(self) -> str:
        """Name the difference as a message does."""
        return f"{self.table}.{self.column} {_shown(self.before)} -> {_shown(self.after)}"


def _shown(place: Sequence[Any] | None) -> str:
    return "absent" if place is None else f"bit {place[0]} {place[1]}"


def listed(layouts: Mapping[str, Sequence[Column]]) -> dict[str, dict[str, list[Any]]]:
    """List layouts in the form of snapshots and records."""
    return {table: {name: [bit, dtype] for name, bit, dtype in columns} for table, columns in layouts.items()}


def digest(layouts: Layouts) -> str:
    """Name layouts by 16 hex digits, whatever the order of their tables and columns."""
    return blake2b(orjson.dumps(layouts, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


def differences(before: Layouts, after: Layouts) -> list[LayoutDifference]:
    """List the columns that are not the same."""
    return [one for one in _every(before, after) if one.before != one.after]


def _every(before: Layouts, after: Layouts) -> Iterator[LayoutDifference]:
    for table in dict.fromkeys((*before, *after)):
        old, new = before.get(table, {}), after.get(table, {})
        for column in dict.fromkeys((*old, *new)):
            places = (list(some[column]) if column in some else None for some in (old, new))
            yield LayoutDifference(table, column, *places)


def misread(before: Layouts, after: Layouts) -> list[LayoutDifference]:
    """List the columns of stored values that a reader of other layouts would miss or misread."""
    return [one for one in differences(before, after) if one.before is not None]


def grown(snapshot: str, layouts: Mapping[str, Sequence[Column]]) -> str:
    """Write a snapshot again, one column a line, with the columns that the layouts gained.

    Raises ValueError when a column of the snapshot has gone or changed.
    """
    now = listed(layouts)
    if lost := misread(orjson.loads(snapshot), now):
        raise ValueError(
            f"writing the snapshot of layouts: {', '.join(map(str, lost))} (what is stored never moves, changes its "
            "type or goes); restore these lines of state/layouts.py and add what is new at the end of its table"
        )
    tables = [
        f' "{table}": {{\n' + ",\n".join(f'  "{name}": [{bit}, "{dtype}"]' for name, (bit, dtype) in columns.items())
        for table, columns in now.items()
    ]
    return "{\n" + "\n },\n".join(tables) + "\n }\n}\n"
