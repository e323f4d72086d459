"""Make every client of Redis or Valkey: one address, or Sentinels that know the primary's.

`redis+sentinel://[user:password@]host[:port][,host...]/service[/db][?options]` is the form that Prefect, RedisVL and
limits read; `rediss+sentinel://` has TLS to servers and Sentinels. User and password are the server's; the Sentinels'
own are the options `sentinel_username` and `sentinel_password`. Every other option is redis-py's.
"""

from __future__ import annotations

import re
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from nurt.errors import ConfigurationError

_parse: Any = parse_url  # redis-py does not say what these take
_directory_of: Any = Sentinel
_pool_of: Any = SentinelConnectionPool

FORMS = (
    "redis://host:6379/0, rediss:// with TLS, unix:///path, redis+sentinel://host:26379,host:26379/service/0 or "
    "rediss+sentinel://"
)
SENTINEL_PORT = 26_379
SENTINEL_TIMEOUT_S = 1.0
"""How long a Sentinel may take to answer before the next one is asked."""
CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S = 2.0, 5.0
"""Of servers behind Sentinels, unless the URL says otherwise: a machine that is gone sends nothing, not even a no."""

_SENTINELS = re.compile(
    r"(?P<scheme>rediss?)\+sentinel://(?:(?P<login>[^/?#]*)@)?(?P<hosts>[^/?#@]+)"
    r"/(?P<service>[^/?#]+)(?:/(?P<db>\d*))?/?(?:\?(?P<options>[^#]*))?"
)
_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d+))?")


def open_client(url: str) -> Redis:
    """Open a client that gives bytes; nothing is sent yet.

    With Sentinels, each new connection asks them who the primary is.

    Raises ConfigurationError, which never shows the URL: it may hold a password.
    """
    try:
        client = _open_by_sentinels(url) if "+sentinel://" in url[:20] else Redis.from_url(url, protocol=2)
        _attempt(client)
    except (ValueError, TypeError) as wrong:
        raise ConfigurationError(
            f"reading `state.url`: it cannot be used ({_about(wrong)}); expected {FORMS}; docs/redis.md says more"
        ) from None
    return client


def _about(wrong: Exception) -> str:
    unknown = re.search(r"unexpected keyword argument '(\w+)'", str(wrong))
    return f"there is no option {unknown.group(1)}" if unknown else "its form is not known, or a value has a wrong type"


def _attempt(client: Redis) -> None:
    """Make a connection, unconnected: only this finds options that redis-py does not know."""
    pool = client.connection_pool
    pool.connection_class(**pool.connection_kwargs)


def _open_by_sentinels(url: str) -> Redis:
    found = _SENTINELS.fullmatch(url)
    if found is None:
        raise ValueError
    login = f"{found['login']}@" if found["login"] else ""
    # what is no address is read by the library
    plain = f"{found['scheme']}://{login}localhost/{found['db'] or 0}?{found['options'] or ''}"
    options: dict[str, Any] = dict(_parse(plain))
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
    sentinels |= {"ssl": is_encrypted, "protocol": 2, "retry": Retry(NoBackoff(), 0)}
    options = {"socket_connect_timeout": CONNECT_TIMEOUT_S, "socket_timeout": ANSWER_TIMEOUT_S, **options}
    directory = _directory_of([_host(part) for part in found["hosts"].split(",")], sentinel_kwargs=sentinels)
    return Redis.from_pool(_pool_of(found["service"], directory, ssl=is_encrypted, protocol=2, **options))


def _host(text: str) -> tuple[str, int]:
    found = _HOST.fullmatch(text.strip())
    if found is None:
        raise ValueError
    return found["six"] or found["name"], int(found["port"] or SENTINEL_PORT)


def place_of(client: Redis) -> str:
    """Say where a client looks for its server, without credentials."""
    pool = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        return f"{pool.service_name} by the Sentinels {', '.join(map(_place, _sentinels(pool)))}"
    return _place(client)


def _place(client: Any) -> str:
    options = client.connection_pool.connection_kwargs
    return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")


def _sentinels(pool: SentinelConnectionPool) -> list[Any]:
    directory: Any = pool.sentinel_manager
    return sorted(directory.sentinels, key=_place)


_STEPS = {
    "known": "check that this address can be reached from here, and the credentials in `state.url`",
    "down": "look why none takes over (`SENTINEL CKQUORUM`, the Sentinels' logs), then start again",
    "unknown": "correct the service's name in `state.url`",
    "refused": "correct `sentinel_username` and `sentinel_password` in `state.url`",
    "silent": "check that the Sentinels run, and their addresses in `state.url`",
}
"""The next step by what Sentinels say of a service; the first that one of them says decides."""


def remedy_of(client: Redis) -> str:
    """Find out why no server answers, and say what to do; asks the Sentinels, where there are any. Never raises."""
    pool = client.connection_pool
    if not isinstance(pool, SentinelConnectionPool):
        return "check that the server runs and `state.url`"
    said = [(_place(sentinel), *_ask(sentinel, pool.service_name)) for sentinel in _sentinels(pool)]
    (step, *_) = [step for what, step in _STEPS.items() if any(what == kind for _, kind, _ in said)]
    return f"{'; '.join(f'Sentinel {place} {text}' for place, _, text in said)}; {step}"


def _ask(sentinel: Any, service: str) -> tuple[str, str]:
    """Say what one Sentinel knows of a service: which of _STEPS, and in words."""
    try:
        known: dict[str, Any] = sentinel.sentinel_masters()
    except (AuthenticationError, ResponseError) as refused:
        return "refused", f"refuses us ({type(refused).__name__})"
    except (RedisError, OSError) as away:
        return "silent", f"does not answer ({type(away).__name__})"
    primary = known.get(service)
    if primary is None:
        return "unknown", f"does not know {service!r}, only {', '.join(sorted(known)) or 'nothing'}"
    address = f"{primary['ip']}:{primary['port']}"
    if primary["is_odown"] or primary["is_sdown"] or not primary["is_master"]:
        return "down", f"says that {address} is down, and has no new primary yet"
    return "known", f"says {address}"
