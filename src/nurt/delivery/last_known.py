"""What a receiver is believed to hold of one profile.

A field has a *fingerprint*, a keyed hash of the value that the receiver accepted. Before a call, the fingerprints of
the fields in it are removed and the row's key is stored: nurt never believes a value that may not have arrived. So a
crash between a call and its journal entry repeats the call, and a row that was made just before a crash is known when
it must be erased.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import orjson

from nurt.model.delivery import PROFILES, Fields, Lifecycle, Op, RowOutcome, RowResult, Write

LAYOUT = 1
FINGERPRINT_BYTES = 6
FINGERPRINTS_KNOWN = 65_536
"""Values whose fingerprints are cached: those of a batch, and those that many profiles share."""


class Presence(StrEnum):
    """Whether a row is at the receiver, as far as nurt knows."""

    UNKNOWN = ""  # its first write, or its removal, is under way
    THERE = "there"  # it was accepted once
    GONE = "gone"  # it was there, and the receiver said that it is no more; nurt did not remove it


@dataclass(frozen=True, slots=True)
class RemoteRow:
    """Row at the receiver.

    Attributes:
        fingerprints: of the fields that the row is known to hold.
        refused: fingerprint of the whole row that the receiver refused last; the same row is not sent again.
        presence: where it is not said, a row with fingerprints is there.
    """

    object: str
    key: str
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    receiver_id: str | None = None
    refused: str | None = None
    presence: Presence = Presence.UNKNOWN

    @property
    def is_there(self) -> bool:
        """Say whether the receiver accepted the row once, and nobody has found it gone."""
        return self.presence is Presence.THERE or (self.presence is Presence.UNKNOWN and bool(self.fingerprints))

    def forget(self, names: Collection[str] | None = None) -> RemoteRow:
        """Forget what some fields hold (None: all of them), but not that the row is there."""
        kept = {} if names is None else {name: one for name, one in self.fingerprints.items() if name not in names}
        return replace(self, fingerprints=kept, presence=Presence.THERE if self.is_there else self.presence)

    def is_another(self, write: Write, row_result: RowResult) -> bool:
        """Say whether an accepted write met another row than the one that was known: it was made anew."""
        ids = {self.receiver_id, row_result.receiver_id} - {None}
        return (write.believed and row_result.made) or self.presence is Presence.GONE or len(ids) > 1

    def encode(self) -> list[Any]:
        """Pack the row; what its fingerprints say already is not said again."""
        row = [self.object, self.key, dict(self.fingerprints), self.receiver_id, self.refused]
        is_said = self.presence is Presence.UNKNOWN or (self.presence is Presence.THERE and bool(self.fingerprints))
        return row if is_said else [*row, self.presence]

    @staticmethod
    def decode(row: list[Any]) -> RemoteRow:
        """Read a packed row."""
        return RemoteRow(*row[:5], *map(Presence, row[5:]))


@dataclass(frozen=True, slots=True)
class LastKnown:
    """Rows of a profile at the receiver, and the message that they were made of.

    Attributes:
        place: (partition, offset) of that message; for tombstones, which carry no revision.
        generation: of the back-fill that sent the message; fingerprints of an earlier generation are not believed.
        of: profiles, or orders.
        accounts: of a profile the accounts that it claims, of an order the account that lists it.
        parent_keys: by object, the profile's row that its orders name.
        orders_pending: its orders may not have been delivered yet.
    """

    revision: int = -1
    place: tuple[int, int] = (-1, -1)
    generation: int = 0
    lifecycle: Lifecycle = Lifecycle.LIVE
    remote_rows: tuple[RemoteRow, ...] = ()
    of: str = PROFILES
    accounts: tuple[str, ...] = ()
    parent_keys: Mapping[str, str] = field(default_factory=dict)
    orders_pending: bool = False

    def find(self, object_: str, key: str) -> RemoteRow | None:
        """Find a row."""
        return next((one for one in self.remote_rows if one.object == object_ and one.key == key), None)

    def first(self, object_: str) -> RemoteRow | None:
        """Find the first row of an object; None: it has none."""
        return next((one for one in self.remote_rows if one.object == object_), None)

    def with_remote(self, remote: RemoteRow) -> LastKnown:
        """Put a row in place of the one with its key."""
        rest = tuple(one for one in self.remote_rows if (one.object, one.key) != (remote.object, remote.key))
        return replace(self, remote_rows=(*rest, remote))

    def without(self, object_: str, key: str) -> LastKnown:
        """Forget a row."""
        return replace(
            self, remote_rows=tuple(one for one in self.remote_rows if (one.object, one.key) != (object_, key))
        )

    def begin(self, write: Write) -> LastKnown:
        """Mark a write as under way: its fields are unknown from now on.

        For a removal all fields of the row are unknown, and whether the row is there.
        """
        remote = self.find(write.object, write.key) or RemoteRow(write.object, write.key)
        if write.op not in (Op.UPSERT, Op.LINK):
            return self.with_remote(replace(remote, fingerprints={}, presence=Presence.UNKNOWN))
        return self.with_remote(remote.forget(write.fields))

    def settle(self, write: Write, row_result: RowResult, fingerprinter: Fingerprinter) -> LastKnown:
        """Keep the receiver's result of a write."""
        remote = self.find(write.object, write.key) or RemoteRow(write.object, write.key)
        if row_result.outcome is RowOutcome.REFUSED:
            return self.with_remote(replace(remote, refused=fingerprinter.of_write(write)))
        if write.op not in (Op.UPSERT, Op.LINK):
            return self.without(write.object, write.key)
        sent = {name: fingerprinter.of(value) for name, value in write.fields.items()}
        rest = {} if write.whole or remote.is_another(write, row_result) else remote.fingerprints
        id_ = row_result.receiver_id or remote.receiver_id
        return self.with_remote(RemoteRow(write.object, write.key, {**rest, **sent}, id_, presence=Presence.THERE))

    def lose(self, write: Write, refused: str | None) -> LastKnown:
        """Keep that the receiver holds a row no more.

        Args:
            refused: fingerprint of the whole row, where it is not to be sent again as it is.
        """
        return self.with_remote(RemoteRow(write.object, write.key, refused=refused, presence=Presence.GONE))

    def encode(self) -> bytes:
        """Pack the state as it is stored."""
        rows = [one.encode() for one in self.remote_rows]
        links = (
            [[self.of, self.accounts, dict(self.parent_keys), self.orders_pending]]
            if self.accounts or self.orders_pending or self.of != PROFILES
            else []
        )
        return orjson.dumps([LAYOUT, self.revision, self.place, self.generation, self.lifecycle, rows, *links])

    @staticmethod
    def decode(value: bytes | None) -> LastKnown:
        """Read a stored state; an empty one where nothing is stored."""
        if value is None:
            return LastKnown()
        layout, revision, place, generation, lifecycle, rows, *more = orjson.loads(value)
        assert layout == LAYOUT, "a record of a later nurt is refused when the delivery starts"
        of, accounts, parent_keys, orders_pending = more[0] if more else (PROFILES, (), {}, False)
        remote_rows = tuple(map(RemoteRow.decode, rows))
        return LastKnown(
            revision,
            tuple(place),
            generation,
            Lifecycle(lifecycle),
            remote_rows,
            of,
            tuple(accounts),
            parent_keys,
            orders_pending,
        )


class Fingerprinter:
    """Maker of fingerprints under a secret, so that nobody can guess a value from its fingerprint.

    Hot path: each value is hashed when it is compared and when it was accepted, and many profiles share values.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._known = lru_cache(FINGERPRINTS_KNOWN)(self._hash)

    def of(self, value: Any) -> str:
        """Return the fingerprint of one value."""
        return self._known(orjson.dumps(value, default=str))

    def of_key(self, object_: str, key: str) -> str:
        """Name a row without showing its key."""
        return self._hash(orjson.dumps([object_, key]))

    def of_write(self, write: Write) -> str:
        """Return the fingerprint of what a write asks for."""
        return self.of_row(write.op, write.fields)

    def of_row(self, op: Op, fields: Fields) -> str:
        """Return the fingerprint of an operation on a row."""
        return self._hash(orjson.dumps([op, fields], default=str, option=orjson.OPT_SORT_KEYS))

    def _hash(self, text: bytes) -> str:
        return blake2b(text, key=self._secret, digest_size=FINGERPRINT_BYTES).hexdigest()
