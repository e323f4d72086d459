"""A stage that makes rows of several rows: one level of a mapping's joins.

Hot path. A micro-batch costs one read and one write, and one read more where rows look up others. What is made is a
function of the base row, of the rows beside it and of those that it looks up, as they are stored; it is said again
whatever arrives, because a replay must say again what a crash lost.

Rows that look up a row hear of its change by name, and read it. They may be many: a portion at a time is made again,
and what waits is owed, in the write that notes the change. A portion stays owed until its epoch is behind the horizon.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic

import numpy as np

from nurt.assemble.dependents import DONE, OWED, Chunk, hear, read_chunks
from nurt.assemble.emitter import TOUCH, JoinEmitter, T, touches
from nurt.assemble.entry import Entry, with_own_records
from nurt.assemble.said import differing, fold_said
from nurt.assemble.slots import ASSEMBLY, ASSEMBLY_LAYOUT, TABLES_MAX
from nurt.columnar.distinct import distinct
from nurt.columnar.ids import Ids
from nurt.columnar.types import Int64s, KeyRows, Words
from nurt.columnar.values import Values
from nurt.limits import DEPENDENTS_A_CHUNK, FAN_OUT_ROWS
from nurt.mapping.joins.plan import Joins
from nurt.model.entity_frame import DELETE
from nurt.model.fence import pending_score
from nurt.model.keys import Keys
from nurt.model.state_write import StateWrite
from nurt.ports.store import Store
from nurt.rows.children.contributions import Contributions, Touched, join_contributions
from nurt.rows.children.records import fold_records
from nurt.rows.layouts import OP, PART, ROW, ROW_LAYOUTS
from nurt.rows.read_frames import read_columns
from nurt.state.row_major import read_values

SLOTS = b"j"
"""Kind of the keys under which a row's other rows stand."""


class AssembleStage(Generic[T]):
    """The stage that owns the rows of one level, of a worker's shards.

    Args:
        level: from 1.
        zones: time zone of each system.
        epoch: returns the epoch.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        emitter: JoinEmitter[T],
        joins: Joins,
        level: int,
        zones: Mapping[str, str],
        ids: Ids,
        epoch: Callable[[], int],
    ) -> None:
        self._store, self._keys, self._emitter, self._epoch = store, keys, emitter, epoch
        entries = joins.levels[level - 1]
        self._entries = [Entry(one, zones, ids) for one in entries]
        self._of_use = {use.number: place for place, entry in enumerate(entries) for use in entry.uses}
        self._shards = [shard for shard in range(keys.shards) if keys.shard_place(shard) in {*store.places}]
        self._owed: dict[Chunk, None] = {}
        self._resumed = False

    @property
    def owes(self) -> bool:
        """Return whether rows wait to be made again."""
        return bool(self._owed)

    def resume(self, members: Sequence[bytes]) -> None:
        """Take over, once, what earlier runs owe: first what they did not make, then what they may not have said."""
        if self._resumed:
            return
        self._resumed = True
        for mark in (OWED, DONE):
            chunks = (Chunk.of_member(member) for member in members if member.startswith(mark))
            self._owed.update(dict.fromkeys(chunk for chunk in chunks if chunk.use in self._of_use))

    def hear(self, touched: Sequence[Touched]) -> None:
        """Note that rows have changed which others look up; who looks them up is owed from now on."""
        change, score = StateWrite(), pending_score(self._store.run, self._epoch())
        chunks = [one for some in touched for one in hear(self._store, self._keys, self._shards, change, score, some)]
        if chunks:
            self._store.write(change)
            self._owed.update(dict.fromkeys(chunks))

    def portion(self) -> T:
        """Make some rows again that are owed."""
        some = list(self._owed)[: max(1, FAN_OUT_ROWS // DEPENDENTS_A_CHUNK)]
        for chunk in some:
            del self._owed[chunk]
        change, score = StateWrite(), pending_score(self._store.run, self._epoch())
        for chunk in some:
            owed = change.pending.setdefault(self._keys.shard_place(chunk.shard), {})
            owed.update({chunk.member(OWED): 0, chunk.member(DONE): score})
        stamp = self._store.next_stamp()
        said = [
            touches(ids, TOUCH + self._of_use[chunk.use], stamp)
            for chunk, ids in zip(some, read_chunks(self._store, self._keys, some), strict=True)
            if len(ids)
        ]
        return self._fold(join_contributions(said), change)

    def fold(self, said: Contributions) -> T:
        """Fold what rows say to rows of this level, in order, and emit what is made of them."""
        return self._fold(said, StateWrite())

    def _fold(self, said: Contributions, change: StateWrite) -> T:
        entry_of = self._entries_of(said.part)
        work = [
            (entry, said.take(entry_of == place))
            for place, entry in enumerate(self._entries)
            if (entry_of == place).any()
        ]
        owners: list[tuple[Int64s, Words]] = []
        blocks: list[KeyRows] = []
        for entry, some in work:
            owner, firsts = distinct(some.to)
            ids = some.to[firsts]
            owners.append((owner, ids))
            blocks += [self._keys.rows_of(kind, ids) for kind in (SLOTS, entry.base_kind, entry.said_kind)]
        values = self._store.load(blocks) if blocks else []
        stamp = self._store.next_stamp()
        out: list[T] = []
        for at, ((entry, some), (owner, ids)) in enumerate(zip(work, owners, strict=True)):
            place = slice(3 * at, 3 * at + 3)
            out += self._made(entry, some, owner, ids, blocks[place], values[place], change, stamp)
        self._store.write(change)
        return self._emitter.join(out)

    def _entries_of(self, part: Int64s) -> Int64s:
        """Return, by contribution, which entry it concerns."""
        parts, codes = np.unique(part, return_inverse=True)
        places = [one - TOUCH if one >= TOUCH else self._of_use.get(one // TABLES_MAX, -1) for one in parts.tolist()]
        found: Int64s = np.array(places, dtype=np.int64)[codes]
        return found

    def _made(
        self,
        entry: Entry,
        said: Contributions,
        owner: Int64s,
        ids: Words,
        keys: Sequence[KeyRows],
        stored: Sequence[Values],
        change: StateWrite,
        stamp: int,
    ) -> list[T]:
        """Fold slots, make the rows again, and note what is to be written."""
        slots = fold_records(ASSEMBLY, stored[0], owner, said)
        base = read_values(ROW_LAYOUTS[entry.of.base.kind], stored[1])
        base_at = np.full(len(ids), -1, dtype=np.int64)
        speaking = np.flatnonzero(base.numbers[:, PART] == ROW)
        base_at[base.owner[speaking]] = speaking
        owners = np.flatnonzero(base_at >= 0)
        if not len(owners):
            change.keep(keys[0], slots.values, slots.changed)
            return []
        records = read_values(ASSEMBLY_LAYOUT, slots.values)
        made = entry.make(base, base_at[owners], records, owners, len(ids), self._store, self._keys)
        values, changed = with_own_records(
            entry, slots, records, made, owners, ids, stamp, change, self._store, self._keys
        )
        change.keep(keys[0], values, changed)
        frame = self._emitter.prepare(entry.kind, made.rows.frame).drop("unavailable")
        rows = read_columns(ROW_LAYOUTS[entry.kind], [frame])
        np.minimum(rows.numbers[:, OP], DELETE, out=rows.numbers[:, OP])
        rows.bits[:] |= np.uint64(1 << ROW_LAYOUTS[entry.kind].column("part"))
        before = stored[2]
        # a row that was never said, and is none, has nothing to say
        speaks = before.there[owners] | (rows.numbers[:, OP] != DELETE)
        speaks |= rows.has(ROW_LAYOUTS[entry.kind].column("moved_to"), np.arange(len(rows)))
        if not speaks.any():
            return []
        owners, rows = owners[speaks], rows.take(speaks)
        rows.owner[:] = np.arange(len(rows))
        mine = before if len(owners) == len(before) else _some(before, owners)
        folded = fold_said(entry.kind, mine, rows, self._emitter.tokens)
        new = folded.values()
        change.keep(keys[2][owners], new, differing(new, mine))
        return [self._emitter.emit(entry.kind, folded, ids[owners], stamp)]


def _some(values: Values, rows: Int64s) -> Values:
    """Copy some values out of many."""
    known = values.plain()
    return Values.of([known[row] for row in rows.tolist()])
