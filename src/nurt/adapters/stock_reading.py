"""Stock in Redis, from a shop's side: what can be sold, and reservations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from nurt.adapters.redis_away import is_no_writes
from nurt.adapters.redis_client import place_of
from nurt.adapters.redis_store import LEDGER_SCRIPT
from nurt.errors import ConnectionFailed


class LedgerClient:
    """Calls the ledger's script and reads keys of one place; a broken connection is tried once more.

    Every call may be repeated: what it asks for twice happens once.
    """

    def __init__(self, client: Redis, place: bytes) -> None:
        self._client: Any = client
        self._place = place
        self._script: Any = client.register_script(LEDGER_SCRIPT)

    def call(self, what: str, *arguments: bytes | str | int) -> list[bytes]:
        """Call the script by the server's clock; returns its answer."""
        found: list[bytes] = self._twice(lambda: self._script(keys=[self._place], args=[what, "", *arguments]))
        return found

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Read values of keys; one round trip."""
        if not keys:
            return []
        found: list[bytes | None] = self._twice(lambda: self._client.mget(keys))
        return found

    def _twice(self, ask: Any) -> Any:
        for _ in range(2):
            try:
                return ask()
            except (RedisConnectionError, RedisTimeoutError) as failed:
                error = type(failed).__name__
            except RedisError as refused:
                if not is_no_writes(refused):
                    raise
                error = "it takes no writes"
                self._client.connection_pool.disconnect()  # another one may be the primary by now
        raise ConnectionFailed(
            f"asking Redis for stock at {place_of(self._client)}: {error}, twice (expected an answer); check "
            "`state.url` and the server (a failover takes some seconds), then ask again: a reservation asked for twice "
            "is held once"
        )

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()
