"""Kernels that every stage uses: dense codes for ids, and the newest of many.

Hot path. Ids are 16 bytes, spread evenly (they are keyed hashes), so a table can be addressed by their first bytes.
"""

from __future__ import annotations

import numba
import numpy as np
import polars as pl

from nurt.columnar.hash_table import mask_of, next_place, table_for
from nurt.columnar.series import text_buffers
from nurt.columnar.types import ID_BYTES, Int64s, Words


def words(ids: pl.Series) -> Words:
    """View a Binary series of 16-byte ids without nulls as an array of shape (n, 2)."""
    _offsets, body = text_buffers(ids)
    assert len(body) == ID_BYTES * len(ids), "an id has 16 bytes and is never null"
    return np.ascontiguousarray(body).view(np.uint64).reshape(-1, 2)


def id_list(body: Words) -> list[bytes]:
    """Cut an array of shape (n, 2) into n ids."""
    whole = body.tobytes()
    return [whole[at : at + ID_BYTES] for at in range(0, len(whole), ID_BYTES)]


def distinct(keys: Words) -> tuple[Int64s, Int64s]:
    """Give every row of `keys` (n, k) a dense code, and the first row of every code."""
    codes = np.empty(len(keys), dtype=np.int64)
    firsts = np.empty(len(keys), dtype=np.int64)
    count = _distinct(np.ascontiguousarray(keys), codes, firsts)
    return codes, firsts[:count]


def newest(codes: Int64s, stamps: Int64s, count: int) -> Int64s:
    """Return, by code, the row whose stamp is largest; of equal ones the last."""
    winner = np.full(count, -1, dtype=np.int64)
    _newest(codes, stamps, winner)
    return winner


@numba.njit(nogil=True, cache=True)
def _distinct(keys: Words, codes: Int64s, firsts: Int64s) -> int:
    """Give equal rows one code, in order of their first appearance.

    keys    (n, k)  uint64  rows of k words
    codes   (n,)    int64   written: the code of each row
    firsts  (n,)    int64   written, by code: its first row; what lies behind the last code is not written
    Returns how many codes there are.
    """
    rows, width = keys.shape
    table = table_for(rows)
    mask = mask_of(table)
    count = 0
    for row in range(rows):
        mixed = np.uint64(0)
        for k in range(width):
            mixed = (mixed ^ keys[row, k]) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
        at = mixed & mask
        while True:
            code = table[np.int64(at)]
            if code < 0:
                table[np.int64(at)] = count
                firsts[count] = row
                codes[row] = count
                count += 1
                break
            same = True
            for k in range(width):
                if keys[firsts[code], k] != keys[row, k]:
                    same = False
                    break
            if same:
                codes[row] = code
                break
            at = next_place(at, mask)
    return count


@numba.njit(nogil=True, cache=True)
def _newest(codes: Int64s, stamps: Int64s, winner: Int64s) -> None:
    """Find by code the row whose stamp is largest; of equal ones the last.

    codes   (n,)  int64  by row, below c
    stamps  (n,)  int64  by row, in any one unit: the larger is the newer
    winner  (c,)  int64  written, by code: its row; -1 before, and where a code has no row
    """
    for row in range(len(codes)):
        code = codes[row]
        if winner[code] < 0 or stamps[row] >= stamps[winner[code]]:
            winner[code] = row
