"""Keyed state in Redis or Valkey: fenced by heads, two round trips a stage."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import orjson
from redis import Redis
from redis.exceptions import WatchError

from nurt.adapters.redis_wire import AWAY, Command, Wire, raise_errors
from nurt.errors import Fenced
from nurt.model.change import Change
from nurt.model.head import Head, stamp
from nurt.model.keys import Keys
from nurt.model.refusal import Refused

KEYS_A_COMMAND = 64
"""Many commands of some keys beat one giant command."""

SCAN_COUNT = 5_000


class RedisStore:
    """Implements ports.Store for the places of one worker.

    A batch WATCHes the heads with its first read and writes in one MULTI with the new heads, so that a head that
    changed in between refuses the write. When the connection breaks in a write, the heads tell whether it was done.

    Args:
        client: not decoding replies; its pool is asked for one connection, and for a second by `scan`.
        keys: of the deployment.
        run: that claimed the heads (see `claim`).
        places: of this worker.
    """

    def __init__(self, client: Redis, keys: Keys, run: int, places: Sequence[bytes]) -> None:
        self.run = run
        self.places: Sequence[bytes] = list(places)
        self._off_path: Any = client  # redis-py as it is; its replies are bytes, its annotations do not say so
        self._keys = keys
        self._wire = Wire(client)
        self._head = Head(run, 0, 0)
        self._heads = [place + b"h" for place in self.places]
        self._watching = False

    @property
    def round_trips(self) -> int:
        """How many exchanges with the server there have been."""
        return self._wire.round_trips

    def next_stamp(self) -> int:
        """See ports.Store."""
        return stamp(self.run, self._head.sequence + 1)

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See ports.Store."""
        while True:
            try:
                return self._read(keys)
            except AWAY:
                self._watching = False

    def _read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        commands: list[Command] = [] if self._watching else [(b"WATCH", *self._heads)]
        first = len(commands)
        commands.append((b"MGET", *self._heads))
        commands += [(b"MGET", *keys[at : at + KEYS_A_COMMAND]) for at in range(0, len(keys), KEYS_A_COMMAND)]
        replies = self._wire.exchange(commands)
        raise_errors(replies)
        self._watching = True
        self._check(replies[first], self._head)
        return [value for reply in replies[first + 1 :] for value in reply]

    def _check(self, values: Sequence[bytes | None], expected: Head) -> None:
        for place, value in zip(self.places, values, strict=True):
            head = Head.decode(value)
            if head != expected:
                raise _lost(place, head, self.run)

    def write(self, change: Change) -> None:
        """See ports.Store."""
        head = Head(self.run, self._head.epoch, self._head.sequence + 1)
        self._commit(_commands(change, self._keys), head)

    def lift(self, epoch: int, horizon: int) -> None:
        """See ports.Store."""
        forgets: list[Command] = [
            (b"ZREMRANGEBYSCORE", place + b"w", b"-inf", f"({horizon}".encode()) for place in self.places
        ]
        self._commit(forgets, Head(self.run, epoch, self._head.sequence + 1))

    def _commit(self, commands: list[Command], head: Head) -> None:
        """Write commands and the new head, once, whatever happens to the connection.

        Nobody else writes this head, so wherever it stands the write was done: also when the server finished it long
        after the connection that asked for it had broken.
        """
        pairs = [item for key in self._heads for item in (key, head.encode())]
        while True:
            try:
                if not self._watching and self._watches_written(head):
                    break
                replies = self._wire.exchange([(b"MULTI",), *commands, (b"MSET", *pairs), (b"EXEC",)])
            except AWAY:
                self._watching = False
                continue
            self._watching = False
            raise_errors(replies)
            if replies[-1] is not None:
                raise_errors(replies[-1])
                break
        self._head = head

    def _watches_written(self, head: Head) -> bool:
        """Watch the heads, and say whether they are the new one already; raises Fenced when they are neither."""
        replies = self._wire.exchange([(b"WATCH", *self._heads), (b"MGET", *self._heads)])
        raise_errors(replies)
        self._watching = True
        if all(Head.decode(value) == head for value in replies[1]):
            return True
        self._check(replies[1], self._head)
        return False

    def owed(self) -> dict[bytes, list[bytes]]:
        """See ports.Store."""
        return {place: list(self._off_path.zrange(place + b"w", 0, -1)) for place in self.places}

    def due(self, day: int, rows_max: int) -> list[bytes]:
        """See ports.Store."""
        pipe = self._off_path.pipeline(transaction=False)
        for place in self.places:
            pipe.zrange(place + b"u", "-inf", day, byscore=True, offset=0, num=rows_max, withscores=True)
        found = [(score, member) for members in pipe.execute() for member, score in members]
        return [member for _, member in sorted(found)[:rows_max]]

    def floors(self) -> dict[bytes, bytes]:
        """See ports.Store."""
        return {table: floor for place in self.places for table, floor in self._off_path.hgetall(place + b"t").items()}

    def scan(self, kind: bytes) -> Iterator[list[bytes]]:
        """See ports.Store."""
        for place in self.places:
            start = place + kind
            some: list[bytes] = []
            for key in self._off_path.scan_iter(match=start + b"*", count=SCAN_COUNT):
                some.append(key[len(start) :])
                if len(some) == SCAN_COUNT:
                    yield some
                    some = []
            if some:
                yield some

    def close(self) -> None:
        """See ports.Store."""
        self._wire.drop()


def claim(client: Any, run: int, places: Sequence[bytes]) -> None:
    """Take all heads for a run, before any of its workers starts.

    Raises Fenced when a later run holds one.
    """
    names = [place + b"h" for place in places]
    while True:
        with client.pipeline() as pipe, suppress(WatchError):  # an older run still writes: it will hear of it
            pipe.watch(*names)
            for head in map(Head.decode, pipe.mget(names)):
                if head is not None and head.run >= run:
                    raise Fenced(
                        f"claiming state: run {head.run} holds it (this is run {run}); another cluster uses the same "
                        "Redis with another register: give one of them a prefix of its own"
                    )
            pipe.multi()
            pipe.mset({name: Head(run, 0, 0).encode() for name in names})
            pipe.execute()
            return


def read_heads(client: Any, places: Sequence[bytes]) -> dict[bytes, Head | None]:
    """Read the head of every place."""
    values = client.mget([place + b"h" for place in places])
    return dict(zip(places, map(Head.decode, values), strict=True))


def _lost(place: bytes, head: Head | None, run: int) -> Fenced:
    found = "nothing" if head is None else f"run {head.run}"
    return Fenced(
        f"using state {place.decode()}: its head is of {found} and not what run {run} wrote last; another cluster took "
        "over or the server came back older: this run stops; start nurt again, once"
    )


def _commands(change: Change, keys: Keys) -> list[Command]:
    commands: list[Command] = []
    items = [item for pair in change.put.items() for item in pair]
    step = 2 * KEYS_A_COMMAND
    commands += [(b"MSET", *items[at : at + step]) for at in range(0, len(items), step)]
    commands += [(b"DEL", *change.drop[at : at + KEYS_A_COMMAND]) for at in range(0, len(change.drop), KEYS_A_COMMAND)]
    for place, owed in change.owed.items():
        commands += _zadd(place + b"w", [(member, score) for member, score in owed.items()])
    for place, days in change.due.items():
        commands += _zadd(place + b"u", [(member, day) for member, day in days.items() if day is not None])
        gone = [member for member, day in days.items() if day is None]
        if gone:
            commands.append((b"ZREM", place + b"u", *gone))
    for place, floors in change.floors.items():
        commands.append((b"HSET", place + b"t", *[item for pair in floors.items() for item in pair]))
    counts = keys.named("counts")
    commands += [
        (b"HINCRBY", counts, "\x1f".join(place).encode(), messages) for place, messages in change.counts.items()
    ]
    for refused in change.refused:
        name = f"{refused.topic}:{refused.partition}:{refused.offset}"
        commands.append((b"SET", keys.named(f"q{name}"), _encode_refused(refused)))
        commands.append((b"ZADD", keys.named("quarantine"), refused.timestamp_ms, name))
    return commands


def _zadd(key: bytes, members: list[tuple[bytes, int]]) -> list[Command]:
    if not members:
        return []
    return [(b"ZADD", key, *[item for member, score in members for item in (score, member)])]


def _encode_refused(refused: Refused) -> bytes:
    def text(value: bytes | None) -> str | None:
        return None if value is None else b64encode(value).decode()

    shown: dict[str, Any] = {
        "topic": refused.topic,
        "partition": refused.partition,
        "offset": refused.offset,
        "timestamp_ms": refused.timestamp_ms,
        "key_b64": text(refused.key),
        "value_b64": text(refused.value),
        "headers_b64": None if refused.headers is None else [[name, text(value)] for name, value in refused.headers],
        "reason": str(refused.reason),
        "detail": refused.detail,
    }
    return orjson.dumps(shown)
