"""Read the few forms of Avro's bytes; a negative place is a DecodeErrorCode.

Bounds are checked before every read; `memory` says why a load may still touch padding.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nurt.avro.errors import DecodeErrorCode
from nurt.columnar.memory import load_byte, load_word
from nurt.columnar.types import INLINE_BYTES
from nurt.columnar.varint import read_unsigned_checked

ENDS_EARLY, NEGATIVE_LENGTH = int(DecodeErrorCode.ENDS_EARLY), int(DecodeErrorCode.NEGATIVE_LENGTH)

_HIGH_BITS = np.uint64(0x8080808080808080)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ZERO, _ONE, _BITS_32 = np.uint64(0), np.uint64(1), np.uint64(32)


@njit(nogil=True, cache=True)
def read_length(data, at, end):  # type: ignore[no-untyped-def]
    """Read the length of a string or bytes that lies within the message.

    data     (b,)    uint8  7 bytes can be read behind `end`
    at, end  scalar  int64  index where the length begins, and where the message ends
    Returns the length in bytes and the index behind it; or 0 and a negative flaw.
    """
    raw, at = read_unsigned_checked(data, at, end)
    if at < 0:
        return 0, at
    if raw & _ONE:
        return 0, -NEGATIVE_LENGTH
    size = np.int64(raw >> _ONE)
    if size > end - at:
        return 0, -ENDS_EARLY
    return size, at


@njit(nogil=True, cache=True)
def is_utf8(data, at, size):  # type: ignore[no-untyped-def]
    """Say whether bytes are UTF-8 as Unicode defines it: no overlong form, no surrogate, nothing above U+10FFFF.

    data      (b,)    uint8  the bytes are data[at:at+size]; nothing behind them is read
    at, size  scalar  int64  index and bytes
    """
    end = at + size
    while at + 8 <= end:
        if load_word(data, at) & _HIGH_BITS:
            break
        at += 8
    while at < end:
        first = load_byte(data, at)
        if first < 0x80:
            at += 1
            continue
        low, high = 0x80, 0xBF  # what the second byte may be
        if first < 0xC2:
            return False
        if first < 0xE0:
            more = 1
        elif first < 0xF0:
            more = 2
            if first == 0xE0:
                low = 0xA0
            elif first == 0xED:
                high = 0x9F
        elif first < 0xF5:
            more = 3
            if first == 0xF0:
                low = 0x90
            elif first == 0xF4:
                high = 0x8F
        else:
            return False
        if at + more >= end:
            return False
        second = load_byte(data, at + 1)
        if second < low or second > high:
            return False
        for k in range(2, more + 1):
            if load_byte(data, at + k) & 0xC0 != 0x80:
                return False
        at += more + 1
    return True


@njit(nogil=True, cache=True)
def put_view(data, at, size, view):  # type: ignore[no-untyped-def]
    """Write the Arrow view of `data[at:at+size]`.

    data      (b,)    uint8   8 bytes can be read behind the text
    at, size  scalar  int64   index, below 2^31, and bytes
    view      (2,)    uint64  written; `data` is its buffer 0

    Source: Arrow columnar format, variable-size binary view layout.
    """
    if size <= INLINE_BYTES:
        first = load_word(data, at)
        if size <= 4:
            first &= (_ONE << np.uint64(8 * size)) - _ONE
            view[1] = _ZERO
        else:
            rest = load_word(data, at + 4)
            view[1] = rest & (_ALL >> np.uint64(8 * (INLINE_BYTES - size)))
        view[0] = np.uint64(size) | (first << _BITS_32)
    else:
        view[0] = np.uint64(size) | (load_word(data, at) << _BITS_32)
        view[1] = np.uint64(at) << _BITS_32
