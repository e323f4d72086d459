"""Decimals are exact or they say that they do not fit."""

from __future__ import annotations

from decimal import Context, Decimal

import hypothesis.strategies as st
import polars as pl
from hypothesis import example, given

from nurt.debezium.decimals import decimals_of, variable_decimals_of
from tests.envelopes import unscaled

EXACT = Context(prec=1000)
wholes = st.one_of(
    st.integers(-(10**45), 10**45),
    st.integers(-(2**64) - 2, 2**64 + 2),
    st.sampled_from([10**38, 10**38 - 1, -(10**38), -(10**38) + 1, 2**127, -(2**127), 2**128]),
)
padding = st.integers(0, 9)


def padded(whole: int, by: int) -> bytes:
    """Write a number with leading sign bytes that it does not need, as some writers do."""
    return (b"\xff" if whole < 0 else b"\0") * by + unscaled(whole)


@given(st.lists(st.tuples(wholes, padding)), st.integers(0, 38))
def test_decimals_of_one_scale_are_exact(numbers: list[tuple[int, int]], scale: int) -> None:
    column = pl.Series([padded(*number) for number in numbers], dtype=pl.Binary)
    found, unfit = decimals_of(column, scale)
    assert found.dtype == pl.Decimal(38, scale)
    for (whole, _), value, bad in zip(numbers, found, unfit, strict=True):
        fits = abs(whole) < 10**38
        assert bad == (not fits)
        assert value == (EXACT.scaleb(Decimal(whole), -scale) if fits else None)


@given(st.lists(st.tuples(wholes, st.integers(-40, 60))))
@example([(1, 18), (-1, 18), (2**63, 0), (-(2**63), 0), (10**20, 0), (10**20 - 1, 0)])
def test_decimals_of_a_scale_each_are_exact(numbers: list[tuple[int, int]]) -> None:
    scales = pl.Series([scale for _, scale in numbers], dtype=pl.Int64)
    found, unfit = variable_decimals_of(scales, pl.Series([unscaled(whole) for whole, _ in numbers], dtype=pl.Binary))
    for (whole, scale), value, bad in zip(numbers, found, unfit, strict=True):
        exact = EXACT.scaleb(Decimal(whole), 18 - scale)
        fits = exact == exact.to_integral_value(context=EXACT) and EXACT.abs(exact) < 10**38
        assert bad == (not fits)
        assert value == (EXACT.scaleb(Decimal(whole), -scale) if fits else None)


def test_null_is_null_and_fits() -> None:
    found, unfit = decimals_of(pl.Series([None, b"\1"], dtype=pl.Binary), 0)
    assert (found.to_list(), unfit.tolist()) == ([None, 1], [False, False])
    found, unfit = variable_decimals_of(pl.Series([None, 0], dtype=pl.Int64), pl.Series([None, b"\1"], dtype=pl.Binary))
    assert (found.to_list(), unfit.tolist()) == ([None, 1], [False, False])


def test_a_scale_that_no_column_has_is_brought_to_one_that_it_has() -> None:
    column = pl.Series([unscaled(5), unscaled(10**40)], dtype=pl.Binary)
    found, unfit = decimals_of(column, -2)
    assert (found.to_list(), unfit.tolist()) == ([500, None], [False, True])
    found, unfit = decimals_of(column, 40)
    assert (found.to_list(), unfit.tolist()) == ([None, 1], [True, False])
