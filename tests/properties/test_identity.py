"""The identity graph after any touches: what resolving everything at once says, and the same by the short way."""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nurt.columnar.ids import Ids
from nurt.model.keys import Keys, words_of
from nurt.normalise.context import LINK_END, FoldContext
from nurt.profiles import identity_stage
from nurt.profiles.identity.links import join_links
from nurt.profiles.identity.resolve import MEMBER_PART, SURVIVOR_PART, AccountChanges, profile_id, resolve
from nurt.profiles.identity_stage import IdentityStage
from nurt.profiles.profiles_stage import decode_dirty_key
from nurt.testing.memory_store import Memory, MemoryStore

IDS = Ids(bytes(16))
KEYS = Keys("t", 2)
REALM = "eu"
PLACE = KEYS.realm_place(REALM)
ACCOUNTS = [IDS.one(f"account {number}") for number in range(6)]
LINKS = [f"email\x1f{name}@example.com" for name in "abc"] + ["phone\x1f+48600000001"]

Touch = tuple[str | None, bytes | None]
"""An account's links, and where it went."""


@st.composite
def touches(draw: st.DrawFn) -> dict[bytes, Touch]:
    found: dict[bytes, Touch] = {}
    for account in draw(st.lists(st.sampled_from(ACCOUNTS), min_size=1, unique=True)):
        if draw(st.booleans()):
            links = draw(st.lists(st.sampled_from(LINKS), max_size=2, unique=True))
            found[account] = LINK_END.join(sorted(links)), None
        else:
            others = [other for other in ACCOUNTS if other != account]
            found[account] = None, draw(st.none() | st.sampled_from(others))
    return found


def touched(links: dict[bytes, Touch]) -> AccountChanges:
    texts = [text for text, _ in links.values()]
    return AccountChanges(
        words_of(list(links)), join_links(texts), {account: to for account, (_, to) in links.items() if to is not None}
    )


class Graph:
    """The stage over a memory of its own."""

    def __init__(self) -> None:
        self.memory = Memory()
        places = [KEYS.shard_place(0), KEYS.shard_place(1), PLACE]
        self.memory.claim(1, places)
        self.stage = IdentityStage(MemoryStore(self.memory, 1, places), KEYS, FoldContext(IDS), lambda: 1)

    def touch(self, *links: dict[bytes, Touch]) -> set[bytes]:
        named = self.stage.resolve(REALM, [touched(some) for some in links])
        assert len(named) == len(set(named))
        return set(named)

    def touch_the_long_way(self, *links: dict[bytes, Touch]) -> set[bytes]:
        with patch.object(identity_stage, "find_sharing", lambda _, __, accounts: np.ones(accounts, dtype=np.bool_)):
            return self.touch(*links)

    def members(self, profile: bytes) -> list[tuple[int, bytes]]:
        return self.stage.members(REALM, [profile])[0]

    def pending(self) -> set[bytes]:
        return {decode_dirty_key(member)[1] for member in self.memory.pending.get(PLACE, {})}


def last(history: Sequence[dict[bytes, Touch]]) -> dict[bytes, str]:
    links = {account: text for batch in history for account, (text, _) in batch.items()}
    return {account: text for account, text in links.items() if text is not None}


@given(st.lists(touches(), max_size=8))
def test_profiles_hold_what_is_connected_at_the_end(history: list[dict[bytes, Touch]]) -> None:
    graph = Graph()
    for batch in history:
        graph.touch(batch)
    groups = {profile_id(group[0], IDS): group for group in resolve(last(history))}
    for account in ACCOUNTS:
        profile = profile_id(account, IDS)
        held = [one for part, one in graph.members(profile) if part == MEMBER_PART]
        assert held == groups.get(profile, [])


@given(st.lists(touches(), max_size=8), st.data())
def test_touches_that_come_together_are_one(history: list[dict[bytes, Touch]], data: st.DataObject) -> None:
    apart, together = Graph(), Graph()
    cut = data.draw(st.integers(0, len(history)))
    for batch in history[:cut]:
        apart.touch(batch)
        together.touch(batch)
    known = {account: text for batch in history[cut:] for account, (text, _) in batch.items()}
    if known:
        together.touch(*history[cut:])
        apart.touch({account: (text, None) for account, text in known.items()})
    kinds = {PLACE + kind for kind in (b"g", b"d")}

    def graph_of(one: Graph) -> dict[bytes, bytes]:
        return {key: value for key, value in one.memory.values.items() if key[: len(PLACE) + 1] in kinds}

    assert graph_of(together) == graph_of(apart)


@given(st.lists(touches(), max_size=8))
def test_the_short_way_of_the_lonely_writes_what_the_long_way_writes(history: list[dict[bytes, Touch]]) -> None:
    short, long = Graph(), Graph()
    for batch in history:
        assert short.touch(batch) == long.touch_the_long_way(batch)
        assert short.memory.values == long.memory.values
    assert short.pending() <= long.pending()


@given(st.lists(touches(), max_size=8), touches())
def test_what_is_not_owed_is_touched_again_by_a_replay(
    history: list[dict[bytes, Touch]], batch: dict[bytes, Touch]
) -> None:
    graph = Graph()
    for earlier in history:
        graph.touch(earlier)
    graph.memory.pending.clear()
    named = graph.touch(batch)
    assert named <= graph.touch(batch) | graph.pending()


def test_an_account_that_came_back_keeps_its_profile_when_what_it_had_become_appears() -> None:
    graph = Graph()
    a, x = ACCOUNTS[0], ACCOUNTS[1]
    graph.touch({a: (LINKS[0], None)})
    graph.touch({a: (None, x)})  # its key was changed; the row under the new key is late
    assert graph.members(profile_id(a, IDS)) == []
    graph.touch({a: (LINKS[0], None)})
    graph.touch({x: (LINKS[1], None)})
    assert graph.members(profile_id(a, IDS)) == [(MEMBER_PART, a)]


def test_who_moved_is_redirected_to_where_the_key_went_however_late_that_appears() -> None:
    a, x = ACCOUNTS[0], ACCOUNTS[1]
    for history in (
        [{a: (None, x)}, {x: (LINKS[1], None)}],
        [{x: (LINKS[1], None), a: (None, x)}],
        [{x: (LINKS[1], None)}, {a: (None, x)}],
        [{x: (LINKS[1], None)}, {x: (LINKS[1], None), a: (None, x)}],
    ):
        graph = Graph()
        graph.touch({a: (LINKS[0], None)})
        for batch in history:
            graph.touch(batch)
        assert graph.members(profile_id(a, IDS)) == [(SURVIVOR_PART, profile_id(x, IDS))], history
