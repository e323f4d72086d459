"""Turn Avro's big-endian decimal bytes into exact polars decimals; never through a float."""

from __future__ import annotations

import numba
import numpy as np
import polars as pl
import pyarrow as pa

from nurt.columnar.memory import load_byte
from nurt.columnar.series import text_buffers
from nurt.columnar.types import Bools, Bytes, Int64s, Words

DIGITS_MAX = 38
VARIABLE_SCALE = 18
"""Scale of columns in which each value has its own scale: 20 digits before the point and 18 behind it."""

_LIMIT = 10**DIGITS_MAX
_LIMIT_HIGH, _LIMIT_LOW = np.uint64(_LIMIT >> 64), np.uint64(_LIMIT & (2**64 - 1))
_ZERO, _ONES = np.uint64(0), np.uint64(2**64 - 1)
_POWERS = np.array([10**power for power in range(VARIABLE_SCALE + 1)], dtype=np.uint64)


def decimals_of(unscaled: pl.Series, scale: int) -> tuple[pl.Series, Bools]:
    """Turn unscaled big-endian bytes (Binary) into Decimal(38, scale), and say which do not fit (null there).

    A scale that Decimal cannot have (negative, or above 38) becomes `VARIABLE_SCALE`.

    Source: org.apache.kafka.connect.data.Decimal; the scale is the writer's.
    """
    if not 0 <= scale <= DIGITS_MAX:
        scales = pl.Series(np.full(len(unscaled), scale, dtype=np.int64))
        return variable_decimals_of(scales, unscaled)
    words = np.zeros((len(unscaled), 2), dtype=np.uint64)
    unfit = np.zeros(len(unscaled), dtype=np.bool_)
    if len(unscaled):
        offsets, body = text_buffers(unscaled)
        _widen(offsets, body, words, unfit)
    return _decimal_series(unscaled.name, words, unscaled.is_not_null().to_numpy() & ~unfit, scale), unfit


def variable_decimals_of(scales: pl.Series, unscaled: pl.Series) -> tuple[pl.Series, Bools]:
    """Turn pairs of scale (Int64) and unscaled bytes (Binary) into Decimal(38, 18), and say which do not fit.

    Only the value decides whether it fits, never its neighbours: 20 digits before the point, 18 behind it.

    Source: io.debezium.data.VariableScaleDecimal.
    """
    words = np.zeros((len(unscaled), 2), dtype=np.uint64)
    unfit = np.zeros(len(unscaled), dtype=np.bool_)
    present = (unscaled.is_not_null() & scales.is_not_null()).to_numpy()
    if len(unscaled):
        offsets, body = text_buffers(unscaled)
        by_hand = np.zeros(len(unscaled), dtype=np.bool_)
        _widen(offsets, body, words, unfit)
        _rescale(words, scales.fill_null(0).to_numpy(), offsets, by_hand)
        for row in np.flatnonzero(by_hand & present):
            whole = int.from_bytes(body[offsets[row] : offsets[row + 1]].tobytes(), "big", signed=True)
            exact = _exactly(whole, int(scales[int(row)]))
            unfit[row] = exact is None
            words[row] = np.frombuffer((exact or 0).to_bytes(16, "little", signed=True), dtype=np.uint64)
    return _decimal_series(unscaled.name, words, present & ~unfit, VARIABLE_SCALE), unfit & present


def _exactly(whole: int, scale: int) -> int | None:
    """Bring a number to scale 18; None when it would lose a digit or exceed 38."""
    if abs(scale) > 400:
        return 0 if whole == 0 else None
    shift = VARIABLE_SCALE - scale
    if shift >= 0:
        whole *= 10**shift
    else:
        whole, lost = divmod(whole, 10**-shift)
        if lost:
            return None
    return whole if abs(whole) < _LIMIT else None


def _decimal_series(name: str, words: Words, valid: Bools, scale: int) -> pl.Series:
    nulls = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    buffers = [nulls, pa.py_buffer(words)]
    series = pl.from_arrow(pa.Array.from_buffers(pa.decimal128(DIGITS_MAX, scale), len(words), buffers))
    assert isinstance(series, pl.Series)
    return series.alias(name)


@numba.njit(nogil=True, cache=True)
def _within(low, high):  # type: ignore[no-untyped-def]
    """Say whether a two's complement number of two words (uint64), low and high, has at most DIGITS_MAX digits."""
    if high >> np.uint64(63):
        low = (low ^ _ONES) + np.uint64(1)
        high = (high ^ _ONES) + (np.uint64(1) if low == _ZERO else _ZERO)
    return high < _LIMIT_HIGH or (high == _LIMIT_HIGH and low < _LIMIT_LOW)


@numba.njit(nogil=True, cache=True)
def _widen(offsets: Int64s, body: Bytes, words: Words, unfit: Bools) -> None:
    """Sign-extend big-endian bytes into words.

    offsets  (n+1,)  int64   number i is body[offsets[i]:offsets[i+1]]; no bytes are nothing
    body     (b,)    uint8   unscaled numbers, big-endian two's complement
    words    (n, 2)  uint64  written: low and high word; zeros before, and where nothing is
    unfit    (n,)    bool    written: the number has more than DIGITS_MAX digits; False before
    """
    for row in range(unfit.shape[0]):
        start, end = offsets[row], offsets[row + 1]
        if start == end:
            continue
        sign = _ONES if load_byte(body, start) >= np.uint64(128) else _ZERO
        while end - start > 16:
            if load_byte(body, start) != sign & np.uint64(255):
                break
            start += 1
        if end - start > 16 or (end - start == 16 and (load_byte(body, start) >> np.uint64(7)) != sign & np.uint64(1)):
            unfit[row] = True
            continue
        low, high = sign, sign
        for at in range(start, end):
            high = (high << np.uint64(8)) | (low >> np.uint64(56))
            low = (low << np.uint64(8)) | np.uint64(load_byte(body, at))
        words[row, 0], words[row, 1] = low, high
        unfit[row] = not _within(low, high)


@numba.njit(nogil=True, cache=True)
def _rescale(words, scales, offsets, by_hand):  # type: ignore[no-untyped-def]
    """Bring numbers of at most 8 bytes to VARIABLE_SCALE; the others are left to be done by hand.

    words    (n, 2)  uint64  low and high word, as `_widen` wrote them; multiplied
    scales   (n,)    int64   digits behind the point
    offsets  (n+1,)  int64   number i had offsets[i+1]-offsets[i] bytes
    by_hand  (n,)    bool    written: its words are as before; False before
    """
    for row in range(by_hand.shape[0]):
        scale = scales[row]
        if scale < 0 or scale > VARIABLE_SCALE or offsets[row + 1] - offsets[row] > 8:
            by_hand[row] = True
            continue
        factor = _POWERS[VARIABLE_SCALE - scale]
        negative = words[row, 1] >> np.uint64(63) != _ZERO
        number = words[row, 0]
        if negative:
            number = (number ^ _ONES) + np.uint64(1)
        mask = np.uint64(0xFFFFFFFF)
        a, b = number >> np.uint64(32), number & mask
        c, d = factor >> np.uint64(32), factor & mask
        low = b * d
        middle = a * d + (low >> np.uint64(32))
        other = b * c + (middle & mask)
        high = a * c + (middle >> np.uint64(32)) + (other >> np.uint64(32))
        low = (other << np.uint64(32)) | (low & mask)
        if negative:
            low = (low ^ _ONES) + np.uint64(1)
            high = (high ^ _ONES) + (np.uint64(1) if low == _ZERO else _ZERO)
        words[row, 0], words[row, 1] = low, high
