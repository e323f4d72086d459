"""A delivery's memory in Redis: last known states, parked rows, its quarantine, counts and status.

Keys, all named `<prefix>:d:<destination>:...` (see model/keys.py). Each write happens only while this run is the newest
of its destination: a second process with the same delivery takes over, and this one stops.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import orjson
from redis import Redis
from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import WatchError

from nurt.adapters.redis.delivery.codec import (
    decode_parked,
    encode_parked,
    encode_refusal,
    pack_message,
    unpack_message,
)
from nurt.adapters.redis.outage import DELIVERY_AWAY_MAX_S, patiently, walk
from nurt.columnar.types import ID_BYTES
from nurt.delivery.journal import JournalEntry, Message, Parked
from nurt.delivery.last_known import LastKnown
from nurt.delivery.order_links import PARENT_MISSING, WAITS_MAX
from nurt.delivery.rate_limit import Bucket
from nurt.errors import Fenced
from nurt.model.delivery import DesiredState, Lifecycle, Refusal
from nurt.model.keys import Keys

SCAN_ROWS = 1_000
SOON_ROWS = 500

# KEYS: the pause, then one debt a bucket. ARGV: interval and burst of each, in microseconds.
# The arithmetic is that of delivery/rate_limit.py; all workers use the server's clock.
_TAKE = """
local now = redis.call('TIME')
local now_us = now[1] * 1000000 + now[2]
local wait = tonumber(redis.call('GET', KEYS[1]) or '0') - now_us
local debts = {}
for at = 2, #KEYS do
  local interval = tonumber(ARGV[2 * at - 3])
  local start = math.max(tonumber(redis.call('GET', KEYS[at]) or '0'), now_us)
  wait = math.max(wait, start - tonumber(ARGV[2 * at - 2]) - now_us)
  debts[at] = start + interval
end
if wait > 0 then return wait end
for at = 2, #KEYS do
  local kept_ms = string.format('%.0f', (debts[at] - now_us) / 1000 + 1000)
  redis.call('SET', KEYS[at], string.format('%.0f', debts[at]), 'PX', kept_ms)
end
return 0
"""

_PAUSE = """
local now = redis.call('TIME')
local until_us = now[1] * 1000000 + now[2] + tonumber(ARGV[1])
if until_us > tonumber(redis.call('GET', KEYS[1]) or '0') then
  local kept_ms = string.format('%.0f', tonumber(ARGV[1]) / 1000 + 1000)
  redis.call('SET', KEYS[1], string.format('%.0f', until_us), 'PX', kept_ms)
end
"""


# KEYS: the run, the note, then one mark a worker. ARGV: the run, the note, then (nonce, number) of each worker.
_NOTE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for at = 3, #KEYS do
  local nonce, number = ARGV[2 * at - 3], tonumber(ARGV[2 * at - 2])
  local held, reached = string.match(redis.call('GET', KEYS[at]) or '', '^(.*)%.(.*)$')
  if number > 0 and (held ~= nonce or tonumber(reached) < number) then return 0 end
end
redis.call('SET', KEYS[2], ARGV[2])
return 1
"""

Result = TypeVar("Result")


class DeliveryStore:
    """Memory of one destination; implements delivery.ports.DeliveryMemory.

    Every write carries its number. So the store knows, after its connection broke, whether the write was done, and
    whether the server still has the write before: a server restored from an older copy would let a row count as
    delivered, or forget a parked row.

    Args:
        client: returns bytes.
        part: the worker's number in the run; each worker writes by its own store.
    """

    def __init__(self, client: Redis, keys: Keys, destination: str, part: int = 0) -> None:
        self._client: Any = client
        self._base = keys.named(f"d:{destination}:")
        self._buckets = keys.named("d:")
        self._take = self._client.register_script(_TAKE)
        self._pause = self._client.register_script(_PAUSE)
        self._noting = self._client.register_script(_NOTE)
        self._last_write_key = self.key(f"w{part}")
        self._nonce = secrets.token_hex(4)
        self._written = 0
        self._writing = threading.Lock()  # several threads call the receiver, and write their journal entries
        self.destination = destination
        self.run = 0

    def key(self, name: str) -> bytes:
        """Name a key of this destination."""
        return self._base + name.encode()

    def begin(self) -> int:
        """Take a run number; every older run of the destination is fenced from here on."""
        self.run = int(self._ask(lambda: self._client.incr(self.key("run"))))
        return self.run

    def check(self) -> None:
        """Raise Fenced when a newer run delivers to this destination."""
        self._check_run(self._ask(lambda: self._client.get(self.key("run"))))

    def _check_run(self, value: bytes | None) -> None:
        run = int(value or 0)
        if run < self.run:
            raise self._older()
        if run > self.run:
            raise Fenced(
                f"delivering to {self.destination}: run {self.run} was overtaken by a newer one (one process delivers "
                "to a destination); stop one of them"
            )

    def _number_of(self, last_write: bytes | None) -> int:
        """Return the number of our write in a mark; 0: it is not ours."""
        nonce, _, number = (last_write or b"").decode().partition(".")
        return int(number) if nonce == self._nonce else 0

    def _older(self) -> Fenced:
        return Fenced(
            f"delivering to {self.destination}: Redis came back older than what run {self.run} noted in it (a failover "
            "or a restart that lost writes); start this delivery again: it tells again what was forgotten"
        )

    def note(self, name: str, offsets: Any, stores: Sequence[DeliveryStore]) -> None:
        """Write the progress of the delivery, before it is committed elsewhere.

        Raises Fenced when a write of a worker's store is lost, or a newer run delivers.
        """
        written = [part for one in stores for part in (one._nonce, one._written)]
        keys = [self.key("run"), self.key(name), *(one._last_write_key for one in stores)]
        arguments = [self.run, orjson.dumps(offsets), *written]
        if not self._ask(lambda: self._noting(keys=keys, args=arguments)):
            self.check()
            raise self._older()

    def load(self, subjects: Sequence[str]) -> dict[str, LastKnown]:
        """Read last known states; an empty one where nothing is known."""
        if not subjects:
            return {}
        keys = [self._record_key(subject) for subject in subjects]
        values = self._ask(lambda: self._client.mget(keys))
        return dict(zip(subjects, map(LastKnown.decode, values), strict=True))

    def write(self, entry: JournalEntry) -> None:
        """Write a journal entry, all or none. Raises Fenced when a newer run delivers to this destination."""
        if entry:
            with self._writing:
                self._ask(lambda: self._try_to_write(entry))
                self._written += 1

    def _try_to_write(self, entry: JournalEntry) -> None:
        try:
            self._write(entry)
        except WatchError as doubt:  # a newer run, or a broken connection: the next read shows which
            raise RedisAway("it is not known whether notes were written") from doubt

    def _write(self, entry: JournalEntry) -> None:
        """Write a journal entry, unless it was written already. Earlier writes must still be there."""
        number = self._written + 1
        with self._client.pipeline() as pipe:
            pipe.watch(self.key("run"), self._last_write_key)
            run, last_write = pipe.mget(self.key("run"), self._last_write_key)
            self._check_run(run)
            stored = self._number_of(last_write)
            if stored == number:
                return
            if stored != self._written:
                raise self._older()
            pipe.multi()
            if entry.last_known:
                pipe.mset({self._record_key(one): known.encode() for one, known in entry.last_known.items()})
            now_ms = int(time.time() * 1000)
            for subject, (parked, wait_s) in entry.parked.items():
                pipe.set(self.key("p" + subject), encode_parked(parked))
                pipe.zadd(self.key("parked"), {subject: now_ms + int(wait_s * 1000)})
            if gone := [one for one in entry.unparked if one not in entry.parked]:
                pipe.delete(*(self.key("p" + one) for one in gone))
                pipe.zrem(self.key("parked"), *gone)
            for refusal in entry.refused:
                pipe.set(self.key("q" + refusal.name), encode_refusal(refusal))
                pipe.zadd(self.key("refused"), {refusal.name: refusal.at_ms})
            if taken := {self.key("k" + name): one for name, one in entry.owners.items() if one is not None}:
                pipe.mset(taken)
            if left := [self.key("k" + name) for name, one in entry.owners.items() if one is None]:
                pipe.delete(*left)
            if entry.resolved:
                pipe.delete(*(self.key("q" + one) for one in entry.resolved))
                pipe.zrem(self.key("refused"), *entry.resolved)
            self._write_kept(pipe, entry)
            for what, times in entry.counts.items():
                pipe.hincrby(self.key("counts"), what, times)
            pipe.set(self._last_write_key, f"{self._nonce}.{number}")
            pipe.execute()

    def _write_kept(self, pipe: Any, entry: JournalEntry) -> None:
        if kept := {
            self.key("b" + one): pack_message(message) for one, message in entry.kept.items() if message is not None
        }:
            pipe.mset(kept)
        if gone := [self.key("b" + one) for one, message in entry.kept.items() if message is None]:
            pipe.delete(*gone)
        for kind, moves in (("a", entry.claims), ("o", entry.listed)):
            for (account, subject), is_there in moves.items():
                (pipe.sadd if is_there else pipe.srem)(self.key(kind + account), bytes.fromhex(subject))

    def claims(self, accounts: Sequence[str]) -> dict[str, set[str]]:
        """Return the profiles that claim accounts; for a moment two profiles may claim one."""
        return dict(zip(accounts, self._members("a", accounts), strict=True))

    def children(self, accounts: Iterable[str]) -> set[str]:
        """Return the orders that are listed under accounts."""
        return {one for some in self._members("o", sorted(accounts)) for one in some}

    def _members(self, kind: str, accounts: Sequence[str]) -> list[set[str]]:
        if not accounts:
            return []

        def ask() -> Any:
            with self._client.pipeline(transaction=False) as pipe:
                for account in accounts:
                    pipe.smembers(self.key(kind + account))
                return pipe.execute()

        return [{member.hex() for member in members} for members in self._ask(ask)]

    def kept(self, subjects: Sequence[str]) -> dict[str, Message]:
        """Return the messages that were kept."""
        values = self._ask(lambda: self._client.mget([self.key("b" + one) for one in subjects])) if subjects else []
        found = zip(subjects, values, strict=True)
        return {subject: unpack_message(subject, value) for subject, value in found if value is not None}

    def owners(self, names: Sequence[str]) -> dict[str, str | None]:
        """Return the profile that wrote a shared row last, by the row's name."""
        values = self._ask(lambda: self._client.mget([self.key("k" + name) for name in names])) if names else []
        return {name: None if one is None else one.decode() for name, one in zip(names, values, strict=True)}

    def parked_among(self, subjects: Iterable[str]) -> set[str]:
        """Return which of these subjects are parked."""
        names = list(subjects)
        if not names:
            return set()
        scores = self._ask(lambda: self._client.zmscore(self.key("parked"), names))
        return {name for name, score in zip(names, scores, strict=True) if score is not None}

    def due(self, rows_max: int) -> list[Parked]:
        """Return parked desired states that are due, the longest due first."""
        now_ms = int(time.time() * 1000)
        names = self._ask(lambda: self._client.zrangebyscore(self.key("parked"), 0, now_ms, start=0, num=rows_max))
        return self._parked(name.decode() for name in names)

    def is_left(self) -> bool:
        """Say whether a parked desired state is due, or waits (not for long) for its profile."""
        if self.due(1):
            return True
        soonest = self._ask(lambda: self._client.zrange(self.key("parked"), 0, SOON_ROWS))
        waiting = (one for one in self._parked(name.decode() for name in soonest) if one.code == PARENT_MISSING)
        return any(one.times < WAITS_MAX for one in waiting)

    def parked(self, subjects: Sequence[str]) -> list[Parked]:
        """Return the parked desired states of these subjects."""
        return self._parked(subjects)

    def _parked(self, subjects: Iterable[str]) -> list[Parked]:
        keys = [self.key("p" + one) for one in subjects]
        values = self._ask(lambda: self._client.mget(keys)) if keys else []
        return [decode_parked(value) for value in values if value is not None]

    def ask_again(self, desired_states: Sequence[DesiredState], code: str) -> None:
        """Park desired states that are due now, for the running delivery or the next one."""
        with self._client.pipeline() as pipe:
            for desired in desired_states:
                pipe.set(self.key("p" + desired.subject), encode_parked(Parked(desired, 0, code)))
                pipe.zadd(self.key("parked"), {desired.subject: 0})
            pipe.execute()

    def left_over(self, generation: int) -> Iterator[tuple[str, LastKnown]]:
        """Yield subjects that have rows, were delivered before that back-fill, and were not delivered since."""
        start = len(self._base) + 1
        pattern = re.sub(rb"([\\\[\]?*^-])", rb"\\\1", self._base) + b"r*"
        found = (key for keys in walk(self._client, pattern, SCAN_ROWS) for key in keys)
        record_keys = (key for key in found if len(key) == start + ID_BYTES)
        for keys in _some(record_keys, SCAN_ROWS):
            for key, value in zip(keys, self._client.mget(keys), strict=True):
                known = LastKnown.decode(value)
                if known.generation < generation and (known.remote_rows or known.lifecycle is not Lifecycle.ERASED):
                    yield key[start:].hex(), known

    def refusals(self, rows_max: int | None = None) -> list[Refusal]:
        """Return refusals in quarantine, the newest first."""
        names = self._ask(
            lambda: self._client.zrevrange(self.key("refused"), 0, -1 if rows_max is None else rows_max - 1)
        )
        values = (
            self._ask(lambda: self._client.mget([self.key("q" + name.decode()) for name in names])) if names else []
        )
        return [Refusal(self.destination, *orjson.loads(value)) for value in values if value is not None]

    def counts(self) -> dict[str, int]:
        """Return the counts, and how many are parked and refused now."""
        counted = {name.decode(): int(value) for name, value in self._client.hgetall(self.key("counts")).items()}
        counted["parked"] = int(self._client.zcard(self.key("parked")))
        counted["in_quarantine"] = int(self._client.zcard(self.key("refused")))
        return counted

    def set_status(self, **status: str | int | float) -> None:
        """Set some values of the status."""
        self._ask(lambda: self._client.hset(self.key("status"), mapping=status))

    def status(self) -> dict[str, str]:
        """Read the status."""
        return {name.decode(): value.decode() for name, value in self._client.hgetall(self.key("status")).items()}

    def take(self, bucket: str, buckets: Sequence[Bucket]) -> float:
        """Take a call out of all shared buckets; return 0.0 when it was taken, else how long to wait."""
        keys = [self._buckets + f"{bucket}:until".encode()]
        keys += [self._buckets + f"{bucket}:{at}".encode() for at in range(len(buckets))]
        numbers = [round(part * 1e6) for one in buckets for part in (one.interval_s, one.burst_s)]
        return int(self._ask(lambda: self._take(keys=keys, args=numbers))) / 1e6

    def pause(self, bucket: str, seconds: float) -> None:
        """Close a bucket for a while, because the receiver asked for it."""
        self._ask(lambda: self._pause(keys=[self._buckets + f"{bucket}:until".encode()], args=[round(seconds * 1e6)]))

    def get(self, name: str) -> Any:
        """Read a small JSON value of the destination."""
        value = self._ask(lambda: self._client.get(self.key(name)))
        return None if value is None else orjson.loads(value)

    def put(self, name: str, value: Any) -> None:
        """Write a small JSON value of the destination."""
        self._ask(lambda: self._client.set(self.key(name), orjson.dumps(value)))

    def _record_key(self, subject: str) -> bytes:
        return self._base + b"r" + bytes.fromhex(subject)

    def _ask(self, call: Callable[[], Result]) -> Result:
        """Make a call; wait while Redis is away."""
        return patiently(self._client, call, DELIVERY_AWAY_MAX_S, f"delivering to {self.destination}")


def _some(keys: Iterator[bytes], rows: int) -> Iterator[list[bytes]]:
    while found := list(islice(keys, rows)):
        yield found
