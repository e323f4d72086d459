"""Rows of a table that several topics hold: a row has one instance a topic, and one of them speaks for the row.

Events are compared within their own topic. A row lives while one of its instances lives. Off the hot path: `meet` asks
once a batch whether some row has several instances, which is rare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numba
import numpy as np

from nurt.columnar.types import Bits, Bools, Int64s
from nurt.model.entity_frame import DELETE, TOPIC_BITS
from nurt.rows.layouts import HIGHEST_AT, LEFT, OP, OTHER, P0, P0_BIT, PART, ROW, TOPIC_AT
from nurt.state.row_major import RowArrays

RankOf = Callable[[int], int]
"""A topic's code without its server -> its place in the mapping's order; 0: the order does not name it."""

TOPIC_MASK = (1 << TOPIC_BITS) - 1


@dataclass(frozen=True, slots=True)
class Instances:
    """Instances of the rows of a batch.

    Attributes:
        of_row: instance of each row, stored or arriving.
        owner: owner of each instance.
        code: topic of each instance, without its server; 0: stored before topics were kept apart.
        spoke: by owner: the instance that spoke before the batch; -1: there was none.
    """

    of_row: Int64s
    owner: Int64s
    code: Int64s
    spoke: Int64s


def find_instances(kind: str, rows: RowArrays, stored: int, owners: int) -> Instances | None:
    """Find the instances of all rows; None: every row has one.

    An instance that was stored before topics were kept apart belongs to the first topic that tells of its row.

    Args:
        rows: stored rows, then events in arrival order.
        stored: how many rows are stored.
        owners: how many rows of the source there are.
    """
    place = TOPIC_AT[kind][1]
    if not _meet(rows.owner, rows.numbers, place, np.full(owners, -1, dtype=np.int64)):
        return None
    of_row = np.zeros(len(rows), dtype=np.int64)
    owner, code, following = (np.full(len(rows) + owners, -1, dtype=np.int64) for _ in range(3))
    spoke = np.full(owners, -1, dtype=np.int64)
    first = np.full(owners, -1, dtype=np.int64)
    count = _group(rows.owner, rows.numbers, place, stored, of_row, owner, code, following, first, spoke)
    return Instances(of_row, owner[:count], code[:count], spoke)


def as_rows(rows: RowArrays, instances: Instances) -> RowArrays:
    """Let every instance be a row of its own, for the fold."""
    numbers = rows.numbers.copy()
    numbers[numbers[:, PART] == OTHER, PART] = ROW
    return replace(rows, owner=instances.of_row, numbers=numbers)


@dataclass(frozen=True, slots=True)
class Speakers:
    """Result of the choice among instances, by owner.

    Attributes:
        instance: the one that speaks for the row.
        undecided: two instances live, and neither positions nor the mapping's order say which is newer.
        outlived: the row lives, though an instance in another topic was deleted later.
    """

    instance: Int64s
    undecided: Bools
    outlived: Bools


def choose(kind: str, instances: Instances, state: RowArrays, owners: int, rank_of: RankOf) -> Speakers:
    """Choose the instance that speaks for each row.

    One of a later topic in the mapping's order first, then one that lives, then the newer one by positions of one
    server. Where nothing tells, the topic decides, so that the order of arrival does not.

    Args:
        state: the newest event of each instance.
    """
    ranks = {code: rank_of(code) for code in np.unique(instances.code).tolist()}
    rank = np.array([ranks[code] for code in instances.code.tolist()], dtype=np.int64)
    speaker = np.full(owners, -1, dtype=np.int64)
    undecided, outlived = np.zeros(owners, dtype=np.bool_), np.zeros(owners, dtype=np.bool_)
    _choose(
        np.argsort(instances.code, kind="stable"), instances.owner, rank, state.bits, state.numbers,
        HIGHEST_AT[kind], TOPIC_AT[kind][1], speaker, undecided, outlived,
    )  # fmt: skip
    return Speakers(speaker, undecided, outlived)


@numba.njit(nogil=True, cache=True)
def _meet(owner: Int64s, numbers: Int64s, place: int, seen: Int64s) -> bool:
    """Say whether some owner has rows of two topics.

    owner    (n,)    int64  index of the owner
    numbers  (n, k)  int64  number columns of a stored row
    place    scalar  int64  place of the column `topic`
    seen     (o,)    int64  work space, -1 before
    """
    for row in range(len(owner)):
        part = numbers[row, PART]
        if part == LEFT:
            continue
        code = numbers[row, place] & TOPIC_MASK
        if part == OTHER or (seen[owner[row]] >= 0 and seen[owner[row]] != code):
            return True
        seen[owner[row]] = code
    return False


@numba.njit(nogil=True, cache=True)
def _group(
    rows: Int64s,
    numbers: Int64s,
    place: int,
    stored: int,
    of_row: Int64s,
    owner: Int64s,
    code: Int64s,
    following: Int64s,
    first: Int64s,
    spoke: Int64s,
) -> int:
    """Group rows by owner and topic.

    rows       (n,)    int64   index of each row's owner; stored rows first
    numbers    (n, k)  int64   number columns of a stored row
    place      scalar  int64   place of the column `topic`
    stored     scalar  int64   how many rows are stored
    of_row     (n,)    int64   written: the instance
    owner, code, following  (n + o,)  int64  written: of each instance; following: the owner's next instance, or -1
    first      (o,)    int64   work space, -1 before: the owner's first instance
    spoke      (o,)    int64   written, -1 before
    Returns how many instances there are.
    """
    count = 0
    for row in range(len(rows)):
        at = rows[row]
        part = numbers[row, PART]
        if part == LEFT:
            continue
        topic = numbers[row, place] & TOPIC_MASK
        found = -1
        nameless = -1
        one = first[at]
        while one >= 0:
            if code[one] == topic:
                found = one
            if code[one] == 0:
                nameless = one
            one = following[one]
        if found < 0 and row >= stored:
            if topic == 0:  # (the mapping named several topics once, and names one now)
                found = spoke[at] if spoke[at] >= 0 else first[at]
            elif nameless >= 0:
                found = nameless
                code[found] = topic
        if found < 0:
            found = count
            owner[found], code[found], following[found] = at, topic, first[at]
            first[at] = found
            count += 1
        of_row[row] = found
        if row < stored and part == ROW:
            spoke[at] = found
    for row in range(len(rows)):
        if numbers[row, PART] == LEFT:
            of_row[row] = first[rows[row]]
    return count


@numba.njit(nogil=True, cache=True)
def _choose(
    order: Int64s,
    owner: Int64s,
    rank: Int64s,
    bits: Bits,
    numbers: Int64s,
    h0: tuple[int, int],
    place: int,
    speaker: Int64s,
    undecided: Bools,
    outlived: Bools,
) -> None:
    """Choose one instance for each owner; see `choose`.

    order      (i,)    int64   the instances in the order in which they are compared
    owner      (i,)    int64   owner of each instance
    rank       (i,)    int64   place of each instance's topic in the mapping's order
    bits       (i,)    uint64  newest event of each instance, bit i: column i is not null
    numbers    (i, k)  int64   its number columns
    h0         (2,)    tuple   bit and place of the highest position's first part; the others follow it
    place      scalar  int64   place of the column `topic`
    speaker    (o,)    int64   written, -1 before
    undecided, outlived  (o,)  bool  written, False before
    """
    for one in order:
        at = owner[one]
        best = speaker[at]
        if best < 0:
            speaker[at] = one
            continue
        lives, lived = numbers[one, OP] != DELETE, numbers[best, OP] != DELETE
        if rank[one] != rank[best]:
            if rank[one] > rank[best]:
                speaker[at] = one
                undecided[at] = False
        elif lives != lived:
            if lives:
                speaker[at] = one
        else:
            newer = _compare_instances(bits, numbers, h0, place, one, best)
            if newer == 1:
                speaker[at] = one
                undecided[at] = False
            elif newer == _UNKNOWN and lives:
                undecided[at] = True
    for one in order:
        best = speaker[owner[one]]
        survives = numbers[one, OP] == DELETE and numbers[best, OP] != DELETE and rank[one] == rank[best]
        if survives and _compare_instances(bits, numbers, h0, place, one, best) == 1:
            outlived[owner[one]] = True


_UNKNOWN = 2


@numba.njit(nogil=True, cache=True)
def _compare_instances(bits: Bits, numbers: Int64s, h0: tuple[int, int], place: int, one: int, other: int) -> int:
    """Compare the highest positions of two instances; parameters as of `_choose`.

    Returns -1, 0 or 1; or _UNKNOWN: they are of two servers, or no part is known of both.
    """
    server = numbers[one, place] >> TOPIC_BITS
    if server == 0 or server != numbers[other, place] >> TOPIC_BITS:
        return _UNKNOWN
    found = _UNKNOWN
    for k in range(4):
        known, part = _highest(bits, numbers, h0, one, k)
        other_known, other_part = _highest(bits, numbers, h0, other, k)
        if not (known and other_known):
            continue
        if part != other_part:
            return -1 if part < other_part else 1
        if k == 0 or part != 0:  # unused parts are 0: they say nothing
            found = 0
    return found


@numba.njit(nogil=True, cache=True)
def _highest(bits: Bits, numbers: Int64s, h0: tuple[int, int], one: int, k: int) -> tuple[bool, int]:
    """Read part k of an instance's highest known position; parameters as of `_choose`."""
    if bits[one] >> np.uint64(h0[0]) & np.uint64(1) == 1:
        return bits[one] >> np.uint64(h0[0] + k) & np.uint64(1) == 1, numbers[one, h0[1] + k]
    return bits[one] >> np.uint64(P0_BIT + k) & np.uint64(1) == 1, numbers[one, P0 + k]
