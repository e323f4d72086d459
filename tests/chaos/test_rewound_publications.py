"""A server that comes back older, or empty: what was published meanwhile is published anew, or erased."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from nurt.adapters.files.archive_lines import ArchiveWriter
from nurt.adapters.files.schema_registry import FolderRegistry
from nurt.app.running import run_here
from nurt.flows.profiles import profiles
from nurt.settings import Settings
from nurt.simulate.company.tables import demo_connectors
from nurt.simulate.connector.debezium import Connector
from tests.services.stack.redis_server import RedisServer, running_redis

CREATED = datetime(2026, 3, 1, 10, tzinfo=UTC)
MAPPING = Path(__file__).parents[2] / "src" / "nurt" / "presets" / "demo.yaml"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis(kind="valkey") as server:
        yield server


class Deployment:
    """An ERP whose changes go into an archive, and nurt over it."""

    def __init__(self, home: Path, server: RedisServer) -> None:
        self.writer = ArchiveWriter(home / "archive")
        self.erp: Connector = demo_connectors(self.writer, FolderRegistry(home / "archive"))["erp"]
        self.settings = Settings(
            mapping=MAPPING,
            data=home / "data",
            redis_url=server.url,
            shards=4,
            archives=(home / "archive",),
            duckdb=home / "profiles.duckdb",
        )

    def contractor(self, number: int, email: str) -> None:
        row = {"id": number, "code": str(number), "kind": "person", "active": True, "email": email}
        self.erp.insert("contractor", {**row, "created_at": CREATED})

    def run(self) -> set[tuple[str, ...]]:
        """Fold what was written; return each live profile's accounts."""
        self.writer.flush()
        run_here(profiles, self.settings)
        assert self.settings.duckdb is not None
        with duckdb.connect(str(self.settings.duckdb), read_only=True) as connection:
            query = "SELECT list(key ORDER BY key) FROM profile_accounts GROUP BY id"
            return {tuple(keys) for (keys,) in connection.execute(query).fetchall()}


def test_a_merge_that_an_older_server_forgot_does_not_stay_published(tmp_path: Path, server: RedisServer) -> None:
    deployment = Deployment(tmp_path, server)
    deployment.contractor(1, "ann@example.com")
    deployment.contractor(2, "bob@example.com")
    assert deployment.run() == {("1",), ("2",)}
    server.save()
    deployment.erp.update("contractor", (2,), {"email": "ann@example.com"})
    assert deployment.run() == {("1", "2")}
    deployment.erp.update("contractor", (2,), {"email": "bob@example.com"})
    server.restart()
    assert deployment.run() == {("1",), ("2",)}


def test_a_customer_that_an_older_server_never_knew_is_erased(tmp_path: Path, server: RedisServer) -> None:
    deployment = Deployment(tmp_path, server)
    deployment.contractor(1, "ann@example.com")
    deployment.run()
    server.save()
    deployment.contractor(2, "bob@example.com")
    assert deployment.run() == {("1",), ("2",)}
    deployment.erp.delete("contractor", (2,))
    server.restart()
    assert deployment.run() == {("1",)}


def test_an_emptied_server_is_filled_again_and_says_the_same(tmp_path: Path, server: RedisServer) -> None:
    deployment = Deployment(tmp_path, server)
    for number, email in enumerate(("ann@example.com", "bob@example.com", "ann@example.com")):
        deployment.contractor(number, email)
    before = deployment.run()
    with server.client() as client:
        client.flushall()
    assert deployment.run() == before == {("0", "2"), ("1",)}
