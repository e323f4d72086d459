"""Make every client of Redis or Valkey, sync or async: one address, or Sentinels that know the primary's.

`redis+sentinel://[user:password@]host[:port][,host...]/service[/db][?options]` is the form that Prefect, RedisVL and
limits read; `rediss+sentinel://` has TLS to servers and Sentinels. User and password are the server's; the Sentinels'
own are the options `sentinel_username` and `sentinel_password`. Every other option is redis-py's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import redis
from redis import asyncio as redis_async
from redis.asyncio import retry as async_retry
from redis.asyncio import sentinel as async_sentinel
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import MasterDownError, ReadOnlyError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from nurt_client.errors import ConfigurationError

FORMS = (
    "redis://host:6379/0, rediss:// with TLS, unix:///path, redis+sentinel://host:26379,host:26379/service/0 or "
    "rediss+sentinel://"
)
SENTINEL_PORT = 26_379
SENTINEL_TIMEOUT_S = 1.0
"""How long a Sentinel may take to answer before the next one is asked."""
CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S = 2.0, 5.0
"""Of servers behind Sentinels, unless the URL says otherwise: a machine that is gone sends nothing, not even a no."""

_NO_WRITES = ("READONLY", "NOREPLICAS", "MASTERDOWN")
_SENTINELS = re.compile(
    r"(?P<scheme>rediss?)\+sentinel://(?:(?P<login>[^/?#]*)@)?(?P<hosts>[^/?#@]+)"
    r"/(?P<service>[^/?#]+)(?:/(?P<db>\d*))?/?(?:\?(?P<options>[^#]*))?"
)
_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d+))?")

Client = TypeVar("Client")


@dataclass(frozen=True, slots=True)
class _Flavour:
    """The classes of redis-py for one way of waiting; it does not say what they take."""

    client: Any
    retry: Any
    directory: Any
    pool: Any


_SYNC = _Flavour(redis.Redis, Retry, Sentinel, SentinelConnectionPool)
_ASYNC = _Flavour(redis_async.Redis, async_retry.Retry, async_sentinel.Sentinel, async_sentinel.SentinelConnectionPool)


def open_client(url: str, named: str = "state.url") -> redis.Redis:
    """Open a client that gives bytes; nothing is sent yet.

    With Sentinels, each new connection asks them who the primary is.

    Args:
        named: what the reader of an error knows the URL as.

    Raises ConfigurationError, which never shows the URL: it may hold a password.
    """
    client: redis.Redis = _naming(named, lambda: _open(url, _SYNC))
    return client


def open_async_client(url: str, named: str = "url") -> redis_async.Redis:
    """Open a client for asyncio, as `open_client` does."""
    client: redis_async.Redis = _naming(named, lambda: _open(url, _ASYNC))
    return client


def _naming(named: str, make: Callable[[], Client]) -> Client:
    try:
        return make()
    except (ValueError, TypeError) as wrong:
        raise ConfigurationError(
            f"reading `{named}`: it cannot be used ({_about(wrong)}); expected {FORMS}; docs/redis.md says more"
        ) from None


def _about(wrong: Exception) -> str:
    unknown = re.search(r"unexpected keyword argument '(\w+)'", str(wrong))
    return f"there is no option {unknown.group(1)}" if unknown else "its form is not known, or a value has a wrong type"


def _open(url: str, flavour: _Flavour) -> Any:
    if "+sentinel://" in url[:20]:
        client = _open_by_sentinels(url, flavour)
    else:
        client = flavour.client.from_url(url, protocol=2)
    pool = client.connection_pool
    # a connection, unconnected: only this finds options that redis-py does not know
    pool.connection_class(**pool.connection_kwargs)
    return client


def _open_by_sentinels(url: str, flavour: _Flavour) -> Any:
    found = _SENTINELS.fullmatch(url)
    if found is None:
        raise ValueError
    login = f"{found['login']}@" if found["login"] else ""
    # what is no address is read by the library
    parse: Any = parse_url
    options: dict[str, Any] = dict(
        parse(f"{found['scheme']}://{login}localhost/{found['db'] or 0}?{found['options'] or ''}")
    )
    is_encrypted = options.pop("connection_class", None) is not None
    del options["host"]
    sentinels: dict[str, Any] = {
        name.removeprefix("sentinel_"): options.pop(name)
        for name in ("sentinel_username", "sentinel_password")
        if name in options
    }
    sentinels |= {name: value for name, value in options.items() if name.startswith("ssl_")}
    sentinels |= {"socket_timeout": SENTINEL_TIMEOUT_S, "socket_connect_timeout": SENTINEL_TIMEOUT_S}
    # the next Sentinel is asked instead of the same one again
    sentinels |= {"ssl": is_encrypted, "protocol": 2, "retry": flavour.retry(NoBackoff(), 0)}
    options = {"socket_connect_timeout": CONNECT_TIMEOUT_S, "socket_timeout": ANSWER_TIMEOUT_S, **options}
    directory = flavour.directory([_host(part) for part in found["hosts"].split(",")], sentinel_kwargs=sentinels)
    return flavour.client.from_pool(flavour.pool(found["service"], directory, ssl=is_encrypted, protocol=2, **options))


def _host(text: str) -> tuple[str, int]:
    found = _HOST.fullmatch(text.strip())
    if found is None:
        raise ValueError
    return found["six"] or found["name"], int(found["port"] or SENTINEL_PORT)


def place_of(client: Any) -> str:
    """Say where a client looks for its server, without credentials."""
    pool = client.connection_pool
    if isinstance(pool, SentinelConnectionPool | async_sentinel.SentinelConnectionPool):
        return f"{pool.service_name} by the Sentinels {', '.join(map(address_of, sentinels_of(pool)))}"
    return address_of(client)


def address_of(client: Any) -> str:
    """Say the address that a client of one server has."""
    options = client.connection_pool.connection_kwargs
    return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")


def sentinels_of(pool: Any) -> list[Any]:
    """List the clients of the Sentinels that a pool asks."""
    return sorted(pool.sentinel_manager.sentinels, key=address_of)


def is_no_writes(error: Exception) -> bool:
    """Say whether an error means that a write was refused whole, by a server that takes none.

    Source: Redis, `processCommand`: both are looked at before a command, or a transaction, does anything.
    """
    if isinstance(error, ReadOnlyError | MasterDownError):
        return True
    # EXECABORT says why behind "because of:"
    return isinstance(error, ResponseError) and any(code in str(error)[:60] for code in _NO_WRITES)
