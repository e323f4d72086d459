"""Number texts that have few distinct values: names of systems, of tables, of states. Hot path."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from nurt.columnar.texts import Texts
from nurt.columnar.types import Bytes, Int64s


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
def _find_few(starts: Int64s, stops: Int64s, body: Bytes, codes: Int64s, firsts: Int64s) -> int:
    """Give equal texts one code, in order of their first appearance; a text is compared with all others at worst.

    starts, stops  (n,)  int64  text i is body[starts[i]:stops[i]]
    body           (b,)  uint8  texts
    codes          (n,)  int64  written: the code of each text
    firsts         (n,)  int64  written, by code: its first row; what lies behind the last code is not written
    Returns how many codes there are.
    """
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
def same_text(a: Bytes, a_start: int, a_stop: int, b: Bytes, b_start: int, b_stop: int) -> bool:
    """Return whether a piece of one body and a piece of another are the same bytes.

    a, b             (n,), (m,)  uint8  bodies
    a_start, a_stop  scalar      int64  the one is a[a_start:a_stop]
    b_start, b_stop  scalar      int64  the other is b[b_start:b_stop]
    """
    if a_stop - a_start != b_stop - b_start:
        return False
    for i in range(a_stop - a_start):  # noqa: SIM110 - a compiled loop
        if a[a_start + i] != b[b_start + i]:
            return False
    return True


@numba.njit(nogil=True, cache=True)
def _find_names(starts: Int64s, stops: Int64s, body: Bytes, ends: Int64s, names: Bytes, codes: Int64s) -> None:
    """Find the name that each text equals.

    starts, stops  (n,)    int64  text i is body[starts[i]:stops[i]]
    body           (b,)    uint8  texts
    ends           (k+1,)  int64  name j is names[ends[j]:ends[j+1]]
    names          (m,)    uint8  names, one after another
    codes          (n,)    int64  written: the index of the name; -1: it is none of them
    """
    last = 0
    count = len(ends) - 1
    for row in range(len(starts)):
        codes[row] = -1
        for turn in range(count):
            code = (last + turn) % count
            if same_text(body, starts[row], stops[row], names, ends[code], ends[code + 1]):
                codes[row] = last = code
                break
