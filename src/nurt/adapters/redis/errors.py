"""Turn failures of reading state into nurt's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import MasterNotFoundError

from nurt.adapters.redis.client import place_of, remedy_of
from nurt.errors import ConfigurationError, ConnectionFailed

__all__ = ["RedisError", "naming_failures"]


@contextmanager
def naming_failures(client: Redis) -> Iterator[None]:
    """Turn redis-py's exceptions into nurt's errors; these name the server, never its credentials.

    Raises ConnectionFailed when the server does not answer, ConfigurationError when it refuses us.
    """
    try:
        yield
    except (AuthenticationError, NoPermissionError) as refused:
        raise ConfigurationError(
            f"reading state at {place_of(client)}: the server refuses us ({type(refused).__name__}); "
            "correct the credentials in `state.url`"
        ) from None
    except MasterNotFoundError:
        raise ConnectionFailed(f"reading state at {place_of(client)}: no primary; {remedy_of(client)}") from None
    except (RedisConnectionError, RedisTimeoutError) as away:
        raise ConnectionFailed(
            f"reading state at {place_of(client)}: no answer ({type(away).__name__}); {remedy_of(client)}"
        ) from None
    except RedisError as failed:
        raise ConnectionFailed(
            f"reading state at {place_of(client)}: the server answers with an error ({type(failed).__name__}); "
            "look into its log"
        ) from None
