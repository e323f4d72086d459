"""List the quarantine, and take messages out of it, so that they are read again.

A message in quarantine has its reason, its original bytes and its place. It leaves only when its bytes are durably on
the input again; a crash in between leaves it in both places, and the rows' positions make the repeat harmless.
"""

from __future__ import annotations

from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from nurt.adapters.redis.client import Redis
from nurt.inspect.counters import REQUEUED
from nurt.model.keys import Keys
from nurt.model.refusal import Reason, Refused

PAGE_ROWS = 500

# KEYS: the index, the counts. ARGV: for each message its name, its key and the field to count it under.
# One script: a message is counted once, even if two people take it out at once.
_TAKE_OUT = """
local left = 0
for at = 1, #ARGV, 3 do
  if redis.call('ZREM', KEYS[1], ARGV[at]) == 1 then
    redis.call('DEL', ARGV[at + 1])
    redis.call('HINCRBY', KEYS[2], ARGV[at + 2], 1)
    left = left + 1
  end
end
return left
"""


@dataclass(frozen=True, slots=True)
class MessagePlace:
    """Place of a message in its topic; as text `topic:partition:offset`, which is its name in quarantine."""

    topic: str
    partition: int
    offset: int

    @staticmethod
    def parse(text: str) -> MessagePlace | None:
        """Read a name; None when the text is not a name."""
        topic, _, numbers = text.strip().rpartition(":")
        topic, _, partition = topic.rpartition(":")
        if not topic or not partition.isdigit() or not numbers.isdigit():
            return None
        return MessagePlace(topic, int(partition), int(numbers))

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class RefusedFilter:
    """Filter of messages in quarantine; None: any."""

    reason: str | None = None
    topic: str | None = None

    def __call__(self, refused: Refused) -> bool:
        """Say whether a message passes."""
        return self.reason in (None, refused.reason) and self.topic in (None, refused.topic)


class Quarantine:
    """Quarantine of one deployment. `client` returns bytes."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client: Any = client
        self._take_out = self._client.register_script(_TAKE_OUT)
        self._keys = keys
        self._index = keys.named("quarantine")

    def __len__(self) -> int:
        return int(self._client.zcard(self._index))

    def get(self, place: MessagePlace) -> Refused | None:
        """Read one message; None when there is none."""
        return _decode(self._client.get(self._keys.named(f"q{place}")))

    def newest(self, wanted: RefusedFilter = RefusedFilter(), rows_max: int | None = None) -> Iterator[Refused]:
        """Yield messages, the newest by their own time first."""
        yielded = 0
        for refused in self._walk(newest_first=True):
            if rows_max is not None and yielded == rows_max:
                return
            if wanted(refused):
                yielded += 1
                yield refused

    def reasons(self) -> Counter[tuple[str, str]]:
        """Count messages by (topic, reason)."""
        return Counter((refused.topic, str(refused.reason)) for refused in self._walk(newest_first=True))

    def requeue(self, batch: Sequence[Refused], put: Callable[[Sequence[Refused]], None]) -> int:
        """Put messages on the input again with `put`, which returns when they are durable; then remove them here.

        Returns how many were removed. They count under the outcome `requeued`; read again, they count like any other
        message.
        """
        put(batch)
        counts = self._keys.named("counts")
        fields: list[str | bytes] = []
        for refused in batch:
            name = str(place_of(refused))
            reason = "\x1f".join((refused.topic, REQUEUED, refused.reason))
            fields += [name, self._keys.named(f"q{name}"), reason]
        return int(self._take_out(keys=[self._index, counts], args=fields)) if fields else 0

    def _walk(self, newest_first: bool) -> Iterator[Refused]:
        start = 0
        while names := self._client.zrange(self._index, start, start + PAGE_ROWS - 1, desc=newest_first):
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.get(self._keys.named(f"q{name.decode()}"))
            yield from (refused for value in pipe.execute() if (refused := _decode(value)) is not None)
            start += PAGE_ROWS


def place_of(refused: Refused) -> MessagePlace:
    """Return the place of a message."""
    return MessagePlace(refused.topic, refused.partition, refused.offset)


def _decode(value: bytes | None) -> Refused | None:
    if value is None:
        return None
    stored: dict[str, Any] = orjson.loads(value)
    headers = stored["headers_b64"]
    return Refused(
        stored["topic"],
        stored["partition"],
        stored["offset"],
        stored["timestamp_ms"],
        _bytes(stored["key_b64"]),
        _bytes(stored["value_b64"]),
        None if headers is None else [(name, _bytes(text)) for name, text in headers],
        Reason(stored["reason"]),
        stored["detail"],
    )


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)
