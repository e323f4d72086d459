"""Pack rows of arrays into bytes and back.

Hot path: the kernels behind `table.py`, where the encoding is described.
"""

from __future__ import annotations

import numba
import numpy as np

from nurt.columnar.memory import peek_byte
from nurt.columnar.types import ID_BYTES
from nurt.columnar.varint import from_zigzag, get_unsigned, pass_text, peek_within, put_unsigned, put_zigzag
from nurt.errors import NurtError, StateDamaged, StateTooNew

TOO_NEW, DAMAGED = -1, -3
"""What readers of stored values return instead of a count: a later version wrote one, or nurt did not write it so."""
_ID, _NONE = np.uint64(ID_BYTES), np.uint64(0)


def unreadable(code: int, what: str) -> NurtError:
    """Make the error for a value that cannot be read: `code` is TOO_NEW or DAMAGED."""
    if code == DAMAGED:
        return StateDamaged(
            f"reading {what}: a stored value is damaged (rows that end where the value ends); "
            "`nurt state check` names it"
        )
    return StateTooNew(
        f"reading {what}: a value has an encoding that this version does not know; run the version of nurt that wrote "
        "it, or a later one"
    )


@numba.njit(nogil=True, cache=True)
def pack(owner, is_text, slot, numbers, present, starts, stops, body, version, out, ends):  # type: ignore[no-untyped-def]
    """Pack rows into values.

    owner          (n,)                 int64  by row: the index of its value, ascending, below v
    is_text        (c,)                 bool   by column
    slot           (c,)                 int64  by column: its row in `numbers`, or in `starts` and `stops`
    numbers        (number columns, n)  int64  integers, and booleans as 0 and 1
    present        (c, n)               bool   the row has the column; what is not present is not read
    starts, stops  (text columns, n)    int64  a text is body[start:stop]
    body           (b,)                 uint8  texts
    version        scalar               int64  the byte in front of a value's rows; negative: there is none
    out            (m,)                 uint8  written; the caller has sized it for the worst case
    ends           (v+1,)               int64  written: value i is out[ends[i]:ends[i+1]], empty where it has no rows
    Returns the bytes written.
    """
    at = 0
    current = -1
    columns = len(is_text)
    for row in range(len(owner)):
        if owner[row] != current:
            for skipped in range(current + 1, owner[row] + 1):
                ends[skipped] = at
            current = owner[row]
            if version >= 0:
                out[at] = version
                at += 1
        bitmap = np.uint64(0)
        for column in range(columns):
            if present[column, row]:
                bitmap |= np.uint64(1) << np.uint64(column)
        at = put_unsigned(out, at, bitmap)
        for column in range(columns):
            if not present[column, row]:
                continue
            where = slot[column]
            if is_text[column]:
                start = starts[where, row]
                end = stops[where, row]
                at = put_unsigned(out, at, end - start)
                for i in range(start, end):
                    out[at] = body[i]
                    at += 1
            else:
                value = numbers[where, row]
                at = put_zigzag(out, at, value)
    for skipped in range(current + 1, len(ends)):
        ends[skipped] = at
    return at


@numba.njit(nogil=True, cache=True)
def measure(body, cuts, is_text, is_id, slot, version, sizes):  # type: ignore[no-untyped-def]
    """Count the rows of values, and the bytes of the wanted columns of texts; `locate` and `unpack` trust what passed.

    body     (b,)               uint8  values
    cuts     (n+1,)             int64  value i is body[cuts[i]:cuts[i+1]]; an empty one has no rows
    is_text  (c,)               bool   by column
    is_id    (c,)               bool   by column: a text of ID_BYTES, or of none
    slot     (c,)               int64  by column: its row in the arrays of numbers or texts; -1: not wanted
    version  scalar             int64  the first byte that a value must have
    sizes    (text columns+1,)  int64  added to: bytes, by wanted column of texts; the last one is not touched
    Returns how many rows there are; or a negative number: TOO_NEW: another version, or columns that this version does
    not know; or DAMAGED: a value ends within a row.
    """
    base = np.int64(body.ctypes.data)
    rows = 0
    columns = len(is_text)
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
            if bitmap >> np.uint64(columns):
                return TOO_NEW
            column = 0
            while bitmap:
                if bitmap & np.uint64(1):
                    number, at = peek_within(at, end)
                    if is_text[column]:
                        if slot[column] >= 0:
                            sizes[slot[column]] += np.int64(number)
                        if is_id[column] and number != _ID and number != _NONE:
                            return DAMAGED
                        at = pass_text(number, at, end)
                bitmap >>= np.uint64(1)
                column += 1
            if at > end:
                return DAMAGED
            rows += 1
    return rows


@numba.njit(nogil=True, cache=True)
def locate(body, cuts, is_text, slot, owner, numbers, present, starts, stops):  # type: ignore[no-untyped-def]
    """Unpack the rows of values that `measure` has found fit, but leave texts where they are.

    body           (b,)                 uint8  values
    cuts           (n+1,)               int64  value i is body[cuts[i]:cuts[i+1]]; an empty one has no rows
    is_text        (c,)                 bool   by column
    slot           (c,)                 int64  by column: its row in the arrays of numbers or texts; -1: not wanted
    owner          (m,)                 int64  written: the index of the row's value; m is what `measure` returned
    numbers        (number columns, m)  int64  written; zeros before, and where absent
    present        (c, m)               bool   written: a wanted column is not null; False before
    starts, stops  (text columns, m)    int64  written: a text is body[start:stop]; zeros before, and where absent
    """
    row = 0
    for value in range(len(cuts) - 1):
        at = cuts[value]
        end = cuts[value + 1]
        if at == end:
            continue
        at += 1
        while at < end:
            owner[row] = value
            bitmap, at = get_unsigned(body, at)
            column = 0
            while bitmap:
                if bitmap & np.uint64(1):
                    where = slot[column]
                    number, at = get_unsigned(body, at)
                    if is_text[column]:
                        length = np.int64(number)
                        if where >= 0:
                            starts[where, row] = at
                            stops[where, row] = at + length
                            present[column, row] = True
                        at += length
                    elif where >= 0:
                        numbers[where, row] = from_zigzag(number)
                        present[column, row] = True
                bitmap >>= np.uint64(1)
                column += 1
            row += 1


@numba.njit(nogil=True, cache=True)
def unpack(body, cuts, is_text, slot, owner, numbers, present, starts, stops, bases, texts):  # type: ignore[no-untyped-def]
    """Unpack the rows of values that `measure` has found fit, and copy their texts column by column.

    body           (b,)                 uint8  values
    cuts           (n+1,)               int64  value i is body[cuts[i]:cuts[i+1]]; an empty one has no rows
    is_text        (c,)                 bool   by column
    slot           (c,)                 int64  by column: its row in the arrays of numbers or texts; -1: not wanted
    owner          (m,)                 int64  written: the index of the row's value; m is what `measure` returned
    numbers        (number columns, m)  int64  written; zeros before, and where absent
    present        (c, m)               bool   written: a wanted column is not null; False before
    starts, stops  (text columns, m)    int64  written: a text is texts[start:stop], of no bytes where absent
    bases          (text columns+1,)    int64  where each column of texts begins in `texts`; used up
    texts          (t,)                 uint8  written: the texts, column after column
    """
    row = 0
    columns = len(is_text)
    for value in range(len(cuts) - 1):
        at = cuts[value]
        end = cuts[value + 1]
        if at == end:
            continue
        at += 1
        while at < end:
            owner[row] = value
            bitmap, at = get_unsigned(body, at)
            for column in range(columns):
                where = slot[column]
                if not (bitmap >> np.uint64(column)) & np.uint64(1):
                    if where >= 0 and is_text[column]:
                        starts[where, row] = bases[where]
                        stops[where, row] = bases[where]
                    continue
                number, at = get_unsigned(body, at)
                if is_text[column]:
                    length = np.int64(number)
                    if where >= 0:
                        into = bases[where]
                        for i in range(length):
                            texts[into + i] = body[at + i]
                        starts[where, row] = into
                        bases[where] = into + length
                        stops[where, row] = bases[where]
                    at += length
                elif where >= 0:
                    numbers[where, row] = from_zigzag(number)
                if where >= 0:
                    present[column, row] = True
            row += 1
