"""Unpacked rows of a table, read column by column. Hot path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from nurt.columnar.texts import Texts
from nurt.columnar.types import Bools, Bytes, Int64s, Words
from nurt.state.table import Raw, Table


class Rows:
    """Unpacked rows of a table, by column name."""

    __slots__ = ("_index", "_slot", "raw")

    def __init__(self, table: Table, raw: Raw, columns: Sequence[str] | None = None) -> None:
        self.raw = raw
        self._index = table.index
        self._slot: dict[str, int] = {}
        seen = [0, 0]
        for name in columns or table.columns:
            is_text = bool(table.is_text[table.index[name]])
            self._slot[name] = seen[is_text]
            seen[is_text] += 1

    def number(self, name: str) -> Int64s:
        """Give a column of numbers or booleans; 0 where absent."""
        found: Int64s = self.raw.numbers[self._slot[name]]
        return found

    def present(self, name: str) -> Bools:
        """Return where a column is not null."""
        found: Bools = self.raw.present[self._index[name]]
        return found

    def texts(self, name: str) -> Texts:
        """Give a column of texts; empty where absent."""
        slot = self._slot[name]
        return Texts(self.raw.starts[slot], self.raw.stops[slot], self.raw.texts)

    def ids(self, name: str, rows: npt.NDArray[Any]) -> Words:
        """Give 16-byte ids of some rows as two words each, which order as the bytes do."""
        starts = self.raw.starts[self._slot[name]][rows]
        found = np.empty((len(starts), 2), dtype=np.uint64)
        _read_words(starts, self.raw.texts, found)
        return found


@numba.njit(nogil=True, cache=True)
def _read_words(starts: Int64s, body: Bytes, words: Words) -> None:
    """Read ids as words that order as their bytes do.

    starts  (n,)    int64   id i is body[starts[i]:starts[i]+16]
    body    (b,)    uint8   ids
    words   (n, 2)  uint64  written: the id's first and last 8 bytes, big-endian
    """
    for row in range(len(starts)):
        for half in range(2):
            word = np.uint64(0)
            for i in range(8):
                word = word << np.uint64(8) | np.uint64(body[starts[row] + 8 * half + i])
            words[row, half] = word
