"""Turn decimals as Avro writes them, big-endian two's complement with a scale beside it, into exact integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numba import njit

from nurt.columnar.types import Bools, Bytes, Int64s

AMOUNT_SCALE = 4
DECIMAL_BYTES_MAX = 128
"""Longer numbers (more than 300 digits) are refused, whatever their scale."""

_MAX = np.int64(2**63 - 1)


def decimal_to_amount(
    series: pl.Series, scale: int | pl.Series, target_scale: int = AMOUNT_SCALE
) -> tuple[pl.Series, pl.Series]:
    """Rescale a Binary series of unscaled decimals to Int64 units of 10^-target_scale, exactly or not at all.

    `scale` is the writer's, one for all or an Int64 series with one for each. Returns the amounts and a Boolean series
    `ok`: false where the number does not fit 64 bits, would lose a digit, or is no number (no bytes, no scale); such
    an amount is null. A null decimal is a null amount and ok.
    """
    n = len(series)
    texts, offsets, present = _buffers(series)
    scales = _scales(scale, n)
    amounts = np.zeros(n, dtype=np.int64)
    ok = np.ones(n, dtype=np.bool_)
    _rescale(texts, offsets, present, scales, target_scale, amounts, ok)
    return _mask(pl.Series(series.name, amounts), ok & present), pl.Series(series.name, ok)


def _buffers(series: pl.Series) -> tuple[Bytes, Int64s, Bools]:
    """Give a Binary series as joined bytes, offsets (n + 1) and which are not null."""
    n = len(series)
    present = series.is_not_null().to_numpy(writable=True)
    if n == 0:
        return np.zeros(1, dtype=np.uint8), np.zeros(1, dtype=np.int64), present
    array: Any = series.rechunk().to_arrow().cast(pa.large_binary())
    _, offsets, texts = array.buffers()
    places = np.frombuffer(offsets, dtype=np.int64, count=array.offset + n + 1)[array.offset :].copy()
    if texts is None or texts.size == 0:
        return np.zeros(1, dtype=np.uint8), places, present
    return np.frombuffer(texts, dtype=np.uint8).copy(), places, present


def _scales(scale: int | pl.Series, n: int) -> Int64s:
    """Give one scale a row; a missing one is beyond all that can be rescaled."""
    if isinstance(scale, int):
        return np.full(n, scale, dtype=np.int64)
    return scale.cast(pl.Int64).fill_null(np.iinfo(np.int64).min).to_numpy(writable=True)


def _mask(series: pl.Series, keep: Bools) -> pl.Series:
    if keep.all():
        return series
    return pl.select(pl.when(pl.Series(keep)).then(series).alias(series.name)).to_series()


@njit(nogil=True, cache=True)
def _significant(texts, at, end):  # type: ignore[no-untyped-def]
    """Pass over leading bytes that only repeat the sign."""
    while end - at > 1:
        first, second = texts[at], texts[at + 1]
        if not ((first == 0 and second < 128) or (first == 255 and second >= 128)):
            break
        at += 1
    return at


@njit(nogil=True, cache=True)
def _rescale(texts, offsets, present, scales, target_scale, amounts, ok):  # type: ignore[no-untyped-def]
    powers = np.ones(19, dtype=np.int64)
    for k in range(1, 19):
        powers[k] = powers[k - 1] * 10
    digits = np.zeros(DECIMAL_BYTES_MAX, dtype=np.int64)
    for i in range(amounts.shape[0]):
        if not present[i]:
            continue
        end = offsets[i + 1]
        at = _significant(texts, offsets[i], end)
        size = end - at
        if size <= 0 or size > DECIMAL_BYTES_MAX or scales[i] < -1_000_000 or scales[i] > 1_000_000:
            ok[i] = False
            continue
        shift = target_scale - scales[i]
        if size > 8:
            amounts[i], ok[i] = _shrink(texts, at, size, -shift, digits, powers)
            continue
        number = np.int64(-1) if texts[at] >= 128 else np.int64(0)
        for k in range(at, end):
            number = (number << 8) | np.int64(texts[k])
        if number == 0 or shift == 0:
            amounts[i] = number
        elif shift > 18 or shift < -18:
            ok[i] = False
        elif shift > 0:
            limit = _MAX // powers[shift]  # 2^63 is no multiple of ten: the same bound on both sides
            ok[i] = -limit <= number <= limit
            amounts[i] = number * powers[shift]
        else:
            ok[i] = number % powers[-shift] == 0
            amounts[i] = number // powers[-shift]


@njit(nogil=True, cache=True)
def _shrink(texts, at, size, fewer, digits, powers):  # type: ignore[no-untyped-def]
    """Divide a number of more than 64 bits by 10^fewer; returns it and whether it came out even and fits."""
    if fewer <= 0:
        return np.int64(0), False
    negative = texts[at] >= 128
    carry = np.int64(1)
    for k in range(size - 1, -1, -1):  # magnitude, in base 256, most significant first
        digit = np.int64(texts[at + k])
        if negative:
            digit = (255 - digit) + carry
            carry = digit >> 8
            digit &= 255
        digits[k] = digit
    while fewer > 0:
        step = min(fewer, 9)
        fewer -= step
        divisor = powers[step]
        rest = np.int64(0)
        for k in range(size):
            rest = (rest << 8) | digits[k]
            digits[k] = rest // divisor
            rest %= divisor
        if rest != 0:
            return np.int64(0), False
    first = 0
    while first < size and digits[first] == 0:
        first += 1
    if size - first > 8:
        return np.int64(0), False
    number = np.int64(0)
    for k in range(first, size):
        number = (number << 8) | digits[k]
    if number < 0:  # 2^63 or more: fits only as -2^63, which is its own negative
        return number, negative and number == -_MAX - 1
    return (-number if negative else number), True
