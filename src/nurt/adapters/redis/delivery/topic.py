"""A compacted topic kept in Redis, for deployments without Kafka.

It holds the newest body of each key, and the order of publication. A message's number is at least `run << 32`, so
numbers only grow, also after Redis was restored from an older copy: then the publishing flow begins another run.
Tombstones stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from redis import Redis

from nurt.adapters.redis.outage import DELIVERY_AWAY_MAX_S, patiently
from nurt.errors import Fenced
from nurt.model.fence import SEQUENCE_BITS, pending_score
from nurt.model.published import PublishedBatch

BODIES, ORDER = b"z", b"i"
MESSAGES_MAX = 1_000
"""Messages of one call; more would block the server."""

# KEYS: bodies (hash: revision, version, Avro body by key), order (zset: keys by number).
# ARGV: the least number, the newest number that the writer knows, then key and value of each message. A revision that
# is there already changes nothing. Returns the newest number; -1, and does nothing, when the writer knows a newer one.
_APPEND = """
local newest = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
local top = tonumber(newest[2] or '0')
if top < tonumber(ARGV[2]) then return '-1' end
local at = math.max(tonumber(ARGV[1]), top + 1)
for one = 3, #ARGV, 2 do
  local held = redis.call('HGET', KEYS[1], ARGV[one])
  local is_newer = true
  if held then
    local high, low = struct.unpack('>I4I4', held)
    local new_high, new_low = struct.unpack('>I4I4', ARGV[one + 1])
    is_newer = new_high > high or (new_high == high and new_low > low)
  end
  if is_newer then
    redis.call('HSET', KEYS[1], ARGV[one], ARGV[one + 1])
    redis.call('ZADD', KEYS[2], string.format('%.0f', at), ARGV[one])
    top = at
    at = at + 1
  end
end
return string.format('%.0f', top)
"""

# KEYS as above. ARGV: behind which number, up to which, how many. Returns number, key and value of each.
_READ = """
local found = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], ARGV[2], 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local answer = {}
for one = 1, #found, 2 do
  local key = found[one]
  answer[#answer + 1] = string.format('%.0f', tonumber(found[one + 1]))
  answer[#answer + 1] = key
  answer[#answer + 1] = redis.call('HGET', KEYS[1], key)
end
return answer
"""


@dataclass(frozen=True, slots=True)
class RedisTopicMessage:
    """Message and its number; `version`: of the contract that its body was written by; None: a tombstone."""

    number: int
    key: bytes
    version: int
    body: bytes | None


class RedisTopic:
    """Topic of one contract of one place. `client` returns bytes."""

    def __init__(self, client: Redis, place: bytes, name: str) -> None:
        self._client: Any = client
        self._keys = [place + kind + name.encode() for kind in (BODIES, ORDER)]
        self._doing = f"using the kept topic {name}"
        self._append: Any = client.register_script(_APPEND)
        self._read: Any = client.register_script(_READ)
        self._newest = 0

    def append(self, batch: PublishedBatch, version: int) -> None:
        """Store messages; a revision that is not newer than the stored one changes nothing.

        Raises Fenced when what this writer appended before is lost; what it publishes is then still pending.
        """
        for least, messages in _calls(batch, version):
            arguments = [least, self._newest, *messages]
            newest = int(self._ask(partial(self._append, self._keys, arguments)))
            if newest < 0:
                raise Fenced(f"{self._doing}: Redis came back older than what was written; start nurt again, once")
            self._newest = newest

    def read(self, behind: int, until: int | None, rows_max: int) -> list[RedisTopicMessage]:
        """Read messages behind a number, up to another number, in order."""
        arguments = [behind, "+inf" if until is None else until, rows_max]
        found = self._ask(lambda: self._read(self._keys, arguments))
        return [_message(*found[at : at + 3]) for at in range(0, len(found), 3)]

    def end(self) -> int:
        """Return the newest message's number; 0: there is no message."""
        newest = self._ask(lambda: self._client.zrevrange(self._keys[1], 0, 0, withscores=True))
        return int(newest[0][1]) if newest else 0

    def waiting(self, behind: int) -> int:
        """Count the messages behind a number."""
        return int(self._ask(lambda: self._client.zcount(self._keys[1], f"({behind}", "+inf")))

    def clear(self) -> None:
        """Forget everything, before a run publishes: the run's numbers are above those of earlier runs in any case."""
        self._ask(lambda: self._client.delete(*self._keys))
        self._newest = 0

    def _ask(self, ask: Callable[[], Any]) -> Any:
        return patiently(self._client, ask, DELIVERY_AWAY_MAX_S, self._doing)


def _calls(batch: PublishedBatch, version: int) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the least number of messages, and their keys and values in turn, for one call each."""
    for begin in range(0, len(batch), MESSAGES_MAX):
        end = begin + MESSAGES_MAX
        pairs: list[bytes] = []
        for key, revision, body in zip(
            batch.ids[begin:end], batch.revisions[begin:end], batch.values[begin:end], strict=True
        ):
            head = revision.to_bytes(8) + (0 if body is None else version).to_bytes(2)
            pairs += [key, head + (body or b"")]
        yield pending_score(batch.revisions[begin] >> SEQUENCE_BITS, 0), pairs


def _message(number: bytes, key: bytes, value: bytes) -> RedisTopicMessage:
    version = int.from_bytes(value[8:10])
    return RedisTopicMessage(int(number), key, version, value[10:] if version else None)
