"""Numbers in decimal digits, for compiled loops: the only place that writes them.

`put_decimal` writes into an array, `poke_decimal` and `poke_padded` to an address. Avro's type "decimal" is another
thing: bytes, big-endian (`avro/encode_loop.py`).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nurt.columnar.memory import poke_byte
from nurt.columnar.types import Bytes

DECIMAL_BYTES_MAX = 20
"""Of any int64: a sign and 19 digits."""

_TEN, _ONE = np.uint64(10), np.uint64(1)
_MINUS, _NOUGHT = ord("-"), ord("0")


@njit(nogil=True, cache=True)
def count_digits(magnitude: np.uint64) -> int:
    """Count the decimal digits of a uint64; 0 has one."""
    size = 1
    while magnitude >= _TEN:
        magnitude //= _TEN
        size += 1
    return size


@njit(nogil=True, cache=True)
def magnitude_of(number: int) -> np.uint64:
    """Give an int64 without its sign, as uint64; the smallest one, too."""
    return ~np.uint64(number) + _ONE if number < 0 else np.uint64(number)


@njit(nogil=True, cache=True)
def put_decimal(out: Bytes, at: int, number: int) -> int:
    """Write a number in decimal digits, with a minus where it is negative.

    out     (n,)    uint8  written from `at` on; room for DECIMAL_BYTES_MAX there
    at      scalar  int64  index where the number begins
    number  scalar  int64  any
    Returns the index behind it.
    """
    rest = magnitude_of(number)
    if number < 0:
        out[at] = _MINUS
        at += 1
    after = at + count_digits(rest)
    for place in range(after - 1, at - 1, -1):
        out[place] = np.uint8(_NOUGHT) + np.uint8(rest % _TEN)
        rest //= _TEN
    return after


@njit(nogil=True, cache=True)
def decimal_size(number):  # type: ignore[no-untyped-def]
    """Count the bytes that an int64 takes in decimal digits, with its sign; at most DECIMAL_BYTES_MAX."""
    return np.int64(count_digits(magnitude_of(number)) + (1 if number < 0 else 0))


@njit(nogil=True, cache=True)
def poke_decimal(to: int, number: int, size: int) -> None:
    """Write an int64 in decimal digits to an address that has room for `size` bytes, its `decimal_size`."""
    rest = magnitude_of(number)
    at = to + size
    while True:
        at -= 1
        poke_byte(at, np.int64(np.uint64(_NOUGHT) + rest % _TEN))
        rest //= _TEN
        if rest == np.uint64(0):
            break
    if number < 0:
        poke_byte(to, _MINUS)


@njit(nogil=True, cache=True)
def poke_padded(to: int, number: int, size: int) -> None:
    """Write the last `size` decimal digits of an int64 that is not negative to an address, zeros in front."""
    for k in range(size - 1, -1, -1):
        poke_byte(to + k, _NOUGHT + number % 10)
        number //= 10
