"""Pack contributions of rows: child records, column by column from the arrays, and partials of two aggregate rows.

Hot path, kernels. The encoding is that of `table.py`, without a version byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np

from nurt.columnar.digits import DECIMAL_BYTES_MAX, put_decimal
from nurt.columnar.memory import copy_bytes
from nurt.columnar.texts import Texts, join_texts
from nurt.columnar.types import ID_BYTES, Bits, Bools, Bytes, Int64s, Words
from nurt.columnar.varint import VARINT_BYTES_MAX, put_unsigned, put_zigzag
from nurt.rows.children.tables import AGGREGATES, CHILDREN
from nurt.rows.layouts import OFFSET, P0, P0_BIT, POSITION
from nurt.state.row_major import Layout, RowArrays, put_text, text_bytes_of

_PART, _CHILD, _STAMP = -1, -2, -3
"""Sources of a child record's first columns, which no row holds."""

_EXTRA = 1 << 10
"""From here on, a source is one of the extra columns, which are passed beside the rows."""

_PARTS = len(POSITION)


@dataclass(frozen=True, slots=True)
class ExtraColumn:
    """A column of a child record that is not the row's own; where not valid, null."""

    texts: Texts
    valid: Bools


class RecordPlan:
    """A plan from the columns of a row, and extra columns beside it, to the columns of a child record.

    Args:
        records: of the parent's value.
        rows: of the children.
        renamed: column of a record -> column of the row; None: the column stays null.
        extra: names of the extra columns, in order.
    """

    __slots__ = ("dest", "records", "row", "source")

    def __init__(
        self, records: Layout, rows: Layout, renamed: Mapping[str, str | None] | None = None, extra: Sequence[str] = ()
    ) -> None:
        self.records, self.row = records, rows
        beside = {"part": _PART, "child": _CHILD, "stamp": _STAMP}
        beside |= {name: _EXTRA + index for index, name in enumerate(extra)}
        found: list[tuple[int, int]] = []
        for name in records.table.columns:
            source_name = (renamed or {}).get(name, name)
            if name in beside:
                found.append((records.column(name), beside[name]))
            elif source_name is not None and source_name in rows:
                dtype, other = records.table.columns[name], rows.table.columns[source_name]
                assert dtype == other, f"a row's {source_name} ({other}) cannot be a slot's {name} ({dtype})"
                found.append((records.column(name), rows.column(source_name)))
        self.dest, self.source = np.array(found, dtype=np.int64).T.copy()


class PlanTuple(NamedTuple):
    """A RecordPlan as a kernel takes it: the source of each column of a record, and the layout of the rows."""

    dest: Int64s
    source: Int64s
    is_text: Bools
    slot: Int64s


class GivenTuple(NamedTuple):
    """Extra columns beside the rows, as a kernel takes them."""

    valid: Bools
    starts: Int64s
    stops: Int64s
    body: Bytes


def pack_records(
    plan: RecordPlan,
    rows: RowArrays,
    at: Int64s,
    gone: Bools,
    child: Words,
    code: int,
    stamp: int,
    extra: Sequence[ExtraColumn] = (),
) -> Texts:
    """Pack a child record for every row; a gone child has an empty one.

    Args:
        plan: the sources of the record's columns.
        rows: of one kind.
        at: which of the rows.
        gone: by record.
        child: id of each row.
        code: of the kind.
        stamp: of the contribution.
        extra: the columns of the plan, by record.
    """
    shape = len(extra), len(at)
    valid, starts, stops = np.zeros(shape, np.bool_), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    texts = np.empty(0, dtype=np.uint8)
    if extra:
        joined = join_texts([one.texts for one in extra])
        starts, stops, texts = joined.starts.reshape(shape), joined.stops.reshape(shape), joined.body
        for index, one in enumerate(extra):
            valid[index] = one.valid
    text_bytes = text_bytes_of(at, rows.starts, rows.stops) + int((stops - starts).sum())
    out = np.empty(len(at) * (VARINT_BYTES_MAX * (1 + len(plan.dest)) + ID_BYTES) + text_bytes, dtype=np.uint8)
    ends = np.zeros(len(at) + 1, dtype=np.int64)
    _pack_records(
        at, gone, np.ascontiguousarray(child).view(np.uint8).reshape(-1), code, stamp,
        PlanTuple(plan.dest, plan.source, plan.row.is_text, plan.row.slot), rows.as_tuple(),
        GivenTuple(valid, starts, stops, texts), out, ends,
    )  # fmt: skip
    return Texts(ends[:-1], ends[1:], out[: ends[-1]])


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows that children add to in their parent, one each.

    Attributes:
        metric: what is counted.
        there: the child has a window.
        k1: first text of its key.
        day: of its key; where not has_day, none.
        has_day: whether it has a day.
        amount: what the child adds, besides a count of one.
    """

    metric: int
    there: Bools
    k1: Texts
    day: Int64s
    has_day: Bools
    amount: Int64s


def pack_partials(gone: Bools, windows: Windows) -> Texts:
    """Pack every child's partial aggregate: a count of one, then its window; a gone child has an empty one."""
    k1 = windows.k1
    room_bytes = len(gone) * _PARTIAL_BYTES_MAX + int((k1.stops - k1.starts).sum())
    out = np.empty(room_bytes, dtype=np.uint8)
    ends = np.zeros(len(gone) + 1, dtype=np.int64)
    _pack_partials(
        gone, windows.metric, windows.there, k1.starts, k1.stops, k1.body, windows.day, windows.has_day,
        windows.amount, out, ends,
    )  # fmt: skip
    return Texts(ends[:-1], ends[1:], out[: ends[-1]])


_AGGREGATES = Layout(AGGREGATES)
_METRIC, _K1, _DAY, _COUNT, _AMOUNT = (_AGGREGATES.column(name) for name in ("metric", "k1", "day", "count", "amount"))
_PARTIAL_BYTES_MAX = 9 * VARINT_BYTES_MAX
assert _METRIC < _K1 < _DAY < _COUNT < _AMOUNT, "columns are packed in their order"


def position_texts(rows: RowArrays, at: Int64s) -> Texts:
    """Write positions of rows in the form of provenance: `p0:p1:p2:p3@offset`, empty where unknown."""
    out = np.empty(len(at) * (_PARTS + 1) * (DECIMAL_BYTES_MAX + 1), dtype=np.uint8)
    ends = np.zeros(len(at) + 1, dtype=np.int64)
    _put_positions(at, rows.bits, rows.numbers, out, ends)
    return Texts(ends[:-1], ends[1:], out[: ends[-1]])


def join_with(columns: Sequence[Texts], separator: bytes) -> tuple[Int64s, Texts]:
    """Join columns row by row, with a letter between; returns where each row begins (n + 1), and the texts."""
    joined = join_texts(columns)
    shape = len(columns), len(columns[0].starts)
    starts, stops = joined.starts.reshape(shape), joined.stops.reshape(shape)
    out = np.empty(int((stops - starts).sum()) + shape[0] * shape[1], dtype=np.uint8)
    ends = np.zeros(shape[1] + 1, dtype=np.int64)
    _join_with(starts, stops, joined.body, separator[0], out, ends)
    return ends, Texts(ends[:-1], ends[1:], out[: ends[-1]])


@numba.njit(nogil=True, cache=True)
def _pack_records(rows, gone, child, code, stamp, plan, source_name, extra, out, ends):  # type: ignore[no-untyped-def]
    """Pack a child record for every row that is not gone, column by column.

    rows                   (n,)    int64   which rows of `source_name`
    gone                   (n,)    bool    by record: nothing is written
    child                  (16n,)  uint8   ids of the children, end to end
    code, stamp            scalar  int64   what the columns `part` and `stamp` hold
    plan.dest              (c,)    int64   number of the record's column, ascending
    plan.source            (c,)    int64   number of the row's column; from _EXTRA on: an extra column; or _PART...
    plan.is_text, slot     (k,)    bool, int64  by column of the rows; its place among texts or numbers
    source_name            (r, .)  RowTuple  the rows, see RowArrays
    extra.valid            (g, n)  bool    by extra column and record; False: null
    extra.starts, stops    (g, n)  int64   text is extra.body[starts:stops]
    out                    (m,)    uint8   written
    ends                   (n+1,)  int64   written: record i is out[ends[i]:ends[i+1]]
    """
    dest, source, is_text, slot = plan
    bits, numbers, starts, stops, body = source_name
    valid, extra_starts, extra_stops, extra_body = extra
    at = 0
    to_address, address = out.ctypes.data, body.ctypes.data
    extra_address, child_address = extra_body.ctypes.data, child.ctypes.data
    for one in range(len(rows)):
        if gone[one]:
            ends[one + 1] = at
            continue
        row = rows[one]
        bitmap = np.uint64(0)
        for column in range(len(dest)):
            of = source[column]
            if of >= _EXTRA:
                there = valid[of - _EXTRA, one]
            elif of >= 0:
                there = bits[row] >> np.uint64(of) & np.uint64(1) == 1
            else:
                there = True
            if there:
                bitmap |= np.uint64(1) << np.uint64(dest[column])
        at = put_unsigned(out, at, bitmap)
        for column in range(len(dest)):
            if not bitmap >> np.uint64(dest[column]) & np.uint64(1):
                continue
            of = source[column]
            text = np.int64(0)  # where a text lies
            size = np.int64(-1)
            number = np.int64(0)
            if of >= _EXTRA:
                start = extra_starts[of - _EXTRA, one]
                text, size = extra_address + start, extra_stops[of - _EXTRA, one] - start
            elif of >= 0:
                place = slot[of]
                if is_text[of]:
                    start = starts[row, place]
                    text, size = address + start, stops[row, place] - start
                else:
                    number = numbers[row, place]
            elif of == _CHILD:
                text, size = child_address + ID_BYTES * one, np.int64(ID_BYTES)
            else:
                number = np.int64(code if of == _PART else stamp)
            if size >= 0:  # noqa: SIM108 - both are inlined
                at = put_text(out, at, to_address, text, 0, size)
            else:
                at = put_zigzag(out, at, number)
        ends[one + 1] = at


@numba.njit(nogil=True, cache=True)
def _pack_partials(
    gone: Bools,
    metric: int,
    there: Bools,
    k1_starts: Int64s,
    k1_stops: Int64s,
    k1_body: Bytes,
    day: Int64s,
    has_day: Bools,
    amount: Int64s,
    out: Bytes,
    ends: Int64s,
) -> None:
    """Pack, for every child that is not gone, a row of AGGREGATES with its count, and a row for its window, if any.

    gone     (n,)    bool       nothing is written
    metric   scalar  int64      code of what windows count
    there    (n,)    bool       the child has a window
    k1_starts, k1_stops, k1_body   first text of the window's key, may be empty; no TextTuple: the call is short
    day      (n,)    int64      days since 1970-01-01; where has_day
    amount   (n,)    int64      what the child adds, in the unit of the metric
    out      (m,)    uint8      written
    ends     (n+1,)  int64      written: partial i is out[ends[i]:ends[i+1]]
    """
    at = 0
    for row in range(len(gone)):
        if not gone[row]:
            at = put_unsigned(out, at, 1 << _METRIC | 1 << _COUNT)
            at = put_zigzag(out, at, CHILDREN)
            at = put_zigzag(out, at, 1)
        if there[row] and not gone[row]:
            size = k1_stops[row] - k1_starts[row]
            bitmap = 1 << _METRIC | 1 << _COUNT
            if size:
                bitmap |= 1 << _K1
            if has_day[row]:
                bitmap |= 1 << _DAY
            if amount[row]:
                bitmap |= 1 << _AMOUNT
            at = put_unsigned(out, at, bitmap)
            at = put_zigzag(out, at, metric)
            if size:
                at = put_text(out, at, out.ctypes.data, k1_body.ctypes.data, k1_starts[row], size)
            if has_day[row]:
                at = put_zigzag(out, at, day[row])
            at = put_zigzag(out, at, 1)
            if amount[row]:
                at = put_zigzag(out, at, amount[row])
        ends[row + 1] = at


@numba.njit(nogil=True, cache=True)
def _put_positions(rows: Int64s, bits: Bits, numbers: Int64s, out: Bytes, ends: Int64s) -> None:
    """Write positions as text.

    rows     (n,)    int64   which rows
    bits     (r,)    uint64  bit i: column i is not null
    numbers  (r, k)  int64   number columns of a stored row
    out      (m,)    uint8   written
    ends     (n+1,)  int64   written: text i is out[ends[i]:ends[i+1]]
    """
    at = 0
    for one in range(len(rows)):
        row = rows[one]
        shown = bits[row] >> np.uint64(P0_BIT) & np.uint64(15)
        if shown == 12 and numbers[row, P0 + 3] != 0:
            shown = np.uint64(0)  # what it has is the place of its key, no position
        for k in range(_PARTS):
            if k:
                out[at] = 58
                at += 1
            if shown >> np.uint64(k) & np.uint64(1):
                at = put_decimal(out, at, numbers[row, P0 + k])
        out[at] = 64
        at = put_decimal(out, at + 1, numbers[row, OFFSET])
        ends[one + 1] = at


@numba.njit(nogil=True, cache=True)
def _join_with(starts: Int64s, stops: Int64s, body: Bytes, separator: int, out: Bytes, ends: Int64s) -> None:
    """Join the texts of a row with a letter between.

    starts, stops  (c, n)  int64  by column and row: text is body[starts:stops]
    body           (b,)    uint8  texts
    separator      scalar  int64  a byte
    out            (m,)    uint8  written
    ends           (n+1,)  int64  written: row i is out[ends[i]:ends[i+1]]
    """
    at = 0
    for row in range(starts.shape[1]):
        for column in range(starts.shape[0]):
            if column:
                out[at] = separator
                at += 1
            size = stops[column, row] - starts[column, row]
            copy_bytes(out.ctypes.data + at, body.ctypes.data + starts[column, row], size)
            at += size
        ends[row + 1] = at
