"""Which rows look up a row: kept in the place of those who look, so that one write keeps a row and its dependents.

A row joins the dependents of what it looks up once, and stays: when it looks up another row later, it is made again in
vain, if the first one changes.
Off the hot path but for new rows. Dependents lie in chunks, of which the last one is open and stands in the head.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nurt.columnar.distinct import id_list
from nurt.columnar.types import ID_BYTES, Int64s, Words
from nurt.limits import DEPENDENTS_A_CHUNK
from nurt.model.keys import Keys
from nurt.model.state_write import StateWrite
from nurt.ports.store import Store
from nurt.rows.children.contributions import Touched

DEPENDENTS = b"q"
_HEAD = struct.Struct(">QI")
"""Digest of what was heard last, and how many chunks are full; the open chunk follows."""

_USE, _CHUNK = struct.Struct(">I"), struct.Struct(">I")
_MEMBER = struct.Struct(">BI16sI")
"""Shard, use, target and number of a chunk."""
OWED, DONE = b"\x01U", b"\x01D"
"""First bytes of members of pending: a chunk whose rows are to be made again, and one whose rows were."""


@dataclass(frozen=True, slots=True)
class Head:
    """The dependents of one row in one place, for one use."""

    digest: int
    full: int
    ids: bytes

    @classmethod
    def decode(cls, value: bytes) -> Head:
        """Read a head."""
        digest, full = _HEAD.unpack_from(value)
        return cls(digest, full, value[_HEAD.size :])

    def encode(self) -> bytes:
        """Write a head."""
        return _HEAD.pack(self.digest, self.full) + self.ids


@dataclass(frozen=True, slots=True)
class Chunk:
    """Dependents whose rows are to be made again.

    Attributes:
        shard: where they are.
        use: number of the use.
        target: id of the row that they look up.
        number: of the chunk.
    """

    shard: int
    use: int
    target: bytes
    number: int

    def member(self, mark: bytes) -> bytes:
        """Name the chunk among what is pending."""
        return mark + _MEMBER.pack(self.shard, self.use, self.target, self.number)

    @classmethod
    def of_member(cls, member: bytes) -> Chunk:
        """Read the name of a chunk."""
        return cls(*_MEMBER.unpack_from(member, len(OWED)))


def key_of(place: bytes, use: int, target: bytes, chunk: int | None = None) -> bytes:
    """Name the head of a row's dependents in a place, or one of the full chunks."""
    kind = place + DEPENDENTS + _USE.pack(use) + target
    return kind if chunk is None else kind + _CHUNK.pack(chunk)


def add_dependents(
    store: Store, keys: Keys, change: StateWrite, use: int, dependents: Words, targets: Words, digests: Int64s
) -> None:
    """Note rows that look up a row for the first time.

    Args:
        change: with which these rows are written.
        use: number of the use.
        dependents, targets: by row: its id, and that of the row that it looks up.
        digests: by row: of what it found there.
    """
    grouped: dict[bytes, tuple[int, list[bytes]]] = {}
    for one, target, digest in zip(id_list(dependents), id_list(targets), digests.tolist(), strict=True):
        grouped.setdefault(key_of(keys.place_of(one), use, target), (digest, []))[1].append(one)
    known = [*grouped]
    # a head that this write has changed already is read from it
    read = store.read(known)
    for key, value, (digest, ids) in zip(known, read, grouped.values(), strict=True):
        value = change.put.get(key, value)
        head = Head(digest & _ALL, 0, b"") if value is None else Head.decode(value)
        whole, full = head.ids + b"".join(ids), head.full
        while len(whole) >= DEPENDENTS_A_CHUNK * ID_BYTES:
            change.put[key + _CHUNK.pack(full)] = whole[: DEPENDENTS_A_CHUNK * ID_BYTES]
            whole, full = whole[DEPENDENTS_A_CHUNK * ID_BYTES :], full + 1
        change.put[key] = Head(head.digest, full, whole).encode()


_ALL = (1 << 64) - 1


def hear(
    store: Store, keys: Keys, shards: Sequence[int], change: StateWrite, score: int, touched: Touched
) -> list[Chunk]:
    """Note that rows have changed, for those who look them up; return the chunks to be made again, which are owed now.

    Args:
        shards: of this worker.
        score: of what is pending in this epoch.
        touched: rows that came.
    """
    use = touched.use
    asked = [
        (shard, target, digest & _ALL)
        for target, digest in zip(id_list(touched.ids), touched.digests.tolist(), strict=True)
        for shard in shards
    ]
    found: list[Chunk] = []
    heads = [key_of(keys.shard_place(shard), use, target) for shard, target, _ in asked]
    for (shard, target, digest), key, value in zip(asked, heads, store.read(heads), strict=True):
        value = change.put.get(key, value)
        if value is None or (head := Head.decode(value)).digest == digest:
            continue
        change.put[key] = Head(digest, head.full, head.ids).encode()
        chunks = [Chunk(shard, use, target, number) for number in range(head.full + 1)]
        owed = change.pending.setdefault(keys.shard_place(shard), {})
        owed.update((chunk.member(OWED), score) for chunk in chunks)
        found += chunks
    return found


def read_chunks(store: Store, keys: Keys, chunks: Sequence[Chunk]) -> list[Words]:
    """Return the dependents of each chunk."""
    if not chunks:
        return []
    places = [keys.shard_place(one.shard) for one in chunks]
    names = [key_of(place, one.use, one.target, one.number) for place, one in zip(places, chunks, strict=True)]
    names += [key_of(place, one.use, one.target) for place, one in zip(places, chunks, strict=True)]
    values = store.read(names)
    found = []
    for chunk, head in zip(values[: len(chunks)], values[len(chunks) :], strict=True):
        ids = chunk if chunk is not None else b"" if head is None else Head.decode(head).ids
        found.append(np.frombuffer(ids, dtype=np.uint64).reshape(-1, 2))
    return found
