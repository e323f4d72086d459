"""Say in our words what goes wrong when state is looked at, and wait for a server that is away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import MasterNotFoundError

from nurt.adapters.redis_away import is_no_writes
from nurt.adapters.redis_client import place_of, remedy_of
from nurt.errors import ConfigurationError, ConnectionFailed

Answer = TypeVar("Answer")
AWAY_S_MAX = 300.0
PAUSE_S = 0.2


def until_answered(ask: Callable[[], Answer], doing: str) -> Answer:
    """Ask until Redis answers; what is asked may be asked twice. Raises ConnectionFailed after AWAY_S_MAX."""
    until_s = time.monotonic() + AWAY_S_MAX
    while True:
        try:
            return ask()
        except (RedisConnectionError, RedisTimeoutError, ResponseError) as away:
            if isinstance(away, ResponseError) and not is_no_writes(away):
                raise
            if time.monotonic() > until_s:
                raise ConnectionFailed(
                    f"{doing}: Redis has not answered for {AWAY_S_MAX:.0f} s ({type(away).__name__}); start it, then "
                    "start this again"
                ) from None
            time.sleep(PAUSE_S)


@contextmanager
def naming_failures(client: Redis) -> Iterator[None]:
    """Turn what redis-py raises into errors of ours; they name the server, never its credentials.

    Raises ConnectionFailed when it does not answer, ConfigurationError when it refuses us.
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
