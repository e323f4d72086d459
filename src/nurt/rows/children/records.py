"""Fold contributions into a parent's child records: each child's newest one stays, that of a gone child leaves.

Hot path; the same for orders and accounts. Records are compared and copied as packed bytes: of each row only its first
three columns (part, child, stamp) are read, so the rest of a record costs a copy, not a decode.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from nurt.columnar.hash_table import mask_of, next_place, table_for
from nurt.columnar.memory import are_equal, copy_bytes, peek_byte
from nurt.columnar.types import ID_BYTES, Bools, Bytes, Int64s, Words
from nurt.columnar.values import PADDING_BYTES, Values
from nurt.columnar.varint import pass_text, peek_within
from nurt.rows.children.contributions import Contributions
from nurt.state.packing import DAMAGED, TOO_NEW, unreadable
from nurt.state.table import VERSION, Table

RECORD_COLUMNS = ("part", "child", "stamp")
"""The first columns of every table of child records; never null."""


@dataclass(frozen=True, slots=True)
class RecordsFolded:
    """Parents' values after a fold.

    Attributes:
        values: by owner; absent: no records are left.
        has_counted: by owner: whether a record of a part other than `uncounted` is left.
        changed: by owner: whether the value differs from the stored one.
    """

    values: Values
    has_counted: Bools
    changed: Bools


def fold_records(
    table: Table,
    values: Values,
    owner: Int64s,
    contributions: Contributions,
    uncounted: int = -1,
    drop: int = -1,
) -> RecordsFolded:
    """Return parents' values after contributions; within a parent, records keep the order of first arrival.

    Args:
        table: of the values; begins with RECORD_COLUMNS.
        values: by owner, as read.
        owner: by contribution: index of its parent.
        contributions: one replaces a record of the same part and child when the contribution's stamp is not smaller.
        uncounted: a part whose records `has_counted` ignores; -1: none.
        drop: a part whose stored records are left out; -1: none.
    """
    found = _find(table, values, drop)
    came = (owner, contributions.part, contributions.child, contributions.stamp, *contributions.body.as_tuple())
    has_counted, changed = np.zeros(len(values), dtype=np.bool_), np.zeros(len(values), dtype=np.bool_)
    limits = np.zeros(len(values) + 1, dtype=np.int64)
    room_bytes = values.size_bytes + int((contributions.body.stops - contributions.body.starts).sum()) + len(values)
    out = np.empty(room_bytes + PADDING_BYTES, dtype=np.uint8)
    _fold(found, values.cuts, came, contributions.gone, uncounted, VERSION, (out, limits, has_counted, changed))
    return RecordsFolded(Values(out, limits), has_counted, changed)


SlotIndex = tuple[Int64s, Int64s, Words, Int64s, Int64s, Int64s, Bytes]
"""Child records, one a row: owner, part, child, stamp, starts, stops, body; a plain tuple, typed faster by numba."""

SlotsOut = tuple[Bytes, Int64s, Bools, Bools]
"""What a fold writes, by parent: body, cuts, has_counted, changed."""


def _find(table: Table, values: Values, drop: int) -> SlotIndex:
    body, cuts = values.body, values.cuts
    most = values.size_bytes // _ROW_BYTES_MIN + 1
    owner, part, stamp, starts, stops = (np.empty(most, dtype=np.int64) for _ in range(5))
    child = np.empty((most, ID_BYTES), dtype=np.uint8)
    ids = child.view(np.uint64)
    found = owner, part, ids, stamp, starts, stops, body
    rows = _find_rows(cuts, table.is_text, VERSION, drop, child, found)
    if rows < 0:
        raise unreadable(rows, "slots")
    return owner[:rows], part[:rows], ids[:rows], stamp[:rows], starts[:rows], stops[:rows], body


_FIRST, _ID = np.uint64(0b111), np.uint64(ID_BYTES)
_ROW_BYTES_MIN = 20
"""A row has a bitmap, a part, a child of 16 bytes with its length, and a stamp."""


@numba.njit(nogil=True, cache=True)
def _find_rows(cuts: Int64s, is_text: Bools, version: int, drop: int, child: Bytes, found: SlotIndex) -> int:
    """Find every stored record, except those of one part, and read its first three columns.

    cuts     (n+1,)   int64      value i is found.body[cuts[i]:cuts[i+1]]
    is_text  (c,)     bool       by column of the table
    drop     scalar   int64      the part that is left out; -1: none
    child    (m, 16)  uint8      written: the same memory as found.child
    found    (m,)     SlotIndex  written; only its body (b,) is read; in the order of values, then rows
    Returns how many records there are; or a negative number: TOO_NEW: a value has an encoding that this version does
    not know; or DAMAGED: it ends within a record, or a record lacks one of its first columns.
    """
    owner, part, _, stamp, starts, ends, body = found
    base, children = np.int64(body.ctypes.data), np.int64(child.ctypes.data)
    row = 0
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
            start = at
            bitmap, at = peek_within(at, end)
            if bitmap >> np.uint64(columns):
                return TOO_NEW
            if bitmap & _FIRST != _FIRST or end - at < _ROW_BYTES_MIN - 1:
                return DAMAGED
            number, at = peek_within(at, end)
            part[row] = np.int64(number >> np.uint64(1))
            number, at = peek_within(at, end)
            if number != _ID:
                return DAMAGED
            copy_bytes(children + ID_BYTES * row, at, ID_BYTES)
            number, at = peek_within(at + ID_BYTES, end)
            stamp[row] = np.int64(number >> np.uint64(1))
            bitmap >>= np.uint64(3)
            column = 3
            while bitmap:
                if bitmap & np.uint64(1):
                    number, at = peek_within(at, end)
                    if is_text[column]:
                        at = pass_text(number, at, end)
                bitmap >>= np.uint64(1)
                column += 1
            if at > end:
                return DAMAGED
            if part[row] != drop:
                owner[row] = value
                starts[row] = start - base
                ends[row] = at - base
                row += 1
    return row


@numba.njit(nogil=True, cache=True)
def _fold(
    stored: SlotIndex, s_cuts: Int64s, came: SlotIndex, gone: Bools, uncounted: int, version: int, into: SlotsOut
) -> None:
    """Find the newest record of every (owner, part, child), and write those that are not gone, owner by owner.

    stored          (s,)    SlotIndex  records of the values as read, values in order
    s_cuts          (n+1,)  int64      value i is stored.body[s_cuts[i]:s_cuts[i+1]]
    came            (c,)    SlotIndex  records that arrived, in order; of equal stamps the later one counts
    gone            (c,)    bool       the child left: what came with it is not read
    uncounted       scalar  int64      a part whose records into.has_counted ignores; -1: none
    .owner          (s,)    int64      index of the parent, below n
    .part           (s,)    int64      code of the kind; in the key, because an account's head and customer share one id
    .child          (s, 2)  uint64     id of the child
    .stamp          (s,)    int64      when the child contributed; the largest counts
    .starts, stops  (s,)    int64      record i is body[starts[i]:stops[i]]
    .body           (b,)    uint8      packed records, without version bytes between them
    into.body       (m,)    uint8      written; room for all records and a version byte a parent
    into.cuts       (n+1,)  int64      written: value i is into.body[cuts[i]:cuts[i+1]]
    into.has_counted (n,)   bool       written: a record of a part other than `uncounted` is left; False before
    into.changed    (n,)    bool       written: the value differs from the stored one
    """
    s_owner, s_part, s_child, s_stamp, s_starts, s_ends, s_body = stored
    owner, part, child, stamp, starts, stops, body = came
    out, limits, has_counted, changed = into
    first = len(s_owner)
    rows = first + len(owner)
    table = table_for(rows)
    mask = mask_of(table)
    winner = np.empty(rows, dtype=np.int64)  # by code: codes are in order of first arrival
    counts = np.zeros(len(limits), dtype=np.int64)
    count = 0
    for row in range(rows):
        if row < first:
            o, p, a, b = s_owner[row], s_part[row], s_child[row, 0], s_child[row, 1]
        else:
            i = row - first
            o, p, a, b = owner[i], part[i], child[i, 0], child[i, 1]
        at = (a ^ (np.uint64(o) * np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(p)) & mask
        while True:
            code = table[np.int64(at)]
            if code < 0:
                table[np.int64(at)] = count
                winner[count] = row
                counts[o + 1] += 1
                count += 1
                break
            w = winner[code]
            if w < first:
                same = s_owner[w] == o and s_part[w] == p and s_child[w, 0] == a and s_child[w, 1] == b
            else:
                j = w - first
                same = owner[j] == o and part[j] == p and child[j, 0] == a and child[j, 1] == b
            if same:
                if row >= first and stamp[row - first] >= (s_stamp[w] if w < first else stamp[w - first]):
                    winner[code] = row
                break
            at = next_place(at, mask)
    for one in range(1, len(counts)):
        counts[one] += counts[one - 1]
    order = np.empty(count, dtype=np.int64)
    next_ = counts.copy()
    for code in range(count):
        w = winner[code]
        o = s_owner[w] if w < first else owner[w - first]
        order[next_[o]] = w
        next_[o] += 1
    to = 0
    out_at, s_at, i_at = out.ctypes.data, s_body.ctypes.data, body.ctypes.data
    for one in range(len(limits) - 1):
        limits[one] = to
        begun = False
        for k in range(counts[one], counts[one + 1]):
            w = order[k]
            if w >= first and gone[w - first]:
                continue
            if not begun:
                out[to] = version
                to += 1
                begun = True
            if w < first:
                length = s_ends[w] - s_starts[w]
                copy_bytes(out_at + to, s_at + s_starts[w], length)
                which = s_part[w]
            else:
                length = stops[w - first] - starts[w - first]
                copy_bytes(out_at + to, i_at + starts[w - first], length)
                which = part[w - first]
            to += length
            if which != uncounted:
                has_counted[one] = True
        before = s_cuts[one + 1] - s_cuts[one]
        changed[one] = to - limits[one] != before or not are_equal(out_at + limits[one], s_at + s_cuts[one], before)
    limits[len(limits) - 1] = to
