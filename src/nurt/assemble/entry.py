"""An entry whose rows are made of several, ready to make them; and what its rows note of themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nurt.assemble.beside import BesideUse
from nurt.assemble.dependents import add_dependents
from nurt.assemble.evaluate import MadeRows, Maker, Rows
from nurt.assemble.look_up import LookUps, Sought
from nurt.assemble.slots import ASSEMBLY, ASSEMBLY_LAYOUT, OWN_PART, bare_records
from nurt.columnar.distinct import distinct
from nurt.columnar.ids import Ids
from nurt.columnar.types import Bools, Int64s, Words
from nurt.columnar.values import Values
from nurt.mapping.joins.plan import Assembled
from nurt.model.entities import FieldType
from nurt.model.keys import Keys
from nurt.model.state_write import StateWrite
from nurt.ports.store import Store
from nurt.rows.children.contributions import join_contributions
from nurt.rows.children.records import RecordsFolded, fold_records
from nurt.rows.layouts import ROW_LAYOUTS
from nurt.rows.sweeping import row_kind
from nurt.state.row_major import RowArrays

WAITING = "waiting"
"""Outcome of what lacks something: `<rows> of <what they lack>`."""

_PART, _CHILD = ASSEMBLY_LAYOUT.place("part"), ASSEMBLY_LAYOUT.place("child")
_UNMADE, _LONELY = ASSEMBLY_LAYOUT.place("n0"), ASSEMBLY_LAYOUT.place("n1")


@dataclass(frozen=True, slots=True)
class Made:
    """Rows that were made, and what they looked up."""

    rows: MadeRows
    sought: Sequence[Sought]

    def lonely(self) -> Int64s:
        """Return, by row, bits of the uses by which it looks up a row that is not there."""
        bits = np.zeros(len(self.rows.unmade), dtype=np.int64)
        for place, one in enumerate(self.sought):
            bits |= np.where(one.has & ~one.found, np.int64(1) << np.int64(place), 0)
        return bits


class Entry:
    """An entry of a level, ready to make rows."""

    def __init__(self, entry: Assembled, zones: Mapping[str, str], ids: Ids) -> None:
        self.of, self.kind = entry, entry.kind
        self.base_kind, self.said_kind = row_kind(entry.base.kind), row_kind(entry.kind)
        self._maker = Maker(entry, zones, ids)
        self._beside = [BesideUse.of(use) for use in entry.uses if use.on]
        self.look_ups = LookUps(entry.uses, ids)

    def make(
        self,
        base: RowArrays,
        base_at: Int64s,
        records: RowArrays,
        owners: Int64s,
        count: int,
        store: Store,
        keys: Keys,
    ) -> Made:
        """Make the rows of some owners.

        Args:
            base: base rows; `base_at` are those of the owners.
            records: what other rows say to all owners, of whom there are `count`.
        """
        mine = Rows(ROW_LAYOUTS[self.of.base.kind], base, base_at)
        others: dict[str, Rows] = {}
        types: dict[str, tuple[str, FieldType]] = {}
        for one in self._beside:
            others |= one.chosen(records, owners, count)
            types |= one.columns
        frame = self._maker.frame(mine, others, types)
        if not self.look_ups.uses:
            return Made(self._maker.make(mine, frame), ())
        targets = [self._maker.targets(use, frame) for use in self.look_ups.uses]
        sought, looked_up = self.look_ups.seek(store, keys, targets)
        frame = self._maker.more(frame, looked_up, self.look_ups.types)
        return Made(self._maker.make(mine, frame), sought)


def with_own_records(
    entry: Entry,
    slots: RecordsFolded,
    records: RowArrays,
    made: Made,
    owners: Int64s,
    ids: Words,
    stamp: int,
    change: StateWrite,
    store: Store,
    keys: Keys,
) -> tuple[Values, Bools]:
    """Keep, beside the slots, what a row lacks and what it looked up; both change rarely."""
    of, said = [], []
    unmade, lonely = (np.zeros(len(ids), dtype=np.int64) for _ in range(2))
    own = np.flatnonzero(records.numbers[:, _PART] == OWN_PART)
    unmade[records.owner[own]], lonely[records.owner[own]] = (
        records.numbers[own, _UNMADE],
        records.numbers[own, _LONELY],
    )
    now = unmade.copy(), lonely.copy()
    now[0][owners], now[1][owners] = made.rows.unmade, made.lonely()
    some = np.flatnonzero((now[0] != unmade) | (now[1] != lonely))
    if len(some):
        _count(
            change,
            f"{entry.of.name} of values that fit",
            int(np.count_nonzero(now[0][some]) - np.count_nonzero(unmade[some])),
        )
        for place, use in enumerate(entry.look_ups.uses):
            after, before = (int((bits[some] >> np.int64(place) & 1).sum()) for bits in (now[1], lonely))
            _count(change, f"{entry.of.name} of {use.tables[0].name}", after - before)
        numbers = now[0][some], now[1][some]
        gone = (numbers[0] == 0) & (numbers[1] == 0)
        part = np.full(len(some), OWN_PART, dtype=np.int64)
        of.append(some)
        said.append(bare_records(ids[some], ids[some], part, gone, stamp, numbers))
    for one in made.sought:
        new = _unknown(records, one, owners)
        if len(new):
            who = owners[one.has][new]
            add_dependents(store, keys, change, one.use.number, ids[who], one.targets[new], one.digests[new])
            nothing = np.zeros(len(who), dtype=np.int64)
            of.append(who)
            said.append(
                bare_records(
                    ids[who], one.targets[new], np.full(len(who), one.part, dtype=np.int64),
                    np.zeros(len(who), dtype=np.bool_), stamp, (nothing, nothing),
                )
            )  # fmt: skip
    if not of:
        return slots.values, slots.changed
    folded = fold_records(ASSEMBLY, slots.values, np.concatenate(of), join_contributions(said))
    return folded.values, slots.changed | folded.changed


def _unknown(records: RowArrays, sought: Sought, owners: Int64s) -> Int64s:
    """Return which rows look up a row for the first time, by place among those that look up one."""
    at = np.flatnonzero(records.numbers[:, _PART] == sought.part)
    known = np.column_stack((records.owner[at].astype(np.uint64), records.ids(_CHILD, at)))
    asked = np.column_stack((owners[sought.has].astype(np.uint64), sought.targets))
    codes, _ = distinct(np.concatenate((known, asked)))
    return np.flatnonzero(~np.isin(codes[len(at) :], codes[: len(at)]))


def _count(change: StateWrite, reason: str, more: int) -> None:
    if more:
        name = ("", WAITING, reason)
        change.counts[name] = change.counts.get(name, 0) + more
