"""Rows that arrive are read from wherever polars holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nurt.columnar.values import Values, no_values
from nurt.errors import StateTooNew
from nurt.model.entity_frame import UPSERT, entity_columns
from nurt.rows.fold import fold_rows
from nurt.rows.layouts import ROW_LAYOUTS, ROW_TABLES
from nurt.rows.read_frames import read_columns, read_frames
from nurt.state.row_major import Layout, RowArrays
from nurt.state.table import Table

SOME = Layout(Table({"a": pl.String(), "n": pl.Int64(), "b": pl.Binary(), "yes": pl.Boolean()}))
rows = st.lists(
    st.tuples(
        st.none() | st.text(max_size=30),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.binary(max_size=30),
        st.none() | st.booleans(),
    ),
    max_size=12,
)


def frame_of(some: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(some, schema=SOME.table.columns, orient="row")


def plain(read: RowArrays) -> list[tuple[Any, ...]]:
    every = np.arange(len(read))
    columns: list[list[Any]] = []
    for name, dtype in SOME.table.columns.items():
        place, has = SOME.place(name), read.has(SOME.column(name), every).tolist()
        values: list[Any]
        if dtype in (pl.String, pl.Binary):
            texts = read.text(place, every).plain()
            values = [text.decode() for text in texts] if dtype == pl.String else list(texts)
        else:
            values = read.numbers[:, place].tolist()
            values = [bool(value) for value in values] if dtype == pl.Boolean else values
        columns.append([value if there else None for value, there in zip(values, has, strict=True)])
    return list(zip(*columns, strict=True))


@given(st.lists(rows, max_size=3), st.integers(0, 3))
def test_frames_are_read_one_after_another_whole_or_cut(some: list[list[Any]], start: int) -> None:
    frames = [frame_of(one) for one in some]
    assert plain(read_columns(SOME, frames)) == [row for one in some for row in one]
    joined = pl.concat([frame_of([]), *frames], rechunk=False)
    assert plain(read_columns(SOME, [joined[start:]])) == [row for one in some for row in one][start:]


@given(rows, st.lists(st.booleans(), min_size=12, max_size=12))
def test_a_filtered_frame_is_read_as_it_looks(some: list[Any], chosen: list[bool]) -> None:
    kept = [row for row, wanted in zip(some, chosen, strict=False) if wanted]
    assert plain(read_columns(SOME, [frame_of(some).filter(pl.Series(chosen[: len(some)], dtype=pl.Boolean))])) == kept


def test_columns_of_many_rows_are_read_block_by_block() -> None:
    some = [(f"{row:0{row % 40}d}", row, None if row % 3 else b"x" * (row % 50), row % 2 == 0) for row in range(1_000)]
    assert plain(read_columns(SOME, [frame_of(some)])) == some


def test_what_is_not_there_is_null_and_not_read() -> None:
    frame = frame_of([("a", 1, None, True)]).drop("n", "b").with_columns(pl.lit(1).alias("other"))
    assert plain(read_columns(SOME, [frame])) == [("a", None, None, True)]


def test_a_value_with_columns_that_this_version_does_not_know_is_refused() -> None:
    event = {"row": b"r" * 16, "system": "s", "entity": "e", "key": "k", "op": UPSERT, "source_epoch": 0, "offset": 1}
    incoming = read_frames(ROW_LAYOUTS["customer"], [pl.DataFrame([event], schema=entity_columns("customer"))])
    written = fold_rows("customer", incoming, no_values(1)).values().one(0)
    assert written is not None and ROW_TABLES["customer"].unpack([written]).height == 1
    for value in (b"\x02" + written[1:], b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f"):
        with pytest.raises(StateTooNew, match="later one"):
            fold_rows("customer", incoming, Values.of([value]))
