"""Law: of several rows beside a row the same one counts, in whatever order they came."""

from __future__ import annotations

from random import Random

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from nurt.assemble.choose import choose
from nurt.assemble.slots import ASSEMBLY, ASSEMBLY_LAYOUT
from nurt.columnar.values import Values
from nurt.state.row_major import read_values
from tests.oracle.joins_batch import _down, _number_up, _up

texts = st.sampled_from(
    [
        *(None, "0", "-0", "00", "1", "+1", "1.0", "01", "-1", "-1.5", "10", "9", "9.99"),
        *("1.", ".5", "1e3", "a", "A", "é", " 1", "-", ""),
    ]
)
numbers = st.sampled_from([None, 0, 1, -1, 2**62, -(2**62)])
Row = tuple[int, str | None, str | None, int | None, str]
rows = st.lists(st.tuples(st.integers(0, 2), texts, texts, numbers, st.sampled_from(["1", "2", "10", "x"])), max_size=8)


def chosen(some: list[Row]) -> list[Row | None]:
    """Choose by v0, the larger v1, the larger n0, then the key."""
    frame = pl.DataFrame(
        {
            "owner": [0] * len(some),
            "part": [16] * len(some),
            "child": [bytes(16)] * len(some),
            "stamp": [1] * len(some),
            "v0": [row[1] for row in some],
            "v1": [row[2] for row in some],
            "n0": [row[3] for row in some],
            "key": [row[4] for row in some],
        },
        schema_overrides={"v0": pl.String, "v1": pl.String, "n0": pl.Int64, "key": pl.String, "child": pl.Binary},
    )
    stored = read_values(ASSEMBLY_LAYOUT, Values.of(ASSEMBLY.pack(frame, 1)))
    cell = np.array([row[0] for row in some], dtype=np.int64)
    order = [("v0", False), ("v1", True), ("n0", True), ("key", False)]
    winner = choose(ASSEMBLY_LAYOUT, stored, np.arange(len(some)), cell, 3, order)
    return [some[one] if one >= 0 else None for one in winner.tolist()]


def plainly(some: list[Row], cell: int) -> Row | None:
    def rank(row: Row) -> tuple[object, ...]:
        number = row[3]
        return (_up(row[1]), _down(row[2]), _number_up(None if number is None else -number), _up(row[4]))

    return min((row for row in some if row[0] == cell), key=rank, default=None)


@settings(deadline=None)
@given(rows, st.integers(0, 2**16))
def test_the_first_row_is_chosen_in_any_order(some: list[Row], seed: int) -> None:
    expected = [plainly(some, cell) for cell in range(3)]
    Random(seed).shuffle(some)
    found = chosen(some) if some else [None] * 3
    assert [row and row[1:] for row in found] == [row and row[1:] for row in expected]
