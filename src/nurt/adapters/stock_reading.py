"""Stock in Redis, from a shop's side: what can be sold, and reservations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

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
        try:
            return ask()
        except (RedisConnectionError, RedisTimeoutError):
            pass
        try:
            return ask()
        except (RedisConnectionError, RedisTimeoutError) as failed:
            raise ConnectionFailed(
                f"asking Redis for stock: {type(failed).__name__}, twice (expected an answer); check `state.url` and "
                "the server, then ask again: a reservation asked for twice is held once"
            ) from None

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()
