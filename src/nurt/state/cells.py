"""Read the packed rows of a value without a copy, for kernels that look at one parent after another.

Hot path. Nothing is copied but numbers and addresses, into cells that the next parent's rows overwrite, so they stay in
the processor's cache. Texts are known by address, because numba counts references whenever an array is passed
to a function. The caller keeps the texts alive. The encoding is that of `table.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from nurt.columnar.memory import peek_byte
from nurt.columnar.types import ID_BYTES, Int64s
from nurt.columnar.varint import from_zigzag, pass_text, peek_within
from nurt.state.packing import DAMAGED, TOO_NEW
from nurt.state.table import Table

NO_ROOM = -2
"""What `read_rows` returns instead of a count, besides TOO_NEW and DAMAGED: there are too few cells."""


def text_mask(table: Table) -> int:
    """Return a bitmap of the columns that are texts."""
    return _mask(table.is_text.tolist())


def id_mask(table: Table) -> int:
    """Return a bitmap of the columns that are ids."""
    return _mask(table.is_id.tolist())


def _mask(columns: Sequence[bool]) -> int:
    return sum(1 << index for index, is_one in enumerate(columns) if is_one)


_ID, _NONE = np.uint64(ID_BYTES), np.uint64(0)


@numba.njit(nogil=True, cache=True)
def cells_of(rows: int, columns: int) -> Int64s:
    """Make room for rows: (rows, 2 * columns + 5) int64, nothing written yet.

    A row has by column a number or a text's address, by column a text's size in bytes, then the bitmap. Four cells
    behind them are free for whoever reads the rows.
    """
    return np.empty((rows, 2 * columns + 5), dtype=np.int64)


@numba.njit(nogil=True, cache=True)
def read_rows(at, stop, version, columns, texts, ids, cells, row):  # type: ignore[no-untyped-def]
    """Read the rows of a value into cells.

    at, stop  scalar            int64  addresses where the value begins and ends; the same: it has no rows
    version   scalar            int64  the first byte that it must have
    columns   scalar            int64  how many columns a row has
    texts     scalar            int64  which of them are texts, in bits (`text_mask`)
    ids       scalar            int64  which of them are ids, in bits (`id_mask`): an id has ID_BYTES, or none
    cells     (m, 2*columns+5)  int64  written from `row` on, see `cells_of`; a row's last four cells are not
    row       scalar            int64  where the first row goes
    An absent column is 0; an absent text is empty, and its address can be read.
    Returns the row behind the last; or a negative number: TOO_NEW: another version, or columns that this one does not
    know; or DAMAGED: the value ends within a row; or NO_ROOM: there are more rows than m.
    """
    if at == stop:
        return row
    if peek_byte(at) != version:
        return TOO_NEW
    at += 1
    while at < stop:
        if row >= len(cells):
            return NO_ROOM
        bitmap, at = peek_within(at, stop)
        if bitmap >> np.uint64(columns):
            return TOO_NEW
        cells[row, 2 * columns] = np.int64(bitmap)
        for column in range(columns):
            if not (bitmap >> np.uint64(column)) & np.uint64(1):
                cells[row, column] = at if (texts >> column) & 1 else 0
                cells[row, columns + column] = 0
                continue
            number, at = peek_within(at, stop)
            if (texts >> column) & 1:
                cells[row, column] = at
                cells[row, columns + column] = np.int64(number)
                if (ids >> column) & 1 and number != _ID and number != _NONE:
                    return DAMAGED
                at = pass_text(number, at, stop)
            else:
                cells[row, column] = from_zigzag(number)
                cells[row, columns + column] = 0
        if at > stop:
            return DAMAGED
        row += 1
    return row


@numba.njit(nogil=True, cache=True)
def has(cells, row, columns, column):  # type: ignore[no-untyped-def]
    """Return whether a row of cells, (m, 2*columns+5) int64, has a column."""
    return (cells[row, 2 * columns] >> column) & 1 != 0
