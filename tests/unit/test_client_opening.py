"""How a shop opens its client, and what it is told when something is missing or wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nurt_client import AsyncStock, ConfigurationError, Stock
from nurt_client.connecting import open_async_client, open_client, place_of
from nurt_client.settings import read_settings

SECRET = "0123456789abcdef" * 2
URL = "redis://:password@127.0.0.1:1/0"
KINDS: list[Any] = [Stock, AsyncStock]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NURT_REDIS_URL", "NURT_SECRET", "NURT_PREFIX", "NURT_REALM"):
        monkeypatch.delenv(name, raising=False)


def test_what_is_given_counts_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"REDIS_URL": "redis://theirs/0", "SECRET": "f" * 32, "PREFIX": "p", "REALM": "hu"}.items():
        monkeypatch.setenv(f"NURT_{name}", value)
    own = read_settings(None, None, None, None)
    assert (own.url, own.secret, own.prefix, own.realm) == ("redis://theirs/0", b"\xff" * 16, "p", "hu")
    own = read_settings(URL, SECRET, "q", "pl")
    assert (own.url, own.secret, own.prefix, own.realm) == (URL, bytes.fromhex(SECRET), "q", "pl")


def test_without_a_word_the_deployment_is_nurts_default() -> None:
    own = read_settings(URL, bytes(16), None, None)
    assert (own.prefix, own.realm, own.secret) == ("nurt", "default", bytes(16))


def test_a_file_may_hold_the_url_and_the_secret(tmp_path: Path) -> None:
    for name, text in {"url": URL, "secret": SECRET}.items():
        (tmp_path / name).write_text(f"{text}\n")
    own = read_settings(f"file:{tmp_path}/url", f"file:{tmp_path}/secret", None, None)
    assert (own.url, own.secret) == (URL, bytes.fromhex(SECRET))


def test_settings_show_neither_the_password_nor_the_secret() -> None:
    shown = repr(read_settings(URL, SECRET, None, None))
    assert "password" not in shown
    assert SECRET not in shown
    assert repr(bytes.fromhex(SECRET)) not in shown


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("url", "secret", "said"),
    [
        (None, SECRET, r"reading `url`: it is not given .* NURT_REDIS_URL"),
        (URL, None, r"reading `secret`: it is not given .* NURT_SECRET"),
        ("nurt.yaml", SECRET, r"it names a YAML file.*give `state.url`"),
        (URL, "5ec2e7", r"reading `secret`: it is not 32 hex digits"),
        (URL, "5ec2e7-and-no-hex", r"reading `secret`: it is not 32 hex digits"),
        (URL, "file:/nowhere", r"reading `secret`: the file /nowhere cannot be read"),
        ("redis://:5ec2e7@one/0?shoe_size=42", SECRET, r"reading `url`: .*no option shoe_size"),
        ("redis+sentinel://:5ec2e7@one", SECRET, r"reading `url`: it cannot be used"),
        ("embedded", SECRET, r"reading `url`: it cannot be used"),
    ],
)
def test_what_cannot_be_used_is_named_and_not_shown(kind: Any, url: str | None, secret: str | None, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        kind.open(url, secret=secret)
    assert "5ec2e7" not in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("opens", [open_client, open_async_client])
def test_sentinels_are_read_for_both_ways_of_waiting(opens: Any) -> None:
    client = opens(
        "rediss+sentinel://nurt:p%40ss@two,one:26380/shop/3?sentinel_password=s%2Fecret&ssl_ca_certs=/ca.pem"
    )
    pool = client.connection_pool
    assert place_of(client) == "shop by the Sentinels one:26380, two:26379"
    servers = pool.connection_kwargs
    assert (servers["username"], servers["password"], servers["db"], servers["protocol"]) == ("nurt", "p@ss", 3, 2)
    assert (servers["socket_connect_timeout"], servers["socket_timeout"]) == (2.0, 5.0)
    assert "SSL" in pool.connection_class.__name__
    for sentinel in pool.sentinel_manager.sentinels:
        options = sentinel.connection_pool.connection_kwargs
        assert (options["password"], options["ssl_ca_certs"], options["socket_timeout"]) == ("s/ecret", "/ca.pem", 1.0)
        assert options["retry"].get_retries() == 0


def test_nobody_who_answers_is_said_with_the_address_and_the_next_step() -> None:
    async def ask() -> None:
        async with AsyncStock.open(URL, secret=SECRET) as shop:
            await shop.available(["A"], "web", "PL")

    def ask_at_once() -> None:
        with Stock.open(URL, secret=SECRET) as shop:
            shop.available(["A"], "web", "PL")

    for call in (ask_at_once, lambda: asyncio.run(ask())):
        with pytest.raises(
            ConfigurationError.__base__, match=r"127\.0\.0\.1:1: ConnectionError, twice.*ask again"
        ) as said:
            call()
        assert type(said.value).__name__ == "ConnectionFailed"
        assert "password" not in str(said.value)


def test_the_former_name_says_the_new_one() -> None:
    with pytest.raises(ImportError, match=r"`pip install nurt-client` .*, then `from nurt_client import Line, Stock`"):
        from nurt.stock import Stock  # noqa: F401
