"""Read stored rows, some at a time, to count how many a sweep would remove."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nurt.adapters.redis.client import Redis
from nurt.adapters.redis.errors import naming_failures
from nurt.columnar.values import Values
from nurt.model.entities import ENTITIES
from nurt.model.keys import Keys
from nurt.rows.layouts import ROW_LAYOUTS
from nurt.state.row_major import RowArrays, read_values

ROWS_AT_A_TIME = 5_000


def stored_rows(client: Redis, keys: Keys, kind: str) -> Iterator[RowArrays]:
    """Yield all stored rows of an entity kind; those that change meanwhile may be seen before or after."""
    code = b"r%c" % ENTITIES[kind].code
    with naming_failures(client):
        for shard in range(keys.shards):
            found: list[bytes] = []
            for key in client.scan_iter(match=literal(keys.shard_place(shard) + code) + b"*", count=ROWS_AT_A_TIME):
                found.append(key)
                if len(found) == ROWS_AT_A_TIME:
                    yield _read(client, kind, found)
                    found = []
            if found:
                yield _read(client, kind, found)


def _read(client: Redis, kind: str, keys: list[bytes]) -> RowArrays:
    values: Any = client.mget(keys)
    return read_values(ROW_LAYOUTS[kind], Values.of(values))


def literal(text: bytes) -> bytes:
    """Write a text as a pattern of SCAN that matches just this text."""
    return b"".join(b"\\%c" % byte if byte in b"*?[]\\" else b"%c" % byte for byte in text)
