"""Clients that find their server through real Sentinels: who logs in where, and what is said when nobody answers."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest
import redis

from nurt.adapters.redis.client import open_client
from nurt.adapters.redis.errors import naming_failures
from nurt.adapters.redis.outage import patiently, walk
from nurt.errors import ConfigurationError, ConnectionFailed
from tests.services.stack.sentinels import Guarded, guarded, wait_until

pytestmark = pytest.mark.services
SERVERS, SENTINELS = "p@ss/word", "s?cret"


@pytest.fixture(scope="module")
def group() -> Iterator[Guarded]:
    with guarded() as group:
        for port in (*group.ports, *(server.port for server in group.servers)):
            password = SENTINELS if port in group.ports else SERVERS
            with redis.Redis(port=port) as client:
                client.execute_command("ACL", "SETUSER", "nurt", "on", f">{password}", "~*", "&*", "+@all")
        yield group


def url_of(group: Guarded, service: str = "shop", servers: str = SERVERS, sentinels: str = SENTINELS) -> str:
    hosts = ",".join(f"127.0.0.1:{port}" for port in group.ports)
    login = f"nurt:{quote(servers, safe='')}"
    return (
        f"redis+sentinel://{login}@{hosts}/{service}/1?sentinel_username=nurt"
        f"&sentinel_password={quote(sentinels, safe='')}"
    )


def said(url: str, expected: type[Exception]) -> str:
    client = open_client(url)
    with pytest.raises(expected) as caught, naming_failures(client):
        client.ping()
    text = str(caught.value)
    assert not any(secret in text for secret in (SERVERS, SENTINELS, "wrong")), text
    return text


def test_servers_and_sentinels_have_logins_of_their_own(group: Guarded) -> None:
    client = open_client(url_of(group))
    assert client.execute_command("ACL", "WHOAMI") == b"nurt"
    client.set("in database 1", 1)
    with group.servers[0].client() as aside:
        assert not aside.keys("in*")
    assert [key for keys in walk(client, b"in*", 10) for key in keys] == [b"in database 1"]


def test_what_is_wrong_is_said_with_the_next_step(group: Guarded) -> None:
    unknown = said(url_of(group, "shoop"), ConnectionFailed)
    assert "does not know 'shoop', only shop" in unknown and "correct the service's name" in unknown
    assert "correct `sentinel_username`" in said(url_of(group, sentinels="wrong"), ConnectionFailed)
    assert "correct the credentials" in said(url_of(group, servers="wrong"), ConfigurationError)
    nobody = "redis+sentinel://127.0.0.1:1,127.0.0.1:2/shop"
    assert "check that the Sentinels run" in said(nobody, ConnectionFailed)
    with pytest.raises(ConfigurationError, match="refuses us"):
        patiently(client := open_client(url_of(group, servers="wrong")), client.ping)


def test_one_sentinel_that_answers_is_enough(group: Guarded) -> None:
    url = url_of(group).replace("@", "@127.0.0.1:1,127.0.0.1:2,", 1)
    assert open_client(url).ping()


def test_no_primary_and_nobody_to_take_over_is_said(group: Guarded) -> None:
    for server in group.servers:  # the last test: they stay away
        server.kill()

    def is_noticed() -> bool:
        with redis.Redis(port=group.ports[0]) as sentinel:
            return bool(sentinel.sentinel_masters()["shop"]["is_odown"])

    wait_until(is_noticed, "the Sentinels to notice")
    assert "has no new primary yet; look why none takes over" in said(url_of(group), ConnectionFailed)
