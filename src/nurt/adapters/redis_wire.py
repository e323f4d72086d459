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

BACK_OFF_MAX_S = 2.0
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
        self.round_trips = 0

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands, then return all replies, in order; an error reply is returned as a value.

        Raises one of AWAY when the connection breaks: then nothing is known of what the server did.
        """
        self.round_trips += 1
        connection = self._connected()
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            return [self._reply(connection) for _ in commands]
        except AWAY:
            self.drop()
            raise

    def _reply(self, connection: Any) -> Any:
        try:
            return connection.read_response()
        except ResponseError as error:
            return error

    def _connected(self) -> Any:
        if self._connection is None:
            deadline = time.monotonic() + self._away_max_s
            pause_s = 0.05
            while True:
                try:
                    connection = self._pool.get_connection()
                    connection.connect()
                    break
                except AWAY as error:
                    if time.monotonic() > deadline:
                        raise ConnectionFailed(
                            f"reaching Redis: no answer for {self._away_max_s:.0f} s ({type(error).__name__}); "
                            "check that the server runs and `state.url`"
                        ) from error
                    _logger.warning("Redis does not answer (%s); trying again", type(error).__name__)
                    time.sleep(pause_s)
                    pause_s = min(BACK_OFF_MAX_S, pause_s * 2)
            self._connection = connection
        return self._connection

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
