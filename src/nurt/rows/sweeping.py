"""Find the rows that the operator's sweeps delete, some at a time, until the state marks a sweep as done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from nurt.columnar.text_codes import codes_of
from nurt.columnar.types import Bools
from nurt.control.counted_offsets import Place
from nurt.limits import SWEEP_ROWS_MAX, SWEEP_WRITES_MAX
from nurt.model.entities import ENTITIES
from nurt.model.keys import Keys, words_of
from nurt.model.state_write import StateWrite
from nurt.ports.store import Store
from nurt.rows.counting import counted_of, name_of_count
from nurt.rows.layouts import LEFT, PART, ROW_LAYOUTS
from nurt.rows.read_frames import Incoming, deletes_of
from nurt.rows.sweeps import Sweep, SweptTable
from nurt.state.row_major import read_values

SWEPT = "swept"
"""Kind of the marks for finished sweeps, which the shards keep beside the counted offsets."""


class Sweeping:
    """Sweeps that a worker's shards still have to do."""

    def __init__(self, sweeps: Sequence[Sweep], store: Store, keys: Keys) -> None:
        self._sweeps, self._store, self._keys = sweeps, store, keys
        self._left: Iterator[tuple[str, Incoming]] | None = None
        self._pending: list[Sweep] = []
        self._ended: int | None = None  # the epoch in which the last deletes were emitted

    def some(self, epoch: int) -> Iterator[tuple[str, Incoming]]:
        """Give the deletes of rows for this epoch, by kind."""
        if not self._sweeps:
            return
        if self._left is None:
            self._pending = self._still_pending()
            self._left = self._deletes()
        if self._ended is not None:
            if self._pending and epoch > self._ended:
                self._note()
            return
        for _ in range(SWEEP_WRITES_MAX):
            found = next(self._left, None)
            if found is None:
                self._ended = epoch
                return
            yield found

    def _still_pending(self) -> list[Sweep]:
        shards = {self._keys.shard_place(shard) for shard in range(self._keys.shards)}
        known = [counted_of(SWEPT, counted) for place, counted in self._store.counted().items() if place in shards]
        return [one for one in self._sweeps if any(_done(counted, one.table) < one.number for counted in known)]

    def _note(self) -> None:
        counted = {name_of_count(SWEPT, *_place(one.table)): one.number for one in self._pending}
        shards = {self._keys.shard_place(shard) for shard in range(self._keys.shards)}
        self._store.write(StateWrite(counted={place: counted for place in self._store.places if place in shards}))
        self._pending = []

    def _deletes(self) -> Iterator[tuple[str, Incoming]]:
        for sweep in self._pending:
            kind = sweep.table.kind
            for ids in self._store.scan(row_kind(kind)):
                for at in range(0, len(ids), SWEEP_ROWS_MAX):
                    yield kind, self._taken(sweep, ids[at : at + SWEEP_ROWS_MAX])

    def _taken(self, sweep: Sweep, ids: list[bytes]) -> Incoming:
        """Turn the stored rows that a sweep deletes into delete events at the rows' positions, tombstones included."""
        kind = sweep.table.kind
        layout = ROW_LAYOUTS[kind]
        words = words_of(ids)
        (values,) = self._store.load([self._keys.rows_of(row_kind(kind), words)])
        stored = read_values(layout, values)
        rows = deletes_of(layout, stored, words[stored.owner])
        mine = is_of(kind, rows, sweep.table.system, sweep.table.entity)
        return rows.take((stored.numbers[:, PART] != LEFT) & mine & sweep.takes(stored))


def is_of(kind: str, events: Incoming, system: str, entity: str) -> Bools:
    """Return which events belong to one table; without a system: to any."""
    if not system:
        return np.ones(len(events), dtype=np.bool_)
    layout, every = ROW_LAYOUTS[kind], np.arange(len(events))
    texts = (events.rows.text(layout.place(name), every) for name in ("system", "entity"))
    found: Bools = np.all([codes_of(*one) == 0 for one in zip(texts, ([system], [entity]), strict=True)], axis=0)
    return found


def row_kind(kind: str) -> bytes:
    """Name the key kind of an entity's rows: `r` and the entity's code, so that a table can be swept."""
    return b"r%c" % ENTITIES[kind].code


def _place(table: SweptTable) -> tuple[str, int]:
    return f"{table.kind} {table.system} {table.entity} {table.topic}", 0


def _done(counted: Mapping[Place, int], table: SweptTable) -> int:
    """Return the number of the table's last finished sweep; earlier versions noted it without the topic."""
    earlier = f"{table.kind} {table.system} {table.entity}", 0
    return max(counted.get(_place(table), 0), counted.get(earlier, 0))
