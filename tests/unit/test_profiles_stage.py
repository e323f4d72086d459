"""The last stage over a memory: what it publishes, keeps and owes."""

from __future__ import annotations

import pytest

from nurt.columnar.ids import Ids
from nurt.contracts import schemas
from nurt.contracts.profile_reader import read_profile
from nurt.model.keys import Keys, words_of
from nurt.model.stored_profile import HEAD_BYTES
from nurt.normalise.context import FoldContext
from nurt.profiles.identity.links import join_links
from nurt.profiles.identity.resolve import Touched, profile_id
from nurt.profiles.identity_stage import IdentityStage
from nurt.profiles.profiles_stage import ProfilesStage
from nurt.testing.memory_store import Memory, MemoryStore

IDS = Ids(bytes(16))
KEYS = Keys("t", 2)
PLACES = [KEYS.shard_place(0), KEYS.shard_place(1), KEYS.realm_place("eu"), KEYS.realm_place("us")]
A, B = sorted(IDS.one(f"account {number}") for number in range(2))
TODAY = 20_000


class Stages:
    """Identity and profiles of one worker."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.memory.claim(1, PLACES)
        self.store = MemoryStore(self.memory, 1, PLACES)
        self.identity = IdentityStage(self.store, KEYS, FoldContext(IDS), lambda: 1)
        self.profiles = ProfilesStage(
            self.store, KEYS, FoldContext(IDS), schemas.load(schemas.PROFILE_VALUE), lambda: 1, lambda: TODAY
        )

    def touch(self, realm: str, *accounts: tuple[bytes, str | None]) -> list[tuple[str, bytes]]:
        ids = words_of([account for account, _ in accounts])
        touched = Touched(ids, join_links([links for _, links in accounts]), {})
        return [(realm, profile) for profile in self.identity.resolve(realm, [touched])]


@pytest.fixture
def stages() -> Stages:
    return Stages()


def test_a_merged_profile_redirects_within_its_realm(stages: Stages) -> None:
    stages.profiles.materialise(stages.touch("eu", (A, "email\x1fa"), (B, "email\x1fb")))
    out = stages.profiles.materialise(stages.touch("eu", (B, "email\x1fa")))
    shown = {profile: read_profile(value or b"") for profile, value in zip(out.ids, out.values, strict=True)}
    gone = shown[profile_id(B, IDS)]
    assert (gone["state"], gone["realm"]) == ("redirect", "eu")
    assert gone["redirect_to"] == profile_id(A, IDS).hex()
    assert gone["revision"] == out.revisions[out.ids.index(profile_id(B, IDS))]
    assert (shown[profile_id(A, IDS)]["state"], shown[profile_id(A, IDS)]["realm"]) == ("live", "eu")


def test_realms_meet_in_one_batch(stages: Stages) -> None:
    touches = stages.touch("eu", (A, "email\x1fa")) + stages.touch("us", (B, "email\x1fa"))
    out = stages.profiles.materialise(touches)
    realms = {profile: read_profile(value or b"")["realm"] for profile, value in zip(out.ids, out.values, strict=True)}
    assert realms == {profile_id(A, IDS): "eu", profile_id(B, IDS): "us"}


def test_what_did_not_change_is_published_again_with_its_revision_and_not_written(stages: Stages) -> None:
    touches = stages.touch("eu", (A, ""))
    first = stages.profiles.materialise(touches)
    kept = dict(stages.memory.values)
    again = stages.profiles.materialise(touches)
    assert (again.ids, again.revisions, again.values) == (first.ids, first.revisions, first.values)
    assert stages.memory.values == kept
    (value,) = first.values
    assert kept[KEYS.of(b"f", first.ids)[0]][HEAD_BYTES:] == value


def test_who_is_gone_leaves_a_tombstone_that_can_be_said_again(stages: Stages) -> None:
    touches = stages.touch("eu", (A, ""))
    stages.profiles.materialise(touches)
    gone = stages.touch("eu", (A, None))
    assert gone == touches
    first, again = stages.profiles.materialise(gone), stages.profiles.materialise(gone)
    assert first.values == again.values == [None]
    assert first.revisions == again.revisions


def test_who_never_was_is_not_published_and_not_due_again(stages: Stages) -> None:
    stages.memory.due = {KEYS.place_of(A): {b"eu\x1f" + A: TODAY}}
    assert len(stages.profiles.materialise([("eu", A)], owed=True)) == 0
    assert stages.store.due(TODAY, 10) == []
    out = stages.profiles.materialise([("eu", A)], anew=True)
    assert out.values == [None], "when something else was published it is erased"
