"""Names for arrays, and the few sizes that many modules share. Shapes are documented where an array is used."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Int8s = npt.NDArray[np.int8]
Int64s = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint64]
"""Bitmaps of at most 64 columns, one a row."""
Words = npt.NDArray[np.uint64]
"""Ids as two words each, in the order of memory: shape (n, 2); or other words of 8 bytes."""
KeyRows = npt.NDArray[np.uint8]
"""Keys of one length, a row each: shape (n, bytes)."""

ID_BYTES = 16
"""Of an id: a keyed hash."""
ID_TEXT_BYTES = 33
"""Of an id as Avro holds it: a length, and 32 hex digits."""

VIEW_BYTES = 16
"""Of an Arrow view of a text: its size, then the text itself or its first bytes and its place.

Source: Arrow columnar format, variable-size binary view layout.
"""
INLINE_BYTES = 12
"""A text of at most so many bytes lies in its view."""
