"""Find rows that wait for what they belong to: children of orders that never came, accounts that only rows name.

Walks over all orders and accounts of the state, so it is exact, and slow where there are many. Whoever asks sees keys
of rows, and nothing else of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from nurt.adapters.redis.client import Redis
from nurt.adapters.redis.errors import naming_failures
from nurt.inspect.row_scan import ROWS_AT_A_TIME, literal
from nurt.model.entities import BY_CODE
from nurt.model.keys import Keys
from nurt.rows.children.tables import ACCOUNT_RECORDS, CODE, GUEST, HEAD_PART, LEFT_PART, ORDER_RECORDS
from nurt.rows.layouts import ROW, ROW_TABLES

AGES = ("under an hour", "under a day", "under a week", "older")
_AGES_MS = (3_600_000, 86_400_000, 604_800_000)
EXAMPLES_MAX = 3
_ID_BYTES = 16


@dataclass(slots=True)
class Waiting:
    """Rows of one table that wait for parents of one entity.

    Attributes:
        system, entity: of the rows.
        parent: entity of the parents.
        ages: how many rows there are, by AGES, since their newest event in the source.
        examples: keys of some parents that are not there.
    """

    system: str
    entity: str
    parent: str
    ages: list[int] = field(default_factory=lambda: [0] * len(AGES))
    examples: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Return how many rows wait."""
        return sum(self.ages)


@dataclass(slots=True)
class Unmet:
    """Accounts of an entity of customers that rows name, and whose own row never came."""

    system: str
    entity: str
    accounts: int = 0
    examples: list[str] = field(default_factory=list)


class WaitingReader:
    """Reader of what waits in one deployment's state; `client` returns bytes."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client, self._keys = client, keys

    def children(self, now_ms: int, progress: Callable[[int], None] = lambda _seen: None) -> list[Waiting]:
        """List children that wait for their orders, by table and by entity of the orders."""
        found: dict[tuple[str, str, str], Waiting] = {}
        seen = 0
        for values in self._values(b"o"):
            children = _without_order(values)
            for kind, ids in children.items():
                for row in self._rows(kind, ids):
                    place = row["system"], row["entity"], row["parent_entity"] or ""
                    one = found.setdefault(place, Waiting(*place))
                    age_ms = now_ms - (row["ts_ms"] or 0)
                    one.ages[sum(age_ms >= limit for limit in _AGES_MS)] += 1
                    _note(one.examples, row["parent_key"])
            seen += len(values)
            progress(seen)
        return [found[place] for place in sorted(found)]

    def counts(self) -> dict[str, int]:
        """Count children that wait for their orders, by kind, named as the flow names what it counts."""
        found: dict[str, int] = defaultdict(int)
        for values in self._values(b"o"):
            for kind, ids in _without_order(values).items():
                found[f"{kind} of order"] += len(ids)
        return dict(found)

    def accounts(self, progress: Callable[[int], None] = lambda _seen: None) -> list[Unmet]:
        """List accounts of customers whose own row is not there."""
        found: dict[tuple[str, str], Unmet] = {}
        seen = 0
        for values in self._values(b"a"):
            frame = ACCOUNT_RECORDS.unpack(values, ("part", "system", "entity", "key"))
            known = set(frame["owner"].filter(frame["part"] == CODE["customer"]).to_list())
            for owner, part, system, entity, key in frame.iter_rows():
                if part == HEAD_PART and entity != GUEST and owner not in known:
                    one = found.setdefault((system, entity), Unmet(system, entity))
                    one.accounts += 1
                    _note(one.examples, key)
            seen += len(values)
            progress(seen)
        return [found[place] for place in sorted(found)]

    def _values(self, kind: bytes) -> Iterator[list[bytes]]:
        """Yield the stored values of a kind, some at a time."""
        with naming_failures(self._client):
            for shard in range(self._keys.shards):
                pattern = literal(self._keys.shard_place(shard) + kind) + b"*"
                size = len(self._keys.shard_place(shard)) + len(kind) + _ID_BYTES
                names: list[bytes] = []
                for key in self._client.scan_iter(match=pattern, count=ROWS_AT_A_TIME):
                    if len(key) == size:
                        names.append(key)
                    if len(names) == ROWS_AT_A_TIME:
                        yield self._read(names)
                        names = []
                if names:
                    yield self._read(names)

    def _read(self, names: list[bytes]) -> list[bytes]:
        values: Any = self._client.mget(names)
        return [value for value in values if value is not None]

    def _rows(self, kind: str, ids: list[bytes]) -> Iterator[dict[str, Any]]:
        """Read stored rows of a kind by their ids."""
        code = b"r%c" % CODE[kind]
        for at in range(0, len(ids), ROWS_AT_A_TIME):
            values = self._read(self._keys.of(code, ids[at : at + ROWS_AT_A_TIME]))
            columns = ("part", "system", "entity", "ts_ms", "parent_entity", "parent_key")
            frame = ROW_TABLES[kind].unpack(values, columns)
            yield from frame.filter(frame["part"] == ROW).iter_rows(named=True)


def _without_order(values: list[bytes]) -> dict[str, list[bytes]]:
    """List, by kind, the ids of children in orders whose own row is not there."""
    frame = ORDER_RECORDS.unpack(values, ("part", "child"))
    known = set(frame["owner"].filter(frame["part"] == CODE["order"]).to_list())
    found: dict[str, list[bytes]] = defaultdict(list)
    for owner, part, child in frame.iter_rows():
        if owner not in known and part != LEFT_PART and part in BY_CODE:
            found[BY_CODE[part].kind].append(child)
    return found


def _note(examples: list[str], key: str | None) -> None:
    if key is not None and len(examples) < EXAMPLES_MAX and key not in examples:
        examples.append(key)
