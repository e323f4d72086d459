"""Read and write packed rows of SUMS one by one, in kernels. Hot path; `sums.py` and `order_shares.py` call them.

A zero and an empty text are left out. The encoding is that of `tables.py`.
"""

from __future__ import annotations

import numba
import numpy as np

from nurt.core.avro.memory import copy_bytes, peek_byte
from nurt.core.contributions import BUCKET_SUMS, SUMS
from nurt.core.packed_rows import take_varint
from nurt.core.packing import put_varint

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
def put_sums(out, at, flags, key, size, sums):  # type: ignore[no-untyped-def]
    """Write a row whose packed key lies at an address; `flags` are its bits. Returns where the next one goes."""
    bitmap = flags
    for k in range(NUMBERS):
        if sums[k] != 0:
            bitmap |= 16 << k
    at = put_varint(out, at, bitmap)
    copy_bytes(out.ctypes.data + at, key, size)
    at += size
    for k in range(NUMBERS):
        if sums[k] != 0:
            at = put_number(out, at, sums[k])
    return at


@numba.njit(nogil=True, cache=True)
def _skip(at):  # type: ignore[no-untyped-def]
    while peek_byte(at) >= 128:
        at += 1
    return at + 1


@numba.njit(nogil=True, cache=True)
def locate_row(at):  # type: ignore[no-untyped-def]
    """Walk over the row at an address: its bitmap, where its key begins, where its sums do, and where the next row is.

    Keys are equal where their bits and bytes are. The last is -1 when the row has columns that are not known.
    """
    word, at = take_varint(at)
    bitmap = np.int64(word)
    if bitmap >> (KEY_COLUMNS + NUMBERS):
        return bitmap, at, at, np.int64(-1)
    key = at
    if bitmap & 1:
        at = _skip(at)
    if bitmap & 2:
        size, at = take_varint(at)
        at += np.int64(size)
    if bitmap & 4:
        size, at = take_varint(at)
        at += np.int64(size)
    if bitmap & 8:
        at = _skip(at)
    numbers = at
    rest = bitmap >> KEY_COLUMNS
    while rest:
        at = _skip(at)
        rest &= rest - 1
    return bitmap, key, numbers, at


@numba.njit(nogil=True, cache=True)
def read_sums(at, bitmap, sums):  # type: ignore[no-untyped-def]
    """Read the sums of a row, which lie at an address."""
    for k in range(NUMBERS):
        sums[k] = 0
        if (bitmap >> (KEY_COLUMNS + k)) & 1:
            number, at = take_varint(at)
            sums[k] = np.int64(number >> np.uint64(1)) ^ -np.int64(number & np.uint64(1))
