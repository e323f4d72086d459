"""State values as plain rows, for decisions in plain Python: a few values at a time, without a frame's cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, chain
from typing import Any

import numpy as np
import polars as pl

from nurt.state.column_major import Rows
from nurt.state.packing import DAMAGED, unreadable
from nurt.state.table import Raw, Table

Row = tuple[Any, ...]
"""A value for every column of a table; None: it is absent."""


def unpack_rows(table: Table, values: Sequence[bytes | None]) -> list[list[Row]]:
    """Unpack values into rows, by value. Raises StateTooNew when one was written by a later version."""
    found: list[list[Row]] = [[] for _ in values]
    rows = Rows(table, table.unpack_raw(values))
    owners = rows.raw.owner.tolist()
    if not owners:
        return found
    columns = [_column(rows, name, dtype, name in table.zero) for name, dtype in table.columns.items()]
    for owner, row in zip(owners, zip(*columns, strict=True), strict=True):
        found[owner].append(row)
    return found


def _column(rows: Rows, name: str, dtype: pl.DataType, never_null: bool) -> list[Any]:
    present = rows.present(name)
    if dtype == pl.Binary:
        values: list[Any] = rows.texts(name).plain()
    elif dtype == pl.String:
        try:
            values = [text.decode() for text in rows.texts(name).plain()]
        except UnicodeDecodeError:
            raise unreadable(DAMAGED, "rows") from None
    else:
        values = (rows.number(name) != 0 if dtype == pl.Boolean else rows.number(name)).tolist()
    if never_null or present.all():
        return values
    return [value if is_there else None for value, is_there in zip(values, present.tolist(), strict=True)]


def pack_rows(table: Table, values: Sequence[Sequence[Row]]) -> list[bytes | None]:
    """Pack rows into values; one without rows is None. Equal to what the table packs of a frame."""
    rows = [*chain.from_iterable(values)]
    if not rows:
        return [None] * len(values)
    columns: Mapping[str, list[Any]] = dict(zip(table.columns, map(list, zip(*rows, strict=True)), strict=True))
    is_text = dict(zip(table.columns, table.is_text.tolist(), strict=True))
    numbers = [[value or 0 for value in columns[name]] for name in table.columns if not is_text[name]]
    present = [
        [bool(value) if name in table.zero else value is not None for value in column]
        for name, column in columns.items()
    ]
    texts = [
        value.encode() if isinstance(value, str) else value or b""
        for name in table.columns
        if is_text[name]
        for value in columns[name]
    ]
    ends = np.fromiter(accumulate(map(len, texts), initial=0), dtype=np.int64, count=len(texts) + 1)
    shape = -1, len(rows)
    raw = Raw(
        np.repeat(np.arange(len(values)), [len(some) for some in values]),
        np.array(numbers, dtype=np.int64).reshape(shape),
        np.array(present, dtype=np.bool_),
        np.ascontiguousarray(ends[:-1]).reshape(shape),
        np.ascontiguousarray(ends[1:]).reshape(shape),
        np.frombuffer(b"".join(texts), dtype=np.uint8),
    )
    return table.pack_raw(raw, len(values))
