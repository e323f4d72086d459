"""Find identifiers that are normal already, so that a small micro-batch may avoid polars.

Hot path. Every value that this module finds is one that `identifiers` leaves unchanged, whatever the country;
`identifiers` decides on all others.
"""

from __future__ import annotations

import numba
import numpy as np

from nurt.columnar.texts import Texts
from nurt.columnar.types import Bools, Bytes, Int64s
from nurt.normalise.email import LOCAL_PART_LENGTH_MAX
from nurt.normalise.numbering_plan import CODES, NONE, UNKNOWN, build_plans, plan_tables

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
    """Return which texts are valid phones in E.164, without an extension."""
    plain = np.zeros(len(texts.starts), dtype=np.bool_)
    while True:
        tables = plan_tables()
        wanted = np.zeros(CODES, dtype=np.bool_)
        _find_phones(texts.starts, texts.stops, texts.body, tables.first, tables.follows, tables.accepts, plain, wanted)
        if not wanted.any():
            return plain
        build_plans(np.flatnonzero(wanted).tolist())


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
def _find_phones(
    starts: Int64s,
    stops: Int64s,
    body: Bytes,
    first: Int64s,
    follows: Int64s,
    accepts: Bools,
    plain: Bools,
    wanted: Bools,
) -> None:
    """Find texts that are valid phones in E.164.

    starts, stops  (n,)     int64  text i is body[starts[i]:stops[i]]
    body           (b,)     uint8  texts
    first          (1000,)  int64  by country's code: see PlanTables
    follows        (s, 10)  int64  by state and digit: the next state; 0: no number goes on so
    accepts        (s,)     bool   by state: a number may end here
    plain          (n,)     bool   written
    wanted         (1000,)  bool   written where a code's table is not built yet; False before
    """
    for row in range(len(starts)):
        start, stop = starts[row], stops[row]
        plain[row] = False
        if stop == start or body[start] != 43:
            continue
        code = 0
        at = start + 1
        # no country code is a prefix of another one
        while at < stop and at - start <= _CODE_DIGITS_MAX and 48 <= body[at] <= 57:
            code = code * 10 + body[at] - 48
            at += 1
            if first[code] != NONE:
                break
        if first[code] == NONE:
            continue
        if first[code] == UNKNOWN:
            wanted[code] = True
            continue
        state = first[code]
        varies = False
        for i in range(at, stop):
            if not 48 <= body[i] <= 57:
                state = 0
                break
            varies = varies or body[i] != body[at]
            state = follows[state, body[i] - 48]
            if state == 0:
                break
        plain[row] = varies and accepts[state]
