"""The last stage: recompute dirty profiles from their accounts, store and return them for publication.

Hot path. A stage writes before it marks a profile as dirty, so the last recomputation sees every write. A dirty key
that no replay would repeat (by the clock, by identity) stays pending until its epoch is behind the horizon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nurt.columnar.types import Bools, Int64s
from nurt.columnar.values import Values
from nurt.contracts import schemas
from nurt.model.fence import pending_score
from nurt.model.keys import Keys, words_of
from nurt.model.published import PublishedBatch
from nurt.model.state_write import StateWrite
from nurt.model.stored_profile import ERASED, HEAD_BYTES, LIVE, REDIRECT
from nurt.model.units import Day
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.profiles.golden_record.check_schema import check_schema
from nurt.profiles.golden_record.compare import Compared, ProfileBodies, compare_kept
from nurt.profiles.golden_record.write import Profiles, write_redirects
from nurt.profiles.identity.memberships import Members, read_members

DirtyKey = tuple[str, bytes]
"""(realm, profile)."""

PENDING_PROFILES_MAX = 5_000
"""How many pending profiles are recomputed at a time."""


class ProfilesStage:
    """The stage that owns the profiles of a worker's shards."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        context: FoldContext,
        schema: Mapping[str, Any],
        epoch: Callable[[], int],
        as_of: Callable[[], Day],
    ) -> None:
        self._store = store
        self._keys = keys
        self._context = context
        check_schema(schema)
        self._profiles = Profiles(context)
        self._epoch = epoch
        self._as_of = as_of

    def materialise(self, dirty_keys: Sequence[DirtyKey], pending: bool = False, again: bool = False) -> PublishedBatch:
        """Recompute dirty profiles, store those that changed, and return all of them for publication.

        Args:
            dirty_keys: each once.
            pending: no replay repeats the keys, so the result stays pending until its epoch is behind the horizon.
            again: the outside has another state: an unchanged profile gets a new revision, an unknown one is erased.
        """
        if not dirty_keys:
            return PublishedBatch([], [], [])
        ids = [profile for _, profile in dirty_keys]
        realms = [realm for realm, _ in dirty_keys]
        words = words_of(ids)
        kept_keys = self._keys.rows_of(b"f", words)
        groups = _by_realm(realms)
        members = [self._keys.rows_in(b"p", realm, words[rows]) for realm, rows in groups]
        *loaded, kept = self._store.load([*members, kept_keys])
        bodies = self._bodies(ids, realms, read_members(_in_order(loaded, groups)))
        compared = compare_kept(bodies, kept, self._store.next_stamp(), again, schemas.PROFILE_VERSION)
        change = StateWrite()
        change.keep(kept_keys, compared.values, compared.changed)
        # a profile that never existed may have a timer: the timer must not return
        never = ~compared.known & ~compared.changed
        self._note_timers(change, dirty_keys, bodies.due, never | (compared.changed & (compared.due != bodies.due)))
        if pending:
            self._note_pending(change, dirty_keys)
        if change.blocks or change.pending or change.timers:
            self._store.write(change)
        publishable = np.flatnonzero(~never)
        out = PublishedBatch(
            ids if len(publishable) == len(ids) else [ids[row] for row in publishable.tolist()],
            compared.revision[publishable].tolist(),
            _published(kept, compared, publishable),
        )
        self._store.settle()  # the result leaves the process
        return out

    def materialise_pending(self, dirty_keys: Iterable[DirtyKey]) -> Iterator[PublishedBatch]:
        """Recompute keys that no replay repeats, some at a time: after a crash this may be every profile."""
        waiting = list(dirty_keys)
        for at in range(0, len(waiting), PENDING_PROFILES_MAX):
            yield self.materialise(waiting[at : at + PENDING_PROFILES_MAX], pending=True)

    def _bodies(self, ids: list[bytes], realms: list[str], members: Members) -> ProfileBodies:
        """Compute state, due day and body of each profile; one without accounts and survivor is erased."""
        state = np.full(len(ids), ERASED, dtype=np.int64)
        due = np.full(len(ids), -1, dtype=np.int64)
        starts, stops = np.zeros(len(ids), dtype=np.int64), np.zeros(len(ids), dtype=np.int64)
        joined = np.empty(0, dtype=np.uint8)
        if len(members.gone):
            gone = members.gone.tolist()
            joined, places = write_redirects(
                [ids[row] for row in gone], [realms[row] for row in gone], members.survivors
            )
            state[gone], starts[gone], stops[gone] = REDIRECT, places[:-1], places[1:]
        if len(members.live):
            accounts, live = members.accounts, members.live
            records, aggregates = self._store.load([self._keys.rows_of(kind, accounts) for kind in (b"a", b"s")])
            some = live.tolist()
            live_ids, live_realms = [ids[row] for row in some], [realms[row] for row in some]
            found = self._profiles.live(live_ids, live_realms, members.firsts, records, aggregates, self._as_of())
            state[live], due[live] = LIVE, found.due
            starts[live], stops[live] = found.places[:-1] + len(joined), found.places[1:] + len(joined)
            joined = np.concatenate((joined, found.joined)) if len(joined) else found.joined
        return ProfileBodies(state, due, starts, stops, joined)

    def _note_timers(self, change: StateWrite, dirty_keys: Sequence[DirtyKey], due: Int64s, which: Bools) -> None:
        names = {realm: encode_dirty_key((realm, b"")) for realm in {realm for realm, _ in dirty_keys}}
        place_of, noted = self._keys.place_of, change.timers
        rows = np.flatnonzero(which)
        for row, day in zip(rows.tolist(), due[rows].tolist(), strict=True):
            realm, profile = dirty_keys[row]
            noted.setdefault(place_of(profile), {})[names[realm] + profile] = day if day >= 0 else None

    def _note_pending(self, change: StateWrite, dirty_keys: Sequence[DirtyKey]) -> None:
        score = pending_score(self._store.run, self._epoch())
        for dirty_key in dirty_keys:
            change.pending.setdefault(self._keys.place_of(dirty_key[1]), {})[encode_dirty_key(dirty_key)] = score


def _by_realm(realms: Sequence[str]) -> list[tuple[str, Int64s]]:
    """List the rows of each realm."""
    names = list(dict.fromkeys(realms))
    if len(names) == 1:
        return [(names[0], np.arange(len(realms)))]
    codes = np.array([names.index(realm) for realm in realms])
    return [(name, np.flatnonzero(codes == code)) for code, name in enumerate(names)]


def _in_order(loaded: Sequence[Values], groups: Sequence[tuple[str, Int64s]]) -> Values:
    """Put values back in order that were read realm by realm; a batch rarely has several realms."""
    if len(loaded) == 1:
        return loaded[0]
    found: dict[int, bytes | None] = {}
    for values, (_, rows) in zip(loaded, groups, strict=True):
        found.update(zip(rows.tolist(), values.plain(), strict=True))
    return Values.of([found[row] for row in range(len(found))])


def _published(kept: Values, compared: Compared, publishable: Int64s) -> list[bytes | None]:
    """Cut the current bodies of profiles, changed and unchanged."""
    changed = compared.changed[publishable]
    firsts = np.where(changed, compared.values.cuts[publishable], kept.cuts[publishable]) + HEAD_BYTES
    stops = np.where(changed, compared.values.cuts[publishable + 1], kept.cuts[publishable + 1])
    new, old = compared.values.body.data, kept.body.data
    return [
        bytes((new if is_new else old)[first:stop]) if first < stop else None
        for is_new, first, stop in zip(changed.tolist(), firsts.tolist(), stops.tolist(), strict=True)
    ]


def encode_dirty_key(dirty_key: DirtyKey) -> bytes:
    """Write a dirty key as a zset member: the realm's name, U+001F, the profile id."""
    return dirty_key[0].encode() + b"\x1f" + dirty_key[1]


def decode_dirty_key(member: bytes) -> DirtyKey:
    """Read a dirty key from a zset member."""
    return member[:-17].decode(), member[-16:]
