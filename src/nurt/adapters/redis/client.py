"""Open clients, and find out why no server answers; the shop's client makes the connections for nurt, too."""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.sentinel import SentinelConnectionPool

from nurt.adapters.secrets import fill_in
from nurt_client.connecting import address_of, open_client, place_of, sentinels_of

__all__ = ["Redis", "open_client", "open_redis", "place_of", "remedy_of"]

_STEPS = {
    "known": "check that this address can be reached from here, and the credentials in `state.url`",
    "down": "look why none takes over (`SENTINEL CKQUORUM`, the Sentinels' logs), then start again",
    "unknown": "correct the service's name in `state.url`",
    "refused": "correct `sentinel_username` and `sentinel_password` in `state.url`",
    "silent": "check that the Sentinels run, and their addresses in `state.url`",
}
"""The next step by the Sentinels' answer about a service; the first of these answers in this order decides."""


def open_redis(url: str) -> Redis:
    """Open a client that returns bytes; `${VARIABLE}` and `file:` in the URL are filled in."""
    return open_client(str(fill_in("`state.url`", url)))


def remedy_of(client: Redis) -> str:
    """Find out why no server answers, and say what to do; ask Sentinels, where there are any. Never raises."""
    pool = client.connection_pool
    if not isinstance(pool, SentinelConnectionPool):
        return "check that the server runs and `state.url`"
    found = [(address_of(sentinel), *_ask(sentinel, pool.service_name)) for sentinel in sentinels_of(pool)]
    (step, *_) = [step for what, step in _STEPS.items() if any(what == kind for _, kind, _ in found)]
    return f"{'; '.join(f'Sentinel {place} {text}' for place, _, text in found)}; {step}"


def _ask(sentinel: Any, service: str) -> tuple[str, str]:
    """Return what one Sentinel knows of a service: a key of _STEPS, and words."""
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
