"""Sort entries by a number and two texts, and find equal ones. Hot path, for kernels.

An entry is a row of int64: a number, two texts' addresses and sizes, and what the entry stands for. Two more
cells are for sorting: cell ORDER of row i gets the row of the entry that comes i-th.
"""

from __future__ import annotations

import numba
import numpy as np

from nurt.columnar.memory import compare_texts, peek_byte
from nurt.columnar.types import Int64s

NUMBER, FIRST, FIRST_SIZE, SECOND, SECOND_SIZE, WHAT, ORDER, SPARE = range(8)
WIDTH = 8
NOTHING = np.int64(0)
"""A number or text that an entry does not have; always int64, so that numba sees one type."""

_RUN = 8
"""Runs of so many entries are sorted by insertion before they are merged."""


@numba.njit(nogil=True, cache=True)
def entries_of(count: int) -> Int64s:
    """Make room for entries: (count, WIDTH) int64, nothing written yet."""
    return np.empty((count, WIDTH), dtype=np.int64)


FIRST_BYTES = 7


@numba.njit(nogil=True, cache=True)
def first_bytes(text, size):  # type: ignore[no-untyped-def]
    """Give a text's first bytes as a number (int64); the order of such numbers never contradicts that of their texts.

    text, size  scalar  int64  address and bytes; behind a text of fewer than FIRST_BYTES come zeros
    """
    number = np.int64(0)
    for i in range(FIRST_BYTES):
        number = number << 8 | (peek_byte(text + i) if i < size else 0)
    return number


@numba.njit(nogil=True, cache=True)
def put_entry(
    entries: Int64s, count: int, number: int, first: int, first_size: int, second: int, second_size: int, what: int
) -> int:
    """Add an entry.

    entries              (m, WIDTH)  int64  row `count` is written, but for ORDER and SPARE
    count                scalar      int64  how many entries there are, below m
    number               scalar      int64  what orders first
    first, first_size    scalar      int64  address and bytes of the text that orders next
    second, second_size  scalar      int64  address and bytes of the text that orders last
    what                 scalar      int64  what the entry stands for; does not order
    Returns how many entries there are then.
    """
    entries[count, NUMBER] = number
    entries[count, FIRST] = first
    entries[count, FIRST_SIZE] = first_size
    entries[count, SECOND] = second
    entries[count, SECOND_SIZE] = second_size
    entries[count, WHAT] = what
    return count + 1


@numba.njit(nogil=True, cache=True)
def compare_entries(entries: Int64s, a: int, b: int) -> int:
    """Order two entries by number, first text and second text.

    entries  (m, WIDTH)  int64  as `put_entry` wrote them; the texts are read at their addresses
    a, b     scalar      int64  the entries' rows
    Returns a negative number where a comes before b, 0 where they are equal, else a positive one.
    """
    if entries[a, NUMBER] != entries[b, NUMBER]:
        return -1 if entries[a, NUMBER] < entries[b, NUMBER] else 1
    found = compare_first(entries, a, b)
    if found == 0:
        found = compare_texts(entries[a, SECOND], entries[a, SECOND_SIZE], entries[b, SECOND], entries[b, SECOND_SIZE])
    return found


@numba.njit(nogil=True, cache=True)
def compare_first(entries: Int64s, a: int, b: int) -> int:
    """Order two entries by their first text alone; parameters and result as of `compare_entries`."""
    return compare_texts(entries[a, FIRST], entries[a, FIRST_SIZE], entries[b, FIRST], entries[b, FIRST_SIZE])


@numba.njit(nogil=True, cache=True)
def sort_entries(entries: Int64s, count: int) -> None:
    """Write into the cells ORDER which entry comes first, second, and so on; equal entries keep their order.

    entries  (m, WIDTH)  int64  read; cells ORDER of the first `count` rows are written, cells SPARE used up
    count    scalar      int64  how many entries there are, at most m
    """
    for low in range(0, count, _RUN):
        for at in range(low, min(low + _RUN, count)):
            to = at
            while to > low and compare_entries(entries, at, entries[to - 1, ORDER]) < 0:
                entries[to, ORDER] = entries[to - 1, ORDER]
                to -= 1
            entries[to, ORDER] = at
    width = _RUN
    while width < count:
        for low in range(0, count, 2 * width):
            middle, high = min(low + width, count), min(low + 2 * width, count)
            a, b = low, middle
            for to in range(low, high):
                if a < middle and (b >= high or compare_entries(entries, entries[b, ORDER], entries[a, ORDER]) >= 0):
                    entries[to, SPARE] = entries[a, ORDER]
                    a += 1
                else:
                    entries[to, SPARE] = entries[b, ORDER]
                    b += 1
        for at in range(count):
            entries[at, ORDER] = entries[at, SPARE]
        width *= 2
