"""Read the packed rows of a value without a copy, for kernels that look at one parent after another.

Hot path. Nothing is copied but numbers and addresses, into cells that the next parent's rows overwrite, so they stay in
the processor's cache. Texts are known by address, because numba counts references whenever an array is passed
to a function. The caller keeps the texts alive. The encoding is that of `table.py`.
"""

from __future__ import annotations

import numba
import numpy as np

from nurt.columnar.memory import peek_byte
from nurt.columnar.types import Int64s
from nurt.columnar.varint import from_zigzag, peek_unsigned
from nurt.errors import StateTooNew
from nurt.state.table import Table

TOO_NEW, NO_ROOM = -1, -2
"""What `read_rows` returns instead of a count: the value is of a later version, or there are too few cells."""


def too_new(what: str) -> StateTooNew:
    """Make the error for a value that a later version wrote."""
    return StateTooNew(
        f"reading {what}: a value has an encoding that this version does not know; run the version of nurt that wrote "
        "it, or a later one"
    )


def text_mask(table: Table) -> int:
    """Return a bitmap of the columns that are texts."""
    return sum(1 << index for index, is_text in enumerate(table.is_text.tolist()) if is_text)


@numba.njit(nogil=True, cache=True)
def cells_of(rows: int, columns: int) -> Int64s:
    """Make room for rows: (rows, 2 * columns + 5) int64, nothing written yet.

    A row has by column a number or a text's address, by column a text's size in bytes, then the bitmap. Four cells
    behind them are free for whoever reads the rows.
    """
    return np.empty((rows, 2 * columns + 5), dtype=np.int64)


@numba.njit(nogil=True, cache=True)
def read_rows(at, stop, version, columns, texts, cells, row):  # type: ignore[no-untyped-def]
    """Read the rows of a value into cells.

    at, stop  scalar            int64  addresses where the value begins and ends; the same: it has no rows
    version   scalar            int64  the first byte that it must have
    columns   scalar            int64  how many columns a row has
    texts     scalar            int64  which of them are texts, in bits (`text_mask`)
    cells     (m, 2*columns+5)  int64  written from `row` on, see `cells_of`; a row's last four cells are not
    row       scalar            int64  where the first row goes
    An absent column is 0; an absent text is empty, and its address can be read.
    Returns the row behind the last; or a negative number: TOO_NEW: another version, or columns that this one does not
    know; or NO_ROOM: there are more rows than m.
    """
    if at == stop:
        return row
    if peek_byte(at) != version:
        return TOO_NEW
    at += 1
    while at < stop:
        if row >= len(cells):
            return NO_ROOM
        bitmap, at = peek_unsigned(at)
        if bitmap >> np.uint64(columns):
            return TOO_NEW
        cells[row, 2 * columns] = np.int64(bitmap)
        for column in range(columns):
            if not (bitmap >> np.uint64(column)) & np.uint64(1):
                cells[row, column] = at if (texts >> column) & 1 else 0
                cells[row, columns + column] = 0
                continue
            number, at = peek_unsigned(at)
            if (texts >> column) & 1:
                cells[row, column] = at
                cells[row, columns + column] = np.int64(number)
                at += np.int64(number)
            else:
                cells[row, column] = from_zigzag(number)
                cells[row, columns + column] = 0
        row += 1
    return row


@numba.njit(nogil=True, cache=True)
def has(cells, row, columns, column):  # type: ignore[no-untyped-def]
    """Return whether a row of cells, (m, 2*columns+5) int64, has a column."""
    return (cells[row, 2 * columns] >> column) & 1 != 0
