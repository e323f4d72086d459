"""Variable-length integers, for compiled loops: the only place that writes and reads them.

Seven bits a byte, the low ones first; every byte but the last has its high bit set. An unsigned number is written as it
is. A signed one is turned *zigzag* first (0, -1, 1, -2 become 0, 1, 2, 3), so that small numbers of either sign are
short. Source: Protocol Buffers, "Encoding"; Avro, "Binary encoding".

| writes or reads | unsigned | zigzag |
|---|---|---|
| an array, at an index | `put_unsigned`, `get_unsigned` | `put_zigzag`, `get_zigzag` |
| memory, at an address | `peek_unsigned` | `poke_zigzag` |
| memory, up to an address | `peek_within`, `skip_within` | |
| unchecked bytes | `read_unsigned_checked`, `skip_checked` | |

The first two rows of the table trust the bytes, which this program wrote itself, and check no bounds. The third reads
stored values, which somebody may have damaged: what does not end in time ends one behind the end, and so does all that
is read after it. So a caller looks once, behind a row, and not at every number.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nurt.columnar.memory import load_byte, load_word, peek_byte, poke_byte, trailing_zeros
from nurt.columnar.types import Bytes

VARINT_BYTES_MAX = 10
"""Of any number of 64 bits."""

ENDS_EARLY, TOO_LONG = 1, 2
"""Flaws of unchecked bytes: they end within a number; a number takes more than 64 bits."""

_ZERO, _ONE, _TWO, _FOUR, _SEVEN = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(7)
_BITS_7, _HIGH, _BIT_63 = np.uint64(127), np.uint64(128), np.uint64(63)
_HIGH_BITS = np.uint64(0x8080808080808080)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_SEVEN_BITS = np.uint64(0x7F7F7F7F7F7F7F7F)
_EVEN_1, _ODD_1 = np.uint64(0x007F007F007F007F), np.uint64(0x7F007F007F007F00)
_EVEN_2, _ODD_2 = np.uint64(0x00003FFF00003FFF), np.uint64(0x3FFF00003FFF0000)
_EVEN_4, _ODD_4 = np.uint64(0x000000000FFFFFFF), np.uint64(0x0FFFFFFF00000000)


def zigzag_bytes(number: int) -> bytes:
    """Write a signed number of 64 bits in plain Python. Not for the hot path."""
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)


@njit(nogil=True, cache=True)
def from_zigzag(raw: np.uint64) -> np.int64:
    """Turn a uint64 that was read into the int64 that it encodes."""
    return np.int64(raw >> _ONE) ^ -np.int64(raw & _ONE)


# What takes an array is inlined: a call that passes arrays costs 25 ns, as much as twenty bytes written.


@njit(nogil=True, cache=True, inline="always")
def put_unsigned(out, at, number):  # type: ignore[no-untyped-def]
    """Write an unsigned number.

    out     (n,)    uint8        written from `at` on; room for VARINT_BYTES_MAX there
    at      scalar  int64        index where the number begins
    number  scalar  any integer  a negative one is taken for its 64 bits
    Returns the index behind it.
    """
    rest = np.uint64(number)
    while rest >= np.uint64(128):
        out[at] = np.uint8((rest & np.uint64(127)) | np.uint64(128))
        rest >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(rest)
    return at + 1


@njit(nogil=True, cache=True, inline="always")
def put_zigzag(out: Bytes, at: int, number: int) -> int:
    """Write a signed number.

    out     (n,)    uint8  written from `at` on; room for VARINT_BYTES_MAX there
    at      scalar  int64  index where the number begins
    number  scalar  int64  any
    Returns the index behind it.
    """
    return put_unsigned(out, at, (number << 1) ^ (number >> 63))


@njit(nogil=True, cache=True, inline="always")
def get_unsigned(body, at):  # type: ignore[no-untyped-def]
    """Read an unsigned number of trusted bytes.

    body  (n,)    uint8  read from `at` on, no further than the number
    at    scalar  int64  index where the number begins
    Returns the number (uint64) and the index behind it (int64).
    """
    number = np.uint64(0)
    shift = np.uint64(0)
    while True:
        byte = np.uint64(body[at])
        at += 1
        number |= (byte & np.uint64(127)) << shift
        shift += np.uint64(7)
        if byte < np.uint64(128):
            break
    return number, at


@njit(nogil=True, cache=True, inline="always")
def get_zigzag(body, at):  # type: ignore[no-untyped-def]
    """Read a signed number of trusted bytes.

    body  (n,)    uint8  read from `at` on, no further than the number
    at    scalar  int64  index where the number begins
    Returns the number (int64) and the index behind it (int64).
    """
    raw, after = get_unsigned(body, at)
    return from_zigzag(raw), after


@njit(nogil=True, cache=True)
def poke_zigzag(to, number):  # type: ignore[no-untyped-def]
    """Write a signed number to an address (int64) that has room for VARINT_BYTES_MAX; returns the address behind it."""
    raw = np.uint64(number << 1) ^ np.uint64(number >> 63)
    while raw >= _HIGH:
        poke_byte(to, np.int64((raw & _BITS_7) | _HIGH))
        raw >>= _SEVEN
        to += 1
    poke_byte(to, np.int64(raw))
    return to + 1


@njit(nogil=True, cache=True)
def peek_unsigned(at):  # type: ignore[no-untyped-def]
    """Read an unsigned number (uint64) of trusted bytes at an address (int64); returns it and the address behind it."""
    value = np.uint64(peek_byte(at))
    at += 1
    if value < np.uint64(128):
        return value, at
    value &= np.uint64(127)
    shift = np.uint64(7)
    while True:
        byte = np.uint64(peek_byte(at))
        at += 1
        value |= (byte & np.uint64(127)) << shift
        if byte < np.uint64(128):
            return value, at
        shift += np.uint64(7)


@njit(nogil=True, cache=True)
def peek_within(at, end):  # type: ignore[no-untyped-def]
    """Read an unsigned number (uint64) at an address (int64); returns it and the address behind it.

    A number that does not end before the address `end`, or has more than 64 bits, is 0 and ends at `end` + 1.
    """
    if at < end:
        value = np.uint64(peek_byte(at))
        at += 1
        if value < np.uint64(128):
            return value, at
        value &= np.uint64(127)
        shift = np.uint64(7)
        while at < end and shift < np.uint64(64):
            byte = np.uint64(peek_byte(at))
            at += 1
            value |= (byte & np.uint64(127)) << shift
            if byte < np.uint64(128):
                return value, at
            shift += np.uint64(7)
    return np.uint64(0), end + 1


@njit(nogil=True, cache=True)
def skip_within(at: int, end: int) -> int:
    """Pass over a number at an address (int64); returns the address behind it, or `end` + 1: it ends too late."""
    while at < end:
        if peek_byte(at) < 128:
            return at + 1
        at += 1
    return end + 1


@njit(nogil=True, cache=True)
def pass_text(size, at, end):  # type: ignore[no-untyped-def]
    """Pass over `size` bytes (uint64) of text at an address; returns the address behind it, or `end` + 1: too late."""
    size_bytes = np.int64(size)
    return at + size_bytes if 0 <= size_bytes <= end - at else end + 1


@njit(nogil=True, cache=True)
def read_unsigned_checked(data, at, end):  # type: ignore[no-untyped-def]
    """Read a number of unchecked bytes, as written (zigzag still on).

    data     (n,)    uint8  7 bytes can be read behind `end`
    at, end  scalar  int64  index where the number begins, and where the message ends
    Returns the number (uint64) and the index behind it (int64); or 0 and a negative flaw, -ENDS_EARLY or -TOO_LONG.
    """
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
        return _ZERO, -TOO_LONG
    return value | (np.uint64(byte) << _BIT_63), at + 10


@njit(nogil=True, cache=True)
def _join_sevens(word):  # type: ignore[no-untyped-def]
    """Close the gaps between the 7-bit groups of a word (uint64), pairs first, then fours, then eights."""
    word &= _SEVEN_BITS
    word = (word & _EVEN_1) | ((word & _ODD_1) >> _ONE)
    word = (word & _EVEN_2) | ((word & _ODD_2) >> _TWO)
    return (word & _EVEN_4) | ((word & _ODD_4) >> _FOUR)


@njit(nogil=True, cache=True)
def skip_checked(data, at, end):  # type: ignore[no-untyped-def]
    """Pass over a number of unchecked bytes; parameters as of `read_unsigned_checked`.

    Returns the index behind it (int64), or a negative flaw: -ENDS_EARLY or -TOO_LONG.
    """
    if at < end and load_byte(data, at) < 128:
        return at + 1
    _, at = read_unsigned_checked(data, at, end)
    return at
