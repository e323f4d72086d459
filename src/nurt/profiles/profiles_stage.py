"""The last stage: profiles touched by name are recomputed from their accounts, kept and handed on to be published.

Hot path. Whoever touched wrote first, so the last recomputation of a profile sees every write. What no replay would
touch again (the clock, what identity owed) stays owed until its epoch is behind the horizon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nurt.columnar.types import Bools, Int64s
from nurt.columnar.values import Values
from nurt.contracts import schemas
from nurt.model.fence import owed_score
from nurt.model.keys import Keys, words_of
from nurt.model.published import PublishedBatch
from nurt.model.state_write import Change
from nurt.model.stored_profile import ERASED, HEAD_BYTES, LIVE, REDIRECT
from nurt.model.units import Day
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.profiles.golden_record.check_schema import check_schema
from nurt.profiles.golden_record.compare import Bodies, Compared, compare_kept
from nurt.profiles.golden_record.write import Profiles, write_redirects
from nurt.profiles.identity.memberships import Members, read_members

Touch = tuple[str, bytes]
"""(realm, profile)."""

OWED_PROFILES_MAX = 5_000
"""How many owed profiles are recomputed at a time."""


class ProfilesStage:
    """Owns the profiles of a worker's shards."""

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

    def materialise(self, touches: Sequence[Touch], owed: bool = False, anew: bool = False) -> PublishedBatch:
        """Recompute the profiles touched, keep what changed, and return all of them to be published.

        Args:
            touches: each once.
            owed: no replay touches them again, so what is returned is owed until its epoch is behind the horizon.
            anew: something else was published: what did not change gets a new revision, what is not known is erased.
        """
        if not touches:
            return PublishedBatch([], [], [])
        ids = [profile for _, profile in touches]
        realms = [realm for realm, _ in touches]
        words = words_of(ids)
        kept_keys = self._keys.rows_of(b"f", words)
        groups = _by_realm(realms)
        members = [self._keys.rows_in(b"p", realm, words[rows]) for realm, rows in groups]
        *held, kept = self._store.load([*members, kept_keys])
        bodies = self._bodies(ids, realms, read_members(_in_order(held, groups)))
        compared = compare_kept(bodies, kept, self._store.next_stamp(), anew, schemas.PROFILE_VERSION)
        change = Change()
        change.keep(kept_keys, compared.values, compared.changed)
        # what never was may be due all the same: it must not come again
        never = ~compared.known & ~compared.changed
        self._note_due(change, touches, bodies.due, never | (compared.changed & (compared.due != bodies.due)))
        if owed:
            self._note_owed(change, touches)
        if change.blocks or change.owed or change.due:
            self._store.write(change)
        said = np.flatnonzero(~never)
        out = PublishedBatch(
            ids if len(said) == len(ids) else [ids[row] for row in said.tolist()],
            compared.revision[said].tolist(),
            _published(kept, compared, said),
        )
        self._store.settle()  # what is returned leaves the process
        return out

    def materialise_owed(self, touches: Iterable[Touch]) -> Iterator[PublishedBatch]:
        """Recompute what no replay touches again, some at a time: after a crash it may be everything."""
        waiting = list(touches)
        for at in range(0, len(waiting), OWED_PROFILES_MAX):
            yield self.materialise(waiting[at : at + OWED_PROFILES_MAX], owed=True)

    def _bodies(self, ids: list[bytes], realms: list[str], members: Members) -> Bodies:
        """Compute state, due day and body of each profile; what holds nothing and went nowhere is erased."""
        state = np.full(len(ids), ERASED, dtype=np.int64)
        due = np.full(len(ids), -1, dtype=np.int64)
        starts, stops = np.zeros(len(ids), dtype=np.int64), np.zeros(len(ids), dtype=np.int64)
        joined = np.empty(0, dtype=np.uint8)
        if len(members.gone):
            gone = members.gone.tolist()
            joined, places = write_redirects([ids[row] for row in gone], [realms[row] for row in gone], members.heirs)
            state[gone], starts[gone], stops[gone] = REDIRECT, places[:-1], places[1:]
        if len(members.live):
            accounts, live = members.accounts, members.live
            slots, sums = self._store.load([self._keys.rows_of(kind, accounts) for kind in (b"a", b"s")])
            some = live.tolist()
            own, own_realms = [ids[row] for row in some], [realms[row] for row in some]
            found = self._profiles.live(own, own_realms, members.firsts, slots, sums, self._as_of())
            state[live], due[live] = LIVE, found.due
            starts[live], stops[live] = found.places[:-1] + len(joined), found.places[1:] + len(joined)
            joined = np.concatenate((joined, found.joined)) if len(joined) else found.joined
        return Bodies(state, due, starts, stops, joined)

    def _note_due(self, change: Change, touches: Sequence[Touch], due: Int64s, which: Bools) -> None:
        names = {realm: encode_touch((realm, b"")) for realm in {realm for realm, _ in touches}}
        place_of, noted = self._keys.place_of, change.due
        rows = np.flatnonzero(which)
        for row, day in zip(rows.tolist(), due[rows].tolist(), strict=True):
            realm, profile = touches[row]
            noted.setdefault(place_of(profile), {})[names[realm] + profile] = day if day >= 0 else None

    def _note_owed(self, change: Change, touches: Sequence[Touch]) -> None:
        score = owed_score(self._store.run, self._epoch())
        for touch in touches:
            change.owed.setdefault(self._keys.place_of(touch[1]), {})[encode_touch(touch)] = score


def _by_realm(realms: Sequence[str]) -> list[tuple[str, Int64s]]:
    """List the rows of each realm."""
    names = list(dict.fromkeys(realms))
    if len(names) == 1:
        return [(names[0], np.arange(len(realms)))]
    codes = np.array([names.index(realm) for realm in realms])
    return [(name, np.flatnonzero(codes == code)) for code, name in enumerate(names)]


def _in_order(held: Sequence[Values], groups: Sequence[tuple[str, Int64s]]) -> Values:
    """Put values that were read realm by realm back in order; a batch of several realms is seldom."""
    if len(held) == 1:
        return held[0]
    found: dict[int, bytes | None] = {}
    for values, (_, rows) in zip(held, groups, strict=True):
        found.update(zip(rows.tolist(), values.plain(), strict=True))
    return Values.of([found[row] for row in range(len(found))])


def _published(kept: Values, compared: Compared, said: Int64s) -> list[bytes | None]:
    """Cut the bodies of profiles as they are now: those that changed, and those that are as they were."""
    changed = compared.changed[said]
    firsts = np.where(changed, compared.values.cuts[said], kept.cuts[said]) + HEAD_BYTES
    stops = np.where(changed, compared.values.cuts[said + 1], kept.cuts[said + 1])
    new, old = compared.values.body.data, kept.body.data
    return [
        bytes((new if is_new else old)[first:stop]) if first < stop else None
        for is_new, first, stop in zip(changed.tolist(), firsts.tolist(), stops.tolist(), strict=True)
    ]


def encode_touch(touch: Touch) -> bytes:
    """Write a touch as a zset member: the realm's name, U+001F, the profile id."""
    return touch[0].encode() + b"\x1f" + touch[1]


def decode_touch(member: bytes) -> Touch:
    """Read a touch from a zset member."""
    return member[:-17].decode(), member[-16:]
