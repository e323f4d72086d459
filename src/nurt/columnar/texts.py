"""Texts of many rows, as two arrays of places in one body: no text is copied.

Hot path. A column of polars costs some tenths of a millisecond an operation however few rows it has; these arrays cost
microseconds. The texts go to the Avro writer, and to Arrow where a column is needed.

Source: Arrow columnar format, variable-size binary view layout and validity bitmaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nurt.columnar.types import INLINE_BYTES, VIEW_BYTES, Bools, Bytes, Int64s

Column = Any
"""A pyarrow array."""

_PREFIX_BYTES = 4
_CUT_BYTES = 256
"""Cutting one text out of an array costs as much as copying about so many bytes."""


TextTuple = tuple[Int64s, Int64s, Bytes]
"""Texts as kernels take them: starts, stops, body; a plain tuple, because numba finds its type three times as fast."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts of some rows: where each lies in a body of bytes."""

    starts: Int64s
    stops: Int64s
    body: Bytes

    def take(self, rows: npt.NDArray[Any]) -> Texts:
        """Choose rows, by index or mask."""
        return Texts(self.starts[rows], self.stops[rows], self.body)

    def as_tuple(self) -> TextTuple:
        """Group the arrays for a kernel."""
        return self.starts, self.stops, self.body

    def column(self, valid: Bools | None = None) -> Column:
        """Make a column; where not valid, null."""
        rows = len(self.starts)
        views = np.zeros((rows, VIEW_BYTES), dtype=np.uint8)
        _make_views(self.starts, self.stops, self.body, views, views.view(np.int32))
        buffers = [_validity(valid), pa.py_buffer(views), pa.py_buffer(self.body)]
        return pa.Array.from_buffers(pa.string_view(), rows, buffers)

    def plain(self) -> list[bytes]:
        """Cut out every text."""
        if len(self.starts) * _CUT_BYTES < len(self.body):
            return [self.body[start:stop].tobytes() for start, stop in zip(self.starts, self.stops, strict=True)]
        whole = self.body.tobytes()
        return [whole[start:stop] for start, stop in zip(self.starts.tolist(), self.stops.tolist(), strict=True)]


def coded_texts(codes: Int64s, names: Sequence[str]) -> Texts:
    """Write a name for every code."""
    encoded = [name.encode() for name in names]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return Texts(ends[:-1][codes], ends[1:][codes], np.frombuffer(b"".join(encoded), dtype=np.uint8))


def join_texts(many: Sequence[Texts]) -> Texts:
    """Put rows one after another, over a body of all bodies; a repeated body is kept once."""
    bodies: dict[int, tuple[int, Bytes]] = {}
    size = 0
    for texts in many:
        if id(texts.body) not in bodies:
            bodies[id(texts.body)] = size, texts.body
            size += len(texts.body)
    shifts = [bodies[id(texts.body)][0] for texts in many]
    starts = np.concatenate([texts.starts + shift for texts, shift in zip(many, shifts, strict=True)])
    stops = np.concatenate([texts.stops + shift for texts, shift in zip(many, shifts, strict=True)])
    return Texts(starts, stops, np.concatenate([body for _, body in bodies.values()]))


def _validity(valid: Bools | None) -> Any:
    return None if valid is None or valid.all() else _bits(valid)


def _bits(values: Bools) -> Any:
    return pa.py_buffer(np.packbits(values, bitorder="little"))


@numba.njit(nogil=True, cache=True)
def _make_views(starts: Int64s, stops: Int64s, body: Bytes, views: Bytes, halves: npt.NDArray[np.int32]) -> None:
    """Write the Arrow views of texts.

    starts, stops  (n,)             int64  text i is body[starts[i]:stops[i]]
    body           (b,)             uint8  texts; the one buffer of the views, shorter than 2^31 bytes
    views          (n, VIEW_BYTES)  uint8  written; zeros before
    halves         (n, 4)           int32  the same memory: size in bytes, text or prefix, number of the buffer, offset
    """
    for row in range(len(starts)):
        start = starts[row]
        size = stops[row] - start
        halves[row, 0] = size
        shown = size if size <= INLINE_BYTES else _PREFIX_BYTES
        for i in range(shown):
            views[row, 4 + i] = body[start + i]
        if size > INLINE_BYTES:
            halves[row, 3] = start
