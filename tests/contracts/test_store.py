"""One contract for every store: memory, and real Valkey and Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest

from nurt.errors import Fenced
from nurt.model.fence import SEQUENCE_BITS, FencingToken, pending_score
from nurt.model.refusal import Reason, Refused
from nurt.model.state_write import StateWrite
from nurt.ports.store import Store
from tests.contracts.store_servers import OTHER_PLACES, PLACES, A, B, C, InMemory, OnServer, Server
from tests.services.stack.absence import ServiceAbsent, skip_or_fail
from tests.services.stack.redis_server import KINDS, Kind, RedisServer, running_redis


@pytest.fixture(scope="module")
def running() -> Iterator[Callable[[Kind], RedisServer]]:
    """Start a server of a kind once for all tests here."""
    with ExitStack() as stack:

        @cache
        def run(kind: Kind) -> RedisServer:
            try:
                return stack.enter_context(running_redis(kind))
            except ServiceAbsent as absent:
                skip_or_fail(absent)

        yield run


@pytest.fixture(params=["memory", *(pytest.param(kind, marks=pytest.mark.services) for kind in KINDS)])
def server(request: pytest.FixtureRequest, running: Callable[[Kind], RedisServer]) -> Server:
    return InMemory() if request.param == "memory" else OnServer(running(request.param))


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    server.claim(1, PLACES)
    store = server.store(1, PLACES)
    yield store
    store.close()


def change(**named: Any) -> StateWrite:
    return StateWrite(**named)


def test_values_are_read_in_the_order_of_the_keys(store: Store) -> None:
    names = [PLACES[0] + b"x" + number.to_bytes(16) for number in range(1_000)]
    store.write(change(put={name: name[-2:] for name in names[::2]}))
    asked = [*reversed(names), names[0], names[0]]
    assert store.read(asked) == [name[-2:] if int.from_bytes(name[-16:]) % 2 == 0 else None for name in asked]
    assert store.read([]) == []


def test_a_write_does_everything_that_a_change_holds(server: Server, store: Store) -> None:
    store.write(change(put={A: b"1", B: b"2"}))
    store.write(
        change(
            put={A: b"3", C: b""},
            drop=[B],
            pending={PLACES[2]: {b"m": 5}},
            timers={PLACES[0]: {b"p": 20_000, b"q": 20_001}, PLACES[1]: {b"r": 19_999}},
            watermarks={PLACES[0]: {b"table": b"floor"}},
            counts={("t", "folded", ""): 2, ("t", "quarantined", "why"): 1},
            refused=[Refused("t", 0, 7, 1_000, b"k", None, [("h", None)], Reason.NOT_CONFLUENT, "")],
        )
    )
    assert store.read([A, B, C]) == [b"3", None, b""]
    assert store.pending() == {PLACES[0]: [], PLACES[1]: [], PLACES[2]: [b"m"]}
    assert store.due_timers(20_000, 10) == [b"r", b"p"]
    assert store.watermarks() == {b"table": b"floor"}
    assert server.counts() == {("t", "folded", ""): 2, ("t", "quarantined", "why"): 1}
    assert server.quarantined() == 1


def test_counts_add_up_and_a_message_is_quarantined_once(server: Server, store: Store) -> None:
    refused = Refused("t", 0, 7, 1_000, None, b"v", None, Reason.NOT_CONFLUENT, "")
    for _ in range(3):
        store.write(change(counts={("t", "folded", ""): 2}, refused=[refused]))
    assert server.counts() == {("t", "folded", ""): 6}
    assert server.quarantined() == 1


def test_heads_move_with_every_write_and_stamps_grow(server: Server, store: Store) -> None:
    stamps = []
    for number in range(3):
        stamps.append(store.next_stamp())
        assert store.next_stamp() == stamps[-1], "asking does not use it up"
        store.write(change(put={A: b"%d" % number}))
        assert set(server.heads().values()) == {FencingToken(1, 0, number + 1)}
        assert stamps[-1] & (1 << SEQUENCE_BITS) - 1 == number + 1, "the write with the stamp has its sequence"
    assert stamps == sorted(set(stamps))
    store.advance_epoch(1, 0)
    assert set(server.heads().values()) == {FencingToken(1, 1, 4)}
    assert store.next_stamp() > stamps[-1]
    server.claim(2, PLACES)
    assert server.store(2, PLACES).next_stamp() > store.next_stamp(), "a later run's stamps are larger"


@pytest.mark.parametrize("do", ["write", "lift", "read"])
def test_a_later_claim_fences_and_nothing_changes(server: Server, store: Store, do: str) -> None:
    store.write(change(put={A: b"1"}, counts={("t", "folded", ""): 1}))
    server.claim(2, PLACES)
    with pytest.raises(Fenced):
        _do(store, do)
    after = server.store(2, PLACES)
    assert after.read([A]) == [b"1"]
    assert after.pending() == {place: [] for place in PLACES}
    assert server.counts() == {("t", "folded", ""): 1}
    assert set(server.heads().values()) == {FencingToken(2, 0, 0)}


@pytest.mark.parametrize("do", ["write", "lift", "read"])
def test_a_claim_of_one_place_fences_all_of_a_workers_writes(server: Server, store: Store, do: str) -> None:
    server.claim(2, PLACES[2:])
    with pytest.raises(Fenced):
        _do(store, do)
    assert server.heads()[PLACES[0]] == FencingToken(1, 0, 0)


@pytest.mark.parametrize("do", ["write", "lift"])
def test_a_claim_between_read_and_write_fences_the_write(server: Server, store: Store, do: str) -> None:
    assert store.read([A]) == [None]
    server.claim(2, PLACES)
    with pytest.raises(Fenced):
        _do(store, do)
    assert server.store(2, PLACES).read([A]) == [None]


@pytest.mark.parametrize("do", ["write", "lift", "read"])
def test_a_store_that_came_back_older_fences(server: Server, store: Store, do: str) -> None:
    store.write(change(put={A: b"1"}))
    saved = server.save()
    store.write(change(put={A: b"2"}))
    server.restore(saved)
    with pytest.raises(Fenced):
        _do(store, do)
    assert server.heads()[PLACES[0]] == FencingToken(1, 0, 1)


@pytest.mark.parametrize("do", ["write", "lift", "read"])
def test_an_emptied_store_fences(server: Server, store: Store, do: str) -> None:
    empty = type(server.save())()
    store.write(change(put={A: b"1"}))
    server.restore(empty)
    with pytest.raises(Fenced):
        _do(store, do)
    assert set(server.heads().values()) == {None}


def test_a_store_restored_between_read_and_write_fences_the_write(server: Server, store: Store) -> None:
    store.write(change(put={A: b"1"}))
    saved = server.save()
    store.write(change(put={A: b"2"}))
    assert store.read([A]) == [b"2"]
    server.restore(saved)
    with pytest.raises(Fenced):
        store.write(change(put={A: b"3"}))


def _do(store: Store, do: str) -> None:
    if do == "write":
        store.write(change(put={A: b"9", B: b"9"}, pending={PLACES[0]: {b"m": 1}}, counts={("t", "folded", ""): 1}))
    elif do == "lift":
        store.advance_epoch(7, 1 << 60)
    else:
        store.read([A])


@pytest.mark.parametrize("run", [1, 2])
def test_a_run_that_is_not_the_latest_claims_nothing(server: Server, run: int) -> None:
    server.claim(2, PLACES[:1])
    with pytest.raises(Fenced):
        server.claim(run, PLACES)
    assert server.heads() == {PLACES[0]: FencingToken(2, 0, 0), PLACES[1]: None, PLACES[2]: None}


def test_workers_write_their_own_places_beside_each_other(server: Server, store: Store) -> None:
    server.claim(1, OTHER_PLACES)
    other = server.store(1, OTHER_PLACES)
    store.read([A])
    other.write(change(put={OTHER_PLACES[0] + b"x": b"o"}))
    store.write(change(put={A: b"1"}))
    assert other.read([A]) == [b"1"], "what another worker wrote is there"
    other.close()


def test_a_lift_forgets_what_is_owed_below_the_horizon_only(store: Store) -> None:
    pending = {
        b"old": pending_score(1, 4),
        b"edge": pending_score(1, 5),
        b"new": pending_score(1, 9),
        b"later": pending_score(2, 0),
    }
    store.write(change(pending={PLACES[0]: pending, PLACES[2]: {b"old": pending_score(1, 4)}}))
    store.advance_epoch(10, 0)
    assert sorted(store.pending()[PLACES[0]]) == sorted(pending)
    store.advance_epoch(11, pending_score(1, 5))
    assert sorted(store.pending()[PLACES[0]]) == [b"edge", b"later", b"new"]
    assert store.pending()[PLACES[2]] == []


def test_what_is_owed_again_is_owed_by_the_later_epoch(store: Store) -> None:
    store.write(change(pending={PLACES[0]: {b"m": pending_score(1, 4)}}))
    store.write(change(pending={PLACES[0]: {b"m": pending_score(2, 1)}}))
    store.advance_epoch(2, pending_score(2, 0))
    assert store.pending()[PLACES[0]] == [b"m"]


def test_due_profiles_come_by_day_some_at_a_time_and_leave_when_told(store: Store) -> None:
    for place, days in ((PLACES[0], range(100, 110)), (PLACES[1], range(95, 105))):
        store.write(change(timers={place: {b"%s/%d" % (place, day): day for day in days}}))
    assert store.due_timers(94, 10) == []
    first = store.due_timers(104, 7)
    assert [int(member.split(b"/")[1]) for member in first] == [95, 96, 97, 98, 99, 100, 100]
    store.write(change(timers={PLACES[0]: {b"%s/100" % PLACES[0]: None, b"never": None, b"%s/101" % PLACES[0]: 300}}))
    assert len(store.due_timers(104, 100)) == 13
    assert len(store.due_timers(300, 100)) == 19
    assert store.due_timers(300, 100)[-1] == b"%s/101" % PLACES[0]


def test_a_scan_yields_each_id_of_a_kind_in_the_workers_places(server: Server, store: Store) -> None:
    server.claim(1, OTHER_PLACES)
    # line feeds, stars, brackets, backslashes: ids and kinds are any bytes
    ids = [bytes([number]) * 15 + tail for number in (10, 42, 63, 91, 92, 93) for tail in (b"*", b"\n", b"[")]
    mine = {PLACES[number % 2] + b"r\n" + one: b"v" for number, one in enumerate(ids)}
    store.write(change(put=mine | {PLACES[0] + b"r\x0b" + bytes(16): b"another kind"}))
    server.store(1, OTHER_PLACES).write(change(put={OTHER_PLACES[0] + b"r\n" + bytes(16): b"not mine"}))
    found = [one for some in store.scan(b"r\n") for one in some]
    assert sorted(set(found)) == sorted(ids)
    assert list(store.scan(b"r\x0c")) == []


def test_a_scan_goes_on_while_its_finds_are_rewritten(store: Store) -> None:
    names = [PLACES[0] + b"r\x01" + number.to_bytes(16) for number in range(12_000)]
    store.write(change(put=dict.fromkeys(names, b"v")))
    found = set()
    for some in store.scan(b"r\x01"):
        found.update(some)
        store.write(change(put={PLACES[0] + b"r\x01" + one: b"w" for one in some}))
    assert len(found) == 12_000
