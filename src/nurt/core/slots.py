"""Fold contributions into a parent's slots: the newest of each child stays, a child that is gone leaves.

Hot path; the same for orders and accounts. Slots are compared and copied as packed bytes: of each row only its first
three columns are read (part, child, stamp), so what a slot says costs a copy, not a decode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import polars as pl

from nurt.core.columns import distinct, newest, words
from nurt.core.packing import Bools, Bytes, Int64s, get_varint, text_buffers
from nurt.core.tables import OWNER, VERSION, Table, cut, join_values
from nurt.errors import StateTooNew

SLOT_COLUMNS = ("part", "child", "stamp")
"""What every table of slots begins with; never null."""


@dataclass(frozen=True, slots=True)
class SlotsFolded:
    """Parents' values after a fold.

    Attributes:
        values: by owner; None: no slots are left.
        held: by owner: whether a slot is left whose part is not `mark`.
    """

    values: list[bytes | None]
    held: Bools


def fold_slots(
    table: Table, values: Sequence[bytes | None], incoming: pl.DataFrame, mark: int = -1, drop: int = -1
) -> SlotsFolded:
    """Return parents' values after contributions; within a parent slots keep the order of their arrival.

    Args:
        table: of the values; begins with SLOT_COLUMNS.
        values: by owner, as read.
        incoming: owner, part, child, stamp, gone and `slot` (a packed row of the table); a contribution replaces a slot
            of the same part and child when its stamp is not smaller.
        mark: a part that does not count as a slot that is held.
        drop: a part whose stored rows are left out.
    """
    body, cuts = join_values(values)
    stored = _find(table, body, cuts, drop)
    offsets, packed = text_buffers(incoming["slot"])
    owner = np.concatenate((stored.owner, incoming[OWNER].to_numpy()))
    child = np.concatenate((stored.child, words(incoming["child"]).view(np.int64)))
    stamp = np.concatenate((stored.stamp, incoming["stamp"].to_numpy()))
    leaves = np.concatenate((np.zeros(len(stored.owner), dtype=np.bool_), incoming["gone"].to_numpy()))
    starts = np.concatenate((stored.starts, offsets[:-1] + len(body)))
    ends = np.concatenate((stored.ends, offsets[1:] + len(body)))
    part = np.concatenate((stored.part, incoming["part"].to_numpy()))
    # an account's head and its customer row bear one id: the part tells them apart
    keys = np.column_stack((owner * _PARTS_MAX + part, child)).view(np.uint64)
    codes, firsts = distinct(keys)
    winners = newest(codes, stamp, len(firsts))
    kept = winners[~leaves[winners]]
    kept = kept[np.lexsort((kept, owner[kept]))]
    held = np.zeros(len(values), dtype=np.bool_)
    held[owner[kept[part[kept] != mark]]] = True
    whole = np.concatenate((body, packed))
    out = np.empty(int((ends[kept] - starts[kept]).sum()) + len(values), dtype=np.uint8)
    limits = np.zeros(len(values) + 1, dtype=np.int64)
    length = _join(whole, owner[kept], starts[kept], ends[kept], VERSION, out, limits)
    return SlotsFolded(cut(out[:length], limits), held)


@dataclass(frozen=True, slots=True)
class _Found:
    owner: Int64s
    part: Int64s
    child: Int64s
    stamp: Int64s
    starts: Int64s
    ends: Int64s


def _find(table: Table, body: Bytes, cuts: Int64s, drop: int) -> _Found:
    most = len(body) // _ROW_BYTES_MIN + 1
    found = [np.empty(most, dtype=np.int64) for _ in range(5)]
    child = np.empty((most, 16), dtype=np.uint8)
    rows = _find_rows(body, cuts, table.is_text, VERSION, drop, *found, child) if len(body) else 0
    if rows < 0:
        raise StateTooNew(
            "reading slots: a value has an encoding that this version does not know; run the version of nurt that "
            "wrote it, or a later one"
        )
    owner, part, stamp, starts, ends = (array[:rows] for array in found)
    return _Found(owner, part, child[:rows].view(np.int64), stamp, starts, ends)


_PARTS_MAX = 256
_ROW_BYTES_MIN = 20
"""A row has a bitmap, a part, a child of 16 bytes with its length, and a stamp."""


@numba.njit(nogil=True, cache=True)
def _find_rows(body, cuts, is_text, version, drop, owner, part, stamp, starts, ends, child):  # type: ignore[no-untyped-def]
    row = 0
    columns = len(is_text)
    for value in range(len(cuts) - 1):
        at = cuts[value]
        end = cuts[value + 1]
        if at == end:
            continue
        if body[at] != version:
            return -1
        at += 1
        while at < end:
            start = at
            bitmap, at = get_varint(body, at)
            if bitmap >> np.uint64(columns):
                return -1
            for column in range(columns):
                if not (bitmap >> np.uint64(column)) & np.uint64(1):
                    continue
                number, at = get_varint(body, at)
                if column == 0:
                    part[row] = np.int64(number >> np.uint64(1))
                elif column == 1:
                    for i in range(16):
                        child[row, i] = body[at + i]
                elif column == 2:
                    stamp[row] = np.int64(number >> np.uint64(1))
                if is_text[column]:
                    at += np.int64(number)
            if part[row] != drop:
                owner[row] = value
                starts[row] = start
                ends[row] = at
                row += 1
    return row


@numba.njit(nogil=True, cache=True)
def _join(whole, owner, starts, ends, version, out, limits):  # type: ignore[no-untyped-def]
    at = 0
    current = -1
    for row in range(len(owner)):
        if owner[row] != current:
            for skipped in range(current + 1, owner[row] + 1):
                limits[skipped] = at
            current = owner[row]
            out[at] = version
            at += 1
        for i in range(starts[row], ends[row]):
            out[at] = whole[i]
            at += 1
    for skipped in range(current + 1, len(limits)):
        limits[skipped] = at
    return at
