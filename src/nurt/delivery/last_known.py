"""What a receiver is believed to hold of one profile.

A field has a *mark*, a keyed hash of the value that the receiver said yes to. Before a call the marks of what it
sends are taken away and its key is listed: what may or may not have arrived is never believed. So a crash between the
call and the note of it repeats the call, and a row that was made just before a crash is known when it must be erased.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import orjson

from nurt.model.delivery import PROFILES, Fate, Fields, Life, Op, Verdict, Write

LAYOUT = 1
MARK_BYTES = 6
MARKS_KNOWN = 65_536
"""So many values are marked once only: those of a batch, and those that many profiles share."""


@dataclass(frozen=True, slots=True)
class Held:
    """One row at the receiver.

    Attributes:
        marks: of the fields that it is known to hold.
        refused: mark of the whole row that it refused last; the same one is not sent again.
    """

    object: str
    key: str
    marks: Mapping[str, str] = field(default_factory=dict)
    receiver_id: str | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """All rows of a profile, and which message they follow from.

    Attributes:
        place: (partition, offset) of that message; for tombstones, which carry no revision.
        generation: of the back-fill that sent it; marks of an earlier one are not believed.
        of: profiles, or orders.
        accounts: of a profile those that it has claimed, of an order the one that it is listed under.
        heads: by object, the row of a profile that its orders name.
        owing: its orders may not have been told yet.
    """

    revision: int = -1
    place: tuple[int, int] = (-1, -1)
    generation: int = 0
    life: Life = Life.LIVE
    held: tuple[Held, ...] = ()
    of: str = PROFILES
    accounts: tuple[str, ...] = ()
    heads: Mapping[str, str] = field(default_factory=dict)
    owing: bool = False

    def find(self, object_: str, key: str) -> Held | None:
        """Find a row."""
        return next((one for one in self.held if one.object == object_ and one.key == key), None)

    def first(self, object_: str) -> Held | None:
        """Find the row of an object, where there is one."""
        return next((one for one in self.held if one.object == object_), None)

    def with_held(self, held: Held) -> Record:
        """Put a row in place of the one with its key."""
        rest = tuple(one for one in self.held if (one.object, one.key) != (held.object, held.key))
        return replace(self, held=(*rest, held))

    def without(self, object_: str, key: str) -> Record:
        """Forget a row."""
        return replace(self, held=tuple(one for one in self.held if (one.object, one.key) != (object_, key)))

    def begin(self, write: Write) -> Record:
        """Note that a write is about to go out: its fields are unknown from now on, all of them if it takes away."""
        held = self.find(write.object, write.key) or Held(write.object, write.key)
        if write.op not in (Op.UPSERT, Op.LINK):
            return self.with_held(replace(held, marks={}))
        marks = {name: mark for name, mark in held.marks.items() if name not in write.fields}
        return self.with_held(replace(held, marks=marks))

    def settle(self, write: Write, verdict: Verdict, marks: Marks) -> Record:
        """Note what the receiver said of a write."""
        held = self.find(write.object, write.key) or Held(write.object, write.key)
        if verdict.fate is Fate.REFUSED:
            return self.with_held(replace(held, refused=marks.of_write(write)))
        if write.op not in (Op.UPSERT, Op.LINK):
            return self.without(write.object, write.key)
        sent = {name: marks.of(value) for name, value in write.fields.items()}
        known = {**({} if write.whole else held.marks), **sent}
        return self.with_held(Held(write.object, write.key, known, verdict.receiver_id or held.receiver_id))

    def encode(self) -> bytes:
        """Write it as stored."""
        rows = [[one.object, one.key, dict(one.marks), one.receiver_id, one.refused] for one in self.held]
        kin = (
            [[self.of, self.accounts, dict(self.heads), self.owing]]
            if self.accounts or self.owing or self.of != PROFILES
            else []
        )
        return orjson.dumps([LAYOUT, self.revision, self.place, self.generation, self.life, rows, *kin])

    @staticmethod
    def decode(value: bytes | None) -> Record:
        """Read it; an empty one where there is none."""
        if value is None:
            return Record()
        layout, revision, place, generation, life, rows, *more = orjson.loads(value)
        assert layout == LAYOUT, "a record of a later nurt is refused when the delivery starts"
        of, accounts, heads, owing = more[0] if more else (PROFILES, (), {}, False)
        held = tuple(Held(*row) for row in rows)
        return Record(revision, tuple(place), generation, Life(life), held, of, tuple(accounts), heads, owing)


class Marks:
    """Makes marks under a secret, so that nobody can guess a value from its mark.

    Hot path: each value is marked when it is compared and when it was accepted, and many are said by many profiles.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._known = lru_cache(MARKS_KNOWN)(self._hash)

    def of(self, value: Any) -> str:
        """Mark one value."""
        return self._known(orjson.dumps(value, default=str))

    def of_key(self, object_: str, key: str) -> str:
        """Name a row without saying its key."""
        return self._hash(orjson.dumps([object_, key]))

    def of_write(self, write: Write) -> str:
        """Mark what a write asks for."""
        return self.of_row(write.op, write.fields)

    def of_row(self, op: Op, fields: Fields) -> str:
        """Mark an operation on a row."""
        return self._hash(orjson.dumps([op, fields], default=str, option=orjson.OPT_SORT_KEYS))

    def _hash(self, text: bytes) -> str:
        return blake2b(text, key=self._secret, digest_size=MARK_BYTES).hexdigest()
