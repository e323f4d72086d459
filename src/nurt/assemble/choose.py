"""Choose one of several rows beside a row: by columns that the mapping names, at last by the row's key.

Hot path. What is chosen is a function of the rows that there are, never of when they came: positions of two rows say
nothing about each other. Numbers stand before other texts and are compared by value, nulls stand last.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from nurt.columnar.types import Bits, Bools, Bytes, Int64s
from nurt.state.row_major import Layout, RowArrays

_NOUGHT, _NINE, _PLUS, _MINUS, _POINT = ord("0"), ord("9"), ord("+"), ord("-"), ord(".")


def choose(
    layout: Layout, rows: RowArrays, at: Int64s, cell: Int64s, cells: int, first: Sequence[tuple[str, bool]]
) -> Int64s:
    """Return, by cell, the row that counts; -1: none.

    Args:
        layout: of the rows.
        rows: all rows.
        at: which of them are candidates.
        cell: of each candidate: what it competes for.
        cells: how many there are.
        first: columns that decide, and whether the larger value comes first.
    """
    columns = np.array([layout.column(name) for name, _ in first], dtype=np.int64)
    descends = np.array([descending for _, descending in first], dtype=np.bool_)
    winner = np.full(cells, -1, dtype=np.int64)
    _choose(at, cell, columns, descends, layout.is_text, layout.slot, *rows.as_tuple(), winner)
    return winner


@numba.njit(nogil=True, cache=True)
def _choose(
    at: Int64s, cell: Int64s, columns: Int64s, descends: Bools, is_text: Bools, slot: Int64s,
    bits: Bits, numbers: Int64s, starts: Int64s, stops: Int64s, body: Bytes, winner: Int64s,
) -> None:  # fmt: skip
    """Find the first row of each cell.

    at        (n,)  int64  candidates
    cell      (n,)  int64  by candidate
    columns   (k,)  int64  columns that decide, the weightiest first
    descends  (k,)  bool   by these: the larger value comes first
    is_text   (c,)  bool   by column
    slot      (c,)  int64  by column: its place among texts or numbers
    bits, numbers, starts, stops, body  of all rows, see RowArrays
    winner    (m,)  int64  written, by cell: its row; -1 before
    """
    for one in range(len(at)):
        row, best = at[one], winner[cell[one]]
        if best < 0:
            winner[cell[one]] = row
            continue
        order = 0
        for k in range(len(columns)):
            column = columns[k]
            place = slot[column]
            has = bits[row] >> np.uint64(column) & np.uint64(1) == 1
            has_best = bits[best] >> np.uint64(column) & np.uint64(1) == 1
            if has != has_best:
                order = -1 if has else 1
            elif has and is_text[column]:
                order = compare_texts(
                    body, starts[row, place], stops[row, place], starts[best, place], stops[best, place], descends[k]
                )
            elif has and numbers[row, place] != numbers[best, place]:
                order = -1 if (numbers[row, place] < numbers[best, place]) != descends[k] else 1
            if order:
                break
        if order < 0:
            winner[cell[one]] = row


@numba.njit(nogil=True, cache=True)
def compare_texts(body: Bytes, a: int, a_stop: int, b: int, b_stop: int, descends: bool) -> int:
    """Compare two texts: numbers before others, numbers by value, then by their bytes; negative: the first is first.

    body            (n,)    uint8  texts
    a, a_stop       scalar  int64  the one is body[a:a_stop]
    b, b_stop       scalar  int64  the other is body[b:b_stop]
    descends        scalar  bool   the larger one comes first; numbers stay before others
    """
    a_is, b_is = _is_number(body, a, a_stop), _is_number(body, b, b_stop)
    if a_is != b_is:
        return -1 if a_is else 1
    order = _compare_numbers(body, a, a_stop, b, b_stop) if a_is else 0
    if order == 0:
        for i in range(min(a_stop - a, b_stop - b)):
            if body[a + i] != body[b + i]:
                order = -1 if body[a + i] < body[b + i] else 1
                break
        if order == 0 and a_stop - a != b_stop - b:
            order = -1 if a_stop - a < b_stop - b else 1
    return -order if descends else order


@numba.njit(nogil=True, cache=True)
def _is_number(body: Bytes, at: int, stop: int) -> bool:
    """Say whether a text is a plain number: a sign or none, digits, perhaps a point and digits."""
    if at < stop and (body[at] == _PLUS or body[at] == _MINUS):
        at += 1
    first = at
    while at < stop and _NOUGHT <= body[at] <= _NINE:
        at += 1
    if at == first:
        return False
    if at < stop and body[at] == _POINT:
        at += 1
        first = at
        while at < stop and _NOUGHT <= body[at] <= _NINE:
            at += 1
        if at == first:
            return False
    return at == stop


@numba.njit(nogil=True, cache=True)
def _compare_numbers(body: Bytes, a: int, a_stop: int, b: int, b_stop: int) -> int:
    """Compare two plain numbers by value."""
    a_minus, b_minus = body[a] == _MINUS, body[b] == _MINUS
    order = _compare_sizes(body, a, a_stop, b, b_stop)
    if a_minus != b_minus:
        if order == 0 and _is_nought(body, a, a_stop):
            return 0
        return -1 if a_minus else 1
    return -order if a_minus else order


@numba.njit(nogil=True, cache=True)
def _is_nought(body: Bytes, at: int, stop: int) -> bool:
    """Say whether a plain number is zero."""
    for place in range(at, stop):  # noqa: SIM110 - a compiled loop
        if _NOUGHT < body[place] <= _NINE:
            return False
    return True


@numba.njit(nogil=True, cache=True)
def _compare_sizes(body: Bytes, a: int, a_stop: int, b: int, b_stop: int) -> int:
    """Compare two plain numbers without their signs."""
    while a < a_stop and not (_NOUGHT < body[a] <= _NINE or body[a] == _POINT):
        a += 1
    while b < b_stop and not (_NOUGHT < body[b] <= _NINE or body[b] == _POINT):
        b += 1
    a_point, b_point = a, b
    while a_point < a_stop and body[a_point] != _POINT:
        a_point += 1
    while b_point < b_stop and body[b_point] != _POINT:
        b_point += 1
    if a_point - a != b_point - b:
        return -1 if a_point - a < b_point - b else 1
    for i in range(a_point - a):
        if body[a + i] != body[b + i]:
            return -1 if body[a + i] < body[b + i] else 1
    a_point += 1
    b_point += 1
    while a_point < a_stop or b_point < b_stop:
        a_digit = body[a_point] if a_point < a_stop else np.uint8(_NOUGHT)
        b_digit = body[b_point] if b_point < b_stop else np.uint8(_NOUGHT)
        if a_digit != b_digit:
            return -1 if a_digit < b_digit else 1
        a_point += 1
        b_point += 1
    return 0
