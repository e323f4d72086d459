"""Put rows in the order of their owners and texts, and find those that are equal. Hot path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from nurt.core.arrow_columns import Texts
from nurt.core.packing import Int64s

_RUN_ROWS = 8
"""Runs of so many rows are sorted by insertion before they are merged."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows in order of (owner, texts), and where each group of equal ones begins.

    Attributes:
        order: rows in order; equal ones in the order they came in.
        firsts: places in `order` where a group begins.
        owner: by group.
    """

    order: Int64s
    firsts: Int64s
    owner: Int64s

    def rows(self) -> Int64s:
        """Give the first row of every group."""
        return self.order[self.firsts]

    def total(self, values: Int64s) -> Int64s:
        """Add up values (by row), by group."""
        found: Int64s = np.add.reduceat(values[self.order], self.firsts)
        return found

    def smallest(self, values: Int64s) -> Int64s:
        """Find the smallest value (by row), by group."""
        found: Int64s = np.minimum.reduceat(values[self.order], self.firsts)
        return found

    def largest(self, values: Int64s) -> Int64s:
        """Find the largest value (by row), by group."""
        found: Int64s = np.maximum.reduceat(values[self.order], self.firsts)
        return found

    def by_row(self) -> Int64s:
        """Say by row in which group it is."""
        group = np.zeros(len(self.order), dtype=np.int64)
        group[self.firsts] = 1
        found = np.empty_like(group)
        found[self.order] = np.cumsum(group) - 1
        return found


def group_texts(owner: npt.NDArray[Any], first: Texts, second: Texts | None = None) -> Groups:
    """Sort rows by owner, then by the bytes of the first and the second text, and group equal ones.

    There is at least one row. Texts order as their UTF-8 bytes, which is the order of their characters.
    """
    owner = np.ascontiguousarray(owner, dtype=np.int64)
    second = second or Texts(np.zeros_like(owner), np.zeros_like(owner), first.body)
    keys = owner, first.starts, first.stops, first.body, second.starts, second.stops, second.body
    order = _sort(*keys)
    firsts = np.flatnonzero(_begins(order, *keys))
    return Groups(order, firsts, owner[order[firsts]])


@numba.njit(nogil=True, cache=True)
def _compare(a_start, a_stop, b_start, b_stop, body):  # type: ignore[no-untyped-def]
    shared = min(a_stop - a_start, b_stop - b_start)
    for i in range(shared):
        a, b = body[a_start + i], body[b_start + i]
        if a != b:
            return -1 if a < b else 1
    return (a_stop - a_start) - (b_stop - b_start)


@numba.njit(nogil=True, cache=True)
def _before(a, b, starts, stops, body, starts2, stops2, body2):  # type: ignore[no-untyped-def]
    found = _compare(starts[a], stops[a], starts[b], stops[b], body)
    if found == 0:
        found = _compare(starts2[a], stops2[a], starts2[b], stops2[b], body2)
    return found < 0


@numba.njit(nogil=True, cache=True)
def _sort(owner, starts, stops, body, starts2, stops2, body2):  # type: ignore[no-untyped-def]
    """Count rows into their owners' places, then sort each owner's; equal rows keep their order."""
    rows = len(owner)
    places = np.zeros(owner.max() + 2, dtype=np.int64)
    for row in range(rows):
        places[owner[row] + 1] += 1
    for one in range(1, len(places)):
        places[one] += places[one - 1]
    order = np.empty(rows, dtype=np.int64)
    for row in range(rows):
        order[places[owner[row]]] = row
        places[owner[row]] += 1
    spare = np.empty(rows, dtype=np.int64)
    low = 0
    while low < rows:
        high = places[owner[order[low]]]
        _sort_some(order, spare, low, high, starts, stops, body, starts2, stops2, body2)
        low = high
    return order


@numba.njit(nogil=True, cache=True)
def _sort_some(order, spare, first, end, starts, stops, body, starts2, stops2, body2):  # type: ignore[no-untyped-def]
    """Sort `order[first:end]`: short runs by insertion, then merge them until there is one."""
    for low in range(first, end, _RUN_ROWS):
        for at in range(low + 1, min(low + _RUN_ROWS, end)):
            row = order[at]
            to = at
            while to > low and _before(row, order[to - 1], starts, stops, body, starts2, stops2, body2):
                order[to] = order[to - 1]
                to -= 1
            order[to] = row
    width = _RUN_ROWS
    while width < end - first:
        for low in range(first, end, 2 * width):
            middle, high = min(low + width, end), min(low + 2 * width, end)
            a, b = low, middle
            for to in range(low, high):
                if a < middle and (
                    b >= high or not _before(order[b], order[a], starts, stops, body, starts2, stops2, body2)
                ):
                    spare[to] = order[a]
                    a += 1
                else:
                    spare[to] = order[b]
                    b += 1
        order[first:end] = spare[first:end]
        width *= 2


@numba.njit(nogil=True, cache=True)
def _begins(order, owner, starts, stops, body, starts2, stops2, body2):  # type: ignore[no-untyped-def]
    """Say by place whether its row differs from the one before."""
    begins = np.empty(len(order), dtype=np.bool_)
    for at in range(len(order)):
        a, b = order[at - 1], order[at]
        begins[at] = at == 0 or owner[a] != owner[b] or _before(a, b, starts, stops, body, starts2, stops2, body2)
    return begins
