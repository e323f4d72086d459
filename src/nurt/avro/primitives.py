"""Write values that many schemas share, to an address (in compiled loops): ids in hex, days, optional numbers."""

from __future__ import annotations

import numpy as np
from numba import njit

from nurt.avro.encode_loop import put_text
from nurt.columnar.digits import poke_padded
from nurt.columnar.memory import peek_half, poke_byte, poke_word
from nurt.columnar.types import ID_TEXT_BYTES
from nurt.columnar.varint import poke_zigzag

_NIBBLES, _ONES = np.uint64(0x000F000F000F000F), np.uint64(0x0101010101010101)
_ZEROS, _SIXES = np.uint64(0x3030303030303030), np.uint64(0x0606060606060606)
_LETTERS = np.uint64(ord("a") - ord("0") - 10)
_4, _8, _16 = np.uint64(4), np.uint64(8), np.uint64(16)


@njit(nogil=True, cache=True)
def put_id(to, one):  # type: ignore[no-untyped-def]
    """Write the 16 bytes at an address as a string of 32 hex digits: ID_TEXT_BYTES; returns the address behind it."""
    poke_byte(to, 64)
    put_hex(to + 1, one)
    return to + ID_TEXT_BYTES


@njit(nogil=True, cache=True)
def put_hex(to, one):  # type: ignore[no-untyped-def]
    """Write the 16 bytes at the address `one` as 32 hex digits to the address `to`."""
    for part in range(4):
        raw = np.uint64(peek_half(one + 4 * part))
        # a byte in every 16 bits, then a nibble in every 8, the high one first
        raw = (raw & np.uint64(0xFFFF)) | ((raw & np.uint64(0xFFFF0000)) << _16)
        raw = (raw & np.uint64(0x000000FF000000FF)) | ((raw & np.uint64(0x0000FF000000FF00)) << _8)
        digits = ((raw >> _4) & _NIBBLES) | ((raw & _NIBBLES) << _8)
        beyond_nine = ((digits + _SIXES) >> _4) & _ONES
        poke_word(to + 8 * part, digits + _ZEROS + beyond_nine * _LETTERS)


@njit(nogil=True, cache=True)
def put_string(to, text, size):  # type: ignore[no-untyped-def]
    """Write the text of `size` bytes at an address as a string; returns the address behind it.

    What can be read of the text, and the room at `to` behind VARINT_BYTES_MAX, is as of `put_text`.
    """
    return put_text(poke_zigzag(to, size), text, size)


@njit(nogil=True, cache=True)
def put_optional_long(to, known, number):  # type: ignore[no-untyped-def]
    """Write a union of null and an int64, null where not `known`; returns the address behind it."""
    if not known:
        poke_byte(to, 0)
        return to + 1
    poke_byte(to, 2)
    return poke_zigzag(to + 1, number)


@njit(nogil=True, cache=True)
def put_nothing(to, count):  # type: ignore[no-untyped-def]
    """Write so many nulls, or empty arrays, to an address: a zero byte each; returns the address behind them."""
    for at in range(count):
        poke_byte(to + at, 0)
    return to + count


@njit(nogil=True, cache=True)
def put_date(to, day):  # type: ignore[no-untyped-def]
    """Write a day since 1970-01-01 as a string in ISO 8601; years beyond four digits have a sign.

    to   scalar  int64  address; room for 26 bytes: a length, a sign, 18 digits of a year, month and day
    day  scalar  int64  days since 1970-01-01
    Returns the address behind it.

    Source: H. Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
    """
    shifted = day + 719468
    era = shifted // 146097
    of_era = shifted - era * 146097
    year_of_era = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    march = (5 * of_year + 2) // 153
    day_of_month = of_year - (153 * march + 2) // 5 + 1
    month = march + 3 if march < 10 else march - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    size = 4
    while size < 18 and abs(year) >= 10**size:
        size += 1
    signed = 1 if year < 0 or year > 9999 else 0
    to = poke_zigzag(to, signed + size + 6)
    if signed:
        poke_byte(to, ord("-") if year < 0 else ord("+"))
    poke_padded(to + signed, abs(year), size)
    to += signed + size
    poke_byte(to, ord("-"))
    poke_padded(to + 1, month, 2)
    poke_byte(to + 3, ord("-"))
    poke_padded(to + 4, day_of_month, 2)
    return to + 6
