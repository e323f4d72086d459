"""Which worker owns what, and the routing keys that reach it. Hot path only with several workers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from nurt.columnar.distinct import words
from nurt.columnar.types import Int64s, Words
from nurt.model.entity_frame import Translated
from nurt.model.keys import Keys, realm_worker
from nurt.profiles.profiles_stage import DirtyKey
from nurt.rows.children.contributions import Contributions, ContributionSet, JoinsSaid

_MASK = (1 << 64) - 1


class WorkerRoutes:
    """Routes with one routing key a worker: every key costs a call with its own round trips, so fewer is faster."""

    def __init__(self, shards: int, workers: int) -> None:
        assert workers <= shards, "every worker owns a shard"
        self.workers = workers
        self._shards = shards
        self.keys = [_key_of(worker, workers) for worker in range(workers)]

    def places(self, worker: int, realms: tuple[str, ...], keys: Keys) -> list[bytes]:
        """List the places of a worker: shards and realms."""
        shards = [keys.shard_place(shard) for shard in range(worker, self._shards, self.workers)]
        return shards + [keys.realm_place(realm) for realm in realms if realm_worker(realm, self.workers) == worker]

    def of_id(self, one: bytes) -> int:
        """Return the worker of an id's shard."""
        return one[0] % self._shards % self.workers

    def _of_words(self, ids: Words) -> Int64s:
        first = (ids[:, 0] & np.uint64(255)).astype(np.int64)
        return first % self._shards % self.workers

    def _parts(self, frame: pl.DataFrame, by: str) -> list[pl.DataFrame]:
        if not frame.height:
            return [frame] * self.workers
        worker = self._of_words(words(frame[by]))
        return [frame.filter(pl.Series(worker == index)) for index in range(self.workers)]

    def split_translated(self, translated: Translated, home: int) -> list[tuple[int, Translated]]:
        """Send rows to their owners, a truncate to all workers, and messages without a row to `home`."""
        if self.workers == 1:
            return [(0, translated)]
        parts = [(one, self._parts(one.frame, "row")) for one in translated.entities]
        split = []
        for worker in range(self.workers):
            mine = Translated(
                [replace(one, frame=frames[worker]) for one, frames in parts if frames[worker].height],
                translated.truncated,
                translated.refused if worker == home else [],
                translated.not_ours if worker == home else {},
                translated.passed if worker == home else {},
                translated.heights if worker == home else {},
            )
            if mine.entities or mine.truncated or mine.refused or mine.not_ours or mine.heights:
                split.append((worker, mine))
        return split

    def split_said(self, contributions: ContributionSet) -> list[tuple[int, ContributionSet]]:
        """Send contributions to the owners of their parents."""
        if self.workers == 1:
            return [(0, contributions)]
        lists = contributions.to_orders, contributions.records, contributions.partials, contributions.to_references
        parts = [self._split(some) for some in lists]
        found = []
        for worker in range(self.workers):
            orders, records, partials, references = (part[worker] for part in parts)
            if any(map(len, (orders, records, partials, references))):
                found.append((worker, ContributionSet(orders, records, partials, references)))
        return found

    def split_joins(self, joins: JoinsSaid) -> list[tuple[int, JoinsSaid]]:
        """Send what rows say to the owners of rows that are made of several; all hear of rows that are looked up."""
        if self.workers == 1:
            return [(0, joins)]
        parts = {level: self._split(some) for level, some in joins.beside.items()}
        split = [
            (worker, {level: some[worker] for level, some in parts.items() if len(some[worker])})
            for worker in range(self.workers)
        ]
        return [(worker, JoinsSaid(some, joins.touched)) for worker, some in split if some or joins.touched]

    def _split(self, contributions: Contributions) -> list[Contributions]:
        if not len(contributions):
            return [contributions] * self.workers
        worker = self._of_words(contributions.to)
        return [contributions.take(worker == index).compact() for index in range(self.workers)]

    def split_dirty_keys(self, dirty_keys: list[DirtyKey]) -> list[tuple[int, list[DirtyKey]]]:
        """Send dirty keys to the owners of the profiles."""
        if self.workers == 1:
            return [(0, dirty_keys)] if dirty_keys else []
        split: dict[int, list[DirtyKey]] = {}
        for dirty_key in dirty_keys:
            split.setdefault(self.of_id(dirty_key[1]), []).append(dirty_key)
        return list(split.items())

    def of_realm(self, realm: str) -> int:
        """Return the worker of a realm."""
        return realm_worker(realm, self.workers)


def _key_of(worker: int, workers: int) -> str:
    """Find a key that Bytewax's exchange sends to this worker.

    Source: bytewax 0.21.1 `src/timely.rs`: SipHash-1-3 of the key's bytes and 0xFF with a zero key, modulo workers.
    """
    number = 0
    while siphash13(f"worker-{worker}-{number}".encode() + b"\xff") % workers != worker:
        number += 1
    return f"worker-{worker}-{number}"


def siphash13(message: bytes) -> int:
    """Hash bytes with SipHash-1-3 under a zero key."""
    state = [0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573]
    whole = len(message) - len(message) % 8
    blocks = [int.from_bytes(message[at : at + 8], "little") for at in range(0, whole, 8)]
    blocks.append(len(message) % 256 << 56 | int.from_bytes(message[whole:], "little"))
    for block in blocks:
        state[3] ^= block
        _round(state)
        state[0] ^= block
    state[2] ^= 0xFF
    for _ in range(3):
        _round(state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _round(v: list[int]) -> None:
    v[0] = (v[0] + v[1]) & _MASK
    v[1] = _turn(v[1], 13) ^ v[0]
    v[0] = _turn(v[0], 32)
    v[2] = (v[2] + v[3]) & _MASK
    v[3] = _turn(v[3], 16) ^ v[2]
    v[0] = (v[0] + v[3]) & _MASK
    v[3] = _turn(v[3], 21) ^ v[0]
    v[2] = (v[2] + v[1]) & _MASK
    v[1] = _turn(v[1], 17) ^ v[2]
    v[2] = _turn(v[2], 32)


def _turn(word: int, bits: int) -> int:
    return ((word << bits) | (word >> (64 - bits))) & _MASK
