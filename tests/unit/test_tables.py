"""What is packed into state comes back, also from a version with fewer columns, and never misread from a later one."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nurt.errors import StateTooNew
from nurt.profiles.identity.resolve import COMPONENTS, MEMBERS, MEMBERSHIPS
from nurt.rows.children.tables import ACCOUNT_RECORDS, AGGREGATES, ORDER_RECORDS
from nurt.rows.layouts import ROW_TABLES
from nurt.state.python_rows import pack_rows, unpack_rows
from nurt.state.table import OWNER, Table

COLUMNS: dict[str, pl.DataType] = {
    "number": pl.Int64(), "text": pl.String(), "yes": pl.Boolean(), "id": pl.Binary(), "last": pl.Int64()
}  # fmt: skip
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "number": st.integers(-(1 << 63), (1 << 63) - 1),
    "text": st.text(max_size=8),
    "yes": st.booleans(),
    "id": st.binary(min_size=16, max_size=16),
    "last": st.sampled_from([0, 1, -1, 127, 128, -(1 << 63), (1 << 63) - 1]),
}
row = st.fixed_dictionaries({name: st.none() | value for name, value in VALUES.items()})
values = st.lists(st.lists(row, max_size=4), max_size=6)


def frame_of(some: list[list[dict[str, Any]]], columns: dict[str, pl.DataType] = COLUMNS) -> pl.DataFrame:
    rows = [{OWNER: owner, **one} for owner, of_one in enumerate(some) for one in of_one]
    return pl.DataFrame(rows, schema={OWNER: pl.Int64(), **columns})


@given(values)
def test_rows_come_back_by_value_and_in_order(some: list[list[dict[str, Any]]]) -> None:
    table, frame = Table(COLUMNS), frame_of(some)
    packed = table.pack(frame, len(some))
    assert [value is None for value in packed] == [not of_one for of_one in some]
    found = table.unpack(packed)
    assert found.schema == frame.schema
    assert found.rows() == frame.rows()
    assert table.pack(found, len(some)) == packed, "equal rows are equal bytes"


@given(values)
def test_plain_rows_are_packed_and_unpacked_as_a_frame_is(some: list[list[dict[str, Any]]]) -> None:
    plain = [[tuple(one[name] for name in COLUMNS) for one in of_one] for of_one in some]
    for table in (Table(COLUMNS), Table(COLUMNS, zero=("number", "last"))):
        packed = table.pack(frame_of(some), len(some))
        assert pack_rows(table, plain) == packed
        rows: list[list[tuple[Any, ...]]] = [[] for _ in some]
        for owner, *row in table.unpack(packed).iter_rows():
            rows[owner].append(tuple(row))
        assert unpack_rows(table, packed) == rows


@given(values)
def test_values_are_packed_alike_whatever_lies_beside_them(some: list[list[dict[str, Any]]]) -> None:
    table = Table(COLUMNS)
    alone = [table.pack(frame_of([of_one]), 1)[0] for of_one in some]
    assert table.pack(frame_of(some), len(some)) == alone


@given(values)
def test_a_later_version_with_more_columns_reads_what_an_earlier_one_wrote(some: list[list[dict[str, Any]]]) -> None:
    packed = Table(COLUMNS).pack(frame_of(some), len(some))
    found = Table({**COLUMNS, "new": pl.String(), "newer": pl.Int64()}).unpack(packed)
    assert found.drop("new", "newer").rows() == frame_of(some).rows()
    assert found["new"].null_count() == found["newer"].null_count() == found.height


def test_what_a_later_version_wrote_is_refused() -> None:
    later = Table({**COLUMNS, "new": pl.String()})
    one = {"number": 1, "text": "x", "yes": True, "id": b"i", "last": 2}
    (packed,) = later.pack(frame_of([[{**one, "new": "y"}]], {**COLUMNS, "new": pl.String()}), 1)
    assert packed is not None
    with pytest.raises(StateTooNew):
        Table(COLUMNS).unpack([packed])
    with pytest.raises(StateTooNew):
        Table(COLUMNS).unpack([bytes([packed[0] + 1]) + packed[1:]])


def test_nothing_is_nothing() -> None:
    table = Table(COLUMNS)
    assert table.unpack([]).rows() == table.unpack([None, None]).rows() == []
    assert table.pack(table.empty(), 3) == [None, None, None]


@pytest.mark.parametrize(
    "table", [ACCOUNT_RECORDS, ORDER_RECORDS, AGGREGATES, MEMBERSHIPS, COMPONENTS, MEMBERS, *ROW_TABLES.values()]
)
def test_every_stored_table_holds_full_and_blank_rows(table: Table) -> None:
    full: dict[pl.DataType, Any] = {pl.Int64(): -5, pl.String(): "Łódź", pl.Boolean(): True, pl.Binary(): b"\x00" * 16}
    rows = [
        {OWNER: 0, **{name: full[dtype] for name, dtype in table.columns.items()}},
        {OWNER: 2, **{name: 0 if name in table.zero else None for name in table.columns}},
    ]
    frame = pl.DataFrame(rows, schema={OWNER: pl.Int64(), **table.columns})
    assert table.unpack(table.pack(frame, 3)).rows() == frame.rows()
