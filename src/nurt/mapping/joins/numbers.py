"""Numbers of stored tables, their columns and their uses: what stored bytes mean. They only grow.

The state keeps them (`adapters/redis/joins.py`), so that stored rows are read as they were written, whatever the
mapping file says later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from nurt.errors import ConfigurationError
from nurt.model.entities import FieldType
from nurt.model.table_kinds import NARROW, NARROW_MAX, TABLES_MAX, WIDE, width_of

Columns = Mapping[str, FieldType]
"""Fields of a table with their types."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers that are given away.

    Attributes:
        tables: name of a table -> its number, of the latest one if it had to become wider.
        columns: number -> field and type -> column of the stored row.
        uses: a use, with all that its stored values depend on -> its number.
    """

    tables: Mapping[str, int] = field(default_factory=dict)
    columns: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    uses: Mapping[str, int] = field(default_factory=dict)

    def of_table(self, name: str, columns: Columns) -> tuple[int, dict[str, str]]:
        """Return a table's number, and the columns of its fields."""
        number = self.tables[name]
        known = self.columns[number]
        return number, {one: known[_column_name(one, of)] for one, of in columns.items()}

    def with_table(self, name: str, columns: Columns) -> Numbers:
        """Return the numbers with this table and these columns.

        Raises ConfigurationError when no number is left, or no table is so wide.
        """
        number = self.tables.get(name)
        if number is not None:
            grown = _grown(self.columns[number], columns, number)
            if grown is not None:
                return self if grown == self.columns[number] else self._put(name, number, grown)
        for numbers in (range(NARROW_MAX), range(NARROW_MAX, TABLES_MAX)):
            free = next((one for one in numbers if one not in self.columns), None)
            if free is not None and (made := _grown({}, columns, free)) is not None:
                return self._put(name, free, made)
        system, _, entity = name.partition("\x1f")
        raise ConfigurationError(
            f"numbering the table {entity.partition(chr(31))[0]} of {system}: it has {len(columns)} fields, and "
            f"{len(self.columns)} tables have numbers (expected at most {len(WIDE.texts)} texts and "
            f"{len(WIDE.numbers)} other fields, what expressions take of our own row included, and at most "
            f"{TABLES_MAX} tables); use fewer fields"
        )

    def _put(self, name: str, number: int, columns: Mapping[str, str]) -> Numbers:
        return Numbers({**self.tables, name: number}, {**self.columns, number: columns}, self.uses)

    def with_uses(self, uses: Iterable[str]) -> Numbers:
        """Return the numbers with these uses; 0 stays free."""
        found = dict(self.uses)
        for use in uses:
            found.setdefault(use, len(found) + 1)
        return Numbers(self.tables, self.columns, found)

    def titles(self) -> dict[int, str]:
        """Name the tables that have numbers, for people."""
        found = dict[int, str]()
        for name, number in self.tables.items():
            system, entity, *made = name.split("\x1f")
            found[number] = f"{entity} of {system}{', put together' * bool(made)}"
        return {number: found.get(number, "a former table") for number in self.columns}

    def encode(self) -> bytes:
        """Write the numbers as JSON."""
        columns = {str(number): known for number, known in self.columns.items()}
        return orjson.dumps({"tables": self.tables, "columns": columns, "uses": self.uses})


def decode(value: bytes | None) -> Numbers:
    """Read what `encode` wrote; None: nothing has a number yet."""
    if value is None:
        return Numbers()
    found: dict[str, Any] = orjson.loads(value)
    columns = {int(number): known for number, known in found["columns"].items()}
    return Numbers(found["tables"], columns, found["uses"])


def _column_name(name: str, field_type: FieldType) -> str:
    return f"{name}\x1f{field_type.value}"


def _grown(known: Mapping[str, str], columns: Columns, number: int) -> dict[str, str] | None:
    """Add columns to those of a table; None: it is too narrow."""
    width, found = width_of(number), dict(known)
    taken = set(known.values())
    for name, field_type in columns.items():
        places = width.texts if field_type is FieldType.STR else width.numbers
        if _column_name(name, field_type) in found:
            continue
        free = next((one for one in places if one not in taken), None)
        if free is None:
            return None
        found[_column_name(name, field_type)] = free
        taken.add(free)
    return found


assert len(NARROW.texts) <= len(WIDE.texts) and len(NARROW.numbers) <= len(WIDE.numbers)
