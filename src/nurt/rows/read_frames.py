"""Read arriving rows from the frames of the translator into plain arrays.

Hot path: all columns of a frame in one kernel call, which reads the memory of polars directly. polars casts
and gathers nothing: its operations cost some tens of microseconds a column however few rows there are.

Source: Arrow columnar format, variable-size binary view layout and validity bitmaps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
import polars as pl
import pyarrow as pa

from nurt.columnar.memory import copy_bytes, peek_byte, peek_half, peek_word
from nurt.columnar.types import ID_BYTES, INLINE_BYTES, VIEW_BYTES, Bits, Bools, Bytes, Int64s, Words
from nurt.model.entity_frame import DELETE, LEFT_OUT
from nurt.model.keys import words_of
from nurt.rows.layouts import OP, ROW
from nurt.state.row_major import Layout, RowArrays, room

_LONG, _BYTE, _BIT, _TEXT, _ID, _UNAVAILABLE = range(6)
"""What a column holds and where it goes: numbers of 64 or 8 bits, booleans, texts, ids of rows, unavailable bits."""

_BLOCK_ROWS = 256
"""Columns are read so many rows at a time, so that the written arrays stay in the cache."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """Events in arrival order.

    Attributes:
        rows: their values, by columns of the stored row; `part` is present and 0.
        ids: ids of their rows, two words each.
        unavailable: by event, bits of the columns that keep their stored value; None: no event has such columns.
        left_out: by event, its `op` where the mapping's `where` made it a delete; None: no event was left out.
        moved_from: by event, id of the row whose key became this one's, or zeros; None: no key changed.
        partitions: by event, how many its topic has, 0 for unknown; None: nobody knows.
    """

    rows: RowArrays
    ids: Words
    unavailable: Int64s | None
    left_out: Int64s | None = None
    moved_from: Words | None = None
    partitions: Int64s | None = None

    def __len__(self) -> int:
        """Return how many events there are."""
        return len(self.rows)

    def take(self, chosen: Bools | Int64s) -> Incoming:
        """Choose events."""
        return Incoming(
            self.rows.take(chosen),
            self.ids[chosen],
            None if self.unavailable is None else self.unavailable[chosen],
            None if self.left_out is None else self.left_out[chosen],
            None if self.moved_from is None else self.moved_from[chosen],
            None if self.partitions is None else self.partitions[chosen],
        )

    def of(self, owner: Int64s) -> Incoming:
        """Set the owner, the index of the stored value, of each event."""
        return replace(self, rows=replace(self.rows, owner=owner))


def read_frames(layout: Layout, frames: Sequence[pl.DataFrame]) -> Incoming:
    """Read events from frames of `entity_columns(kind)`, one after another.

    Args:
        layout: of the stored row: columns of the frames under the same names, and `part`.
        frames: as translated.
    """
    height = sum(frame.height for frame in frames)
    ids = np.empty((height, 2), dtype=np.uint64)
    unavailable = np.zeros(height, dtype=np.int64)
    rows = _filled(layout, frames, height, ids, unavailable)
    rows.bits[:] |= np.uint64(1 << layout.column("part"))
    left_out = None
    if height and rows.numbers[:, OP].max() >= LEFT_OUT:
        left_out = rows.numbers[:, OP].copy()
        np.minimum(rows.numbers[:, OP], DELETE, out=rows.numbers[:, OP])
    moved_from = _moved_from(frames, height)
    return Incoming(rows, ids, unavailable if unavailable.any() else None, left_out, moved_from)


def _moved_from(frames: Sequence[pl.DataFrame], height: int) -> Words | None:
    """Read, by event, the id of the row whose key became this one's; None: no key changed."""
    if all(frame["moved_from"].null_count() == frame.height for frame in frames):
        return None
    found, at = np.zeros((height, 2), dtype=np.uint64), 0
    for frame in frames:
        moved = frame["moved_from"]
        some = moved.is_not_null().arg_true().to_numpy()
        found[at + some] = words_of(moved.gather(some).to_list())
        at += frame.height
    return found


def read_columns(layout: Layout, frames: Sequence[pl.DataFrame]) -> RowArrays:
    """Read columns of a layout from frames, one after another; columns that a frame lacks are null."""
    height = sum(frame.height for frame in frames)
    return _filled(layout, frames, height, np.empty((0, 2), dtype=np.uint64), np.empty(0, dtype=np.int64))


def _filled(layout: Layout, frames: Sequence[pl.DataFrame], height: int, ids: Words, unavailable: Int64s) -> RowArrays:
    chunks = [_addressed(layout, batch) for frame in frames for batch in _batches(frame)]
    text_bytes = sum(_count_text_bytes(chunk.columns, chunk.rows) for chunk in chunks)
    into = room(layout, height, text_bytes)
    row = at = 0
    for chunk in chunks:
        at = _read(
            chunk.columns, chunk.bodies, chunk.rows, row, at,
            into.bits, into.numbers, into.starts, into.stops, into.body, ids, unavailable,
        )  # fmt: skip
        row += chunk.rows
    return into


def deletes_of(layout: Layout, rows: RowArrays, ids: Words) -> Incoming:
    """Make deletes of stored rows, at the rows' own positions."""
    numbers, stops = np.zeros_like(rows.numbers), rows.starts.copy()
    bits = np.zeros_like(rows.bits)
    for name in _KEPT:
        column, place = layout.column(name), layout.place(name)
        bits |= rows.bits & np.uint64(1 << column)
        if layout.is_text[column]:
            stops[:, place] = rows.stops[:, place]
        else:
            numbers[:, place] = rows.numbers[:, place]
    numbers[:, layout.place("op")] = DELETE
    numbers[:, layout.place("part")] = ROW
    return Incoming(replace(rows, bits=bits, numbers=numbers, stops=stops), ids, None)


def as_deletes(layout: Layout, events: Incoming, chosen: Bools) -> Incoming:
    """Make deletes of some events, at their own positions."""
    if not chosen.any():
        return events
    gone, rows = deletes_of(layout, events.rows, events.ids).rows, events.rows
    return replace(
        events,
        rows=replace(
            rows,
            bits=np.where(chosen, gone.bits, rows.bits),
            numbers=np.where(chosen[:, None], gone.numbers, rows.numbers),
            stops=np.where(chosen[:, None], gone.stops, rows.stops),
        ),
        unavailable=None if events.unavailable is None else np.where(chosen, 0, events.unavailable),
    )


_KEPT = (
    *("part", "system", "entity", "key", "op", "source_epoch", "p0", "p1", "p2", "p3"),
    *("partition", "offset", "ts_ms", "topic"),
)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Columns of some rows in memory.

    Attributes:
        rows: how many.
        columns: a row each: what the column holds, its bit and its place in the layout, first row, addresses of the
            validity (0: no nulls) and of the values, first of its bodies.
        bodies: addresses of the bodies of texts.
        keep_alive: objects that must live as long as the addresses are used.
    """

    rows: int
    columns: Int64s
    bodies: Int64s
    keep_alive: Any


def _batches(frame: pl.DataFrame) -> Iterator[Any]:
    if frame.height:
        yield from pa.RecordBatchReader.from_stream(frame)


def _addressed(layout: Layout, batch: Any) -> _Chunk:
    columns: list[tuple[int, ...]] = []
    bodies: list[int] = []
    for found, array in zip(_plan(layout, batch.schema), batch.columns, strict=True):
        if found is not None:
            valid, values, *texts = array.buffers()
            here = 0 if valid is None else valid.address
            columns.append((*found, array.offset, here, values.address, len(bodies)))
            for text in texts:
                bodies.append(text.address)
    shape = len(columns), _COLUMN_WIDTH
    return _Chunk(
        len(batch), np.array(columns, dtype=np.int64).reshape(shape), np.array(bodies or [0], dtype=np.int64), batch
    )


def _plan(layout: Layout, schema: Any) -> Sequence[tuple[int, int, int] | None]:
    """Plan what every column holds and where it goes; None: nowhere. Frames of one layout are mostly alike."""
    known = _plans.get(layout)
    if known is None or not known[0].equals(schema):
        known = _plans[layout] = schema, [_planned(layout, field) for field in schema]
    return known[1]


_plans: dict[Layout, tuple[Any, list[tuple[int, int, int] | None]]] = {}


def _planned(layout: Layout, field: Any) -> tuple[int, int, int] | None:
    if field.name in ("row", "unavailable"):
        return (_ID if field.name == "row" else _UNAVAILABLE), 0, 0
    if field.name not in layout:
        return None
    return _WHAT[field.type], layout.column(field.name), layout.place(field.name)


_COLUMN_WIDTH = 7
_WHAT = {
    pa.int64(): _LONG,
    pa.int8(): _BYTE,
    pa.bool_(): _BIT,
    pa.string_view(): _TEXT,
    pa.binary_view(): _TEXT,
}


@numba.njit(nogil=True, inline="always")
def _is_valid(address: int, at: int) -> bool:
    """Return whether row `at` is not null, by the validity bits at an address; 0: all are valid."""
    return address == 0 or peek_byte(address + (at >> 3)) >> (at & 7) & 1 == 1


@numba.njit(nogil=True, inline="always")
def _text_at(view: int, size: int, bodies: Int64s, first: int) -> int:
    """Find the address of the text of `size` bytes behind the view at an address; `first`: see _Chunk.columns."""
    if size <= INLINE_BYTES:
        return view + 4
    return bodies[first + peek_half(view + 8)] + peek_half(view + 12)


@numba.njit(nogil=True, cache=True)
def _count_text_bytes(columns: Int64s, rows: int) -> int:
    """Count the bytes of all texts.

    columns  (c, 7)  int64  see _Chunk.columns; addresses are of Arrow's buffers
    rows     scalar  int64  how many rows there are
    Returns bytes.
    """
    total = 0
    for column in range(len(columns)):
        if columns[column, 0] != _TEXT:
            continue
        first, valid, address = columns[column, 3], columns[column, 4], columns[column, 5]
        for at in range(first, first + rows):
            if _is_valid(valid, at):
                total += peek_half(address + VIEW_BYTES * at)
    return total


@numba.njit(nogil=True, cache=True)
def _read(
    columns: Int64s, bodies: Int64s, rows: int, to: int, end: int,
    bits: Bits, numbers: Int64s, starts: Int64s, stops: Int64s, body: Bytes, ids: Words, unavailable: Int64s,
) -> int:  # fmt: skip
    """Read columns of some rows into arrays.

    columns  (c, 7)  int64     see _Chunk.columns; addresses are of Arrow's buffers
    bodies   (t,)    int64     addresses of the buffers that long texts lie in
    rows     scalar  int64     how many are read
    to       scalar  int64     the first row of the arrays that is written
    end      scalar  int64     texts go to `body` from here on
    bits, numbers, starts, stops, body  of n rows, see RowArrays: written; numbers, places and bits are 0 before
    ids      (n, 2)  uint64    written where a column holds rows' ids
    unavailable (n,) int64     written where a column has bits of the columns that keep their value
    Returns where the texts end in `body`. (No RowTuple: one of two measurements was slower with it.)
    """
    body_address, ids_address = body.ctypes.data, ids.ctypes.data
    for block in range(0, rows, _BLOCK_ROWS):
        some = min(_BLOCK_ROWS, rows - block)
        for column in range(len(columns)):
            what, bit, place = columns[column, 0], columns[column, 1], columns[column, 2]
            first, valid, address = columns[column, 3] + block, columns[column, 4], columns[column, 5]
            text_bodies = columns[column, 6]
            bit_mask = np.uint64(1) << np.uint64(bit)
            for row in range(to + block, to + block + some):
                at = first + row - to - block
                if not _is_valid(valid, at):
                    continue
                if what == _TEXT:
                    size = peek_half(address + VIEW_BYTES * at)
                    text = _text_at(address + VIEW_BYTES * at, size, bodies, text_bodies)
                    copy_bytes(body_address + end, text, size)
                    starts[row, place] = end
                    end += size
                    stops[row, place] = end
                elif what == _LONG:
                    numbers[row, place] = np.int64(peek_word(address + 8 * at))
                elif what == _BYTE:
                    numbers[row, place] = np.int8(peek_byte(address + at))
                elif what == _BIT:
                    numbers[row, place] = peek_byte(address + (at >> 3)) >> (at & 7) & 1
                elif what == _ID:
                    text = _text_at(address + VIEW_BYTES * at, ID_BYTES, bodies, text_bodies)
                    copy_bytes(ids_address + ID_BYTES * row, text, ID_BYTES)
                    continue
                else:
                    unavailable[row] = np.int64(peek_word(address + 8 * at))
                    continue
                bits[row] |= bit_mask
    return end
