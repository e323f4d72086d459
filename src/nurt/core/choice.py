"""Choose one value of many for a profile's field, and say which rule chose it.

Hot path: one kernel call a field over all candidate rows of a batch of profiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from nurt.core.arrow_columns import Texts
from nurt.core.packing import Bools, Int64s

ONLY, ROW = "only", "row"
"""What stands for the rule when all candidates hold one value, and when nothing but the row's id decided."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The winners of one field, by owner.

    Attributes:
        row: index of the winning candidate; -1: there is none.
        rule: index of the first rule that told it from a candidate of another value; `len(rules)` stands for ROW,
            one more for ONLY.
    """

    row: Int64s
    rule: Int64s


def choose(
    owner: Int64s, values: Texts, present: Bools, keys: Int64s, rows: npt.NDArray[np.uint64], owners: int
) -> Chosen:
    """Choose, for each owner, the candidate whose keys are smallest; the row id decides between equals.

    Args:
        owner: by candidate.
        values: by candidate.
        present: by candidate; False: it is none.
        keys: shape (rules, candidates); smaller is better, the first rule counts most.
        rows: ids of the candidates' rows as words that order as the bytes do.
        owners: how many owners there are.
    """
    winner = np.full(owners, -1, dtype=np.int64)
    rule = np.full(owners, -1, dtype=np.int64)
    _choose(owner, present, values.starts, values.stops, values.body, keys, rows, winner, rule)
    return Chosen(winner, rule)


@numba.njit(nogil=True, cache=True)
def _before(a, b, keys, rows):  # type: ignore[no-untyped-def]
    for k in range(keys.shape[0]):
        if keys[k, a] != keys[k, b]:
            return keys[k, a] < keys[k, b]
    if rows[a, 0] != rows[b, 0]:
        return rows[a, 0] < rows[b, 0]
    return rows[a, 1] < rows[b, 1]


@numba.njit(nogil=True, cache=True)
def _same(a, b, starts, stops, body):  # type: ignore[no-untyped-def]
    length = stops[a] - starts[a]
    if stops[b] - starts[b] != length:
        return False
    for i in range(length):  # noqa: SIM110 - a compiled loop
        if body[starts[a] + i] != body[starts[b] + i]:
            return False
    return True


@numba.njit(nogil=True, cache=True)
def _choose(owner, present, starts, stops, body, keys, rows, winner, rule):  # type: ignore[no-untyped-def]
    for row in range(len(owner)):
        at = owner[row]
        if present[row] and (winner[at] < 0 or _before(row, winner[at], keys, rows)):
            winner[at] = row
    rules = keys.shape[0]
    for at in range(len(winner)):
        if winner[at] >= 0:
            rule[at] = rules + 1
    for row in range(len(owner)):
        at = owner[row]
        if not present[row] or _same(row, winner[at], starts, stops, body):
            continue
        k = 0
        while k < rules and keys[k, row] == keys[k, winner[at]]:
            k += 1
        rule[at] = min(rule[at], k)
