"""Decimals become integers exactly, or say that they cannot."""

from __future__ import annotations

import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nurt.avro import decimal_to_amount

INT64 = range(-(2**63), 2**63)


def as_bytes(number: int, extra_bytes: int = 0) -> bytes:
    """Write as Java's BigInteger does, or longer than needed."""
    size = ((number if number >= 0 else ~number).bit_length() // 8) + 1
    return number.to_bytes(size + extra_bytes, "big", signed=True)


EDGES = [
    0,
    1,
    -1,
    127,
    -128,
    2**63 - 1,
    -(2**63),
    2**63,
    -(2**63) - 1,
    10**30,
    922337203685477,
    922337203685478,
    10**38 - 1,
]
NUMBERS = st.sampled_from(EDGES) | st.integers(-(2**64), 2**64) | st.integers(-(10**60), 10**60)
ROUND = st.builds(lambda n, zeros: n * 10**zeros, st.integers(-(2**63), 2**63), st.integers(0, 40))
DECIMALS = st.lists(st.none() | NUMBERS | ROUND, max_size=8)


@settings(deadline=None)
@given(numbers=DECIMALS, scale=st.integers(-5, 45), target=st.integers(0, 8), extra_bytes=st.integers(0, 3))
@example(numbers=[-(2**63), 2**63 - 1], scale=4, target=4, extra_bytes=0)
@example(numbers=[-(2**63) * 10**9, 2**63 * 10**9, -(2**63 + 1) * 10**9], scale=13, target=4, extra_bytes=0)
@example(
    numbers=[922337203685477, 922337203685478, -922337203685477, -922337203685478], scale=0, target=4, extra_bytes=0
)
@example(numbers=[], scale=2, target=4, extra_bytes=0)
def test_an_amount_is_exact_or_refused(numbers: list[int | None], scale: int, target: int, extra_bytes: int) -> None:
    column = pl.Series("c", [None if n is None else as_bytes(n, extra_bytes) for n in numbers], dtype=pl.Binary)
    amounts, ok = decimal_to_amount(column, scale, target)
    assert (amounts.dtype, ok.dtype, amounts.name) == (pl.Int64, pl.Boolean, "c")
    for number, amount, fine in zip(numbers, amounts, ok, strict=True):
        if number is None:
            assert (amount, fine) == (None, True)
            continue
        power = target - scale
        exact, rest = (number * 10**power, 0) if power >= 0 else divmod(number, 10**-power)
        if rest == 0 and exact in INT64:
            assert (amount, fine) == (exact, True)
        else:
            assert (amount, fine) == (None, False)


@settings(deadline=None)
@given(pairs=st.lists(st.tuples(NUMBERS | ROUND, st.none() | st.integers(-4, 44)), min_size=1, max_size=8))
def test_every_row_may_have_a_scale_of_its_own(pairs: list[tuple[int, int | None]]) -> None:
    column = pl.Series("c", [as_bytes(number) for number, _ in pairs])
    scales = pl.Series("s", [scale for _, scale in pairs], dtype=pl.Int64)
    amounts, ok = decimal_to_amount(column, scales)
    for i, (_, scale) in enumerate(pairs):
        if scale is None:
            assert (amounts[i], ok[i]) == (None, False)
        else:
            alone, alone_ok = decimal_to_amount(column[i : i + 1], scale)
            assert (amounts[i], ok[i]) == (alone[0], alone_ok[0])


def test_no_bytes_are_no_number() -> None:
    column = pl.Series("c", [b"", b"\x01"])
    assert [each.to_list() for each in decimal_to_amount(column, 2)] == [[None, 100], [False, True]]


def test_a_slice_is_read_where_it_lies() -> None:
    column = pl.Series("c", [as_bytes(n) for n in range(300)])
    amounts, _ = decimal_to_amount(column.slice(250, 10), 4)
    assert amounts.to_list() == list(range(250, 260))
