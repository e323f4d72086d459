"""Follow the rows of one table through a load: which rows exist, with which key, and which change wrote each last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

CREATE, UPDATE, DELETE, REKEY = range(4)
KEYS_APART = 1_000_000_000
"""Distance between the keys of a row: the first is its number, each re-key adds this."""


@dataclass(frozen=True, slots=True)
class Writes:
    """Writes of rows at moments; a column's values are a function of these, one value each.

    Attributes:
        rows: number of the row; it stays the same when the key changes.
        keys: the row's primary key.
        numbers: place of the change in the whole load; -1: the row did not exist.
        steps: how many changes of the row came before.
        first: place of the row's first change.
    """

    rows: Ints
    keys: Ints
    numbers: Ints
    steps: Ints
    first: Ints


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of one table's rows in the order of the load; each column holds one value a change.

    Attributes:
        ops: CREATE, UPDATE, DELETE or REKEY.
        after: the row as the change writes it; no meaning for a deletion.
        before: the row as the change before wrote it; no meaning for a creation.
    """

    ops: Ints
    after: Writes
    before: Writes

    def envelopes(self) -> Envelopes:
        """Make envelopes like Debezium: a re-key deletes the old key and creates the new one, at one position."""
        halves = np.where(self.ops == REKEY, 2, 1)
        which = np.repeat(np.arange(len(self.ops)), halves)
        second = np.r_[False, which[1:] == which[:-1]]
        ops = self.ops[which]
        rekeyed = ops == REKEY
        ops = np.where(rekeyed, np.where(second, CREATE, DELETE), ops)
        return Envelopes(ops, rekeyed, _at(self.after, which), _at(self.before, which))


@dataclass(frozen=True, slots=True)
class Envelopes:
    """Envelopes of changes; `ops` are CREATE, UPDATE and DELETE, `rekeyed` marks the halves of a re-key."""

    ops: Ints
    rekeyed: Bools
    after: Writes
    before: Writes

    def keys(self) -> Ints:
        """Return the key of each message: a deletion has the key of the deleted row."""
        return np.where(self.ops == DELETE, self.before.keys, self.after.keys)

    def other_keys(self) -> Ints:
        """Return the row's key in the other half of a re-key."""
        return np.where(self.ops == DELETE, self.after.keys, self.before.keys)


class BulkRows:
    """Rows of one table, numbered from 0; at first none exists."""

    def __init__(self, capacity: int) -> None:
        """Make room for row numbers below `capacity`."""
        self._there = np.zeros(capacity, dtype=np.bool_)
        self._steps = np.zeros(capacity, dtype=np.int32)
        self._renames = np.zeros(capacity, dtype=np.int32)
        self._first = np.full(capacity, -1, dtype=np.int64)
        self._last = np.full(capacity, -1, dtype=np.int64)

    def change(self, numbers: Ints, rows: Ints, deletes: Bools | None = None, rekeys: Bools | None = None) -> Changes:
        """Change rows in this order: a missing row is created, else it is deleted or re-keyed as asked, else updated.

        The second of two successive deletions of a row creates it.
        """
        none = np.zeros(len(rows), dtype=np.bool_)
        order = np.argsort(rows, kind="stable")
        row, number = rows[order], numbers[order]
        begins = np.r_[True, row[1:] != row[:-1]]
        starts = np.flatnonzero(begins)
        counts = np.diff(np.r_[starts, len(row)])
        ends = starts + counts - 1

        deleted = (none if deletes is None else deletes)[order]
        deleted = deleted & np.where(begins, self._there[row], ~np.roll(deleted, 1))
        there = np.where(begins, self._there[row], ~np.roll(deleted, 1))
        rekeyed = (none if rekeys is None else rekeys)[order] & there & ~deleted
        ops = np.where(there, np.where(deleted, DELETE, np.where(rekeyed, REKEY, UPDATE)), CREATE)

        steps = self._steps[row] + np.arange(len(row)) - np.repeat(starts, counts)
        so_far = np.cumsum(rekeyed)
        renames = self._renames[row] + so_far - np.repeat(so_far[starts] - rekeyed[starts], counts)
        known = self._first[row[starts]]
        first = np.where(known < 0, number[starts], known)
        last = np.where(begins, self._last[row], np.roll(number, 1))

        last_of = row[ends]
        self._there[last_of] = ~deleted[ends]
        self._steps[last_of] = steps[ends] + 1
        self._renames[last_of] = renames[ends]
        self._first[last_of] = first
        self._last[last_of] = number[ends]

        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        firsts = np.repeat(first, counts)
        keys, old_keys = row + renames * KEYS_APART, row + (renames - rekeyed) * KEYS_APART
        after = Writes(row, keys, number, steps, firsts)
        return Changes(ops[back], _at(after, back), _at(Writes(row, old_keys, last, steps - 1, firsts), back))


def follow(rng: np.random.Generator, rows: Ints, chosen: Bools, reach: int = 1000) -> Ints:
    """Move the chosen changes to rows of up to `reach` changes before, so that these rows exist."""
    places = np.arange(len(rows))
    back = np.minimum(places, rng.integers(1, reach + 1, len(rows)))
    return np.where(chosen, rows[places - back], rows)


def _at(writes: Writes, which: Ints) -> Writes:
    columns = (writes.rows, writes.keys, writes.numbers, writes.steps, writes.first)
    return Writes(*(column[which] for column in columns))
