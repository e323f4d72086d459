"""Many Redis commands in one round trip, over a connection of redis-py.

Hot path. The library keeps what is its own (address, TLS, login, parsing); a batch's commands are packed together and
their replies collected at the end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from nurt.errors import ConnectionFailed

Command = Sequence[bytes | str | int]

AWAY = (RedisConnectionError, RedisTimeoutError, OSError)
"""What a server that is away looks like; anything else is an answer."""

BACK_OFF_MIN_S, BACK_OFF_MAX_S = 0.05, 2.0
_logger = logging.getLogger(__name__)


class Wire:
    """One connection, kept; it must be one, for WATCH belongs to a connection.

    Args:
        client: says where and how to connect.
        away_max_s: how long the server may be away before ConnectionFailed.
    """

    def __init__(self, client: Redis, away_max_s: float = 60.0) -> None:
        self._pool = client.connection_pool
        self._connection: Any = None
        self._away_max_s = away_max_s
        self._away_since: float | None = None
        self._pause_s = 0.0
        self.round_trips = 0

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands, then return all replies, in order; an error reply is returned as a value.

        Raises one of AWAY when the connection breaks: then nothing is known of what the server did. The caller finds
        out by asking again; how long that may go on without any answer is bounded here.
        """
        self.round_trips += 1
        connection = self._connected()
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            replies = [self._reply(connection) for _ in commands]
        except AWAY as error:
            self.drop()
            self._note_away(error)
            raise
        self._away_since, self._pause_s = None, 0.0
        return replies

    def _reply(self, connection: Any) -> Any:
        try:
            return connection.read_response()
        except ResponseError as error:
            return error

    def _connected(self) -> Any:
        while self._connection is None:
            time.sleep(self._pause_s)
            try:
                self._connection = self._pool.get_connection()
            except AWAY as error:
                self._note_away(error)
        return self._connection

    def _note_away(self, error: Exception) -> None:
        """Wait longer before each next try; a server that answers again, or is still loading, counts alike."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
            _logger.warning("Redis does not answer (%s); trying again", type(error).__name__)
        elif now - self._away_since > self._away_max_s:
            raise ConnectionFailed(
                f"reaching Redis: no answer for {self._away_max_s:.0f} s ({type(error).__name__}); "
                "check that the server runs and `state.url`"
            ) from error
        else:
            self._pause_s = min(BACK_OFF_MAX_S, max(BACK_OFF_MIN_S, 2 * self._pause_s))

    def drop(self) -> None:
        """Forget the connection; the next exchange makes a new one. Never raises."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                connection.disconnect()
                self._pool.release(connection)
            except (RedisError, OSError):
                _logger.debug("letting go of a broken connection failed")


def raise_errors(replies: Sequence[Any]) -> None:
    """Raise the first error among replies."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
