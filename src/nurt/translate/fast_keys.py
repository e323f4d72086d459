"""Write native keys as text, and their ids, straight from raw columns: hot path, see `fast_columns`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import polars as pl
import pyarrow as pa

from nurt.avro.raw_column import RawColumn
from nurt.columnar.memory import copy_bytes, peek_byte, peek_half, poke_byte, poke_half
from nurt.columnar.series import text_buffers
from nurt.columnar.types import INLINE_BYTES, Bools, Bytes, Int64s, Words
from nurt.translate.fast_columns import bitmap_of, number_views, text_array

_SEPARATOR = 31  # U+001F, as `mapping.plan.KEY_SEPARATOR`


@dataclass(frozen=True, slots=True)
class ArrowTexts:
    """Texts as Arrow views over one buffer; where not `known` (None: everywhere), null."""

    views: Words
    body: Any
    known: Bools | None

    def array(self) -> Any:
        """Wrap the texts as an Arrow array."""
        return text_array(self.views, self.body, self.bitmap)

    @property
    def bitmap(self) -> Bytes | None:
        """Return a bitmap of the rows with a text; None: every row."""
        return bitmap_of(self.known)


def texts_of_column(column: RawColumn) -> ArrowTexts:
    """Write a column of texts or integers."""
    if column.views is not None:
        return ArrowTexts(column.views, column.text, column.known())
    return ArrowTexts(*number_views(column.numbers()), column.known())


def texts_of_series(series: pl.Series) -> ArrowTexts:
    """Take texts that polars made."""
    offsets, body = text_buffers(series)
    views = np.zeros((len(series), 2), dtype=np.uint64)
    padded = np.append(body, np.uint8(0))  # never empty, so that the array has an address
    _view(offsets, padded, views)
    return ArrowTexts(views, pa.py_buffer(padded), series.is_not_null().to_numpy() if series.null_count() else None)


def joined_texts(parts: Sequence[ArrowTexts], odd: Bools) -> ArrowTexts:
    """Join parts by U+001F, null where any part is; a part with that character is odd."""
    rows = len(parts[0].views)
    known: Bools | None = None
    for part in parts:
        if part.known is not None:
            known = part.known if known is None else known & part.known
    sources = np.array([[part.views.ctypes.data, part.body.address] for part in parts], dtype=np.int64)
    size = sum(int((part.views[:, 0] & np.uint64(0xFFFFFFFF)).sum()) for part in parts) + rows * len(parts)
    body = np.empty(size + 1, dtype=np.uint8)
    views = np.zeros((rows, 2), dtype=np.uint64)
    _join(sources, views, body, odd)
    return ArrowTexts(views, pa.py_buffer(body), known)


@numba.njit(nogil=True, cache=True)
def _view(offsets: Int64s, body: Bytes, views: Words) -> None:
    """Write the Arrow views of texts.

    offsets  (n+1,)  int64   text i is body[offsets[i]:offsets[i+1]]
    body     (b,)    uint8   texts; the one buffer of the views
    views    (n, 2)  uint64  written; zeros before
    """
    here, text = views.ctypes.data, body.ctypes.data
    for row in range(len(views)):
        size = offsets[row + 1] - offsets[row]
        _put_view(here + 16 * row, text, offsets[row], size)


@numba.njit(nogil=True, cache=True)
def _put_view(view: int, text: int, start: int, size: int) -> None:
    """Write the Arrow view of some bytes of a text.

    view         scalar  int64  address of 16 bytes that are written; zeros before
    text         scalar  int64  address of the buffer
    start, size  scalar  int64  the view's bytes are buffer[start:start+size]
    """
    poke_half(view, size)
    if size <= INLINE_BYTES:
        copy_bytes(view + 4, text + start, size)
    else:
        copy_bytes(view + 4, text + start, 4)
        poke_half(view + 12, start)


@numba.njit(nogil=True, cache=True)
def _join(sources: Int64s, views: Words, body: Bytes, odd: Bools) -> None:
    """Join the parts of every row by _SEPARATOR; a null part is joined as an empty one.

    sources  (p, 2)  int64   by part: addresses of its n Arrow views, and of its buffer of long texts
    views    (n, 2)  uint64  written: Arrow views of the joined texts over `body`; zeros before
    body     (b,)    uint8   written: the joined texts; room for all parts and a byte for each
    odd      (n,)    bool    written True where a part holds _SEPARATOR; else as before
    """
    here, to = views.ctypes.data, body.ctypes.data
    at = np.int64(0)
    for row in range(len(views)):
        start = at
        for part in range(len(sources)):
            if part:
                poke_byte(to + at, _SEPARATOR)
                at += 1
            view = sources[part, 0] + 16 * row
            size = peek_half(view)
            source = view + 4 if size <= INLINE_BYTES else sources[part, 1] + peek_half(view + 12)
            for i in range(size):
                if peek_byte(source + i) == _SEPARATOR:
                    odd[row] = True
            copy_bytes(to + at, source, size)
            at += size
        _put_view(here + 16 * row, to, start, at - start)
