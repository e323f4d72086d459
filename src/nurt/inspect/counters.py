"""Count what is stored: message counts, the fences of all places, pending work, the number of things of each kind.

Reads only, and nothing personal: names of topics and systems, outcomes, reasons, numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nurt.adapters.redis.client import Redis
from nurt.adapters.redis.errors import naming_failures
from nurt.model.entities import BY_CODE
from nurt.model.fence import FencingToken
from nurt.model.keys import Keys
from nurt.model.table_kinds import CODES

SCAN_COUNT = 2_000
OUTCOMES = ("folded", "old_news", "not_ours", "quarantined")
"""Outcomes of messages; every message that was read ends in exactly one."""

MISSING = "lacking"
"""Outcome of rows with a missing value: their source did not send it again. These rows count as folded, too."""
INSTANCES = "instances"
"""Outcome of rows that several topics hold where nothing says which is right. These rows count as folded, too."""
LEFT_OUT = "left_out"
"""Outcome of rows that the mapping's `where` left out. These rows count as folded, too."""
UNREAD = "unread"
"""Outcome of rows with a text that is no identifier, by field. These rows count as folded, too."""
NOBODY = "nobody"
"""Outcome of rows that need a parent and have none, by kind. These rows count as folded, too."""
UNTOLD = "untold"
"""Outcome of messages without position that nothing compares with a row of another partition. They count above, too."""
WAITING = "waiting"
"""No outcome of messages: rows whose parent is not there, now; of no topic, by kind of the row and of its parent."""
REQUEUED = "requeued"
"""An outcome beside the others: taken out of quarantine and read again, as a separate message."""

_KINDS: Mapping[bytes, str] = {
    b"o": "orders",
    b"K": "references",
    b"a": "accounts",
    b"m": "memberships",
    b"d": "identifiers",
    b"g": "components",
    b"p": "profile_members",
    b"f": "profiles",
}


@dataclass(frozen=True, slots=True)
class Count:
    """Count of a topic's messages (once folded: of a system's entity) with one outcome."""

    topic: str
    outcome: str
    reason: str
    messages: int


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """Figures of the state: how far it is, and what waits in it.

    Attributes:
        heads: place -> fence, for every place that has one.
        owed: pending profiles, which the next run would publish again if it began now.
        due: profiles that the clock will change.
        quarantined: messages in quarantine.
        memory_bytes: of the whole server.
        keys: of the whole server's database.
    """

    heads: Mapping[str, FencingToken]
    owed: int
    due: int
    quarantined: int
    memory_bytes: int
    keys: int


def totals(counts: Sequence[Count]) -> dict[str, int]:
    """Add counts up by outcome; `messages` is the sum over `OUTCOMES`."""
    by_outcome = dict.fromkeys(OUTCOMES, 0)
    for count in counts:
        by_outcome[count.outcome] = by_outcome.get(count.outcome, 0) + count.messages
    return {"messages": sum(by_outcome[outcome] for outcome in OUTCOMES), **by_outcome}


class CounterReader:
    """Reader of one deployment's figures; `client` returns bytes. A server that is away raises ConnectionFailed."""

    def __init__(self, client: Redis, keys: Keys, realms: Sequence[str]) -> None:
        self._client = client
        self._keys = keys
        shards = [keys.shard_place(shard) for shard in range(keys.shards)]
        self._places = [*shards, *[keys.realm_place(realm) for realm in realms]]

    def counts(self) -> list[Count]:
        """Read the message counts, in order of topic, outcome and reason."""
        with naming_failures(self._client):
            stored: Any = self._client.hgetall(self._keys.named("counts"))
            waiting: Any = self._client.hgetall(self._keys.named("waiting"))
        counts = [Count("", WAITING, reason.decode(), int(rows)) for reason, rows in waiting.items() if int(rows)]
        for name, messages in stored.items():
            topic, outcome, reason = name.decode().split("\x1f")
            counts.append(Count(topic, outcome, reason, int(messages)))
        return sorted(counts, key=lambda count: (count.topic, count.outcome, count.reason))

    def figures(self) -> StoreFigures:
        """Read fences, pending and due profiles, and the server's memory."""
        pipe = self._client.pipeline(transaction=False)
        for place in self._places:
            pipe.get(place + b"h")
            pipe.zcard(place + b"w")
            pipe.zcard(place + b"u")
        pipe.zcard(self._keys.named("quarantine"))
        with naming_failures(self._client):
            *replies, quarantined = pipe.execute()
            memory: Any = self._client.info("memory")
            keys = int(self._client.dbsize())
        heads = {
            place.decode(): FencingToken.decode(value) for place, value in zip(self._places, replies[::3], strict=True)
        }
        return StoreFigures(
            {place: head for place, head in heads.items() if head is not None},
            sum(replies[1::3]),
            sum(replies[2::3]),
            quarantined,
            int(memory["used_memory"]),
            keys,
        )

    def kinds(self, progress: Callable[[int], None] = lambda _keys: None) -> dict[str, int]:
        """Count things of each kind by walking over every key of the deployment; slow where there are many.

        `progress` is called with how many keys were seen.
        """
        names = [
            *(f"rows_{entity.kind}" for entity in BY_CODE.values()),
            *(f"rows_{BY_CODE[code].kind}" for code in CODES),
        ]
        names += _KINDS.values()
        found: dict[str, int] = dict.fromkeys(names, 0)
        with naming_failures(self._client):
            for seen, key in enumerate(self._client.scan_iter(match=self._keys.prefix + b"{*", count=SCAN_COUNT), 1):
                if (kind := _kind(key)) is not None:
                    found[kind] += 1
                if seen % SCAN_COUNT == 0:
                    progress(seen)
        return {kind: number for kind, number in found.items() if number}


def _kind(key: bytes) -> str | None:
    """Read the kind of a key: `<prefix>{<place>}<kind><16 bytes>`; None for other keys."""
    rest = key[key.index(b"}") + 1 :]
    if rest[:1] == b"r" and len(rest) == 18:
        return f"rows_{BY_CODE[rest[1]].kind}" if rest[1] in BY_CODE or rest[1] in CODES else None
    return _KINDS.get(rest[:1]) if len(rest) == 17 else None
