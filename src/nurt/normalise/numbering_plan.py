"""Tables of countries' numbering plans, so that compiled loops know a number that can be dialled.

A plan is a table of states: each digit leads from a state to the next one, and some states accept. It is built out of
the patterns of `phonenumbers` when a country's code is first seen, which takes some milliseconds.

Source: the metadata of Google's libphonenumber by way of `phonenumbers`; a number is valid when the pattern of all
numbers of the country and that of one kind (mobile, fixed line, ...) match it, each with its possible lengths.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata, PhoneNumberDesc

from nurt.columnar.types import Bools, Int64s

CODES = 1_000
"""Numbers below which all country codes lie; no code is the beginning of another."""
DIGITS_MIN, DIGITS_MAX = 8, 15  # after the plus; ITU-T E.164 allows at most 15
UNKNOWN, NONE = 0, -1
"""First states of codes whose table is not built yet, and of codes that have none."""
_DEAD = 0

_KINDS = (
    *("fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost"),
    *("personal_number", "voip", "pager", "uan", "voicemail"),
)

_Item = int | tuple["_Sequence", ...]
_Sequence = tuple[_Item, ...]
"""What is left of a pattern: digits as a mask of ten bits, or a choice of sequences."""

_State = tuple[frozenset[tuple[int, _Sequence]], int, bool]
"""What is left of each description, how many digits there were, and whether they are those of the code itself."""


@dataclass(frozen=True, slots=True)
class PlanTables:
    """Tables of the plans that were built.

    Attributes:
        first: by country code: the state before the first digit of the national number; or UNKNOWN, NONE.
        follows: shape (states, 10): the next state by digit; 0: no number goes on so.
        accepts: by state: a number may end here.
    """

    first: Int64s
    follows: Int64s
    accepts: Bools


class _Plans:
    """The tables so far. Of two threads that add at once one may be lost, and is built again when it is asked for."""

    def __init__(self) -> None:
        first = np.full(CODES, NONE, dtype=np.int64)
        first[[*COUNTRY_CODE_TO_REGION_CODE]] = UNKNOWN
        self.tables = PlanTables(first, np.zeros((1, 10), dtype=np.int64), np.zeros(1, dtype=np.bool_))

    def add(self, codes: list[int]) -> None:
        known = self.tables
        first, follows, accepts = known.first.copy(), known.follows, known.accepts
        for code in codes:
            if first[code] == UNKNOWN:
                its_follows, its_accepts = _table_of(code)
                first[code] = len(accepts) if len(its_accepts) else NONE
                moved = np.where(its_follows == _DEAD, _DEAD, its_follows + len(accepts) - 1)
                follows, accepts = np.concatenate((follows, moved)), np.concatenate((accepts, its_accepts))
        self.tables = PlanTables(first, follows, accepts)


_plans = _Plans()


def plan_tables() -> PlanTables:
    """Return the tables as far as they are built."""
    return _plans.tables


def build_plans(codes: list[int]) -> None:
    """Build the tables of some country codes."""
    _plans.add(codes)


def _table_of(code: int) -> tuple[Int64s, Bools]:
    """Build the table of one code; its states count from 1, the first one is 1. Empty: the code has none.

    The table knows numbers of the code's main region, which the library parses as they stand behind the plus: those
    that begin with a trunk prefix, which the library takes away, or with the code itself, are left out.
    """
    metadata = PhoneMetadata.metadata_for_region(COUNTRY_CODE_TO_REGION_CODE[code][0])
    if metadata is None or metadata.general_desc is None:
        return np.zeros((0, 10), dtype=np.int64), np.zeros(0, dtype=np.bool_)
    try:
        needed = [_described(metadata.general_desc)]
        if metadata.leading_digits is not None:  # else a number may be another region's of the code
            every = frozenset(range(DIGITS_MAX + 1))
            needed.append((_sequence_of(rf"(?:{metadata.leading_digits})\d{{0,{DIGITS_MAX}}}"), every))
        kinds = [_described(one) for kind in _KINDS if (one := getattr(metadata, kind)) is not None]
        refused = _first_digits(_sequence_of(metadata.national_prefix_for_parsing or "")) | 1  # and Italian zeros
    except ValueError:
        return np.zeros((0, 10), dtype=np.int64), np.zeros(0, dtype=np.bool_)
    descriptions = [*needed, *kinds]
    own, musts = str(code), {*range(len(needed))}
    most = DIGITS_MAX - len(own)
    begin = frozenset((number, sequence) for number, (sequence, _) in enumerate(descriptions))
    states: dict[_State, int] = {(begin, 0, True): 1}
    follows: list[list[int]] = []
    accepts: list[bool] = []
    for left, depth, is_own in (waiting := [*states]):
        sizes = [depth in sizes and depth + len(own) >= DIGITS_MIN for _, sizes in descriptions]
        ends = {number for number, sequence in left if sizes[number] and _may_end(sequence)}
        accepts.append(musts < ends)
        row = [_DEAD] * 10
        for digit in range(10) if depth < most else ():
            if depth == 0 and refused >> digit & 1:
                continue
            still_own = is_own and depth < len(own) and int(own[depth]) == digit
            if still_own and depth + 1 == len(own):
                continue
            after = frozenset((number, rest) for number, sequence in left for rest in _after(sequence, digit))
            if not musts < {number for number, _ in after}:
                continue
            state = after, depth + 1, still_own
            if state not in states:
                states[state] = len(states) + 1
                waiting.append(state)
            row[digit] = states[state]
        follows.append(row)
    return np.array(follows, dtype=np.int64), np.array(accepts, dtype=np.bool_)


def _described(description: PhoneNumberDesc) -> tuple[_Sequence, frozenset[int]]:
    """Read the pattern and the possible lengths of a kind of numbers; no length: there are none."""
    if description.national_number_pattern is None:
        return (), frozenset()
    sizes = frozenset(description.possible_length) or frozenset(range(DIGITS_MAX + 1))
    return _sequence_of(description.national_number_pattern), sizes


# -- patterns: digits, classes, groups, choices and counts

_TOKEN = re.compile(r"\(\?:|\(|\)|\||\\d|[0-9]|\[[0-9\-]+\]|\{\d+(?:,\d+)?\}|\?")


@lru_cache(maxsize=64)
def _sequence_of(pattern: str) -> _Sequence:
    """Read a pattern. Raises ValueError for a pattern with other signs."""
    tokens = _TOKEN.findall(pattern)
    if "".join(tokens) != pattern:
        raise ValueError(f"reading a numbering plan: {pattern} has signs that no plan had")
    sequence = _choice(iter([*tokens, ")"]))
    return sequence


def _choice(tokens: Iterator[str]) -> _Sequence:
    """Read choices up to the closing bracket."""
    choices: list[list[_Item]] = [[]]
    for token in tokens:
        now = choices[-1]
        if token == ")":
            break
        if token == "|":
            choices.append([])
        elif token in ("(?:", "("):
            now.append((_choice(tokens),))
        elif token[0] in "{?":
            least, _, most = token.strip("{}").partition(",") if token != "?" else ("0", ",", "1")
            now += _repeated(now.pop(), int(least), int(most or least))
        else:
            now.append(_mask(token))
    if len(choices) == 1:
        return tuple(choices[0])
    return (tuple(map(tuple, choices)),)


def _repeated(item: _Item, least: int, most: int) -> list[_Item]:
    maybe: _Sequence = ()
    for _ in range(most - least):
        maybe = (((), (item, *maybe)),)
    return [item] * least + list(maybe)


def _mask(token: str) -> int:
    if token == r"\d":
        return 0b11_1111_1111
    signs, mask = token.strip("[]"), 0
    for begin, end in re.findall(r"([0-9])(?:-([0-9]))?", signs):
        for digit in range(int(begin), int(end or begin) + 1):
            mask |= 1 << digit
    return mask


@lru_cache(maxsize=20_000)
def _after(sequence: _Sequence, digit: int) -> frozenset[_Sequence]:
    """Return what may be left of a sequence after a digit."""
    if not sequence:
        return frozenset()
    head, rest = sequence[0], sequence[1:]
    if isinstance(head, int):
        return frozenset([rest]) if head >> digit & 1 else frozenset()
    return frozenset(one for choice in head for one in _after(choice + rest, digit))


def _may_end(sequence: _Sequence) -> bool:
    return all(not isinstance(item, int) and any(map(_may_end, item)) for item in sequence)


def _first_digits(sequence: _Sequence) -> int:
    """Return the digits that a sequence may begin with, a bit each."""
    return sum(1 << digit for digit in range(10) if _after(sequence, digit))
