"""What `state.url` may say, and what is said when it cannot be used."""

from __future__ import annotations

from typing import Any

import pytest
from redis.sentinel import SentinelConnectionPool

from nurt.adapters.redis.client import open_client, place_of, remedy_of
from nurt.errors import ConfigurationError


def opened(url: str) -> tuple[Any, list[dict[str, Any]]]:
    """Open a client by Sentinels; returns its pool, and the options of each Sentinel's connections."""
    pool = open_client(url).connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    directory: Any = pool.sentinel_manager
    return pool, [one.connection_pool.connection_kwargs for one in directory.sentinels]


def test_sentinels_a_service_and_a_database_are_read() -> None:
    pool, sentinels = opened("redis+sentinel://one:26380,two,[::1]:26381/shop/3")
    assert [(one["host"], one["port"]) for one in sentinels] == [("one", 26380), ("two", 26379), ("::1", 26381)]
    assert (pool.service_name, pool.connection_kwargs["db"]) == ("shop", 3)
    assert opened("redis+sentinel://one/shop")[0].connection_kwargs["db"] == 0


def test_the_servers_login_is_not_the_sentinels() -> None:
    url = "redis+sentinel://nurt:p%40ss@one/shop?sentinel_username=watch&sentinel_password=s%2Fecret&socket_timeout=2.5"
    pool, (sentinel,) = opened(url)
    servers = pool.connection_kwargs
    assert (servers["username"], servers["password"], servers["socket_timeout"]) == ("nurt", "p@ss", 2.5)
    assert (sentinel["username"], sentinel["password"]) == ("watch", "s/ecret")
    assert opened("redis+sentinel://:p@one/shop")[1][0].get("password") is None


def test_tls_is_for_servers_and_sentinels() -> None:
    pool, (sentinel,) = opened("rediss+sentinel://one/shop?ssl_ca_certs=/ca.pem&ssl_check_hostname=false")
    assert "SSL" in pool.connection_class.__name__
    for options in (pool.connection_kwargs, sentinel):
        assert (options["ssl_ca_certs"], options["ssl_check_hostname"]) == ("/ca.pem", False)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "sentinel://secret@one/shop",
        "redis+sentinel://secret@one",
        "redis+sentinel://:secret@one/",
        "redis+sentinel://:secret@one:port/shop",
        "redis+sentinel://:secret@one/shop/db",
        "redis+sentinel://:secret@one/shop?sentinel_port=1",
        "redis://:secret@one/0?shoe_size=42",
        "redis://:secret@one/0?socket_timeout=long",
    ],
)
def test_what_cannot_be_used_is_said_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"state\.url") as caught:
        open_client(url)
    assert "secret" not in str(caught.value)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(ConfigurationError, match="no option shoe_size"):
        open_client("redis://one/0?shoe_size=42")


def test_a_place_is_named_without_credentials() -> None:
    client = open_client("redis+sentinel://nurt:secret@127.0.0.1:2,127.0.0.1:1/shop?sentinel_password=secret")
    assert place_of(client) == "shop by the Sentinels 127.0.0.1:1, 127.0.0.1:2"
    assert "secret" not in remedy_of(client)
    assert "check that the Sentinels run" in remedy_of(client)
    assert place_of(open_client("redis://nurt:secret@one:7/0")) == "one:7"
    assert place_of(open_client("unix:///run/redis.sock?db=1")) == "/run/redis.sock"
