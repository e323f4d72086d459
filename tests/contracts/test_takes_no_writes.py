"""A server that answers and takes no writes is away: a write is done once when it takes them, or refused aloud."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import redis

from nurt.adapters.redis.client import open_client
from nurt.adapters.redis.commands import PackedCommands
from nurt.adapters.redis.outage import AWAY, ReadOnlyServer, patiently
from nurt.adapters.redis.pipeline import RedisConnection
from nurt.adapters.redis.store import RedisStore, claim
from nurt.errors import ConnectionFailed
from nurt.model.keys import Keys
from nurt.model.state_write import StateWrite
from tests.services.shops import SHOPS
from tests.services.stack.redis_server import RedisServer

KEYS = Keys("t", 1)
PLACE = KEYS.shard_place(0)
KEY = PLACE + b"r" + bytes(16)
COUNTED = ("topic", "folded", "")

Change_ = Callable[[redis.Redis], object]
# nobody listens on port 1: a replica without its primary, as a demoted server is for a while
CASES: dict[str, tuple[Change_, Change_]] = {
    "demoted": (lambda one: one.replicaof("127.0.0.1", "1"), lambda one: one.replicaof("NO", "ONE")),
    "too few replicas": (
        lambda one: one.config_set("min-replicas-to-write", 1),
        lambda one: one.config_set("min-replicas-to-write", 0),
    ),
}


@pytest.fixture
def server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    return start_redis("valkey")


@pytest.mark.parametrize("case", CASES)
def test_a_write_that_was_refused_is_done_once_when_the_server_takes_writes_again(
    server: RedisServer, case: str
) -> None:
    refuse, accept = CASES[case]
    client = open_client(server.url)
    claim(client, 1, [PLACE])
    store = RedisStore(client, KEYS, 1, [PLACE])
    store.write(StateWrite(put={KEY: b"one"}, counts={COUNTED: 1}))
    store.settle()
    with server.client() as aside:
        refuse(aside)
        accepting = threading.Timer(0.5, accept, [aside])
        accepting.start()
        store.write(StateWrite(put={KEY: b"two"}, counts={COUNTED: 1}))
        store.settle()
        assert not accepting.is_alive(), "it was believed before it was done"
        assert aside.get(KEY) == b"two"
        assert aside.hget(KEYS.named("counts"), "\x1f".join(COUNTED)) == b"2"
    store.close()


@pytest.mark.parametrize("case", CASES)
def test_a_server_that_takes_no_writes_for_too_long_ends_the_run_and_says_why(server: RedisServer, case: str) -> None:
    refuse, _ = CASES[case]
    wire = RedisConnection(open_client(server.url), away_max_s=0.3)
    look, write = PackedCommands(), PackedCommands()
    look.add(b"GET", KEY)
    write.add(b"MULTI")
    write.add(b"SET", KEY, b"x")
    write.add(b"EXEC")
    with server.client() as aside:
        refuse(aside)
    with pytest.raises(ConnectionFailed, match=r"it takes no writes.*min-replicas-to-write"):
        for _ in range(100):
            assert wire.exchange(look) == [None], "it answers to reads all the while"
            with pytest.raises(AWAY) as said:
                wire.exchange(write)
            if isinstance(said.value, ConnectionFailed):
                raise said.value
    wire.drop()


@pytest.mark.parametrize("case", CASES)
def test_others_hear_of_it_too(server: RedisServer, case: str) -> None:
    refuse, _ = CASES[case]
    client = open_client(server.url)
    with server.client() as aside:
        refuse(aside)
    with pytest.raises(ConnectionFailed, match="it takes no writes"):
        patiently(client, lambda: client.set("a", 1), away_max_s=0.1)
    for opens in SHOPS.values():
        shop = opens(server.url, secret="00" * 16)
        with pytest.raises(ConnectionFailed, match=r"it takes no writes.*held once"):
            shop.release("1", "web")
        shop.close()
    assert issubclass(ReadOnlyServer, AWAY)
