"""Find identifiers that are normal already, so that a small micro-batch may avoid polars.

Hot path. This module finds exactly the values that `identifiers` leaves unchanged by its patterns of plain emails and
phones; `identifiers` decides on all others.
"""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np

from nurt.columnar.texts import Texts
from nurt.columnar.types import Bools, Bytes, Int64s
from nurt.normalise.identifiers import LOCAL_PART_LENGTH_MAX
from nurt.normalise.phone import plain_numbers

_CODE_DIGITS_MAX = 3  # of a country
_LETTER, _DIGIT, _DASH, _DOT, _PLUS, _OTHER = range(6)
_CLASSES = np.full(256, _OTHER, dtype=np.int64)
_CLASSES[ord("a") : ord("z") + 1] = _LETTER
_CLASSES[ord("0") : ord("9") + 1] = _DIGIT
_CLASSES[[ord("-"), ord("."), ord("+"), ord("_")]] = _DASH, _DOT, _PLUS, _PLUS


def plain_emails(texts: Texts) -> Bools:
    """Return which texts are short emails in ASCII and lower case."""
    plain = np.zeros(len(texts.starts), dtype=np.bool_)
    _find_emails(texts.starts, texts.stops, texts.body, _CLASSES, plain)
    return plain


def plain_phones(texts: Texts) -> Bools:
    """Return which texts are phones in E.164."""
    plain = np.zeros(len(texts.starts), dtype=np.bool_)
    _find_phones(texts.starts, texts.stops, texts.body, *_countries(), plain)
    return plain


@lru_cache(maxsize=1)
def _countries() -> tuple[Int64s, Int64s]:
    """Give, by country code, the possible sizes of a number, a bit each, and the digit that no number begins with."""
    sizes, prefixes = np.zeros((2, 10**_CODE_DIGITS_MAX), dtype=np.int64)
    for code, (prefix, lengths) in plain_numbers().items():
        sizes[code] = sum(1 << size for size in lengths)
        prefixes[code] = -1 if prefix is None else int(prefix)
    return sizes, prefixes


@numba.njit(nogil=True, cache=True)
def _find_emails(starts: Int64s, stops: Int64s, body: Bytes, classes: Int64s, plain: Bools) -> None:
    """Find texts that are emails in ASCII and lower case, and short: at most LOCAL_PART_LENGTH_MAX bytes in all.

    starts, stops  (n,)    int64  text i is body[starts[i]:stops[i]]
    body           (b,)    uint8  texts
    classes        (256,)  int64  by byte: _LETTER, _DIGIT, _DASH, _DOT, _PLUS or _OTHER
    plain          (n,)    bool   written; False before
    """
    for row in range(len(starts)):
        start, stop = starts[row], stops[row]
        if stop - start > LOCAL_PART_LENGTH_MAX:
            continue
        at = start
        before = _DOT
        while at < stop and body[at] != 64:
            here = classes[body[at]]
            if here == _OTHER or (here == _DOT and before == _DOT):
                break
            before = here
            at += 1
        if at == stop or body[at] != 64 or before == _DOT:
            continue
        # labels begin and end with a letter or a digit; the last label has only letters, at least two
        before = _DOT
        labels = 0
        letters = 0
        fits = True
        for i in range(at + 1, stop):
            here = classes[body[i]]
            edge = here == _DOT or before == _DOT
            if here > _DOT or (edge and (here == _DASH or before == _DASH)) or (here == _DOT and before == _DOT):
                fits = False
                break
            if here == _DOT:
                labels += 1
                letters = 0
            else:
                letters = letters + 1 if here == _LETTER and letters >= 0 else -1
            before = here
        plain[row] = fits and labels > 0 and letters >= 2


@numba.njit(nogil=True, cache=True)
def _find_phones(starts: Int64s, stops: Int64s, body: Bytes, sizes: Int64s, prefixes: Int64s, plain: Bools) -> None:
    """Find texts that are phones in E.164.

    starts, stops  (n,)     int64  text i is body[starts[i]:stops[i]]
    body           (b,)     uint8  texts
    sizes          (1000,)  int64  by country's code: bit s: a number may have s digits behind it; 0: no such code
    prefixes       (1000,)  int64  by country's code: the digit that a number never begins with; -1: there is none
    plain          (n,)     bool   written; False before
    """
    for row in range(len(starts)):
        start, stop = starts[row], stops[row]
        if stop == start or body[start] != 43:
            continue
        code = 0
        at = start + 1
        # no country code is a prefix of another one
        while at < stop and at - start <= _CODE_DIGITS_MAX and 48 <= body[at] <= 57 and not (code and sizes[code]):
            code = code * 10 + body[at] - 48
            at += 1
        size = stop - at
        if not code or size < 2 or size > 62 or not sizes[code] >> size & 1:
            continue
        first = np.int64(body[at]) - 48
        fits = first >= 1 and first != prefixes[code] and body[at] != body[at + 1]
        for i in range(at, stop):
            fits = fits and 48 <= body[i] <= 57
        plain[row] = fits
