"""A write is sent and not waited for: it is done exactly once or refused aloud, whatever happens to its connection."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from nurt.adapters.redis.store import RedisStore, claim, read_fences
from nurt.errors import Fenced
from nurt.model.keys import Keys
from nurt.model.state_write import StateWrite
from tests.services.stack.redis_server import RedisServer

KEYS = Keys("t", 2)
PLACES = [KEYS.shard_place(0), KEYS.shard_place(1), KEYS.realm_place("default")]
KEY = PLACES[0] + b"r" + bytes(16)
COUNTED = ("topic", "folded", "")


class Line:
    """A way to the server that can lose what is sent, and break."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._ears = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._ears.getsockname()[1]
        self.bytes_left: int | None = None
        """How many bytes still reach the server; None: all. Answers always come through."""
        self.mute = False
        """Whether answers are lost."""
        self._open: list[socket.socket] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._ears.accept()
                there = socket.create_connection(("127.0.0.1", self._server))
                self._open += [here, there]
                threading.Thread(target=self._carry, args=(here, there), daemon=True).start()
                threading.Thread(target=self._answer, args=(there, here), daemon=True).start()

    def _carry(self, here: socket.socket, there: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while some := here.recv(65_536):
                if self.bytes_left is not None:
                    some, self.bytes_left = some[: self.bytes_left], max(0, self.bytes_left - len(some))
                there.sendall(some)
        _hang_up(here, there)

    def _answer(self, there: socket.socket, here: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while some := there.recv(65_536):
                if not self.mute:
                    here.sendall(some)
        _hang_up(here, there)

    def cut(self) -> None:
        """Break every connection, and be whole again for new ones."""
        old, self._open = self._open, []
        self.bytes_left, self.mute = None, False
        _hang_up(*old)

    def close(self) -> None:
        self._ears.close()
        self.cut()


def _hang_up(*ends: socket.socket) -> None:
    for one in ends:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def line(redis_server: RedisServer) -> Iterator[Line]:
    line = Line(redis_server.port)
    yield line
    line.close()


@pytest.fixture
def plain(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """A client of its own, for looking at what is stored."""
    with redis_server.client() as client:
        yield client


def store_over(port: int, plain: redis.Redis, run: int = 1) -> RedisStore:
    claim(plain, run, PLACES)
    return RedisStore(redis.Redis(port=port, protocol=2), KEYS, run, PLACES)


def change(value: bytes = b"one") -> StateWrite:
    return StateWrite(put={KEY: value}, counts={COUNTED: 1})


def times_done(plain: redis.Redis) -> int:
    return int(plain.hget(KEYS.named("counts"), "\x1f".join(COUNTED)) or 0)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, "waited for 20 s"
        time.sleep(0.01)


def test_what_was_written_is_read(line: Line, plain: redis.Redis) -> None:
    store = store_over(line.port, plain)
    for value in (b"one", b"two", b"three"):
        store.read([KEY])
        store.write(change(value))
    assert store.read([KEY]) == [b"three"]
    store.write(change(b"four"))  # one after another, without a read of ours
    store.write(change(b"five"))
    store.settle()
    assert plain.get(KEY) == b"five"
    assert times_done(plain) == 5


def test_a_write_whose_confirmation_was_lost_is_not_done_again(line: Line, plain: redis.Redis) -> None:
    store = store_over(line.port, plain)
    store.read([KEY])
    line.mute = True
    store.write(change())
    wait_until(lambda: times_done(plain) == 1)
    line.cut()
    assert store.read([KEY]) == [b"one"]
    store.write(change(b"two"))
    store.settle()
    assert (plain.get(KEY), times_done(plain)) == (b"two", 2)


@pytest.mark.parametrize("bytes_left", [0, 1, 20, 60, 120])
@pytest.mark.parametrize("then", ["read", "write", "settle", "lift", "due"])
def test_a_write_that_was_cut_off_is_done_once(line: Line, plain: redis.Redis, bytes_left: int, then: str) -> None:
    store = store_over(line.port, plain)
    store.read([KEY])
    line.bytes_left = bytes_left
    store.write(change())
    wait_until(lambda: line.bytes_left == 0)
    line.cut()
    {
        "read": lambda: store.read([KEY]),
        "write": lambda: store.write(StateWrite()),
        "settle": store.settle,
        "lift": lambda: store.advance_epoch(1, 0),
        "due": lambda: store.due_timers(1, 1),
    }[then]()
    store.settle()  # only then is a write promised to be there for others
    assert (plain.get(KEY), times_done(plain)) == (b"one", 1)
    store.read([KEY])
    store.write(change(b"two"))
    store.settle()
    assert (plain.get(KEY), times_done(plain)) == (b"two", 2)


def test_a_connection_killed_at_every_moment_loses_and_repeats_nothing(line: Line, plain: redis.Redis) -> None:
    store = store_over(line.port, plain)
    writes = 60
    for number in range(writes):
        assert store.read([KEY]) == [None if number == 0 else b"%d" % (number - 1)]
        if number % 3 == 0:
            line.cut()
        store.write(change(b"%d" % number))
        if number % 3 == 1:
            line.cut()
        if number % 3 == 2:
            plain.client_kill_filter(_type="normal", skipme=True)
    store.settle()
    assert (plain.get(KEY), times_done(plain)) == (b"%d" % (writes - 1), writes)


@pytest.mark.parametrize("then", ["read", "write", "settle", "lift", "owed", "due", "floors", "scan"])
def test_a_write_after_another_run_took_over_is_refused(line: Line, plain: redis.Redis, then: str) -> None:
    store = store_over(line.port, plain)
    store.read([KEY])
    claim(plain, 2, PLACES)
    store.write(change())
    with pytest.raises(Fenced, match="run 2"):
        {
            "read": lambda: store.read([KEY]),
            "write": lambda: store.write(StateWrite()),
            "settle": store.settle,
            "lift": lambda: store.advance_epoch(1, 0),
            "owed": store.pending,
            "due": lambda: store.due_timers(1, 1),
            "floors": store.watermarks,
            "scan": lambda: list(store.scan(b"r")),
        }[then]()
    assert (plain.get(KEY), times_done(plain)) == (None, 0)
    store.close()  # and does not wait for what nobody will say


def test_a_cut_off_write_is_not_done_for_a_run_that_was_replaced(line: Line, plain: redis.Redis) -> None:
    store = store_over(line.port, plain)
    store.read([KEY])
    line.bytes_left = 0
    store.write(change())
    claim(plain, 2, PLACES)
    line.cut()
    with pytest.raises(Fenced, match="run 2"):
        store.settle()
    assert (plain.get(KEY), times_done(plain)) == (None, 0)
    assert {head.run for head in read_fences(plain, PLACES).values() if head} == {2}
    store.close()


def test_a_server_that_came_back_older_refuses(redis_server: RedisServer, line: Line, plain: redis.Redis) -> None:
    store = store_over(line.port, plain)
    store.read([KEY])
    store.write(change())
    store.settle()
    redis_server.save()
    for value in (b"two", b"three"):
        store.read([KEY])
        store.write(change(value))
    redis_server.restart()
    with pytest.raises(Fenced):
        store.read([KEY])
    assert plain.get(KEY) == b"one"


def test_a_refused_command_fails_aloud_and_changes_nothing(line: Line, plain: redis.Redis) -> None:
    store = store_over(line.port, plain)
    store.read([KEY])
    plain.config_set("maxmemory", 1)
    store.write(change())
    with pytest.raises(redis.ResponseError):
        store.settle()
    plain.config_set("maxmemory", 0)
    assert (plain.get(KEY), times_done(plain)) == (None, 0)
    store.close()


@pytest.mark.parametrize("asked", ["owed", "due", "floors", "scan"])
def test_what_is_asked_beside_the_connection_sees_what_was_written(line: Line, plain: redis.Redis, asked: str) -> None:
    store = store_over(line.port, plain)
    ids = [number.to_bytes(16, "big") for number in range(30_000)]
    store.read([])
    store.write(
        StateWrite(
            put={PLACES[0] + b"r" + one: one for one in ids},
            pending={PLACES[0]: {b"member": 7}},
            timers={PLACES[1]: {b"member": 1}},
            watermarks={PLACES[0]: {b"table": b"floor"}},
        )
    )
    if asked == "owed":
        assert store.pending() == {PLACES[0]: [b"member"], PLACES[1]: [], PLACES[2]: []}
    elif asked == "due":
        assert store.due_timers(1, 10) == [b"member"]
    elif asked == "floors":
        assert store.watermarks() == {b"table": b"floor"}
    else:
        assert sorted(one for some in store.scan(b"r") for one in some) == ids


def test_closing_waits_for_the_last_write(line: Line, plain: redis.Redis) -> None:
    store = store_over(line.port, plain)
    store.read([])
    store.write(StateWrite(put={PLACES[0] + b"r%d" % number: b"x" * 100 for number in range(30_000)}))
    store.close()
    assert plain.get(PLACES[0] + b"r29999") == b"x" * 100
