"""One column as the compiled loop left it, for later compiled loops: no frame is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import polars as pl
import pyarrow as pa

from nurt.avro.compile import ColumnType
from nurt.columnar.memory import copy_bytes
from nurt.columnar.types import INLINE_BYTES, Bools, Bytes, Int64s, Words

ARROW_TYPES = {
    "boolean": pa.bool_(),
    "int": pa.int64(),
    "long": pa.int64(),
    "float": pa.float64(),
    "double": pa.float64(),
    "string": pa.string_view(),
    "enum": pa.string_view(),
    "bytes": pa.binary_view(),
    "fixed": pa.binary_view(),
    "record": pa.bool_(),
    "null": pa.null(),
}


@dataclass(frozen=True, slots=True)
class RawColumn:
    """Column of a batch; where a value is missing, the stored value has no meaning.

    Attributes:
        type: the column's type as the writer declares it.
        store: words, views, flags or null: which of the next three holds the values.
        words: shape (rows,): numbers; floats by their bits.
        views: shape (rows, 2): Arrow views over `text`.
        flags: bitmap of booleans.
        bitmap: which values are there; None: all.
    """

    type: ColumnType
    store: str
    rows: int
    words: Words | None
    views: Words | None
    flags: Bytes | None
    text: pa.Buffer | None
    bitmap: Bytes | None

    @property
    def is_integer(self) -> bool:
        """Say whether `numbers` can be called."""
        return self.type.avro in ("int", "long")

    @property
    def is_text(self) -> bool:
        """Say whether the column holds texts, not bytes."""
        return self.type.avro in ("string", "enum")

    def known(self) -> Bools | None:
        """Say where a value is there; None: everywhere."""
        return None if self.bitmap is None else unpack_bits(self.bitmap, self.rows)

    def numbers(self) -> Int64s:
        """Return integers."""
        assert self.words is not None, "only words hold numbers"
        return self.words.view(np.int64)

    def texts(self) -> tuple[Int64s, Bytes]:
        """Return offsets (rows + 1) and joined bytes of a column of texts or bytes; a missing value has length 0."""
        assert self.views is not None and self.text is not None, "only views hold texts"
        offsets = np.empty(self.rows + 1, dtype=np.int64)
        size = _measure(self.views, offsets)  # views of missing values are all zeros
        body = np.empty(size, dtype=np.uint8)
        _spread(self.views, self.text.address, offsets, body)
        body.setflags(write=False)  # as Arrow's buffers are, so that loops are compiled once
        return offsets, body

    def array(self) -> Any:
        """Wrap as Arrow, without copying."""
        if self.store == "null":
            return pa.nulls(self.rows)
        buffers = [None if self.bitmap is None else pa.py_buffer(self.bitmap)]
        if self.words is not None:
            buffers.append(pa.py_buffer(self.words))
        elif self.views is not None:
            buffers += [pa.py_buffer(self.views), self.text]
        else:
            buffers.append(pa.py_buffer(self.flags))
        return pa.Array.from_buffers(ARROW_TYPES[self.type.avro], self.rows, buffers)

    def series(self, name: str) -> pl.Series:
        """Wrap as polars, without copying."""
        return pl.Series(name, self.array() if self.rows else pa.array([], ARROW_TYPES[self.type.avro]))


def unpack_bits(bitmap: Bytes, rows: int) -> Bools:
    """Turn a bitmap into booleans."""
    return np.unpackbits(bitmap, count=rows, bitorder="little").view(np.bool_)


@numba.njit(nogil=True, cache=True)
def _measure(views, offsets):  # type: ignore[no-untyped-def]
    """Say where texts lie when they are put one after another.

    views    (n, 2)  uint64  Arrow views; all zeros where no text is there
    offsets  (n+1,)  int64   written: text i comes to offsets[i]:offsets[i+1]
    Returns the bytes of all.
    """
    at = np.int64(0)
    for row in range(len(views)):
        offsets[row] = at
        at += np.int64(views[row, 0] & np.uint64(0xFFFFFFFF))
    offsets[len(views)] = at
    return at


@numba.njit(nogil=True, cache=True)
def _spread(views, text, offsets, body):  # type: ignore[no-untyped-def]
    """Copy texts one after another.

    views    (n, 2)  uint64  Arrow views
    text     scalar  int64   address of the buffer of texts of more than INLINE_BYTES
    offsets  (n+1,)  int64   as `_measure` wrote them
    body     (b,)    uint8   written: text i is body[offsets[i]:offsets[i+1]]
    """
    here, to = views.ctypes.data, body.ctypes.data
    for row in range(len(views)):
        size = offsets[row + 1] - offsets[row]
        source = here + 16 * row + 4
        if size > INLINE_BYTES:
            source = text + np.int64(views[row, 1] >> np.uint64(32))
        copy_bytes(to + offsets[row], source, size)
