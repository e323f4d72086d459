"""Number texts that have few distinct values: names of systems, of tables, of states. Hot path."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from nurt.columnar.texts import Texts
from nurt.columnar.types import Int64s


def codes_of(texts: Texts, names: Sequence[str]) -> Int64s:
    """Return, by row, which of the names a text is; -1: none of the names."""
    encoded = [name.encode() for name in names]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    joined = np.frombuffer(b"".join(encoded) or b"\0", dtype=np.uint8)
    codes = np.empty(len(texts.starts), dtype=np.int64)
    _find_names(texts.starts, texts.stops, texts.body, ends, joined, codes)
    return codes


def few_texts(texts: Texts) -> tuple[Int64s, list[str]]:
    """Code texts of few distinct values; returns the codes, and each code's text in order of first appearance."""
    codes, firsts = np.empty(len(texts.starts), dtype=np.int64), np.empty(len(texts.starts), dtype=np.int64)
    count = _find_few(texts.starts, texts.stops, texts.body, codes, firsts)
    return codes, [text.decode() for text in texts.take(firsts[:count]).plain()]


@numba.njit(nogil=True, cache=True)
def _find_few(starts, stops, body, codes, firsts):  # type: ignore[no-untyped-def]
    last = 0
    count = 0
    for row in range(len(starts)):
        codes[row] = -1
        for turn in range(count):
            code = (last + turn) % count
            first = firsts[code]
            if same_text(body, starts[row], stops[row], body, starts[first], stops[first]):
                codes[row] = last = code
                break
        if codes[row] < 0:
            firsts[count] = row
            codes[row] = last = count
            count += 1
    return count


@numba.njit(nogil=True, cache=True)
def same_text(a, a_start, a_stop, b, b_start, b_stop):  # type: ignore[no-untyped-def]
    """Say whether a piece of one body is a piece of another."""
    if a_stop - a_start != b_stop - b_start:
        return False
    for i in range(a_stop - a_start):  # noqa: SIM110 - a compiled loop
        if a[a_start + i] != b[b_start + i]:
            return False
    return True


@numba.njit(nogil=True, cache=True)
def _find_names(starts, stops, body, ends, names, codes):  # type: ignore[no-untyped-def]
    last = 0
    count = len(ends) - 1
    for row in range(len(starts)):
        codes[row] = -1
        for turn in range(count):
            code = (last + turn) % count
            if same_text(body, starts[row], stops[row], names, ends[code], ends[code + 1]):
                codes[row] = last = code
                break
