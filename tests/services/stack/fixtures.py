"""The services as fixtures: started when first asked for, one a session unless a test must break them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.services.stack.absence import ServiceAbsent, skip_or_fail
from tests.services.stack.connect import ConnectServer, running_connect
from tests.services.stack.databases import Database, running_mariadb, running_postgres
from tests.services.stack.kafka import KafkaServer, running_kafka, running_kafka_server
from tests.services.stack.redis_server import KINDS, Kind, RedisServer, running_redis, running_redis_url
from tests.services.stack.registry import RegistryServer, running_registry, running_registry_server


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap address of one broker for the whole session; use `topic` for topics of one's own."""
    with _or_skip(), running_kafka() as bootstrap:
        yield bootstrap


@pytest.fixture
def kafka_server() -> Iterator[KafkaServer]:
    """A broker of one's own, to kill and restart."""
    with _or_skip(), running_kafka_server() as server:
        yield server


@pytest.fixture
def topic(kafka: str) -> Callable[..., str]:
    """Create a topic on the session's broker: `topic(partitions=3, **{"cleanup.policy": "compact"})` -> its name."""

    def create(partitions: int = 1, name: str | None = None, **config: str) -> str:
        return create_topic(kafka, name or f"t-{uuid.uuid4().hex[:12]}", partitions, **config)

    return create


def create_topic(bootstrap: str, name: str, partitions: int = 1, **config: str) -> str:
    """Create a topic and wait until it is there."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(20)
    return name


@pytest.fixture(params=KINDS)
def redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A fresh server of each kind in turn, to save, kill and restart."""
    with _or_skip(), running_redis(request.param) as server:
        yield server


@pytest.fixture(scope="module", params=KINDS)
def shared_redis(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server of each kind in turn, one for all tests of a file; a test empties it first."""
    with _or_skip(), running_redis(request.param) as server:
        yield server


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Start servers at will: `start_redis("valkey", port=None, folder=None, options=[])`."""
    with contextlib.ExitStack() as stack:

        def start(
            kind: Kind = "valkey", port: int | None = None, folder: Path | None = None, options: tuple[str, ...] = ()
        ) -> RedisServer:
            with _or_skip():
                return stack.enter_context(running_redis(kind, port, folder, options))

        yield start


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of one Valkey for the whole session; use key prefixes of one's own and leave the rest alone."""
    with _or_skip(), running_redis_url() as url:
        yield url


@pytest.fixture(scope="session")
def registry_url() -> Iterator[str]:
    """URL (Confluent's API) of one schema registry for the whole session; use subjects of one's own."""
    with _or_skip(), running_registry() as url:
        yield url


@pytest.fixture
def registry_server() -> Iterator[RegistryServer]:
    """A registry of one's own, to kill and restart."""
    with _or_skip(), running_registry_server() as server:
        yield server


@pytest.fixture
def postgres() -> Iterator[Database]:
    """A PostgreSQL of one's own, ready to be captured."""
    with _or_skip(), running_postgres() as database:
        yield database


@pytest.fixture
def mariadb() -> Iterator[Database]:
    """A MariaDB of one's own, ready to be captured."""
    with _or_skip(), running_mariadb() as database:
        yield database


@pytest.fixture(scope="session")
def connect(kafka: str) -> Iterator[ConnectServer]:
    """A Debezium worker on the session's broker, with a registry of its own (`connect.registry_url`)."""
    with _or_skip(), running_registry_server() as registry, running_connect(kafka, registry) as server:
        yield server


@contextlib.contextmanager
def _or_skip() -> Iterator[None]:
    try:
        yield
    except ServiceAbsent as absent:
        skip_or_fail(absent)
