"""Rows of one entity kind as plain arrays: stored rows where they lie in their values, and rows that arrive.

Hot path. Arrays are row-major, because every kernel looks at one row after another; a text of a stored row is copied
only when it is written again. The encoding of values is that of `table.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from nurt.columnar.memory import copy_bytes, peek_byte, trailing_zeros
from nurt.columnar.texts import Texts
from nurt.columnar.types import ID_BYTES, Bits, Bools, Bytes, Int64s, Words
from nurt.columnar.values import Values
from nurt.columnar.varint import from_zigzag, pass_text, peek_within, put_unsigned
from nurt.state.packing import DAMAGED, TOO_NEW, unreadable
from nurt.state.table import VERSION, Table

_SPARE_ROWS = 64
"""Room for parents that rows left; few rows ever leave one."""


class Layout:
    """Places of a table's columns in arrays of rows.

    Attributes:
        table: the table.
        is_text: by column.
        slot: by column: its place among the numbers or among the texts.
        numbers, texts: how many columns of each there are.
    """

    __slots__ = ("_index", "is_text", "numbers", "slot", "table", "texts")

    def __init__(self, table: Table) -> None:
        self.table = table
        self.is_text = table.is_text
        self.slot = np.where(self.is_text, np.cumsum(self.is_text), np.cumsum(~self.is_text)).astype(np.int64) - 1
        self.texts = int(self.is_text.sum())
        self.numbers = len(self.is_text) - self.texts
        self._index = {name: index for index, name in enumerate(table.columns)}

    def __contains__(self, name: str) -> bool:
        """Return whether the table has a column."""
        return name in self._index

    def column(self, name: str) -> int:
        """Give the number of a column, which is the number of its bit."""
        return self._index[name]

    def place(self, name: str) -> int:
        """Give a column's place among the numbers or among the texts."""
        return int(self.slot[self._index[name]])


RowTuple = tuple[Bits, Int64s, Int64s, Int64s, Bytes]
"""Rows as kernels take them: bits, numbers, starts, stops, body."""


@dataclass(frozen=True, slots=True)
class RowArrays:
    """Rows of one layout.

    Attributes:
        owner: index of a row's value.
        bits: bit i: column i is not null.
        numbers: shape (rows, number columns); 0 where absent.
        starts, stops: shape (rows, text columns): where each text lies in `body`.
        body: the texts.
    """

    owner: Int64s
    bits: Bits
    numbers: Int64s
    starts: Int64s
    stops: Int64s
    body: Bytes

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.owner)

    def as_tuple(self) -> RowTuple:
        """Group the arrays for a kernel; `owner` is passed separately."""
        return self.bits, self.numbers, self.starts, self.stops, self.body

    def take(self, rows: npt.NDArray[Any]) -> RowArrays:
        """Choose rows, by index or mask; texts stay where they are."""
        return RowArrays(
            self.owner[rows], self.bits[rows], self.numbers[rows], self.starts[rows], self.stops[rows], self.body
        )

    def has(self, column: int, rows: Int64s) -> Bools:
        """Return where a column is not null."""
        found: Bools = (self.bits[rows] >> np.uint64(column)) & np.uint64(1) == 1
        return found

    def text(self, place: int, rows: Int64s) -> Texts:
        """Give a column of texts, by its place among them; empty where absent."""
        return Texts(self.starts[rows, place], self.stops[rows, place], self.body)

    def ids(self, place: int, rows: Int64s) -> Words:
        """Give a column of 16-byte ids as two words each, in the order of memory; zeros where absent."""
        found = np.zeros((len(rows), 2), dtype=np.uint64)
        _read_ids(self.starts, self.stops, self.body, place, rows, found.view(np.uint8).reshape(-1))
        return found


def room(layout: Layout, rows: int, text_bytes: int) -> RowArrays:
    """Make arrays to be filled; numbers are 0 and texts empty."""
    return RowArrays(
        np.zeros(rows, dtype=np.int64),
        np.zeros(rows, dtype=np.uint64),
        np.zeros((rows, layout.numbers), dtype=np.int64),
        np.zeros((rows, layout.texts), dtype=np.int64),
        np.zeros((rows, layout.texts), dtype=np.int64),
        np.empty(text_bytes, dtype=np.uint8),
    )


def join_rows(first: RowArrays, second: RowArrays) -> RowArrays:
    """Put rows one after another."""
    if not len(first):
        return second
    if not len(second):
        return first
    shift = 0 if first.body is second.body else len(first.body)
    return RowArrays(
        np.concatenate((first.owner, second.owner)),
        np.concatenate((first.bits, second.bits)),
        np.concatenate((first.numbers, second.numbers)),
        np.concatenate((first.starts, second.starts + shift)),
        np.concatenate((first.stops, second.stops + shift)),
        np.concatenate((first.body, second.body)) if shift else first.body,
    )


def read_values(layout: Layout, values: Values) -> RowArrays:
    """Read values into arrays; the rows keep their order, the texts stay where they are.

    Raises:
        StateTooNew: a value was written by a version of nurt with more columns or another encoding.
        StateDamaged: a value is not what nurt wrote.
    """
    body, cuts = values.body, values.cuts
    rows = int(values.there.sum()) + _SPARE_ROWS if values.size_bytes else 0
    while True:
        into = room(layout, rows, 0)
        found = 0
        if rows:
            found = _read(
                body, cuts, VERSION, layout.is_text, layout.table.is_id, layout.slot, into.owner, into.bits,
                into.numbers, into.starts, into.stops,
            )  # fmt: skip
        if found != _FULL:
            break
        rows *= 2
    if found < 0:
        raise unreadable(found, "rows")
    return RowArrays(
        into.owner[:found], into.bits[:found], into.numbers[:found], into.starts[:found], into.stops[:found], body
    )


_FULL = -2
_ID, _NONE = np.uint64(ID_BYTES), np.uint64(0)


@numba.njit(nogil=True, cache=True)
def _read(
    body: Bytes,
    cuts: Int64s,
    version: int,
    is_text: Bools,
    is_id: Bools,
    slot: Int64s,
    owner: Int64s,
    bits: Bits,
    numbers: Int64s,
    starts: Int64s,
    stops: Int64s,
) -> int:
    """Unpack the rows of values; texts stay where they are.

    body           (b,)                 uint8   values
    cuts           (n+1,)               int64   value i is body[cuts[i]:cuts[i+1]]; an empty one has no rows
    version        scalar               int64   the first byte that a value must have
    is_text        (c,)                 bool    by column
    is_id          (c,)                 bool    by column: a text of ID_BYTES, or of none
    slot           (c,)                 int64   by column: its place among the numbers or among the texts
    owner          (m,)                 int64   written: the index of the row's value
    bits           (m,)                 uint64  written: bit i: column i is not null
    numbers        (m, number columns)  int64   written; zeros before, and where absent
    starts, stops  (m, text columns)    int64   written: a text is body[start:stop]; zeros before, and where absent
    Returns how many rows there are; or a negative number: TOO_NEW: a value has an encoding that this version does not
    know; DAMAGED: it ends within a row; or _FULL: there are more rows than m.
    """
    base = np.int64(body.ctypes.data)
    row = 0
    for value in range(len(cuts) - 1):
        at = base + cuts[value]
        end = base + cuts[value + 1]
        if at == end:
            continue
        if peek_byte(at) != version:
            return TOO_NEW
        at += 1
        while at < end:
            bitmap, at = peek_within(at, end)
            if bitmap >> np.uint64(len(is_text)):
                return TOO_NEW
            if row == len(owner):
                return _FULL
            owner[row] = value
            bits[row] = bitmap
            while bitmap:
                column = trailing_zeros(bitmap)
                bitmap &= bitmap - np.uint64(1)
                number, at = peek_within(at, end)
                if is_text[column]:
                    if is_id[column] and number != _ID and number != _NONE:
                        return DAMAGED
                    starts[row, slot[column]] = at - base
                    at = pass_text(number, at, end)
                    stops[row, slot[column]] = at - base
                else:
                    numbers[row, slot[column]] = from_zigzag(number)
            if at > end:
                return DAMAGED
            row += 1
    return row


@numba.njit(nogil=True, cache=True)
def _read_ids(starts: Int64s, stops: Int64s, body: Bytes, place: int, rows: Int64s, ids: Bytes) -> None:
    """Copy the ids that some rows have in one column of texts.

    starts, stops  (m, text columns)  int64  the id of a row is body[start:stop], ID_BYTES or none
    body           (b,)               uint8  texts
    place          scalar             int64  of the column, among the texts
    rows           (n,)               int64  rows of `starts`
    ids            (n*ID_BYTES,)      uint8  written; where a row has none, it stays as it was
    """
    to_address, address = ids.ctypes.data, body.ctypes.data
    for to in range(len(rows)):
        row = rows[to]
        start = starts[row, place]
        copy_bytes(to_address + ID_BYTES * to, address + start, stops[row, place] - start)


@numba.njit(nogil=True, inline="always")  # a call with arrays costs as much as twenty bytes written
def put_text(out, at, to_address, address, start, size):  # type: ignore[no-untyped-def]
    """Write a text's size and its bytes, `to_address` being that of `out`, `address` that of the body; sizes in bytes.

    out        (n,)    uint8  written from `at` on; room for VARINT_BYTES_MAX and the text
    at, start  scalar  int64  index in `out`, and in the body
    Returns the index where the next one goes.
    """
    at = put_unsigned(out, at, size)
    copy_bytes(to_address + at, address + start, size)
    return at + size


@numba.njit(nogil=True, cache=True)
def text_bytes_of(rows: Int64s, starts: Int64s, stops: Int64s) -> int:
    """Add up the sizes of all texts of some rows.

    rows           (n,)               int64  rows of `starts`
    starts, stops  (m, text columns)  int64  where each text lies; the same: it is empty
    Returns bytes.
    """
    total = 0
    for row in rows:
        for place in range(starts.shape[1]):
            total += stops[row, place] - starts[row, place]
    return total
