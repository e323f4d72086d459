"""A hash table for compiled loops: it gives equal rows one number, in order of their first arrival.

A table is an array of numbers, FREE where a place has no number; its length is a power of two, at least twice the
rows, so that a free place is near. A collision goes on to the next place (linear probing):

    table = table_for(rows)
    mask = mask_of(table)
    ...
    at = hashed & mask
    while table[np.int64(at)] >= 0 and not <that number stands for this row>:
        at = next_place(at, mask)

The loop itself stands where it is used, because only that code knows when two rows are equal. A function that takes the
comparison and what it looks at as arguments was tried, inlined: numba counts the references of the arrays at each step,
and the fold of child records took five times as long.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nurt.columnar.types import Int64s

FREE = -1

_LENGTH_MIN = 16
_ONE = np.uint64(1)


@njit(nogil=True, cache=True)
def table_for(rows: int) -> Int64s:
    """Make an empty table with room for so many rows: (power of two,) int64, all FREE."""
    length = _LENGTH_MIN
    while length < rows * 2:
        length *= 2
    return np.full(length, FREE, dtype=np.int64)


@njit(nogil=True, cache=True, inline="always")
def mask_of(table: Int64s) -> np.uint64:
    """Give the mask that cuts a hash (uint64) down to a place (uint64) of a table, (power of two,) int64."""
    return np.uint64(len(table) - 1)


@njit(nogil=True, cache=True)
def next_place(at: np.uint64, mask: np.uint64) -> np.uint64:
    """Give the place where a search goes on: (uint64, uint64) -> uint64."""
    return (at + _ONE) & mask
