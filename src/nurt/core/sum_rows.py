"""Read and write packed rows of SUMS one by one, in kernels. Hot path; `sums.py` and `order_shares.py` call them.

A zero and an empty text are left out. The encoding is that of `tables.py`.
"""

from __future__ import annotations

import numba
import numpy as np

from nurt.core.contributions import BUCKET_SUMS, SUMS
from nurt.core.packing import get_varint, put_varint

NUMBERS = len(BUCKET_SUMS)
KEY_COLUMNS = 4
assert list(SUMS.columns) == ["metric", "k1", "k2", "day", *BUCKET_SUMS], "the kernels read this order"

ROW_BYTES_MAX = 80
"""Of a row without its texts: a bitmap, a metric, a day, five sums, two lengths."""


@numba.njit(nogil=True, cache=True)
def put_number(out, at, value):  # type: ignore[no-untyped-def]
    """Write a number as a table holds it."""
    return put_varint(out, at, (value << 1) ^ (value >> 63))


@numba.njit(nogil=True, cache=True)
def put_row(out, at, metric, body, k1, k1_end, k2, k2_end, has_day, day, sums):  # type: ignore[no-untyped-def]
    """Write a row of SUMS: zeros and empty texts are left out. Returns where the next one goes."""
    bitmap = 1
    if k1_end > k1:
        bitmap |= 2
    if k2_end > k2:
        bitmap |= 4
    if has_day:
        bitmap |= 8
    for k in range(NUMBERS):
        if sums[k] != 0:
            bitmap |= 16 << k
    at = put_varint(out, at, bitmap)
    at = put_number(out, at, metric)
    if k1_end > k1:
        at = put_varint(out, at, k1_end - k1)
        for i in range(k1, k1_end):
            out[at] = body[i]
            at += 1
    if k2_end > k2:
        at = put_varint(out, at, k2_end - k2)
        for i in range(k2, k2_end):
            out[at] = body[i]
            at += 1
    if has_day:
        at = put_number(out, at, day)
    for k in range(NUMBERS):
        if sums[k] != 0:
            at = put_number(out, at, sums[k])
    return at


@numba.njit(nogil=True, cache=True)
def skip_row(body, at):  # type: ignore[no-untyped-def]
    """Walk over a row; -1: it has columns that are not known."""
    bitmap, at = get_varint(body, at)
    if bitmap >> np.uint64(KEY_COLUMNS + NUMBERS):
        return -1
    for column in range(KEY_COLUMNS + NUMBERS):
        if (bitmap >> np.uint64(column)) & np.uint64(1):
            number, at = get_varint(body, at)
            if column == 1 or column == 2:
                at += np.int64(number)
    return at


@numba.njit(nogil=True, cache=True)
def read_row(body, at, keys, sums):  # type: ignore[no-untyped-def]
    """Read a row into keys (metric, k1, k1 end, k2, k2 end, has day, day) and sums; returns where the next one is."""
    bitmap, at = get_varint(body, at)
    for k in range(7):
        keys[k] = 0
    for column in range(KEY_COLUMNS + NUMBERS):
        value = np.int64(0)
        if (bitmap >> np.uint64(column)) & np.uint64(1):
            number, at = get_varint(body, at)
            if column == 1 or column == 2:
                keys[2 * column - 1] = at
                at += np.int64(number)
                keys[2 * column] = at
            else:
                value = np.int64(number >> np.uint64(1)) ^ -np.int64(number & np.uint64(1))
        if column == 0:
            keys[0] = value
        elif column == 3:
            keys[5] = np.int64((bitmap >> np.uint64(3)) & np.uint64(1))
            keys[6] = value
        elif column > 3:
            sums[column - KEY_COLUMNS] = value
    return at
