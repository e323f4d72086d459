"""Write rows as SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class Sql(str):
    """An expression, written as it is."""

    __slots__ = ()


Value = str | int | float | None


def row(*values: Value) -> str:
    """Write one row of VALUES."""
    return f"({', '.join(map(_literal, values))})"


def inserts(rows: Mapping[str, Sequence[str]]) -> str:
    """Write one statement a table."""
    return "".join(f"insert into {table} values {', '.join(some)};\n" for table, some in rows.items())


def _literal(value: Value) -> str:
    if value is None:
        return "null"
    return f"'{value}'" if isinstance(value, str) and not isinstance(value, Sql) else str(value)
