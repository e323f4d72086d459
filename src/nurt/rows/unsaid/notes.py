"""Notes that a worker keeps in its shards' state: what rows of former keys knew, and what rows are owed.

A note is a key of its own. Every place lists the names of its notes, so that a start finds them.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from nurt.model.keys import Keys
from nurt.model.state_write import StateWrite
from nurt.ports.store import Store

KIND = b"v"
HELD_MAX = 10_000
"""How many notes a shard keeps; a value beyond is missing, and counted so."""

HELD, OWED = b"h", b"o"
"""First byte of a note's name; then the code of its kind. Held: id of the old row, id of the new one. Owed: id."""

Position = list[int | None]


@dataclass(frozen=True, slots=True)
class Owed:
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
        """Encode the note for the state."""
        return orjson.dumps([self.old.hex(), self.mask, self.position, self.topic])

    @classmethod
    def decode(cls, value: bytes) -> Owed:
        """Decode a stored note."""
        old, *rest = orjson.loads(value)
        return cls(bytes.fromhex(old), *rest)


class Notes:
    """Notes of a worker's shards, by name. Changes are written by `write_to`.

    Attributes:
        owed: notes of what rows are owed.
        held: names of the notes of what rows knew; their values stay in the state.
    """

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store, self._keys = store, keys
        self._names: dict[bytes, dict[bytes, None]] | None = None  # by place: names of notes
        self._changed: dict[bytes, bytes | None] = {}  # by key: a note; None: it ended
        self.owed: dict[bytes, Owed] = {}
        self.held: dict[bytes, None] = {}

    def load(self) -> None:
        """Read all notes' names once."""
        if self._names is not None:
            return
        shards = {self._keys.shard_place(shard) for shard in range(self._keys.shards)}
        places = [place for place in self._store.places if place in shards]
        self._names = {place: {} for place in places}
        for place, value in zip(places, self._store.read([place + KIND for place in places]), strict=True):
            names = _cut(value or b"")
            self._names[place] = dict.fromkeys(names)
            self.held.update(dict.fromkeys(name for name in names if name[:1] == HELD))
            waiting = [name for name in names if name[:1] == OWED]
            for name, note in zip(waiting, self._store.read([place + KIND + one for one in waiting]), strict=True):
                if note is not None:
                    self.owed[name] = Owed.decode(note)

    def read(self, names: list[bytes]) -> list[bytes | None]:
        """Read notes."""
        return self._store.read([self._place(name) + KIND + name for name in names])

    def has_room(self, row: bytes) -> bool:
        """Say whether the shard of a row keeps one note more."""
        return len(self._listed[self._keys.place_of(row)]) < HELD_MAX

    def put(self, name: bytes, note: Owed | bytes) -> None:
        """Keep a note."""
        place = self._place(name)
        self._listed[place][name] = None
        if isinstance(note, Owed):
            self.owed[name] = note
        else:
            self.held[name] = None
        self._changed[place + KIND + name] = note.encode() if isinstance(note, Owed) else note
        self._changed[place + KIND] = b""

    def end(self, name: bytes) -> None:
        """End a note."""
        place = self._place(name)
        self._listed[place].pop(name, None)
        self.owed.pop(name, None)
        self.held.pop(name, None)
        self._changed[place + KIND + name] = None
        self._changed[place + KIND] = b""

    def write_to(self, change: StateWrite) -> None:
        """Add what changed to a write."""
        for place, names in self._listed.items():
            if place + KIND in self._changed:
                self._changed[place + KIND] = b"".join(len(one).to_bytes(1, "big") + one for one in names)
        change.store(list(self._changed), list(self._changed.values()))
        self._changed = {}

    def _place(self, name: bytes) -> bytes:
        return self._keys.place_of(name[2:18])

    @property
    def _listed(self) -> dict[bytes, dict[bytes, None]]:
        assert self._names is not None, "`load` comes first"
        return self._names


def _cut(names: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(names):
        found.append(names[at + 1 : at + 1 + names[at]])
        at += 1 + names[at]
    return found
