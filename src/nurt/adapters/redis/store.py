"""Keyed state in Redis or Valkey: fenced, with two exchanges a stage; the stage waits only for the read."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from redis import Redis
from redis.exceptions import RedisError, WatchError

from nurt.adapters.redis.commands import KEYS_A_COMMAND, PackedCommands
from nurt.adapters.redis.outage import AWAY, patiently, walk
from nurt.adapters.redis.pipeline import RedisConnection, raise_errors, values_of
from nurt.columnar.types import KeyRows
from nurt.columnar.values import Values
from nurt.errors import Fenced
from nurt.model.fence import FencingToken, stamp
from nurt.model.keys import Keys
from nurt.model.refusal import Refused
from nurt.model.state_write import StateWrite, cut_keys
from nurt.model.units import Day, Millis
from nurt_client.ledger import LEDGER_SCRIPT

Result = TypeVar("Result")

SCAN_COUNT = 5_000
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _UnconfirmedWrite:
    """Write that was sent and is not confirmed: the fences before it, the new fence, its commands."""

    before: FencingToken
    fence: FencingToken
    packed: PackedCommands


class RedisStore:
    """Store of one worker's places; implements ports.store.Store.

    A write is one MULTI with the new fences, followed at once by WATCH and a read of the fences: if a fence changes
    before the next write, the next write is refused. The store sends a write without waiting: its replies are collected
    before those of the next exchange, so at most one write is unconfirmed, and `settle` waits for it. When the
    connection breaks meanwhile, the fences show whether the write was done; if not, it is sent again.

    Args:
        client: does not decode replies; the store takes one connection of its pool, and `scan` a second one.
        keys: of the deployment.
        run: the run that claimed the fences (see `claim`).
        places: of this worker.
    """

    def __init__(self, client: Redis, keys: Keys, run: int, places: Sequence[bytes]) -> None:
        self.run = run
        self.places: Sequence[bytes] = list(places)
        self._off_path: Any = client  # plain redis-py; its replies are bytes, although its annotations say otherwise
        self._keys = keys
        self._wire = RedisConnection(client)
        self._fence = FencingToken(run, 0, 0)
        self._fence_keys = [place + b"h" for place in self.places]
        self._watching = False
        self._unconfirmed: _UnconfirmedWrite | None = None
        self._last: Callable[[], tuple[Sequence[bytes], Sequence[bytes | None]]] = lambda: ([], [])

    @property
    def round_trips(self) -> int:
        """Number of exchanges with the server so far."""
        return self._wire.round_trips

    def next_stamp(self) -> int:
        """See ports.store.Store."""
        return stamp(self.run, self._fence.sequence + 1)

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See ports.store.Store."""
        asked = PackedCommands()
        asked.add_keys(b"MGET", keys)
        replies = self._ask(asked, lambda: self._receive(asked.replies))
        left = range(len(keys), 0, -KEYS_A_COMMAND)
        found = [
            value
            for reply, count in zip(replies, left, strict=True)
            for value in values_of(reply, min(count, KEYS_A_COMMAND))
        ]
        self._last = lambda: (keys, found)
        return found

    def _receive(self, count: int) -> list[Any]:
        replies = self._wire.receive(count)
        raise_errors(replies)
        return replies

    def load(self, keys: Sequence[KeyRows]) -> list[Values]:
        """See ports.store.Store."""
        asked = PackedCommands()
        sizes = [asked.add_key_rows(b"MGET", block) for block in keys]
        found = self._ask(asked, lambda: self._wire.receive_values(sizes))
        self._last = lambda: (
            [key for block in keys for key in cut_keys(block)],
            [value for values in found for value in values.plain()],
        )
        return found

    def last_read(self) -> tuple[Sequence[bytes], Sequence[bytes | None]]:
        """See ports.store.Store."""
        return self._last()

    def _ask(self, asked: PackedCommands, receive: Callable[[], Result]) -> Result:
        """Send reads after a read of the fences, and receive their replies."""
        while True:
            try:
                packed = PackedCommands()
                if not self._watching and self._unconfirmed is None:
                    packed.add(b"WATCH", *self._fence_keys)
                packed.add(b"MGET", *self._fence_keys)
                before = packed.replies
                packed.chunks += asked.chunks
                self._wire.send(packed)
                self._confirm()
                fences = self._wire.receive(before)
                answer = receive()
            except AWAY:
                self._decide()
                continue
            raise_errors(fences)
            self._watching = True
            self._check(fences[-1], self._fence)
            return answer

    def _check(self, reply: Any, expected: FencingToken) -> None:
        for place, value in zip(self.places, values_of(reply, len(self.places)), strict=True):
            fence = FencingToken.decode(value)
            if fence != expected:
                raise _lost(place, fence, self.run)

    def write(self, change: StateWrite) -> None:
        """See ports.store.Store."""
        packed = PackedCommands()
        packed.add(b"MULTI")
        _add_change(packed, change, self._keys)
        self._commit(packed, FencingToken(self.run, self._fence.epoch, self._fence.sequence + 1))

    def advance_epoch(self, epoch: int, horizon: int) -> None:
        """See ports.store.Store."""
        packed = PackedCommands()
        packed.add(b"MULTI")
        for place in self.places:
            packed.add(b"ZREMRANGEBYSCORE", place + b"w", b"-inf", f"({horizon}")
        self._commit(packed, FencingToken(self.run, epoch, self._fence.sequence + 1))
        self.settle()

    def _commit(self, packed: PackedCommands, fence: FencingToken) -> None:
        """Send a transaction that ends with the new fences."""
        self.settle()
        if not self._watching:
            self.read([])
        packed.add_pairs(b"MSET", dict.fromkeys(self._fence_keys, fence.encode()))
        packed.add(b"EXEC")
        packed.add(b"WATCH", *self._fence_keys)
        packed.add(b"MGET", *self._fence_keys)
        self._unconfirmed = _UnconfirmedWrite(self._fence, fence, packed)
        self._fence = fence
        self._watching = False
        try:
            self._wire.send(packed)
        except AWAY:
            self._decide()

    def settle(self) -> None:
        """See ports.store.Store."""
        try:
            self._confirm()
        except AWAY:
            self._decide()

    def _confirm(self) -> None:
        """Collect the replies of the unconfirmed write, if there is one.

        Raises an error of AWAY when the replies do not show that the write was done: then `_decide` finds out.
        """
        if self._unconfirmed is None or self._is_done(self._wire.receive(self._unconfirmed.packed.replies)):
            return
        self._wire.drop()  # replies of a read may be under way
        raise ConnectionAbortedError("a write was refused")

    def _is_done(self, replies: list[Any]) -> bool:
        """Judge the unconfirmed write by its replies; False: a fence had changed since it was watched."""
        *_, done, _, fences = replies
        errors = [reply for reply in (*replies, *(done if isinstance(done, list) else ())) if _is_error(reply)]
        if errors:
            self._unconfirmed = None
            self._wire.drop()
            self._watching = False
            raise_errors(errors)
        if done is not None:
            self._unconfirmed = None
            self._wire.wrote()
            self._check(fences, self._fence)
            self._watching = True
        return done is not None

    def _decide(self) -> None:
        """Find out by the fences whether the unconfirmed write was done; else do it.

        Nobody else writes this fence, so where the fence is stored, the write was done: also when the server finished
        it long after the connection of the write had broken.
        """
        self._watching = False
        while (write := self._unconfirmed) is not None:
            self._unconfirmed = None
            fences = self._watch_fences()
            if any(FencingToken.decode(value) != write.fence for value in fences):
                self._check(fences, write.before)
                self._unconfirmed = write
                self._watching = False
                with suppress(*AWAY):
                    self._is_done(self._wire.exchange(write.packed))

    def _watch_fences(self) -> list[bytes | None]:
        packed = PackedCommands()
        packed.add(b"WATCH", *self._fence_keys)
        packed.add(b"MGET", *self._fence_keys)
        while True:
            with suppress(*AWAY):
                replies = self._wire.exchange(packed)
                raise_errors(replies)
                self._watching = True
                return values_of(replies[-1], len(self.places))

    def pending(self) -> dict[bytes, list[bytes]]:
        """See ports.store.Store."""
        found = self._apart(lambda pipe, place: pipe.zrange(place + b"w", 0, -1))
        return {place: list(members) for place, members in found.items()}

    def due_timers(self, by: Day | Millis, rows_max: int) -> list[bytes]:
        """See ports.store.Store."""

        def ask(pipe: Any, place: bytes) -> None:
            pipe.zrange(place + b"u", "-inf", by, byscore=True, offset=0, num=rows_max, withscores=True)

        found = [(score, member) for members in self._apart(ask).values() for member, score in members]
        return [member for _, member in sorted(found)[:rows_max]]

    def watermarks(self) -> dict[bytes, bytes]:
        """See ports.store.Store."""
        found = self._apart(lambda pipe, place: pipe.hgetall(place + b"t"))
        return {table: watermark for held in found.values() for table, watermark in held.items()}

    def counted(self) -> dict[bytes, dict[str, int]]:
        """See ports.store.Store."""
        found = self._apart(lambda pipe, place: pipe.hgetall(place + b"n"))
        return {place: {name.decode(): int(offset) for name, offset in held.items()} for place, held in found.items()}

    def _apart(self, add: Callable[[Any, bytes], object]) -> dict[bytes, Any]:
        """Read something of every place on another connection, when all writes are done."""
        self.settle()

        def ask() -> list[Any]:
            with self._off_path.pipeline(transaction=False) as pipe:
                for place in self.places:
                    add(pipe, place)
                return list(pipe.execute())

        return dict(zip(self.places, patiently(self._off_path, ask), strict=True))

    def scan(self, kind: bytes, place: bytes | None = None) -> Iterator[list[bytes]]:
        """See ports.store.Store."""
        self.settle()
        for one in self.places if place is None else [place]:
            start = one + kind
            some: list[bytes] = []
            for keys in walk(self._off_path, start + b"*", SCAN_COUNT):
                some += [key[len(start) :] for key in keys]
                if len(some) >= SCAN_COUNT:
                    yield some
                    some = []
            if some:
                yield some

    def close(self) -> None:
        """See ports.store.Store."""
        try:
            self._confirm()
        except (Fenced, RedisError, OSError) as error:
            _logger.warning("closing state: the last write is not confirmed (%s)", type(error).__name__)
        self._wire.drop()


def claim(client: Any, run: int, places: Sequence[bytes]) -> None:
    """Take all fences for a run, before any of its workers starts.

    Raises Fenced when a later run holds a fence.
    """
    names = [place + b"h" for place in places]
    while True:
        with client.pipeline() as pipe, suppress(WatchError):  # an older run still writes: its next write is fenced
            pipe.watch(*names)
            for fence in map(FencingToken.decode, pipe.mget(names)):
                if fence is not None and fence.run >= run:
                    raise Fenced(
                        f"claiming state: run {fence.run} holds it (this is run {run}); another cluster uses the same "
                        "Redis with another register: give one of them a prefix of its own"
                    )
            pipe.multi()
            pipe.mset({name: FencingToken(run, 0, 0).encode() for name in names})
            pipe.execute()
            return


def read_fences(client: Any, places: Sequence[bytes]) -> dict[bytes, FencingToken | None]:
    """Read the fence of every place."""
    values = client.mget([place + b"h" for place in places])
    return dict(zip(places, map(FencingToken.decode, values), strict=True))


def read_counted(client: Any, place: bytes) -> dict[str, int]:
    """Read the counted offsets of one shard; see `control/counted_offsets.py`."""
    return {name.decode(): int(offset) for name, offset in client.hgetall(place + b"n").items()}


def read_known_logs(client: Any, keys: Keys) -> bytes | None:
    """Read what was known of the topics' logs; see `control/logs.py`."""
    value: bytes | None = client.get(keys.named("logs"))
    return value


def write_known_logs(client: Any, keys: Keys, value: bytes) -> None:
    """Write what is known of the topics' logs, after the state was claimed."""
    client.set(keys.named("logs"), value)


def forget_counts(client: Any, keys: Keys) -> None:
    """Set the message counts to zero: all input will be read again from the earliest message.

    Counts of what waits stay, as the values do that they are sums of.
    """
    client.delete(keys.named("counts"), *[keys.shard_place(shard) + b"n" for shard in range(keys.shards)])


_WAITING = "waiting"
_BASE = b""
"""Field that says: what waits has been counted from the beginning of this state."""


def has_counted_waiting(client: Any, keys: Keys) -> bool:
    """Return whether what waits is counted in this state; earlier versions did not."""
    return bool(client.hexists(keys.named(_WAITING), _BASE))


def begin_counting_waiting(client: Any, keys: Keys, reasons: Mapping[str, int]) -> None:
    """Write how many rows wait, by reason, before the flow counts on."""
    names: dict[bytes, int] = {reason.encode(): rows for reason, rows in reasons.items()}
    client.hset(keys.named(_WAITING), mapping=names | {_BASE: 0})


def _is_error(reply: Any) -> bool:
    return isinstance(reply, Exception)


def _lost(place: bytes, fence: FencingToken | None, run: int) -> Fenced:
    found = "nothing" if fence is None else f"run {fence.run}"
    return Fenced(
        f"using state {place.decode()}: its head is of {found} and not what run {run} wrote last; another cluster took "
        "over or the server came back older: this run stops; start nurt again, once"
    )


def _add_change(packed: PackedCommands, change: StateWrite, keys: Keys) -> None:
    for block in change.blocks:
        packed.add_block(b"MSET", block)
    for keys_gone in change.gone:
        packed.add_key_rows(b"DEL", keys_gone)
    packed.add_pairs(b"MSET", change.put)
    packed.add_keys(b"DEL", change.drop)
    for place, pending in change.pending.items():
        _add_members(packed, place + b"w", pending)
    for place, days in change.timers.items():
        _add_members(packed, place + b"u", {member: day for member, day in days.items() if day is not None})
        gone = [member for member, day in days.items() if day is None]
        if gone:
            packed.add(b"ZREM", place + b"u", *gone)
    for place, watermarks in change.watermarks.items():
        packed.add(b"HSET", place + b"t", *[item for pair in watermarks.items() for item in pair])
    for place, offsets in change.counted.items():
        packed.add(b"HSET", place + b"n", *[item for pair in offsets.items() for item in pair])
    counts, waiting = keys.named("counts"), keys.named(_WAITING)
    for (topic, outcome, reason), messages in change.counts.items():
        if outcome == _WAITING:  # no outcome of messages, so it lies apart: the others add up to what was read
            packed.add(b"HINCRBY", waiting, reason, messages)
        else:
            packed.add(b"HINCRBY", counts, f"{topic}\x1f{outcome}\x1f{reason}", messages)
    for refused in change.refused:
        name = f"{refused.topic}:{refused.partition}:{refused.offset}"
        packed.add(b"SET", keys.named(f"q{name}"), _encode_refused(refused))
        packed.add(b"ZADD", keys.named("quarantine"), refused.timestamp_ms, name)

    for call in change.calls:
        now: bytes | int = b"" if call.now_ms is None else call.now_ms
        packed.add(b"EVAL", LEDGER_SCRIPT, 1, call.place, call.what, now, *call.arguments)


def _add_members(packed: PackedCommands, key: bytes, scores: Mapping[bytes, int]) -> None:
    if scores:
        packed.add(b"ZADD", key, *[item for member, score in scores.items() for item in (score, member)])


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
