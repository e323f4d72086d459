"""Keep what a row knew when its key changed, until the row of the new key has it.

A source does not send an unchanged large value again, and the row of the new key is new: only the row of the old key
knows the value. The two rows may lie in two shards, and either may come first. So the old row's owner holds what the
row knew, and the new row's owner notes which values it is owed, each in its own place and in the write that folds the
event. At every tick an owner looks for what its rows are owed, and lets go of what the other row has. A crash loses
nothing, for both notes are state.

Source: Debezium connector documentation, "Primary key updates", "Toasted values".
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import orjson

from nurt.columnar.types import Bools, Int64s
from nurt.columnar.values import Values
from nurt.model.entities import BY_CODE, ENTITIES
from nurt.model.entity_frame import DELETE
from nurt.model.keys import Keys, words_of
from nurt.model.state_write import StateWrite
from nurt.ports.store import Store
from nurt.rows.counting import Counting
from nurt.rows.fold import RowsFolded
from nurt.rows.layouts import OP, ROW_LAYOUTS
from nurt.rows.read_frames import Incoming
from nurt.rows.sweeping import row_kind
from nurt.rows.unsaid.former_rows import filled, have_come, is_living, is_same, known_before, positions
from nurt.rows.unsaid.missing_values import names_of
from nurt.rows.unsaid.notes import HELD, OWED, Notes, Owed, Position

LOOKED_AT_MAX = 500
"""How many notes of a kind a tick looks at."""

_logger = logging.getLogger(__name__)


class HeldValues:
    """Notes of the changes of keys in a worker's shards."""

    def __init__(self, store: Store, keys: Keys, counting: Counting) -> None:
        self._store, self._keys, self._counting = store, keys, counting
        self._notes = Notes(store, keys)
        self._given: dict[bytes, tuple[int, int]] = {}  # epoch in which a row got what it was owed, bits that it lacks

    def concerns(self, kind: str, events: Incoming) -> bool:
        """Say whether events change keys, or may say what a row is owed."""
        self._notes.load()
        moved = events.rows.bits >> np.uint64(ROW_LAYOUTS[kind].column("moved_to")) & np.uint64(1)
        return bool(self._notes.owed) or events.moved_from is not None or bool(moved.any())

    def note(
        self,
        change: StateWrite,
        kind: str,
        events: Incoming,
        values: Values,
        folded: RowsFolded,
        topics: Sequence[str],
        topic_at: Int64s,
    ) -> Int64s:
        """Note what rows knew and what rows are owed; return, by owner, the bits of what is owed.

        Hot path for what is held: each change of a key holds a row. What is owed is rare.

        Args:
            change: with which the events' rows are written.
            events: with owners.
            values: of the rows before the events.
            topics: of the batch.
            topic_at: by event: which of `topics`.
        """
        waits = np.zeros(len(values), dtype=np.int64)
        leaves = folded.accepted & events.rows.has(ROW_LAYOUTS[kind].column("moved_to"), np.arange(len(events)))
        lacks: dict[int, int] = {}
        for at in np.flatnonzero(folded.accepted & self._may_be_owed(kind, events)).tolist():
            name = OWED + bytes([ENTITIES[kind].code]) + events.ids[at].tobytes()
            owed = self._notes.owed.get(name)
            if leaves[at] and owed is not None:
                lacks[at] = owed.mask
            unsaid = 0 if events.unavailable is None else int(events.unavailable[at])
            if events.rows.numbers[at, OP] == DELETE:
                unsaid = 0
            elif events.moved_from is not None and events.moved_from[at].any() and folded.missing is not None:
                mask = int(folded.missing[events.rows.owner[at]]) & unsaid
                if mask and self._notes.has_room(name[2:]):
                    (position,) = positions(kind, events.rows, np.array([at]))
                    owed = Owed(events.moved_from[at].tobytes(), mask, position, topics[topic_at[at]])
                    self._put(name, owed)
            if owed is not None and owed.mask & ~unsaid:
                owed = replace(owed, mask=owed.mask & unsaid)
                self._put(name, owed)
            if owed is not None:
                waits[events.rows.owner[at]] = owed.mask
        if leaves.any():
            self._hold(kind, events, np.flatnonzero(leaves), values, lacks)
        self._notes.write_to(change)
        return waits

    def _may_be_owed(self, kind: str, events: Incoming) -> Bools:
        """Return which events are of a row that is owed something, by now or by this batch."""
        code = bytes([ENTITIES[kind].code])
        owed = [name[2:] for name in self._notes.owed if name[1:2] == code]
        rows = [words_of(owed)[:, 0]] if owed else []
        if events.moved_from is not None and events.unavailable is not None:
            rows.append(events.ids[events.moved_from.any(axis=1) & (events.unavailable != 0), 0])
        if not any(map(len, rows)):
            return np.zeros(len(events), dtype=np.bool_)
        return np.isin(events.ids[:, 0], np.concatenate(rows))

    def _hold(self, kind: str, events: Incoming, leaving: Int64s, values: Values, lacks: dict[int, int]) -> None:
        """Hold what rows knew before the events that change their keys."""
        layout, code = ROW_LAYOUTS[kind], bytes([ENTITIES[kind].code])
        known = known_before(kind, events, leaving, values)
        at = positions(kind, events.rows, leaving)
        new = events.rows.text(layout.place("moved_to"), leaving).plain()
        for event, value, position, moved_to in zip(leaving.tolist(), known, at, new, strict=True):
            id_ = events.ids[event].tobytes()
            name = HELD + code + id_ + moved_to
            if not self._notes.has_room(id_) or (value is None and name in self._notes.held):
                continue  # (a repeat: the row is gone by now)
            encoded = orjson.dumps([position, lacks.get(event, 0)])
            self._put(name, len(encoded).to_bytes(2, "big") + encoded + (value or b""))

    def due(self, epoch: int) -> Iterator[tuple[str, Incoming | None, StateWrite]]:
        """Give rows with what they were owed, by kind, and writes that end notes.

        A note ends in a later epoch than the one in which the row has emitted what it got: no replay emits it, so a
        start does all again that is noted.
        """
        self._notes.load()
        yield from self._paid(epoch)
        yield from self._released()

    def _paid(self, epoch: int) -> Iterator[tuple[str, Incoming | None, StateWrite]]:
        some = dict(list(self._notes.owed.items())[:LOOKED_AT_MAX])
        if not some:
            return
        wanted = [HELD + name[1:2] + owed.old + name[2:] for name, owed in some.items()]
        for (name, owed), value in zip(some.items(), self._notes.read(wanted), strict=True):
            self._notes.owed[name] = self._notes.owed.pop(name)  # the next tick looks at others first
            if value is None:
                continue
            position, lacks, held = _opened(value)
            if not is_same(position, owed.position):
                continue
            kind, new = BY_CODE[name[1]].kind, name[2:]
            change = StateWrite()
            if name in self._given:
                since, unknown = self._given[name]
                if epoch > since:
                    self._end(change, kind, new, owed, unknown)
                    yield kind, None, change
                continue
            (mine,) = self._store.load([self._keys.rows_of(row_kind(kind), words_of([new]))])
            found = filled(kind, new, mine, held, owed.mask & ~lacks) if held else None
            if found is None:
                self._end(change, kind, new, owed, owed.mask if is_living(kind, mine)[0] else 0)
            else:
                self._given[name] = epoch, owed.mask & lacks
            yield kind, found, change

    def _released(self) -> Iterator[tuple[str, Incoming | None, StateWrite]]:
        """Let go of what rows of new keys have."""
        some = list(self._notes.held)[:LOOKED_AT_MAX]
        if not some:
            return
        by_kind: dict[int, list[bytes]] = {}
        for name in some:
            by_kind.setdefault(name[1], []).append(name)
            self._notes.held[name] = self._notes.held.pop(name)  # the next tick looks at others first
        rows = self._store.load(
            [
                self._keys.rows_of(row_kind(BY_CODE[code].kind), words_of([name[18:] for name in names]))
                for code, names in by_kind.items()
            ]
        )
        for (code, names), values in zip(by_kind.items(), rows, strict=True):
            # a row and what it is owed are written together: who is not owed anything after its row was read has all
            notes = self._notes.read([*(OWED + name[1:2] + name[18:] for name in names), *names])
            owed, held = notes[: len(names)], notes[len(names) :]
            changes: list[Position] = [_opened(value)[0] if value is not None else [] for value in held]
            come = have_come(BY_CODE[code].kind, values, changes)
            for name, value, is_owed, has_come in zip(names, held, owed, come, strict=True):
                if value is None or (is_owed is None and has_come):
                    self._put(name, None)
        change = StateWrite()
        self._notes.write_to(change)
        if change.put:
            yield "", None, change

    def _end(self, change: StateWrite, kind: str, new: bytes, owed: Owed, lacks: int) -> None:
        self._put(OWED + bytes([ENTITIES[kind].code]) + new, None)
        self._notes.write_to(change)
        if not lacks:
            return
        self._counting.count_missing(change, owed.topic)
        _logger.warning(
            "folding %s: row %s has no %s: a large value that its source did not send again when its key changed; "
            "set REPLICA IDENTITY FULL on the table, then update the row",
            owed.topic,
            new.hex(),
            ", ".join(names_of(kind, lacks)),
        )

    def _put(self, name: bytes, note: Owed | bytes | None) -> None:
        """Keep a note, or end it: None, or one that owes nothing."""
        self._given.pop(name, None)
        if note is None or (isinstance(note, Owed) and not note.mask):
            self._notes.end(name)
        else:
            self._notes.put(name, note)


def _opened(value: bytes) -> tuple[Position, int, bytes]:
    """Open a held note: position of the change of key, bits that the row itself lacked, the row."""
    size = int.from_bytes(value[:2], "big")
    position, lacks = orjson.loads(value[2 : 2 + size])
    return position, lacks, value[2 + size :]
