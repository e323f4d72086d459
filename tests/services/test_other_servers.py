"""Real databases that fail over, move to another server, or are captured again: profiles are what SQL says of them.

Each time one of two things: a full snapshot shows it by itself, or nurt stops once and one word goes on.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest

from nurt.adapters.kafka.control_log import KafkaControlLog
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.app.running import run_here
from nurt.cli.source_sweeps import sweeps_of
from nurt.control.source_records import accepted_record
from nurt.errors import SourceHalted
from nurt.flows.profiles import profiles
from nurt.rows.sweeps import sweep_record
from nurt.settings import KafkaInput, Settings
from tests.envelopes import entry
from tests.services.live.published import read_to_end
from tests.services.stack.connect import ConnectServer
from tests.services.stack.databases import Database, running_mariadb, running_standby

TABLE = "create table customers (id int primary key, email varchar(80) not null);"
FIRST = "insert into customers values " + ", ".join(f"({one}, 'c{one}-a@example.com')" for one in range(1, 6)) + ";"


def changed(number: int, word: str) -> str:
    return f"update customers set email = 'c{number}-{word}@example.com' where id = {number};"


@dataclass
class Company:
    """A table in a database, Debezium, and the nurt that reads its topics."""

    home: Path
    connect: ConnectServer
    redis_url: str
    schema: str
    name: str = field(default_factory=lambda: f"v{uuid.uuid4().hex[:8]}")

    def settings(self) -> Settings:
        match = rf"^{self.name}[a-z]?\.{self.schema}\.customers$"
        (self.home / "mapping.yaml").write_text(
            f"systems:\n  s: {{}}\ntopics:\n  - match: {json.dumps(match)}\n    system: s\n" + entry(email="email")
        )
        bootstrap = self.connect.bootstrap
        return Settings(
            mapping=self.home / "mapping.yaml",
            data=self.home / "data",
            redis_url=self.redis_url,
            prefix=self.name,
            kafka=KafkaSettings(bootstrap),
            kafka_input=KafkaInput((match,), f"group-{self.name}", stop_at_end=True),
            registry_url=self.connect.registry.url,
            control_topic=f"control-{self.name}",
            duckdb=self.home / "profiles.duckdb",
            secret="00" * 16,
        )

    def write(self, database: Database, *statements: str, prefix: str = "") -> None:
        """Change rows, and wait until the connector has written the last change."""
        mark = f"{uuid.uuid4().hex[:8]}@example.com"
        database.execute("".join(statements) + f"update customers set email = '{mark}' where id = 1;")
        topic, deadline = f"{prefix or self.name}.{self.schema}.customers", time.monotonic() + 120
        while not any(mark.encode() in (value or b"") for _, value in read_to_end(self.connect.bootstrap, topic)):
            assert time.monotonic() < deadline, self.connect.status(prefix or self.name)
            time.sleep(0.2)

    def assert_equal(self, database: Database) -> None:
        """Run to the end; profiles must have the addresses of the table."""
        run_here(profiles, self.settings())
        with duckdb.connect(str(self.home / "profiles.duckdb"), read_only=True) as tables:
            found = tables.execute("select email from profiles where state = 'live' order by email").fetchall()
        assert [email for (email,) in found] == database.execute("select email from customers order by 1").split()

    def assert_stops_once(self) -> None:
        for _ in range(2):
            with pytest.raises(SourceHalted, match="nurt source accept s"):
                run_here(profiles, self.settings())

    def say(self, record: dict[str, Any]) -> None:
        KafkaControlLog(KafkaSettings(self.connect.bootstrap), f"control-{self.name}").append(record)

    def sweep(self) -> None:
        self.say(sweep_record(sweeps_of(self.settings(), None, "profiles")))


@pytest.fixture
def erp(tmp_path: Path, connect: ConnectServer, redis_url: str) -> Company:
    return Company(tmp_path, connect, redis_url, "public")


@pytest.fixture
def shop(tmp_path: Path, connect: ConnectServer, redis_url: str) -> Company:
    return Company(tmp_path, connect, redis_url, "nurt")


@pytest.fixture
def other_mariadb() -> Iterator[Database]:
    with running_mariadb(server_id=4799) as database:
        yield database


@pytest.mark.parametrize("is_captured_whole", [False, True], ids=["streamed on", "with a snapshot"])
def test_postgresql_fails_over_to_a_standby_whose_log_is_a_little_shorter(
    erp: Company, postgres: Database, is_captured_whole: bool
) -> None:
    postgres.execute(TABLE + FIRST)
    erp.connect.capture_postgres(postgres, erp.name)
    erp.write(postgres, changed(2, "b"))
    with running_standby(postgres) as standby:
        erp.write(postgres, changed(3, "c"))
        while "c3-c" not in standby.execute("select email from customers"):
            time.sleep(0.1)
        standby.pause()
        lost = "insert into customers values (6, 'c6-lost@example.com');" if is_captured_whole else ""
        erp.write(postgres, changed(2, "lost"), lost)
        erp.assert_equal(postgres)
        postgres.kill()
        standby.resume()
        standby.execute("select pg_promote()")
        erp.connect.delete(erp.name)
        mode = "initial" if is_captured_whole else "no_data"
        erp.connect.capture_postgres(standby, f"{erp.name}_b", topic_prefix=erp.name, snapshot_mode=mode)
        erp.write(standby, changed(2, "d"), changed(4, "d"))
        if not is_captured_whole:
            erp.assert_stops_once()
            erp.say(accepted_record("s"))
        else:
            run_here(profiles, erp.settings())
            erp.sweep()
        erp.assert_equal(standby)
        erp.write(standby, changed(5, "e"))
        erp.assert_equal(standby)


@pytest.mark.parametrize("is_captured_whole", [False, True], ids=["streamed on", "with a snapshot"])
def test_mariadb_moves_to_a_server_whose_log_begins_again(
    shop: Company, mariadb: Database, other_mariadb: Database, is_captured_whole: bool
) -> None:
    mariadb.execute("flush binary logs;" * 5 + TABLE + FIRST)
    shop.connect.capture_mariadb(mariadb, shop.name)
    shop.write(mariadb, changed(2, "b"), "delete from customers where id = 5;")
    shop.assert_equal(mariadb)
    rows = mariadb.execute("select concat('(', id, ',', quote(email), ')') from customers").split()
    other_mariadb.execute(TABLE + "insert into customers values " + ",".join(rows) + ";")
    shop.connect.delete(shop.name)
    shop.connect.capture_mariadb(
        other_mariadb,
        f"{shop.name}_b",
        topic_prefix=shop.name,
        snapshot_mode="initial" if is_captured_whole else "no_data",
        schema_history_internal_kafka_topic=f"{shop.name}_b.schema-history",
    )
    shop.write(other_mariadb, changed(2, "c"), changed(3, "c"), "delete from customers where id = 4;")
    if not is_captured_whole:
        shop.assert_stops_once()
        shop.say(accepted_record("s"))
    shop.assert_equal(other_mariadb)
    shop.write(other_mariadb, changed(3, "d"), "insert into customers values (9, 'c9-d@example.com');")
    shop.assert_equal(other_mariadb)


def test_a_connector_made_anew_under_another_prefix_goes_on_with_the_same_rows(
    erp: Company, postgres: Database
) -> None:
    postgres.execute(TABLE + FIRST)
    erp.connect.capture_postgres(postgres, erp.name)
    erp.write(postgres, changed(2, "b"), "delete from customers where id = 5;")
    erp.assert_equal(postgres)
    erp.connect.delete(erp.name)
    postgres.execute(changed(3, "away"))
    erp.connect.capture_postgres(postgres, f"{erp.name}b")
    erp.write(postgres, changed(4, "c"), "insert into customers values (5, 'c5-c@example.com');", prefix=f"{erp.name}b")
    erp.assert_equal(postgres)
    erp.write(postgres, "delete from customers where id = 2;", changed(3, "d"), prefix=f"{erp.name}b")
    erp.assert_equal(postgres)
