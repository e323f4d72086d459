"""Texts between polars and plain buffers: a series as offsets and joined bytes, and back."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from nurt.columnar.types import Bools, Bytes, Int64s


def text_buffers(series: pl.Series) -> tuple[Int64s, Bytes]:
    """Return offsets (n + 1) and joined bytes of a String or Binary series; a null has length 0."""
    wide = pa.large_string() if series.dtype == pl.String else pa.large_binary()
    array = series.to_arrow()
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if array.type != wide:
        array = array.cast(wide)
    _, offsets, body = array.buffers()
    rows = len(array)
    cuts = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + rows + 1]
    held = np.frombuffer(body, dtype=np.uint8) if body is not None else np.empty(0, dtype=np.uint8)
    first, last = int(cuts[0]), int(cuts[-1])
    return cuts - first, held[first:last]


def text_series(name: str, offsets: Int64s, body: Bytes, valid: Bools, dtype: pl.DataType) -> pl.Series:
    """Make a String or Binary series over offsets (n + 1) and bytes; rows that are not valid are null."""
    wide = pa.large_string() if dtype == pl.String else pa.large_binary()
    nulls = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    array = pa.Array.from_buffers(wide, len(valid), [nulls, pa.py_buffer(offsets), pa.py_buffer(body)])
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series.alias(name)
