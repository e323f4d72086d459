"""Choose one value of many for a profile's field, and say which rule chose it.

Hot path: one kernel call a field over all candidate rows of a batch of profiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from nurt.core.columns import words
from nurt.core.packing import text_buffers

ONLY, ROW = "only", "row"
"""What stands for the rule when all candidates hold one value, and when nothing but the row's id decided."""

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The winners of one field.

    Attributes:
        owners: profiles that have a value, ascending.
        rows: index of each one's winning candidate.
        rules: name of the first rule that told it from a candidate of another value.
    """

    owners: Int64s
    rows: Int64s
    rules: list[str]


def choose(owner: Int64s, values: pl.Series, keys: Int64s, rules: list[str], rows: pl.Series, owners: int) -> Chosen:
    """Choose, for each owner, the candidate whose keys are smallest; the row id decides between equals.

    Args:
        owner: by candidate.
        values: String by candidate; null is no candidate.
        keys: shape (len(rules), candidates); smaller is better, the first rule counts most.
        rules: names of the rules, in order.
        rows: 16-byte row ids by candidate.
        owners: how many owners there are.
    """
    offsets, body = text_buffers(values)
    null = values.is_null().to_numpy()
    winner = np.full(owners, -1, dtype=np.int64)
    rule = np.full(owners, -1, dtype=np.int64)
    big = words(rows).byteswap() if rows.len() else np.empty((0, 2), dtype=np.uint64)
    _choose(owner, null, offsets, body, keys, big, winner, rule)
    found = np.flatnonzero(winner >= 0)
    names = [*rules, ROW, ONLY]
    return Chosen(found, winner[found], [names[index] for index in rule[found].tolist()])


@numba.njit(nogil=True, cache=True)
def _before(a, b, keys, rows):  # type: ignore[no-untyped-def]
    for k in range(keys.shape[0]):
        if keys[k, a] != keys[k, b]:
            return keys[k, a] < keys[k, b]
    if rows[a, 0] != rows[b, 0]:
        return rows[a, 0] < rows[b, 0]
    return rows[a, 1] < rows[b, 1]


@numba.njit(nogil=True, cache=True)
def _same(a, b, offsets, body):  # type: ignore[no-untyped-def]
    length = offsets[a + 1] - offsets[a]
    if offsets[b + 1] - offsets[b] != length:
        return False
    for i in range(length):  # noqa: SIM110 - a compiled loop
        if body[offsets[a] + i] != body[offsets[b] + i]:
            return False
    return True


@numba.njit(nogil=True, cache=True)
def _choose(owner, null, offsets, body, keys, rows, winner, rule):  # type: ignore[no-untyped-def]
    for row in range(len(owner)):
        at = owner[row]
        if not null[row] and (winner[at] < 0 or _before(row, winner[at], keys, rows)):
            winner[at] = row
    rules = keys.shape[0]
    for at in range(len(winner)):
        if winner[at] >= 0:
            rule[at] = rules + 1
    for row in range(len(owner)):
        at = owner[row]
        if null[row] or _same(row, winner[at], offsets, body):
            continue
        k = 0
        while k < rules and keys[k, row] == keys[k, winner[at]]:
            k += 1
        rule[at] = min(rule[at], k)
