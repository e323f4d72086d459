"""Compare events of two partitions of which one has no position: where the key hashes now, nothing is older.

An event without position beats events of other partitions where its key hashes now, and none from a former place. So
neither a lone tombstone of a time with fewer partitions ends a row that was inserted again, nor does the order of
reading decide. Hot path, kernels; they run where a batch has such an event.
"""

from __future__ import annotations

import numba
import numpy as np

from nurt.columnar.types import Bits, Int64s
from nurt.rows.layouts import P0, P0_BIT, PARTITION

UNPLACED, OLDER, NEWER, OLDER_IN_DOUBT, NEWER_IN_DOUBT = range(5)
"""How an event stands to another one of its row. In doubt: nothing tells; an event with a position then wins."""

_HOME, _FORMER, _UNTOLD = 1, 2, 3
"""Where the key of an event lies that has no position: where it hashes now, elsewhere, or nobody can tell."""


@numba.njit(nogil=True, cache=True)
def _place(bits: Bits, numbers: Int64s, row: int, partitions: int) -> int:
    """Say where the key of an event lies; UNPLACED: the event has a position, or notes no place.

    Such an event has the number of partitions as its third part, and the key's hash and 1 as its fourth, or -1.
    """
    if bits[row] >> np.uint64(P0_BIT) & np.uint64(15) != 12 or numbers[row, P0 + 3] == 0:
        return UNPLACED
    if numbers[row, P0 + 3] < 0 or partitions == 0:
        return _UNTOLD
    return _HOME if (numbers[row, P0 + 3] - 1) % partitions == numbers[row, PARTITION] else _FORMER


@numba.njit(nogil=True, cache=True)
def compare_places(bits: Bits, numbers: Int64s, row: int, winning: int, partitions: int) -> int:
    """Compare two events of different partitions of which one at least has only the place of its key.

    bits        (n,)    uint64  bit i: column i is not null
    numbers     (n, k)  int64   number columns of a stored row
    row         scalar  int64   number of the later event
    winning     scalar  int64   number of the earlier event
    partitions  scalar  int64   how many the topic has, as far as it was asked
    Returns how the later event stands to the earlier one, or UNPLACED: both have more than a place.
    """
    for one in (row, winning):
        partitions = max(partitions, numbers[one, PARTITION] + 1)
        if bits[one] >> np.uint64(P0_BIT) & np.uint64(15) == 12:
            partitions = max(partitions, numbers[one, P0 + 2])
    mine = _place(bits, numbers, row, partitions)
    theirs = _place(bits, numbers, winning, partitions)
    if mine == UNPLACED and theirs == UNPLACED:
        return UNPLACED
    if mine != UNPLACED and theirs != UNPLACED:
        if mine == _HOME and theirs != _HOME:
            return NEWER
        if theirs == _HOME and mine != _HOME:
            return OLDER
        return NEWER_IN_DOUBT
    bare, other = (row, winning) if mine != UNPLACED else (winning, row)
    if not bits[other] >> np.uint64(P0_BIT) & np.uint64(3):
        return NEWER_IN_DOUBT
    place = mine if mine != UNPLACED else theirs
    at_home = place == _HOME and _lay_there(numbers[bare, P0 + 3] - 1, numbers[other, PARTITION], partitions)
    if at_home:
        return NEWER if bare == row else OLDER
    if place == _FORMER:
        return OLDER if bare == row else NEWER
    return OLDER_IN_DOUBT if bare == row else NEWER_IN_DOUBT


@numba.njit(nogil=True, cache=True)
def _lay_there(hashed: int, partition: int, partitions: int) -> bool:
    """Say whether a key with this hash lay in a partition when there were fewer partitions."""
    for count in range(partition + 1, partitions):  # noqa: SIM110 (a kernel)
        if hashed % count == partition:
            return True
    return False
