"""One contract for every store: memory, and real Valkey and Redis with connections that break."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import Any, Protocol

import pytest
from redis import Redis

from nurt.adapters.memory_store import Memory, MemoryStore
from nurt.adapters.redis_store import RedisStore, agree, claim, read_heads
from nurt.errors import ConfigurationError, ConnectionFailed, Fenced
from nurt.model.change import Change
from nurt.model.head import SEQUENCE_BITS, Head, owed_score
from nurt.model.keys import Keys
from nurt.model.refusal import Reason, Refused
from nurt.ports import Store
from tests.services.stack.absence import ServiceAbsent, skip_or_fail
from tests.services.stack.redis_server import KINDS, Kind, RedisServer, running_redis

KEYS = Keys("t", 4)
PLACES = [KEYS.shard_place(0), KEYS.shard_place(1), KEYS.realm_place("eu")]
OTHER_PLACES = [KEYS.shard_place(2), KEYS.shard_place(3)]
A, B, C = (PLACES[0] + b"x" + bytes([number]) * 16 for number in (1, 2, 3))


class Server(Protocol):
    """What outlives its stores."""

    def claim(self, run: int, places: list[bytes]) -> None: ...
    def store(self, run: int, places: list[bytes]) -> Store: ...
    def heads(self) -> dict[bytes, Head | None]: ...
    def counts(self) -> dict[tuple[str, str, str], int]: ...
    def quarantined(self) -> int: ...
    def save(self) -> Any: ...
    def restore(self, saved: Any) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self.memory = Memory()

    def claim(self, run: int, places: list[bytes]) -> None:
        self.memory.claim(run, places)

    def store(self, run: int, places: list[bytes]) -> Store:
        return MemoryStore(self.memory, run, places)

    def heads(self) -> dict[bytes, Head | None]:
        return {place: self.memory.heads.get(place) for place in PLACES}

    def counts(self) -> dict[tuple[str, str, str], int]:
        return self.memory.counts

    def quarantined(self) -> int:
        return len(self.memory.refused)

    def save(self) -> Memory:
        return self.memory.copy()

    def restore(self, saved: Memory) -> None:
        copy = saved.copy()
        for name in Memory.__slots__:
            setattr(self.memory, name, getattr(copy, name))


class Settled(RedisStore):
    """A store that waits for every write; what holds of one that does not: `test_unconfirmed_writes`."""

    def write(self, change: Change) -> None:
        super().write(change)
        self.settle()


class OnServer:
    """A real server; restoring is done by dump and restore of every key, the connections stay."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.client = server.client()
        self.client.flushall()

    def claim(self, run: int, places: list[bytes]) -> None:
        claim(self.client, run, places)

    def store(self, run: int, places: list[bytes]) -> RedisStore:
        return Settled(Redis.from_url(self.server.url, protocol=2), KEYS, run, places)

    def heads(self) -> dict[bytes, Head | None]:
        return read_heads(self.client, PLACES)

    def counts(self) -> dict[tuple[str, str, str], int]:
        held: Any = self.client.hgetall(KEYS.named("counts"))
        return {tuple(name.decode().split("\x1f")): int(count) for name, count in held.items()}  # type: ignore[misc]

    def quarantined(self) -> int:
        return int(self.client.zcard(KEYS.named("quarantine")))  # type: ignore[arg-type]

    def save(self) -> dict[bytes, bytes]:
        return {key: self.client.dump(key) for key in self.client.scan_iter()}  # type: ignore[misc]

    def restore(self, saved: dict[bytes, bytes]) -> None:
        pipe = self.client.pipeline()
        pipe.flushall()
        for key, value in saved.items():
            pipe.restore(key, 0, value)
        pipe.execute()


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


@pytest.fixture(params=KINDS)
def real(request: pytest.FixtureRequest, running: Callable[[Kind], RedisServer]) -> RedisServer:
    return running(request.param)


@pytest.fixture(params=["memory", *KINDS])
def server(request: pytest.FixtureRequest, running: Callable[[Kind], RedisServer]) -> Server:
    return InMemory() if request.param == "memory" else OnServer(running(request.param))


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    server.claim(1, PLACES)
    store = server.store(1, PLACES)
    yield store
    store.close()


def change(**named: Any) -> Change:
    return Change(**named)


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
            owed={PLACES[2]: {b"m": 5}},
            due={PLACES[0]: {b"p": 20_000, b"q": 20_001}, PLACES[1]: {b"r": 19_999}},
            floors={PLACES[0]: {b"table": b"floor"}},
            counts={("t", "folded", ""): 2, ("t", "quarantined", "why"): 1},
            refused=[Refused("t", 0, 7, 1_000, b"k", None, [("h", None)], Reason.NOT_CONFLUENT, "")],
        )
    )
    assert store.read([A, B, C]) == [b"3", None, b""]
    assert store.owed() == {PLACES[0]: [], PLACES[1]: [], PLACES[2]: [b"m"]}
    assert store.due(20_000, 10) == [b"r", b"p"]
    assert store.floors() == {b"table": b"floor"}
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
        assert set(server.heads().values()) == {Head(1, 0, number + 1)}
        assert stamps[-1] & (1 << SEQUENCE_BITS) - 1 == number + 1, "the write with the stamp has its sequence"
    assert stamps == sorted(set(stamps))
    store.lift(1, 0)
    assert set(server.heads().values()) == {Head(1, 1, 4)}
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
    assert after.owed() == {place: [] for place in PLACES}
    assert server.counts() == {("t", "folded", ""): 1}
    assert set(server.heads().values()) == {Head(2, 0, 0)}


@pytest.mark.parametrize("do", ["write", "lift", "read"])
def test_a_claim_of_one_place_fences_all_of_a_workers_writes(server: Server, store: Store, do: str) -> None:
    server.claim(2, PLACES[2:])
    with pytest.raises(Fenced):
        _do(store, do)
    assert server.heads()[PLACES[0]] == Head(1, 0, 0)


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
    assert server.heads()[PLACES[0]] == Head(1, 0, 1)


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
        store.write(change(put={A: b"9", B: b"9"}, owed={PLACES[0]: {b"m": 1}}, counts={("t", "folded", ""): 1}))
    elif do == "lift":
        store.lift(7, 1 << 60)
    else:
        store.read([A])


@pytest.mark.parametrize("run", [1, 2])
def test_a_run_that_is_not_the_latest_claims_nothing(server: Server, run: int) -> None:
    server.claim(2, PLACES[:1])
    with pytest.raises(Fenced):
        server.claim(run, PLACES)
    assert server.heads() == {PLACES[0]: Head(2, 0, 0), PLACES[1]: None, PLACES[2]: None}


def test_workers_write_their_own_places_beside_each_other(server: Server, store: Store) -> None:
    server.claim(1, OTHER_PLACES)
    other = server.store(1, OTHER_PLACES)
    store.read([A])
    other.write(change(put={OTHER_PLACES[0] + b"x": b"o"}))
    store.write(change(put={A: b"1"}))
    assert other.read([A]) == [b"1"], "what another worker wrote is there"
    other.close()


def test_a_lift_forgets_what_is_owed_below_the_horizon_only(store: Store) -> None:
    owed = {b"old": owed_score(1, 4), b"edge": owed_score(1, 5), b"new": owed_score(1, 9), b"later": owed_score(2, 0)}
    store.write(change(owed={PLACES[0]: owed, PLACES[2]: {b"old": owed_score(1, 4)}}))
    store.lift(10, 0)
    assert sorted(store.owed()[PLACES[0]]) == sorted(owed)
    store.lift(11, owed_score(1, 5))
    assert sorted(store.owed()[PLACES[0]]) == [b"edge", b"later", b"new"]
    assert store.owed()[PLACES[2]] == []


def test_what_is_owed_again_is_owed_by_the_later_epoch(store: Store) -> None:
    store.write(change(owed={PLACES[0]: {b"m": owed_score(1, 4)}}))
    store.write(change(owed={PLACES[0]: {b"m": owed_score(2, 1)}}))
    store.lift(2, owed_score(2, 0))
    assert store.owed()[PLACES[0]] == [b"m"]


def test_due_profiles_come_by_day_some_at_a_time_and_leave_when_told(store: Store) -> None:
    for place, days in ((PLACES[0], range(100, 110)), (PLACES[1], range(95, 105))):
        store.write(change(due={place: {b"%s/%d" % (place, day): day for day in days}}))
    assert store.due(94, 10) == []
    first = store.due(104, 7)
    assert [int(member.split(b"/")[1]) for member in first] == [95, 96, 97, 98, 99, 100, 100]
    store.write(change(due={PLACES[0]: {b"%s/100" % PLACES[0]: None, b"never": None, b"%s/101" % PLACES[0]: 300}}))
    assert len(store.due(104, 100)) == 13
    assert len(store.due(300, 100)) == 19
    assert store.due(300, 100)[-1] == b"%s/101" % PLACES[0]


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


# -- connections that break: real servers only


class Cutter:
    """A proxy that cuts a connection: after it forwarded a request, before the answer, or before the request.

    Attributes:
        cut: what to do with the next request that holds EXEC: `before` it is forwarded, `after`, or None.
        late_s: how long a request that is cut `after` waits until it is forwarded: the client has asked again by then.
    """

    def __init__(self, port: int) -> None:
        self.cut: str | None = None
        self.late_s = 0.0
        self.cuts = 0
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answers, args=(server, client), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), client, server:
            while request := client.recv(1 << 20):
                if self.cut is not None and b"EXEC" in request:
                    cut, self.cut = self.cut, None
                    self.cuts += 1
                    if cut == "before":
                        _reset(client)
                        return
                    if self.late_s:
                        _reset(client)
                        threading.Event().wait(self.late_s)
                        server.sendall(request)
                        server.recv(1 << 20)
                        return
                    server.sendall(request)
                    threading.Event().wait(0.1)  # the server has done it
                    _reset(client)
                    return
                server.sendall(request)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while answer := server.recv(1 << 20):
                client.sendall(answer)
        _reset(client)

    def close(self) -> None:
        self._listener.close()


def _reset(client: socket.socket) -> None:
    with suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)


@contextmanager
def cut_off(server: RedisServer) -> Iterator[tuple[Cutter, RedisStore, Redis]]:
    client = server.client()
    client.flushall()
    claim(client, 1, PLACES)
    cutter = Cutter(server.port)
    store = Settled(Redis.from_url(f"redis://127.0.0.1:{cutter.port}/0", protocol=2), KEYS, 1, PLACES)
    try:
        yield cutter, store, client
    finally:
        store.close()
        cutter.close()


@pytest.mark.parametrize("reads_first", [True, False])
@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_write_whose_connection_is_cut_is_done_exactly_once(real: RedisServer, cut: str, reads_first: bool) -> None:
    with cut_off(real) as (cutter, store, client):
        for number in range(1, 4):
            if reads_first:
                store.read([A])
            cutter.cut = cut
            store.write(change(put={A: b"%d" % number}, counts={("t", "folded", ""): 1}))
        assert cutter.cuts == 3
        assert store.read([A]) == [b"3"]
        assert client.hgetall(KEYS.named("counts")) == {b"t\x1ffolded\x1f": b"3"}
        assert set(read_heads(client, PLACES).values()) == {Head(1, 0, 3)}


def test_a_write_that_the_server_finishes_late_is_done_once_or_refused_in_whole(real: RedisServer) -> None:
    """The bytes of a cut connection may still be on their way while the store asks whether they were done."""
    with cut_off(real) as (cutter, store, client):
        done = 0
        for number, late_s in enumerate(itertools.islice(itertools.cycle([0.001, 0.003, 0.01, 0.03]), 12)):
            cutter.cut, cutter.late_s = "after", late_s
            store.write(change(put={A: b"%d" % number}, counts={("t", "folded", ""): 1}))
            done += 1
            threading.Event().wait(0.05)
        assert client.hgetall(KEYS.named("counts")) == {b"t\x1ffolded\x1f": b"%d" % done}
        assert set(read_heads(client, PLACES).values()) == {Head(1, 0, done)}


def test_a_connection_killed_between_read_and_write_costs_nothing(real: RedisServer) -> None:
    with cut_off(real) as (_, store, client):
        for number in range(3):
            store.read([A])
            client.client_kill_filter(_type="normal", skipme=True)
            store.write(change(put={A: b"%d" % number}, counts={("t", "folded", ""): 1}))
            client.client_kill_filter(_type="normal", skipme=True)
            assert store.read([A]) == [b"%d" % number]
        assert client.hgetall(KEYS.named("counts")) == {b"t\x1ffolded\x1f": b"3"}


def test_a_claim_while_the_connection_is_cut_fences(real: RedisServer) -> None:
    with cut_off(real) as (_, store, client):
        store.read([A])
        client.client_kill_filter(_type="normal", skipme=True)
        claim(client, 2, PLACES)
        with pytest.raises(Fenced):
            store.write(change(put={A: b"1"}))
        assert client.get(A) is None


def test_a_lost_answer_is_not_taken_for_a_write_when_another_run_has_claimed(real: RedisServer) -> None:
    with cut_off(real) as (cutter, store, client):
        store.write(change(put={A: b"1"}))
        store.read([A])
        cutter.cut = "before"
        claim(client, 2, PLACES)
        with pytest.raises(Fenced):
            store.write(change(put={A: b"2"}))
        assert client.get(A) == b"1"


def test_state_of_another_secret_is_refused_though_the_register_is_lost(real: RedisServer) -> None:
    with real.client() as client:
        client.flushall()
        agree(client, KEYS, "4 shards, secret a")
        agree(client, KEYS, "4 shards, secret a")
        with pytest.raises(ConfigurationError, match="secret a"):
            agree(client, KEYS, "4 shards, secret b")
        agree(client, Keys("u", 4), "4 shards, secret b")


def test_a_run_claims_state_that_an_older_one_is_still_writing(real: RedisServer) -> None:
    with cut_off(real) as (_, store, client):
        fenced = threading.Event()

        def work() -> None:
            with suppress(Fenced):
                while True:
                    store.write(change(put={A: b"1"}))
            fenced.set()

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        threading.Event().wait(0.1)
        claim(client, 2, PLACES)
        assert fenced.wait(10)
        assert set(read_heads(client, PLACES).values()) == {Head(2, 0, 0)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_comes_back_with_everything_is_gone_on_with(
    start_redis: Callable[..., RedisServer], kind: str
) -> None:
    server = start_redis(kind)
    with server.client() as client:
        claim(client, 1, PLACES)
    store = RedisStore(Redis.from_url(server.url, protocol=2), KEYS, 1, PLACES)
    store.write(change(put={A: b"1"}))
    store.read([A])
    server.save()
    server.restart()
    store.write(change(put={A: b"2"}))
    server.restart()  # without saving: the last write is gone
    with pytest.raises(Fenced):
        store.write(change(put={A: b"3"}))
    store.close()


def test_a_server_that_stays_away_is_named_after_a_while(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis("valkey")
    with server.client() as client:
        claim(client, 1, PLACES)
    store = RedisStore(Redis.from_url(server.url, protocol=2, retry=None), KEYS, 1, PLACES)
    store._wire._away_max_s = 0.5
    store.write(change(put={A: b"1"}))
    server.kill()
    with pytest.raises(ConnectionFailed, match="reaching Redis"):
        store.write(change(put={A: b"2"}))
