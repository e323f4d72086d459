"""Pack rows of a table from arrays, one for each column. Hot path: one kernel call does all rows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from nurt.columnar.texts import Texts
from nurt.columnar.types import Bools, Bytes, Int64s
from nurt.columnar.varint import put_unsigned, put_zigzag
from nurt.state.table import VERSION, Raw, Table

_EVERYWHERE: Mapping[str, Bools] = MappingProxyType({})


def pack_columns(
    table: Table,
    numbers: Mapping[str, Int64s],
    texts: Mapping[str, Texts],
    present: Mapping[str, Bools] = _EVERYWHERE,
) -> Texts:
    """Pack each row by itself, without a version; columns that are not given are absent.

    Args:
        table: of the rows.
        numbers: by name; integers, or booleans as 0 and 1; at least one.
        texts: by name.
        present: where a column is there; one that is not named is there everywhere.
    """
    body, ends = table.pack_raw_rows(_raw_of(table, numbers, texts, present))
    return Texts(ends[:-1], ends[1:], body)


def _raw_of(
    table: Table, numbers: Mapping[str, Int64s], texts: Mapping[str, Texts], present: Mapping[str, Bools]
) -> Raw:
    rows = len(next(iter(numbers.values())))
    number = np.zeros((table.number_columns, rows), dtype=np.int64)
    there = np.zeros((len(table.columns), rows), dtype=np.bool_)
    starts = np.zeros((table.text_columns, rows), dtype=np.int64)
    stops = np.zeros((table.text_columns, rows), dtype=np.int64)
    for name, values in numbers.items():
        number[table.slot_of(name)] = values
    bodies: dict[int, tuple[int, Bytes]] = {}
    size_bytes = 0
    for name, text in texts.items():
        if id(text.body) not in bodies:
            bodies[id(text.body)] = size_bytes, text.body
            size_bytes += len(text.body)
        base, slot = bodies[id(text.body)][0], table.slot_of(name)
        starts[slot], stops[slot] = text.starts + base, text.stops + base
    for name in (*numbers, *texts):
        there[table.index[name]] = present.get(name, True)
    whole = np.concatenate([one for _, one in bodies.values()]) if bodies else np.empty(0, dtype=np.uint8)
    return Raw(np.arange(rows, dtype=np.int64), number, there, starts, stops, whole)


def pack_value(table: Table, fields: Mapping[str, int | bytes]) -> bytes:
    """Pack a value of one row, in plain Python: off the hot path."""
    out = np.empty(16 + sum(10 + (len(one) if isinstance(one, bytes) else 10) for one in fields.values()), np.uint8)
    out[0] = VERSION
    at = put_unsigned(out, 1, sum(1 << table.index[name] for name in fields))
    for name in sorted(fields, key=table.index.__getitem__):
        value = fields[name]
        if isinstance(value, bytes):
            at = put_unsigned(out, at, len(value))
            out[at : at + len(value)] = np.frombuffer(value, dtype=np.uint8)
            at += len(value)
        else:
            at = put_zigzag(out, at, value)
    return out[:at].tobytes()
