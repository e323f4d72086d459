"""The services as fixtures: started when first asked for, one a session unless a test must break them."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.services.stack.absence import ServiceAbsent, skip_or_fail
from tests.services.stack.connect import ConnectServer
from tests.services.stack.databases import Database, running_mariadb, running_postgres
from tests.services.stack.kafka import KafkaServer, running_kafka_server
from tests.services.stack.redis_server import KINDS, Kind, RedisServer, running_redis, running_redis_url
from tests.services.stack.registry import RegistryServer, RegistryUrls, running_registry_server
from tests.services.stack.shared import shared, shared_registry


@pytest.fixture(scope="session")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder by which all workers of this run find the servers that they share."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"


@pytest.fixture(scope="session")
def kafka(together: Path) -> Iterator[str]:
    """Bootstrap address of one broker for the whole run; use `topic` for topics of one's own."""
    with _or_skip(), shared("kafka", together) as bootstrap:
        yield bootstrap


@pytest.fixture(scope="session")
def spare_kafka() -> Iterator[KafkaServer]:
    """A broker beside the shared one, for one test at a time; see `kafka_server`."""
    with _or_skip(), running_kafka_server() as server:
        yield server


@pytest.fixture
def kafka_server(spare_kafka: KafkaServer) -> Iterator[KafkaServer]:
    """A broker of one's own without any topic, to kill, freeze and restart."""
    yield spare_kafka
    spare_kafka.clear()


@pytest.fixture(scope="module")
def kafka_alone(spare_kafka: KafkaServer) -> Iterator[str]:
    """Bootstrap address of a broker whose topics are those of one file."""
    yield spare_kafka.bootstrap
    spare_kafka.clear()


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
def registry_urls(together: Path) -> Iterator[RegistryUrls]:
    """One schema registry for the whole run; use subjects of one's own."""
    with _or_skip(), shared_registry(together) as urls:
        yield urls


@pytest.fixture(scope="session")
def registry_url(request: pytest.FixtureRequest) -> str:
    """URL (Confluent's API) of the run's registry, or of the one that NURT_TEST_REGISTRY names."""
    borrowed = os.environ.get("NURT_TEST_REGISTRY")
    return borrowed or str(request.getfixturevalue("registry_urls").url)


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
def connect_port(kafka: str, together: Path) -> Iterator[int]:
    """Port of one Debezium worker for the whole run."""
    with _or_skip(), shared("connect", together, kafka) as port:
        yield port


@pytest.fixture
def connect(connect_port: int, kafka: str, registry_urls: RegistryUrls) -> Iterator[ConnectServer]:
    """A Debezium worker on the shared broker and registry; whatever was created ends with the test."""
    server = ConnectServer(connect_port, kafka, registry_urls)
    yield server
    server.delete_all()


@contextlib.contextmanager
def _or_skip() -> Iterator[None]:
    try:
        yield
    except ServiceAbsent as absent:
        skip_or_fail(absent)
