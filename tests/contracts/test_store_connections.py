"""Connections that break, and servers that go: a write on a real server is done once, or refused in whole."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from redis import Redis

from nurt.adapters.redis.layouts import agree
from nurt.adapters.redis.outage import Patience
from nurt.adapters.redis.store import RedisStore, claim, read_fences
from nurt.errors import ConfigurationError, ConnectionFailed, Fenced
from nurt.model.fence import FencingToken
from nurt.model.keys import Keys
from nurt.model.state_write import StateWrite
from tests.contracts.store_servers import KEYS, PLACES, A, Settled
from tests.services.stack.redis_server import KINDS, RedisServer


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
def test_a_write_whose_connection_is_cut_is_done_exactly_once(
    shared_redis: RedisServer, cut: str, reads_first: bool
) -> None:
    with cut_off(shared_redis) as (cutter, store, client):
        for number in range(1, 4):
            if reads_first:
                store.read([A])
            cutter.cut = cut
            store.write(StateWrite(put={A: b"%d" % number}, counts={("t", "folded", ""): 1}))
        assert cutter.cuts == 3
        assert store.read([A]) == [b"3"]
        assert client.hgetall(KEYS.named("counts")) == {b"t\x1ffolded\x1f": b"3"}
        assert set(read_fences(client, PLACES).values()) == {FencingToken(1, 0, 3)}


def test_a_write_that_the_server_finishes_late_is_done_once_or_refused_in_whole(shared_redis: RedisServer) -> None:
    """The bytes of a cut connection may still be on their way while the store asks whether they were done."""
    with cut_off(shared_redis) as (cutter, store, client):
        done = 0
        for number, late_s in enumerate(itertools.islice(itertools.cycle([0.001, 0.003, 0.01, 0.03]), 12)):
            cutter.cut, cutter.late_s = "after", late_s
            store.write(StateWrite(put={A: b"%d" % number}, counts={("t", "folded", ""): 1}))
            done += 1
            threading.Event().wait(0.05)
        assert client.hgetall(KEYS.named("counts")) == {b"t\x1ffolded\x1f": b"%d" % done}
        assert set(read_fences(client, PLACES).values()) == {FencingToken(1, 0, done)}


def test_a_connection_killed_between_read_and_write_costs_nothing(shared_redis: RedisServer) -> None:
    with cut_off(shared_redis) as (_, store, client):
        for number in range(3):
            store.read([A])
            client.client_kill_filter(_type="normal", skipme=True)
            store.write(StateWrite(put={A: b"%d" % number}, counts={("t", "folded", ""): 1}))
            client.client_kill_filter(_type="normal", skipme=True)
            assert store.read([A]) == [b"%d" % number]
        assert client.hgetall(KEYS.named("counts")) == {b"t\x1ffolded\x1f": b"3"}


def test_a_claim_while_the_connection_is_cut_fences(shared_redis: RedisServer) -> None:
    with cut_off(shared_redis) as (_, store, client):
        store.read([A])
        client.client_kill_filter(_type="normal", skipme=True)
        claim(client, 2, PLACES)
        with pytest.raises(Fenced):
            store.write(StateWrite(put={A: b"1"}))
        assert client.get(A) is None


def test_a_lost_answer_is_not_taken_for_a_write_when_another_run_has_claimed(shared_redis: RedisServer) -> None:
    with cut_off(shared_redis) as (cutter, store, client):
        store.write(StateWrite(put={A: b"1"}))
        store.read([A])
        cutter.cut = "before"
        claim(client, 2, PLACES)
        with pytest.raises(Fenced):
            store.write(StateWrite(put={A: b"2"}))
        assert client.get(A) == b"1"


def test_state_of_another_secret_is_refused_though_the_register_is_lost(shared_redis: RedisServer) -> None:
    with shared_redis.client() as client:
        client.flushall()
        agree(client, KEYS, "4 shards, secret a")
        agree(client, KEYS, "4 shards, secret a")
        with pytest.raises(ConfigurationError, match="secret a"):
            agree(client, KEYS, "4 shards, secret b")
        agree(client, Keys("u", 4), "4 shards, secret b")


def test_a_run_claims_state_that_an_older_one_is_still_writing(shared_redis: RedisServer) -> None:
    with cut_off(shared_redis) as (_, store, client):
        fenced = threading.Event()

        def work() -> None:
            with suppress(Fenced):
                while True:
                    store.write(StateWrite(put={A: b"1"}))
            fenced.set()

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        threading.Event().wait(0.1)
        claim(client, 2, PLACES)
        assert fenced.wait(10)
        assert set(read_fences(client, PLACES).values()) == {FencingToken(2, 0, 0)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_comes_back_with_everything_is_gone_on_with(
    start_redis: Callable[..., RedisServer], kind: str
) -> None:
    server = start_redis(kind)
    with server.client() as client:
        claim(client, 1, PLACES)
    store = RedisStore(Redis.from_url(server.url, protocol=2), KEYS, 1, PLACES)
    store.write(StateWrite(put={A: b"1"}))
    store.read([A])
    server.save()
    server.restart()
    store.write(StateWrite(put={A: b"2"}))
    server.restart()  # without saving: the last write is gone
    with pytest.raises(Fenced):
        store.write(StateWrite(put={A: b"3"}))
    store.close()


def test_a_server_that_stays_away_is_named_after_a_while(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis("valkey")
    with server.client() as client:
        claim(client, 1, PLACES)
    away = Redis.from_url(server.url, protocol=2, retry=None)
    store = RedisStore(away, KEYS, 1, PLACES)
    store._wire._patience = Patience(away, away_max_s=0.5)
    store.write(StateWrite(put={A: b"1"}))
    server.kill()
    with pytest.raises(ConnectionFailed, match="reaching Redis"):
        store.write(StateWrite(put={A: b"2"}))
