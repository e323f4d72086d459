"""Many Redis commands in one round trip, over a connection of redis-py.

Hot path. Address, TLS and login stay the library's; a batch's commands are packed together, and their replies are
collected when needed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis import Redis
from redis.connection import DefaultParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from nurt.adapters.redis.commands import PackedCommands
from nurt.adapters.redis.outage import AWAY, AWAY_MAX_S, Patience
from nurt.adapters.redis.replies import ReplyParser, StrangeReply, strange
from nurt.columnar.types import Int64s
from nurt.columnar.values import Values

Reply = TypeVar("Reply")
_logger = logging.getLogger(__name__)


class RedisConnection:
    """Connection that is kept; it must be one, because WATCH belongs to a connection.

    When it breaks, an error of AWAY is raised: then nobody knows what the server did, and replies that were not
    collected are lost. The caller must ask again; this class limits how long that may go on without any answer.

    Args:
        client: has the address and options of the connection.
        away_max_s: how long the server may be away before ConnectionFailed.
    """

    def __init__(self, client: Redis, away_max_s: float = AWAY_MAX_S) -> None:
        self._pool = client.connection_pool
        self._connection: Any = None
        self._parser = ReplyParser()
        self._patience = Patience(client, away_max_s)
        self.round_trips = 0

    def send(self, packed: PackedCommands) -> None:
        """Send commands; collect their replies later, in the order of sending."""
        self.round_trips += 1
        connection = self._connected()
        try:
            # a health check would take another command's reply
            connection.send_packed_command(packed.chunks, check_health=False)
        except AWAY as error:
            self._break(error)
            raise

    def receive(self, replies: int) -> list[Any]:
        """Wait for the next replies, in order; an error reply is returned as a value."""
        if self._connection is None:
            raise RedisConnectionError("the connection that these replies were to come on is gone")
        return self._read(lambda: self._parser.read_replies(replies))

    def receive_values(self, asked: Sequence[Int64s]) -> list[Values]:
        """Wait for replies of MGET; see `ReplyParser.read_values`."""
        if self._connection is None:
            raise RedisConnectionError("the connection that these replies were to come on is gone")
        return self._read(lambda: self._parser.read_values(asked))

    def _read(self, read: Callable[[], Reply]) -> Reply:
        try:
            received = read()
        except AWAY as error:
            self._break(error)
            raise
        except StrangeReply:
            self.drop()
            raise
        self._patience.answered()
        return received

    def wrote(self) -> None:
        """Take note that the server took a write: it is no longer away if it refused writes before."""
        self._patience.answered(wrote=True)

    def exchange(self, packed: PackedCommands) -> list[Any]:
        """Send commands and wait for their replies; earlier replies must have been collected."""
        self.send(packed)
        return self.receive(packed.replies)

    def _connected(self) -> Any:
        while self._connection is None:
            self._patience.pause()
            try:
                connection: Any = self._pool.get_connection()
                try:
                    connection.disconnect()
                    connection.set_parser(lambda **_: self._parser)
                    connection.connect()
                except AWAY:
                    self._give_back(connection)
                    raise
                self._connection = connection
            except AWAY as error:
                self._patience.note(error)
        return self._connection

    def _give_back(self, connection: Any) -> None:
        connection.disconnect()
        connection.set_parser(DefaultParser)
        self._pool.release(connection)

    def _break(self, error: Exception) -> None:
        self.drop()
        self._patience.note(error)

    def drop(self) -> None:
        """Forget the connection; the next exchange makes a new one. Never raises."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                self._give_back(connection)
            except (RedisError, OSError):
                _logger.debug("letting go of a broken connection failed")


def values_of(reply: Any, count: int) -> list[bytes | None]:
    """Return the values of one reply of MGET. Raises StrangeReply when there are not as many as keys."""
    if not isinstance(reply, list) or len(reply) != count or not all(isinstance(one, bytes | None) for one in reply):
        raise strange(f"something else than {count} values")
    return reply


def raise_errors(replies: Sequence[Any]) -> None:
    """Raise the first error among replies."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
