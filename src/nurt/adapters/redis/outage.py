"""Wait for a server that is away: it restarts, or its replica replaces it.

A server that answers but takes no writes (a demoted primary, or a primary without its required replicas) counts as
away, too: the write is not done, and another server may take it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import MasterNotFoundError

from nurt.adapters.redis.client import place_of, remedy_of
from nurt.errors import ConfigurationError, ConnectionFailed
from nurt_client.connecting import is_no_writes

AWAY = (RedisConnectionError, RedisTimeoutError, OSError)
"""Errors of a server that is away; anything else is an answer."""

AWAY_MAX_S = 60.0
DELIVERY_AWAY_MAX_S = 300.0
"""For deliveries, and for data that is kept for deliveries: nobody waits for these."""
BACK_OFF_MIN_S, BACK_OFF_MAX_S = 0.05, 2.0

Result = TypeVar("Result")
_logger = logging.getLogger(__name__)


class ReadOnlyServer(RedisConnectionError):
    """Error of a replica, or of a primary without its required replicas; another server must be asked."""


def raise_away(error: Exception) -> None:
    """Raise an error reply that says the server cannot be used now; other errors are left to the caller."""
    if isinstance(error, RedisConnectionError):
        raise error
    if is_no_writes(error):
        raise ReadOnlyServer(str(error)) from error


class Patience:
    """Patience with a server: how long it may be away, and how long to wait before each next try.

    Args:
        client: of that server, to find out why it does not answer.
        doing: for the error.
    """

    def __init__(self, client: Redis, away_max_s: float = AWAY_MAX_S, doing: str = "reaching Redis") -> None:
        self._client = client
        self._away_max_s = away_max_s
        self._doing = doing
        self._since: float | None = None
        self._pause_s = 0.0
        self._refused = False

    def answered(self, wrote: bool = False) -> None:
        """Begin again: there was an answer. A refused write is only forgotten when a write is done."""
        if wrote or not self._refused:
            self._since, self._pause_s, self._refused = None, 0.0, False

    def note(self, error: Exception) -> None:
        """Count a failure; the next pause is longer.

        Raises ConnectionFailed when there were only failures for too long.
        """
        now = time.monotonic()
        self._refused |= isinstance(error, ReadOnlyServer)
        if self._since is None:
            self._since = now
            _logger.warning("Redis does not answer (%s); trying again", _kind(error))
        elif now - self._since > self._away_max_s:
            raise ConnectionFailed(
                f"{self._doing} at {place_of(self._client)}: no answer for {self._away_max_s:.0f} s "
                f"({_kind(error)}); {_remedy(self._client, error)}"
            ) from error
        else:
            self._pause_s = min(BACK_OFF_MAX_S, max(BACK_OFF_MIN_S, 2 * self._pause_s))

    def pause(self) -> None:
        """Wait before the next try."""
        time.sleep(self._pause_s)


def _kind(error: Exception) -> str:
    if isinstance(error, ReadOnlyServer | ReadOnlyError):
        return "it takes no writes"
    return "the Sentinels name no primary" if isinstance(error, MasterNotFoundError) else type(error).__name__


def _remedy(client: Redis, error: Exception) -> str:
    if isinstance(error, ReadOnlyServer):
        return "name the primary in `state.url`, or give it the replicas that `min-replicas-to-write` asks for"
    return remedy_of(client)


def patiently(
    client: Redis, ask: Callable[[], Result], away_max_s: float = AWAY_MAX_S, doing: str = "reaching Redis"
) -> Result:
    """Repeat a call until there is an answer; the call must be safe to repeat.

    Raises ConnectionFailed when the server is away for too long, ConfigurationError at once when it refuses us.
    """
    patience = Patience(client, away_max_s, doing)
    while True:
        try:
            return ask()
        except (AuthenticationError, NoPermissionError) as refused:
            raise ConfigurationError(
                f"{doing} at {place_of(client)}: the server refuses us ({type(refused).__name__}); "
                "correct the credentials in `state.url`"
            ) from None
        except AWAY as error:
            patience.note(error)
        except ResponseError as error:
            if not is_no_writes(error):
                raise
            patience.note(ReadOnlyServer(str(error)))
        patience.pause()


def walk(client: Redis, pattern: bytes, count: int) -> Iterator[list[bytes]]:
    """Yield the keys of a pattern, some more than once; begin again when another server has answered meanwhile.

    A cursor means nothing to another server, and redis-py connects to another server silently.
    """
    server: Any = client
    asked = patiently(client, lambda: _server(server))
    cursor, ended = 0, False
    while not ended:
        cursor, keys = patiently(client, partial(server.scan, cursor, match=pattern, count=count))
        yield keys
        if not cursor:
            now = patiently(client, lambda: _server(server))
            ended, asked = now == asked, now


def _server(client: Any) -> str:
    """Return the id of the server's process; empty when nurt may not ask."""
    try:
        return str(client.info("server")["run_id"])
    except NoPermissionError:
        return ""
