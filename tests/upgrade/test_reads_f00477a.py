"""What commit f00477a stored is read by the code of today as the code of then read it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import duckdb
import pytest

from nurt.adapters.analytics import duckdb as duckdb_sink
from nurt.adapters.analytics import duckdb_stock as stock_duckdb
from nurt.adapters.analytics import parquet as parquet_sink
from nurt.adapters.files.control_log import FileControlLog
from nurt.adapters.kafka.control_log import KafkaControlLog
from nurt.adapters.kafka.log import KafkaLog
from nurt.adapters.kafka.outage import Outage
from nurt.app.delivery import open_store
from nurt.app.stock import open_shop
from nurt.cli.opening import opened_state
from nurt.contracts.profile_tables import TABLES
from nurt.control.launch import decide
from nurt.model.fence import FencingToken
from nurt.model.log import Committed
from nurt_client import Line
from tests.services.stack.redis_server import RedisServer
from tests.upgrade.old_state import OldState, facts

RECORD = b"nurt:d:crm:r"


@pytest.fixture(scope="module")
def old(shared_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> OldState:
    return OldState.load(tmp_path_factory.mktemp("old"), shared_redis)


def test_the_fixture_stops_in_the_middle_of_everything(old: OldState) -> None:
    with old.client() as client:
        some = {kind: list(client.scan_iter(match=f"nurt{{??}}{kind}")) for kind in "xwtu"}
    assert all(some.values()), "strays, what is owed, truncated tables and due profiles"
    assert {state for _, _, state in facts()["kept"].values()} == {"live", "redirect", "erased"}
    assert {code for _, code, _ in facts()["delivery"]["parked"]} == {"http_503", "parent_not_there_yet"}
    assert facts()["delivery"]["refused"] and facts()["delivery"]["kept"] and facts()["delivered"]["unsettled"]
    assert {reason for *_, reason, _ in facts()["profiles"]["quarantined"]} == {
        "not_confluent_wire_format",
        "unknown_schema_id",
    }
    assert (old.home / "profiles" / "_nurt" / "journal").stat().st_size > 0
    assert facts()["messages_before"] < facts()["messages"]


@pytest.mark.parametrize("flow", ["profiles", "stock"])
def test_counts_kinds_heads_and_quarantine_are_what_they_were(old: OldState, flow: str) -> None:
    with opened_state(old.config, flow) as state:
        figures = state.tally.figures()
        found: dict[str, Any] = {
            "counts": [[one.topic, one.outcome, one.reason, one.messages] for one in state.tally.counts()],
            "kinds": state.tally.kinds(),
            "owed": figures.owed,
            "due": figures.due,
            "heads": {place: [one.run, one.epoch, one.sequence] for place, one in figures.heads.items()},
            "quarantined": sorted(
                [one.topic, one.partition, one.offset, one.reason, one.detail] for one in state.quarantine.newest()
            ),
        }
    assert found == facts()[flow]


def test_kept_profiles_are_what_they_were(old: OldState) -> None:
    found = {
        name: [kept.revision, kept.due, "erased" if content is None else content["state"]]
        for name, (kept, content) in old.kept().items()
    }
    assert found == facts()["kept"]
    assert all(kept.version == 1 for kept, _ in old.kept().values())


def test_what_a_delivery_remembers_is_what_it_was(old: OldState) -> None:
    store, told = open_store(old.settings, "crm"), facts()["delivery"]
    with old.client() as client:
        subjects = [key[len(RECORD) :].hex() for key in client.scan_iter(match=RECORD + b"*") if len(key) == 28]
    assert len(subjects) == told["records"]
    assert all(record.revision is not None for record in store.load(subjects).values())
    assert sorted([one.subject, one.object, one.key, one.code] for one in store.refusals()) == told["refused"]
    parked = store.parked([subject for subject, _, _ in told["parked"]])
    assert sorted([one.desired.subject, one.code, one.times] for one in parked) == told["parked"]
    kept = store.kept(subjects)
    assert sorted(kept) == told["kept"]
    assert all(message.body for message in kept.values())
    assert store.counts() == told["counts"]


def test_a_reservation_that_is_asked_for_again_holds_nothing_more(old: OldState) -> None:
    told = facts()["reserved"]
    with old.client() as client, open_shop(old.settings) as stock:
        client.set("nurt-stock{r:default}o", 2**45)  # the flow of stock runs
        before = {key: client.get(key) for key in client.scan_iter(match="nurt-stock{r:default}m*")}
        again = stock.reserve(told["kept"], [Line("1", told["sku"], 1)], "shop_pl", "PL", expires_s=1)
        assert (again.status, again.until_ms) == ("accepted", told["kept_until_ms"])
        assert {key: client.get(key) for key in before} == before
        assert len(before) == 1


class Answered:
    """A message as a consumer gives it."""

    def __init__(self, offset: int, value: bytes) -> None:
        self._offset, self._value = offset, value

    def error(self) -> None:
        return None

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return self._value


def test_records_of_the_control_topic_say_what_those_of_the_file_do(old: OldState) -> None:
    register = object.__new__(KafkaControlLog)
    register._doing, register._outage = "reading a fixture", Outage("reading a fixture", "nowhere")
    found: list[tuple[int, dict[str, Any]]] = []
    for offset, text in enumerate(facts()["kafka"]["register"]):
        assert register._read(Answered(offset, base64.b64decode(text)), found) == offset + 1
    of_file = FileControlLog(old.home / "data" / "control.jsonl").records()
    assert [record for _, record in found] == [record for _, record in of_file]
    assert {record["kind"] for _, record in found} >= {"start", "begin", "checkpoint", "source_epoch", "source_seen"}
    assert any(record["kind"] == "begin" and record["rewound"] for _, record in found)
    heads = {name: FencingToken(*head) for name, head in facts()["profiles"]["heads"].items()}
    named = {name.partition("{")[2].removesuffix("}"): head for name, head in heads.items()}
    decisions = [decide(records, [committed()], named, False) for records in (found, of_file)]
    assert decisions[0] == decisions[1]
    assert decisions[0].why == f"going on after run 4, epoch {facts()['kafka']['epoch']}"


def committed() -> Committed:
    told = facts()["kafka"]
    return Committed(
        {(topic, partition): at for topic, partition, at, _ in told["offsets"]}, told["run"], told["epoch"]
    )


def test_offsets_committed_to_kafka_say_which_epoch_was_done() -> None:
    class Place:
        def __init__(self, topic: str, partition: int, offset: int, metadata: str) -> None:
            self.topic, self.partition, self.offset, self.metadata = topic, partition, offset, metadata
            self.error = self.leader_epoch = None

    class Consumer:
        def committed(self, asked: list[Any], timeout: float) -> list[Place]:
            return [Place(*told) for told in facts()["kafka"]["offsets"]]

    log = object.__new__(KafkaLog)
    log._share = [(topic, partition) for topic, partition, *_ in facts()["kafka"]["offsets"]]  # type: ignore[attr-defined]
    log._consumer, log._ask = Consumer(), lambda ask: ask()  # type: ignore[attr-defined,method-assign]
    assert log.committed() == committed()


def columns_in(path: Path) -> dict[str, list[str]]:
    with duckdb.connect(str(path)) as connection:
        found = connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() ORDER BY table_oid, column_index"
        )
        tables: dict[str, list[str]] = {}
        for table, column in found.fetchall():
            tables.setdefault(table, []).append(column)
        return tables


def test_a_new_column_needs_a_new_layout(old: OldState) -> None:
    """For f00477a inserts by position: it must refuse a file that has another column."""
    in_file = columns_in(old.home / "profiles.duckdb")
    if duckdb_sink.LAYOUT == 1:
        assert {name: list(columns) for name, columns in duckdb_sink.sql_tables().items()} == {
            name: in_file[name] for name in duckdb_sink.sql_tables()
        }
    if parquet_sink.LAYOUT == 1:
        for name, columns in TABLES.items():
            read = duckdb.sql(f"FROM read_parquet('{old.home}/profiles/{name}/*.parquet', union_by_name = true)")
            assert read.columns == list(columns)
    if stock_duckdb.LAYOUT == 1:
        in_file = columns_in(old.home / "stock.duckdb")
        assert {name: list(columns) for name, columns in stock_duckdb.TABLES.items()} == {
            name: in_file[name] for name in stock_duckdb.TABLES
        }
