"""Read and write packed rows of AGGREGATES one by one, in kernels. Hot path; `fold_aggregates.py` and
`order_partials.py` call them.

A zero and an empty text are left out. The encoding is that of `state/table.py`.
"""

from __future__ import annotations

import numba
import numpy as np

from nurt.columnar.memory import copy_bytes
from nurt.columnar.types import Bytes, Int64s
from nurt.columnar.varint import (
    VARINT_BYTES_MAX,
    from_zigzag,
    pass_text,
    peek_unsigned,
    peek_within,
    put_unsigned,
    put_zigzag,
    skip_within,
)
from nurt.rows.children.tables import AGGREGATE_COLUMNS, AGGREGATES
from nurt.state.packing import DAMAGED, TOO_NEW

NUMBERS = len(AGGREGATE_COLUMNS)
KEY_COLUMNS = len(AGGREGATES.columns) - NUMBERS
assert list(AGGREGATES.columns) == ["metric", "k1", "k2", "day", *AGGREGATE_COLUMNS], "the kernels read this order"
KEY_BITS = (1 << KEY_COLUMNS) - 1
_METRIC, _K1, _K2, _DAY, _FIRST_SUM = (
    1 << AGGREGATES.index[name] for name in ("metric", "k1", "k2", "day", AGGREGATE_COLUMNS[0])
)

ROW_BYTES_MAX = VARINT_BYTES_MAX * (1 + len(AGGREGATES.columns))
"""At most so many bytes of a row without its texts: a bitmap, and a number or a length for every column."""


@numba.njit(nogil=True, cache=True)
def put_row(
    out: Bytes,
    at: int,
    metric: int,
    body: Bytes,
    k1: int,
    k1_end: int,
    k2: int,
    k2_end: int,
    has_day: bool,
    day: int,
    aggregates: Int64s,
) -> int:
    """Write a row of AGGREGATES: zeros and empty texts are left out.

    out                    (m,)    uint8  written from `at` on; room for ROW_BYTES_MAX and the texts
    metric                 scalar  int64  what is counted
    body                   (b,)    uint8  texts
    k1, k1_end, k2, k2_end scalar  int64  the key's texts are body[k1:k1_end] and body[k2:k2_end]
    has_day, day           scalar  bool, int64  days since 1970-01-01
    aggregates             (8,)    int64  in the order of AGGREGATE_COLUMNS; amounts in ten-thousandths
    Returns where the next row goes. (11 parameters: all differ from row to row, so a tuple would be built a row.)
    """
    bitmap = _METRIC
    if k1_end > k1:
        bitmap |= _K1
    if k2_end > k2:
        bitmap |= _K2
    if has_day:
        bitmap |= _DAY
    for k in range(NUMBERS):
        if aggregates[k] != 0:
            bitmap |= _FIRST_SUM << k
    at = put_unsigned(out, at, bitmap)
    at = put_zigzag(out, at, metric)
    if k1_end > k1:
        at = put_unsigned(out, at, k1_end - k1)
        for i in range(k1, k1_end):
            out[at] = body[i]
            at += 1
    if k2_end > k2:
        at = put_unsigned(out, at, k2_end - k2)
        for i in range(k2, k2_end):
            out[at] = body[i]
            at += 1
    if has_day:
        at = put_zigzag(out, at, day)
    for k in range(NUMBERS):
        if aggregates[k] != 0:
            at = put_zigzag(out, at, aggregates[k])
    return at


@numba.njit(nogil=True, cache=True)
def put_aggregates(out: Bytes, at: int, flags: int, key: int, size: int, aggregates: Int64s) -> int:
    """Write a row with a packed key.

    out               (m,)    uint8  written from `at` on; room for ROW_BYTES_MAX and the key
    flags, key, size  scalar  int64  bits of the key's columns, its address, its bytes
    aggregates        (8,)    int64  in the order of AGGREGATE_COLUMNS; zeros are left out
    Returns where the next one goes.
    """
    bitmap = flags
    for k in range(NUMBERS):
        if aggregates[k] != 0:
            bitmap |= _FIRST_SUM << k
    at = put_unsigned(out, at, bitmap)
    copy_bytes(out.ctypes.data + at, key, size)
    at += size
    for k in range(NUMBERS):
        if aggregates[k] != 0:
            at = put_zigzag(out, at, aggregates[k])
    return at


@numba.njit(nogil=True, cache=True)
def locate_row(at, stop):  # type: ignore[no-untyped-def]
    """Walk over the row at an address, before the address `stop`. Keys are equal where their bits and bytes are equal.

    Returns its bitmap, and the addresses of its key, of its aggregates and of the next row; the last is TOO_NEW when
    the row has columns that this version does not know, and DAMAGED when the row does not end before `stop`.
    """
    word, at = peek_within(at, stop)
    bitmap = np.int64(word)
    if bitmap >> (KEY_COLUMNS + NUMBERS):
        return bitmap, at, at, np.int64(TOO_NEW)
    key = at
    if bitmap & _METRIC:
        at = skip_within(at, stop)
    if bitmap & _K1:
        size, at = peek_within(at, stop)
        at = pass_text(size, at, stop)
    if bitmap & _K2:
        size, at = peek_within(at, stop)
        at = pass_text(size, at, stop)
    if bitmap & _DAY:
        at = skip_within(at, stop)
    numbers = at
    rest = bitmap >> KEY_COLUMNS
    while rest:
        at = skip_within(at, stop)
        rest &= rest - 1
    return bitmap, key, numbers, at if at <= stop else np.int64(DAMAGED)


@numba.njit(nogil=True, cache=True)
def read_aggregates(at: int, bitmap: int, aggregates: Int64s) -> None:
    """Read the aggregates of a row that `locate_row` has walked over.

    at          scalar  int64  address of the aggregates
    bitmap      scalar  int64  of the row
    aggregates  (8,)    int64  written, in the order of AGGREGATE_COLUMNS
    """
    for k in range(NUMBERS):
        aggregates[k] = 0
        if (bitmap >> (KEY_COLUMNS + k)) & 1:
            number, at = peek_unsigned(at)
            aggregates[k] = from_zigzag(number)
