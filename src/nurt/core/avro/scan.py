"""Read the few forms that Avro's bytes consist of; a negative place is the flaw that was found.

Bounds are checked before every read; `memory` says why a load may still touch padding.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nurt.core.avro.flaws import Flaw
from nurt.core.avro.memory import INLINE_BYTES, load_byte, load_word, trailing_zeros

ENDS_EARLY, VARINT_TOO_LONG = int(Flaw.ENDS_EARLY), int(Flaw.VARINT_TOO_LONG)
NEGATIVE_LENGTH = int(Flaw.NEGATIVE_LENGTH)

_HIGH_BITS = np.uint64(0x8080808080808080)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ZERO, _ONE, _TWO, _FOUR = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(4)
_BITS_32, _BITS_63 = np.uint64(32), np.uint64(63)
_SEVEN_BITS = np.uint64(0x7F7F7F7F7F7F7F7F)
_EVEN_1, _ODD_1 = np.uint64(0x007F007F007F007F), np.uint64(0x7F007F007F007F00)
_EVEN_2, _ODD_2 = np.uint64(0x00003FFF00003FFF), np.uint64(0x3FFF00003FFF0000)
_EVEN_4, _ODD_4 = np.uint64(0x000000000FFFFFFF), np.uint64(0x0FFFFFFF00000000)


@njit(nogil=True, cache=True)
def read_varint(data, at, end):  # type: ignore[no-untyped-def]
    """Read a varint as written (zig-zag still on) and the place behind it, or a negative flaw for a place."""
    if at >= end:
        return _ZERO, -ENDS_EARLY
    byte = load_byte(data, at)
    if byte < 128:
        return np.uint64(byte), at + 1
    word = load_word(data, at)
    stops = ~word & _HIGH_BITS
    if stops != _ZERO:
        stop = trailing_zeros(stops)  # 7, 15, ... 63: the last bit of the last byte
        at += (stop >> 3) + 1
        if at > end:
            return _ZERO, -ENDS_EARLY
        return _join_sevens(word & (_ALL >> np.uint64(63 - stop))), at
    value = _join_sevens(word)
    if at + 8 >= end:
        return _ZERO, -ENDS_EARLY
    byte = load_byte(data, at + 8)
    value |= np.uint64(byte & 127) << np.uint64(56)
    if byte < 128:
        return value, at + 9
    if at + 9 >= end:
        return _ZERO, -ENDS_EARLY
    byte = load_byte(data, at + 9)
    if byte > 1:
        return _ZERO, -VARINT_TOO_LONG
    return value | (np.uint64(byte) << _BITS_63), at + 10


@njit(nogil=True, cache=True)
def _join_sevens(word):  # type: ignore[no-untyped-def]
    """Close the gaps between the 7-bit groups of a word, pairs first, then fours, then eights."""
    word &= _SEVEN_BITS
    word = (word & _EVEN_1) | ((word & _ODD_1) >> _ONE)
    word = (word & _EVEN_2) | ((word & _ODD_2) >> _TWO)
    return (word & _EVEN_4) | ((word & _ODD_4) >> _FOUR)


@njit(nogil=True, cache=True)
def skip_varint(data, at, end):  # type: ignore[no-untyped-def]
    """Pass over a varint; gives the place behind it, or a negative flaw."""
    if at < end and load_byte(data, at) < 128:
        return at + 1
    _, at = read_varint(data, at, end)
    return at


@njit(nogil=True, cache=True)
def read_length(data, at, end):  # type: ignore[no-untyped-def]
    """Read the length of a string or bytes that lies within the message; returns (length, place or flaw)."""
    raw, at = read_varint(data, at, end)
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
    """Say whether bytes are UTF-8 as Unicode defines it: no overlong form, no surrogate, nothing above U+10FFFF."""
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
    """Write the Arrow view of `data[at:at+size]` into two words.

    Source: Arrow columnar format, variable-size binary view layout.
    """
    if size <= INLINE_BYTES:
        first = load_word(data, at)
        if size <= 4:
            first &= (_ONE << np.uint64(8 * size)) - _ONE
            view[1] = _ZERO
        else:
            rest = load_word(data, at + 4)
            view[1] = rest & (_ALL >> np.uint64(8 * (12 - size)))
        view[0] = np.uint64(size) | (first << _BITS_32)
    else:
        view[0] = np.uint64(size) | (load_word(data, at) << _BITS_32)
        view[1] = np.uint64(at) << _BITS_32
