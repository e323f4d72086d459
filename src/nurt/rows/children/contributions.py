"""Contributions of children to their parents, as plain arrays that flow between the stages.

Hot path: no frame, no dictionary, nothing per row. A contribution is the child's whole current state and its stamp,
never a delta; a child that is `gone` is removed from the parent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numba
import numpy as np

from nurt.columnar.memory import copy_bytes
from nurt.columnar.texts import Texts, join_texts
from nurt.columnar.types import Bools, Bytes, Int64s, Words


@dataclass(frozen=True, slots=True)
class Contributions:
    """Contributions, one a row, in order.

    Attributes:
        to: ids of the parents.
        child: ids of the children.
        stamp: when the child contributed; of two contributions the larger stamp counts.
        part: what the child is to the parent: code of its entity.
        gone: the child was deleted, or left the parent; its body is then empty.
        body: the contribution: a row of ORDER_RECORDS or ACCOUNT_RECORDS, or rows of AGGREGATES, packed, without a
            version byte.
        system, entity, key: the texts behind the parent's id where the parent is an account; empty: not known.
        moved_to: id of the account that the parent became when its key changed; zeros: its key did not change.
    """

    to: Words
    child: Words
    stamp: Int64s
    part: Int64s
    gone: Bools
    body: Texts
    system: Texts
    entity: Texts
    key: Texts
    moved_to: Words

    def __len__(self) -> int:
        """Return how many contributions there are."""
        return len(self.stamp)

    def take(self, rows: Bools | Int64s) -> Contributions:
        """Choose rows, by index or mask; texts stay where they are."""
        return Contributions(
            self.to[rows],
            self.child[rows],
            self.stamp[rows],
            self.part[rows],
            self.gone[rows],
            self.body.take(rows),
            self.system.take(rows),
            self.entity.take(rows),
            self.key.take(rows),
            self.moved_to[rows],
        )

    def compact(self) -> Contributions:
        """Copy texts out of shared bodies, before the contributions cross to another worker."""
        body, system, entity, key = map(compact, (self.body, self.system, self.entity, self.key))
        return Contributions(
            self.to, self.child, self.stamp, self.part, self.gone, body, system, entity, key, self.moved_to
        )


@dataclass(frozen=True, slots=True)
class Touched:
    """Rows that other rows look up, by name only: who looks them up reads them.

    Attributes:
        use: number of the use.
        ids: of the rows.
        digests: of what is used of each of them; equal ones: nothing changed.
    """

    use: int
    ids: Words
    digests: Int64s


@dataclass(frozen=True, slots=True)
class JoinsSaid:
    """What rows of tables say to rows that are made of several (see `assemble`).

    Attributes:
        beside: by level of what is made: records of rows beside it, and touches.
        touched: by level: rows that are looked up, and came.
    """

    beside: Mapping[int, Contributions]
    touched: Mapping[int, tuple[Touched, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContributionSet:
    """Contributions on their way up.

    Attributes:
        to_orders: child records of orders.
        records: child records of accounts.
        partials: partial aggregates for accounts, from orders, invoices, interactions.
        to_references: what bears or names a token, see `model/references.py`.
        joins: what goes to rows that are made of several; None: nothing.
    """

    to_orders: Contributions
    records: Contributions
    partials: Contributions
    to_references: Contributions = field(default_factory=lambda: _NONE)
    joins: JoinsSaid | None = None

    def with_joins(self, joins: JoinsSaid | None) -> ContributionSet:
        """Return the same, but with these joins."""
        return replace(self, joins=joins)


def no_texts(rows: int) -> Texts:
    """Make texts that are all empty."""
    zeros = np.zeros(rows, dtype=np.int64)
    return Texts(zeros, zeros, np.empty(0, dtype=np.uint8))


def no_ids(rows: int) -> Words:
    """Make an array of zeros: no ids."""
    return np.zeros((rows, 2), dtype=np.uint64)


def no_contributions() -> Contributions:
    """Make an empty array of contributions."""
    zeros, none = np.zeros(0, dtype=np.int64), no_texts(0)
    return Contributions(no_ids(0), no_ids(0), zeros, zeros, zeros.astype(np.bool_), none, none, none, none, no_ids(0))


_NONE: Contributions = no_contributions()


def empty_contribution_set() -> ContributionSet:
    """Make a contribution set without rows."""
    none = no_contributions()
    return ContributionSet(none, none, none)


def join_contributions(many: Sequence[Contributions]) -> Contributions:
    """Put contributions one after another, in order."""
    many = [one for one in many if len(one)]
    if len(many) < 2:
        return many[0] if many else no_contributions()
    # the names of one stage's contributions lie in one body, which is kept once
    rows = sum(len(one) for one in many)
    names = join_texts([*(one.system for one in many), *(one.entity for one in many), *(one.key for one in many)])
    system, entity, key = (names.take(np.arange(at, at + rows)) for at in range(0, 3 * rows, rows))
    return Contributions(
        np.concatenate([one.to for one in many]),
        np.concatenate([one.child for one in many]),
        np.concatenate([one.stamp for one in many]),
        np.concatenate([one.part for one in many]),
        np.concatenate([one.gone for one in many]),
        join_texts([one.body for one in many]),
        system,
        entity,
        key,
        np.concatenate([one.moved_to for one in many]),
    )


def join_contribution_sets(many: Sequence[ContributionSet]) -> ContributionSet:
    """Put contribution sets one after another, in order."""
    if len(many) == 1:
        return many[0]
    return ContributionSet(
        join_contributions([contributions.to_orders for contributions in many]),
        join_contributions([contributions.records for contributions in many]),
        join_contributions([contributions.partials for contributions in many]),
        join_contributions([contributions.to_references for contributions in many]),
        join_joins([contributions.joins for contributions in many]),
    )


def join_joins(many: Sequence[JoinsSaid | None]) -> JoinsSaid | None:
    """Put what is said to rows that are made of several one after another, in order."""
    said = [one for one in many if one is not None]
    if len(said) < 2:
        return said[0] if said else None
    levels = sorted({level for one in said for level in one.beside})
    touched: dict[int, tuple[Touched, ...]] = {}
    for one in said:
        for level, some in one.touched.items():
            touched[level] = (*touched.get(level, ()), *some)
    return JoinsSaid(
        {level: join_contributions([one.beside[level] for one in said if level in one.beside]) for level in levels},
        touched,
    )


def compact(texts: Texts) -> Texts:
    """Copy texts into a body of their own, one after another."""
    ends = np.zeros(len(texts.starts) + 1, dtype=np.int64)
    np.cumsum(texts.stops - texts.starts, out=ends[1:])
    body = np.empty(int(ends[-1]), dtype=np.uint8)
    gather(texts.starts, texts.body, ends, body)
    return Texts(ends[:-1], ends[1:], body)


@numba.njit(nogil=True, cache=True)
def gather(starts: Int64s, body: Bytes, ends: Int64s, out: Bytes) -> None:
    """Copy texts from one body to another, one after another.

    starts  (n,)    int64  where text i begins in `body`
    body    (b,)    uint8  texts
    ends    (n+1,)  int64  text i goes to out[ends[i]:ends[i+1]]
    out     (m,)    uint8  written
    """
    for row in range(len(starts)):
        copy_bytes(out.ctypes.data + ends[row], body.ctypes.data + starts[row], ends[row + 1] - ends[row])
