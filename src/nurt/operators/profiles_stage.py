"""The last stage: profiles touched by name are recomputed from their accounts, kept and handed on to be published.

Hot path. Whoever touched wrote first, so the last recomputation of a profile sees every write. What no replay would
touch again (the clock, what identity owed) stays owed until its epoch is behind the horizon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from nurt.core.avro import compile_writer
from nurt.core.context import FoldContext
from nurt.core.contributions import ACCOUNT_SLOTS, SUMS
from nurt.core.identity import HEIR, HELD, MEMBERS
from nurt.core.profile import live_profiles
from nurt.core.tables import OWNER
from nurt.model.change import Change
from nurt.model.head import owed_score
from nurt.model.kept_profile import ERASED, LIVE, REDIRECT, KeptProfile, with_revision
from nurt.model.keys import Keys
from nurt.model.published import PublishedBatch
from nurt.ports import Store

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
        as_of: Callable[[], int],
    ) -> None:
        self._store = store
        self._keys = keys
        self._context = context
        self._writer = compile_writer(schema)
        self._names = [field["name"] for field in schema["fields"]]
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
        member_keys = [key for realm, profile in touches for key in self._keys.in_realm(b"p", realm, [profile])]
        kept_keys = self._keys.of(b"f", ids)
        values = self._store.read([*member_keys, *kept_keys])
        members = MEMBERS.unpack(values[: len(ids)])
        kept = [KeptProfile.decode(value) for value in values[len(ids) :]]
        contents = self._contents(ids, members)
        revision = self._store.next_stamp()
        change = Change()
        out = PublishedBatch([], [], [])
        for index, (profile, before) in enumerate(zip(ids, kept, strict=True)):
            state, due, content = contents.get(index, (ERASED, -1, b""))
            if state == ERASED and before is None and not anew:
                self._note_due(change, touches[index], -1)
                continue  # it never was
            now = before
            if anew or before is None or before.state != state or before.due != due or not _says(before, content):
                body = with_revision(content, revision) if content else b""
                now = KeptProfile(revision, due, state, body)
                change.put[kept_keys[index]] = now.encode()
                self._note_due(change, touches[index], due)
            assert now is not None
            out.ids.append(profile)
            out.revisions.append(now.revision)
            out.values.append(now.body or None)
        if owed:
            self._note_owed(change, touches)
        if change.put or change.owed or change.due:
            self._store.write(change)
        self._store.settle()  # what is returned leaves the process
        return out

    def materialise_owed(self, touches: Iterable[Touch]) -> Iterator[PublishedBatch]:
        """Recompute what no replay touches again, some at a time: after a crash it may be everything."""
        waiting = list(touches)
        for at in range(0, len(waiting), OWED_PROFILES_MAX):
            yield self.materialise(waiting[at : at + OWED_PROFILES_MAX], owed=True)

    def _contents(self, ids: list[bytes], members: pl.DataFrame) -> dict[int, tuple[int, int, bytes]]:
        """Compute by index: state, due day and the body with revision 0; an index without an entry is erased."""
        contents = {}
        heirs = members.filter(pl.col("part") == HEIR)
        if heirs.height:
            bodies = self._writer.write(self._redirects([ids[owner] for owner in heirs[OWNER]], heirs["id"].to_list()))
            contents = {owner: (REDIRECT, -1, body) for owner, body in zip(heirs[OWNER], bodies, strict=True)}
        held = members.filter(pl.col("part") == HELD)
        if not held.height:
            return contents
        profiles, profile_of = np.unique(held[OWNER].to_numpy(), return_inverse=True)
        accounts = held["id"].to_list()
        values = self._store.read([*self._keys.of(b"a", accounts), *self._keys.of(b"s", accounts)])
        frame, due = live_profiles(
            [ids[owner] for owner in profiles],
            profile_of,
            ACCOUNT_SLOTS.unpack(values[: len(accounts)]),
            SUMS.unpack(values[len(accounts) :]),
            self._as_of(),
            self._context,
        )
        bodies = self._writer.write(frame.select(self._names))
        for index, (owner, body) in enumerate(zip(profiles.tolist(), bodies, strict=True)):
            contents[owner] = (LIVE, due.get(index, -1), body)
        return contents

    def _redirects(self, ids: list[bytes], heirs: list[bytes]) -> pl.DataFrame:
        frame, _ = live_profiles(
            ids, np.empty(0, np.int64), ACCOUNT_SLOTS.empty(), SUMS.empty(), self._as_of(), self._context
        )
        heir = pl.Series("redirect_to", [one.hex() for one in heirs])
        # a redirect does not change with the day: its day is 0
        return frame.with_columns(pl.lit("redirect").alias("state"), heir, pl.lit(0).alias("as_of")).select(self._names)

    def _note_due(self, change: Change, touch: Touch, due: int) -> None:
        place = self._keys.place_of(touch[1])
        change.due.setdefault(place, {})[encode_touch(touch)] = due if due >= 0 else None

    def _note_owed(self, change: Change, touches: Sequence[Touch]) -> None:
        score = owed_score(self._store.run, self._epoch())
        for touch in touches:
            change.owed.setdefault(self._keys.place_of(touch[1]), {})[encode_touch(touch)] = score


def encode_touch(touch: Touch) -> bytes:
    """Write a touch as a zset member: the realm's name, U+001F, the profile id."""
    return touch[0].encode() + b"\x1f" + touch[1]


def decode_touch(member: bytes) -> Touch:
    """Read a touch from a zset member."""
    return member[:-17].decode(), member[-16:]


def _says(kept: KeptProfile, content: bytes) -> bool:
    return kept.says(content) if content else not kept.body
