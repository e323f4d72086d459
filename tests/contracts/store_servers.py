"""Stores and what outlives them, in memory and on real servers."""

from __future__ import annotations

from typing import Any, Protocol

from redis import Redis

from nurt.adapters.redis.store import RedisStore, claim, read_fences
from nurt.model.fence import FencingToken
from nurt.model.keys import Keys
from nurt.model.state_write import StateWrite
from nurt.ports.store import Store
from nurt.testing.memory_store import Memory, MemoryStore
from tests.services.stack.redis_server import RedisServer

KEYS = Keys("t", 4)
PLACES = [KEYS.shard_place(0), KEYS.shard_place(1), KEYS.realm_place("eu")]
OTHER_PLACES = [KEYS.shard_place(2), KEYS.shard_place(3)]
A, B, C = (PLACES[0] + b"x" + bytes([number]) * 16 for number in (1, 2, 3))


class Server(Protocol):
    """What outlives its stores."""

    def claim(self, run: int, places: list[bytes]) -> None: ...
    def store(self, run: int, places: list[bytes]) -> Store: ...
    def heads(self) -> dict[bytes, FencingToken | None]: ...
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

    def heads(self) -> dict[bytes, FencingToken | None]:
        return {place: self.memory.fences.get(place) for place in PLACES}

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

    def write(self, change: StateWrite) -> None:
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

    def heads(self) -> dict[bytes, FencingToken | None]:
        return read_fences(self.client, PLACES)

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
