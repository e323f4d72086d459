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
from dataclasses import dataclass, replace

import numpy as np
import orjson

from nurt.columnar.types import Bools, Int64s, Words
from nurt.columnar.values import Values
from nurt.model.entities import BY_CODE, ENTITIES
from nurt.model.entity_frame import DELETE, UNAVAILABLE_PARENT_BIT
from nurt.model.keys import Keys, words_of
from nurt.model.state_write import StateWrite
from nurt.ports.store import Store
from nurt.rows.counting import Counting
from nurt.rows.fold import RowsFolded, fold_rows
from nurt.rows.layouts import OP, PARENT_COLUMNS, PART, POSITION, ROW, ROW_LAYOUTS, field_names
from nurt.rows.read_frames import Incoming
from nurt.rows.sweeping import row_kind
from nurt.rows.unsaid.missing_values import names_of
from nurt.state.row_major import RowArrays, join_rows, read_values

KIND = b"v"
HELD_MAX = 10_000
"""How many notes a shard keeps; a value beyond is missing, and counted so."""
LOOKED_AT_MAX = 500
"""How many notes of a kind a tick looks at."""

Position = list[int | None]
_HELD, _OWED = b"h", b"o"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Owed:
    """Note that a row is owed values.

    Attributes:
        old: id of the row that knows them.
        mask: bits of columns, as in `unavailable`.
        position: of the change of key.
        topic: of the row.
    """

    old: bytes
    mask: int
    position: Position
    topic: str

    def encode(self) -> bytes:
        return orjson.dumps([self.old.hex(), self.mask, self.position, self.topic])

    @classmethod
    def decode(cls, value: bytes) -> _Owed:
        old, *rest = orjson.loads(value)
        return cls(bytes.fromhex(old), *rest)


class HeldValues:
    """Notes of the changes of keys in a worker's shards."""

    def __init__(self, store: Store, keys: Keys, counting: Counting) -> None:
        self._store, self._keys, self._counting = store, keys, counting
        self._names: dict[bytes, dict[bytes, None]] | None = None  # by place: names of notes
        self._owed: dict[bytes, _Owed] = {}
        self._held: dict[bytes, None] = {}
        self._given: dict[bytes, tuple[int, int]] = {}  # epoch in which a row got what it was owed, bits that it lacks

    def concerns(self, kind: str, events: Incoming) -> bool:
        """Say whether events change keys, or may say what a row is owed."""
        self._load()
        layout = ROW_LAYOUTS[kind]
        moved = events.rows.bits >> np.uint64(layout.column("moved_to")) & np.uint64(1)
        return bool(self._owed) or events.moved_from is not None or bool(moved.any())

    def note(
        self, change: StateWrite, kind: str, events: Incoming, values: Values, folded: RowsFolded, topics: Sequence[str]
    ) -> Int64s:
        """Note what rows knew and what rows are owed; return, by owner, the bits of what is owed.

        Args:
            change: with which the events' rows are written.
            events: with owners.
            values: of the rows before the events.
            topics: by event.
        """
        layout, code, owner = ROW_LAYOUTS[kind], bytes([ENTITIES[kind].code]), events.rows.owner
        waits = np.zeros(len(values), dtype=np.int64)
        place = layout.place("moved_to")
        leaves = events.rows.has(layout.column("moved_to"), np.arange(len(events)))
        for at in np.flatnonzero(folded.accepted & self._concerned(events, leaves)).tolist():
            id_ = events.ids[at].tobytes()
            name = _OWED + code + id_
            owed = self._owed.get(name)
            if leaves[at]:
                new = events.rows.text(place, np.array([at])).plain()[0]
                self._hold(change, kind, events, at, values, _HELD + code + id_ + new, 0 if owed is None else owed.mask)
            unsaid = 0 if events.unavailable is None else int(events.unavailable[at])
            if events.rows.numbers[at, OP] == DELETE:
                unsaid = 0
            elif events.moved_from is not None and events.moved_from[at] is not None and folded.missing is not None:
                mask = int(folded.missing[owner[at]]) & unsaid
                if mask and self._has_room(id_):
                    owed = _Owed(events.moved_from[at], mask, _position(kind, events.rows, at), topics[at])
                    self._put(change, id_, name, owed)
            if owed is not None and owed.mask & ~unsaid:
                owed = replace(owed, mask=owed.mask & unsaid)
                self._put(change, id_, name, owed if owed.mask else None)
            if owed is not None:
                waits[owner[at]] = owed.mask
        return waits

    def _concerned(self, events: Incoming, leaves: Bools) -> Bools:
        """Return which events may change a key, or be of a row that is owed something, by now or by this batch."""
        rows = [words_of([name[2:] for name in self._owed])[:, 0]] if self._owed else []
        if events.moved_from is not None:
            moved = np.array([one is not None for one in events.moved_from], dtype=np.bool_)
            rows.append(events.ids[moved, 0])
        return leaves | np.isin(events.ids[:, 0], np.concatenate(rows)) if rows else leaves

    def _hold(
        self, change: StateWrite, kind: str, events: Incoming, at: int, values: Values, name: bytes, lacks: int
    ) -> None:
        """Hold what a row knew before the event that changes its key."""
        if not self._has_room(name[2:18]):
            return
        owner = int(events.rows.owner[at])
        earlier = np.flatnonzero(events.rows.owner[:at] == owner)
        known = values.one(owner)
        before = Values.of([known])
        if len(earlier):
            some = events.take(earlier)
            known = fold_rows(kind, some.of(np.zeros(len(some), dtype=np.int64)), before).values().plain()[0] or known
        if known is None or _row_of(kind, known) is None:
            if name in self._held:
                return  # a repeat: the row is gone by now
            known = b""
        position = orjson.dumps([_position(kind, events.rows, at), lacks])
        self._put(change, name[2:18], name, len(position).to_bytes(2, "big") + position + known)

    def due(self, epoch: int) -> Iterator[tuple[str, Incoming | None, StateWrite]]:
        """Give rows with what they were owed, by kind, and writes that end notes.

        A note ends in a later epoch than the one in which the row has emitted what it got: no replay emits it, so a
        start does all again that is noted.
        """
        self._load()
        yield from self._paid(epoch)
        yield from self._released()

    def _paid(self, epoch: int) -> Iterator[tuple[str, Incoming | None, StateWrite]]:
        some = dict(list(self._owed.items())[:LOOKED_AT_MAX])
        if not some:
            return
        wanted = [self._key(owed.old, _HELD + name[1:2] + owed.old + name[2:]) for name, owed in some.items()]
        for (name, owed), value in zip(some.items(), self._store.read(wanted), strict=True):
            self._owed[name] = self._owed.pop(name)  # the next tick looks at others first
            if value is None:
                continue
            size = int.from_bytes(value[:2], "big")
            position, lacks = orjson.loads(value[2 : 2 + size])
            if not _same(position, owed.position):
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
            held = value[2 + size :]
            found = _filled(kind, new, mine, held, owed.mask & ~lacks) if held else None
            if found is None:
                self._end(change, kind, new, owed, owed.mask if _row_of(kind, mine.plain()[0]) is not None else 0)
            else:
                self._given[name] = epoch, owed.mask & lacks
            yield kind, found, change

    def _released(self) -> Iterator[tuple[str, Incoming | None, StateWrite]]:
        """Let go of what rows of new keys have."""
        some = list(self._held)[:LOOKED_AT_MAX]
        if not some:
            return
        blocks = [self._keys.rows_of(row_kind(BY_CODE[name[1]].kind), words_of([name[18:]])) for name in some]
        rows = [values.plain()[0] for values in self._store.load(blocks)]
        # a row and what it is owed are written together: who is not owed anything after its row was read has all
        owed = self._store.read([self._key(name[18:], _OWED + name[1:2] + name[18:]) for name in some])
        held = self._store.read([self._key(name[2:18], name) for name in some])
        change = StateWrite()
        for name, row, is_owed, value in zip(some, rows, owed, held, strict=True):
            self._held[name] = self._held.pop(name)
            if value is None or (is_owed is None and row is not None and _has_come(BY_CODE[name[1]].kind, row, value)):
                self._put(change, name[2:18], name, None)
        if change.put:
            yield "", None, change

    def _end(self, change: StateWrite, kind: str, new: bytes, owed: _Owed, lacks: int) -> None:
        name = _OWED + bytes([ENTITIES[kind].code]) + new
        self._put(change, new, name, None)
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

    # --- notes in state ----------------------------------------------------------------------------

    def _load(self) -> None:
        if self._names is not None:
            return
        shards = {self._keys.shard_place(shard) for shard in range(self._keys.shards)}
        places = [place for place in self._store.places if place in shards]
        self._names = {place: {} for place in places}
        for place, value in zip(places, self._store.read([place + KIND for place in places]), strict=True):
            names = _cut(value or b"")
            self._names[place] = dict.fromkeys(names)
            self._held.update(dict.fromkeys(name for name in names if name[:1] == _HELD))
            waiting = [name for name in names if name[:1] == _OWED]
            for name, note in zip(waiting, self._store.read([place + KIND + one for one in waiting]), strict=True):
                if note is not None:
                    self._owed[name] = _Owed.decode(note)

    def _key(self, of: bytes, name: bytes) -> bytes:
        return self._keys.place_of(of) + KIND + name

    def _has_room(self, of: bytes) -> bool:
        assert self._names is not None, "`concerns` has loaded them"
        return len(self._names[self._keys.place_of(of)]) < HELD_MAX

    def _put(self, change: StateWrite, of: bytes, name: bytes, note: _Owed | bytes | None) -> None:
        assert self._names is not None, "`concerns` has loaded them"
        place = self._keys.place_of(of)
        mine, key = self._names[place], place + KIND + name
        known = self._held if name[:1] == _HELD else self._owed
        self._given.pop(name, None)
        if note is None:
            mine.pop(name, None)
            known.pop(name, None)
            change.put.pop(key, None)
            change.drop.append(key)
        else:
            mine[name] = None
            if isinstance(note, _Owed):
                self._owed[name] = note
            else:
                self._held[name] = None
            change.put[key] = note.encode() if isinstance(note, _Owed) else note
            change.drop = [other for other in change.drop if other != key]
        change.put[place + KIND] = b"".join(len(one).to_bytes(1, "big") + one for one in mine)


def _cut(names: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(names):
        found.append(names[at + 1 : at + 1 + names[at]])
        at += 1 + names[at]
    return found


def _position(kind: str, rows: RowArrays, at: int) -> Position:
    layout, one = ROW_LAYOUTS[kind], np.array([at])
    return [
        int(rows.numbers[at, layout.place(part)]) if rows.has(layout.column(part), one)[0] else None
        for part in POSITION
    ]


def _same(position: Position, other: Position) -> bool:
    """Say whether positions are those of one change, as far as both are known."""
    return all(a is None or b is None or a == b for a, b in zip(position, other, strict=True))


def _row_of(kind: str, value: bytes | None) -> tuple[RowArrays, int] | None:
    """Find the row itself in a stored value, if it lives."""
    rows = read_values(ROW_LAYOUTS[kind], Values.of([value]))
    found = np.flatnonzero(rows.numbers[:, PART] == ROW)
    return (rows, int(found[0])) if len(found) and rows.numbers[found[0], OP] != DELETE else None


def _has_come(kind: str, value: bytes, held: bytes) -> bool:
    """Say whether a row has the change of key that brought it, or a later one."""
    rows = read_values(ROW_LAYOUTS[kind], Values.of([value]))
    at = np.flatnonzero(rows.numbers[:, PART] == ROW)
    position, _ = orjson.loads(held[2 : 2 + int.from_bytes(held[:2], "big")])
    if not len(at):
        return False
    for mine, other in zip(_position(kind, rows, int(at[0])), position, strict=True):
        if mine is None or other is None:
            break
        if mine != other:
            return bool(mine > other)
    return bool(rows.numbers[at[0], OP] != DELETE)


def _filled(kind: str, new: bytes, mine: Values, held: bytes, mask: int) -> Incoming | None:
    """Make the event that gives a row what it was owed, at the row's own position; None: the row is gone."""
    own, source = _row_of(kind, mine.plain()[0]), _row_of(kind, held)
    if own is None or source is None:
        return None
    layout, rows = ROW_LAYOUTS[kind], join_rows(own[0], source[0])
    state, taken = rows.take(np.array([own[1]])), len(own[0]) + source[1]
    groups = [(bit, [name]) for bit, name in enumerate(field_names(kind))]
    for bit, names in [*groups, (UNAVAILABLE_PARENT_BIT, list(PARENT_COLUMNS))]:
        if not mask >> bit & 1:
            continue
        for name in names:
            column, place = layout.column(name), layout.place(name)
            state.bits[:] = state.bits & ~np.uint64(1 << column) | rows.bits[taken] & np.uint64(1 << column)
            if layout.is_text[column]:
                state.starts[:, place], state.stops[:, place] = rows.starts[taken, place], rows.stops[taken, place]
            else:
                state.numbers[:, place] = rows.numbers[taken, place]
    ids: Words = words_of([new])
    return Incoming(replace(state, owner=np.zeros(1, dtype=np.int64)), ids, None)
