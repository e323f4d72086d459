"""Claims about the simulated connectors: their schemas, their bytes, and what each operation says."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest

from nurt.simulate.connector.columns import (
    DATE,
    INT,
    LONG,
    MICRO_TIMESTAMP,
    TEXT,
    TIMESTAMP,
    UNAVAILABLE,
    VARIABLE_DECIMAL,
    Column,
    Table,
    decimal,
    zoned_timestamp,
)
from nurt.simulate.connector.debezium import Connector
from nurt.simulate.connector.messages import MemoryWriter
from nurt.simulate.connector.schemas import (
    HEARTBEAT_KEY,
    HEARTBEAT_VALUE,
    TRANSACTION_KEY,
    TRANSACTION_VALUE,
    SchemaBook,
    key_schema,
    source_schema,
    value_schema,
)
from tests.replay import EPOCH, Reader, position

CORPUS = Path(__file__).parents[1] / "corpus"

SMALL = Table("thing", ("id",), (Column("id", LONG, null=False), Column("name", TEXT), Column("big", TEXT, toast=True)))


def play(kind: Any, tables: Iterable[Table] = (SMALL,), **options: Any) -> tuple[Connector, MemoryWriter, SchemaBook]:
    writer, book = MemoryWriter(), SchemaBook()
    return Connector(kind, "src", list(tables), writer, book, database="db", **options), writer, book


# Schemas


def test_the_schemas_are_those_that_a_real_connector_registered() -> None:
    genuine = json.loads((CORPUS / "mariadb" / "schemas.json").read_text())
    assert [genuine[number] for number in ("12", "13", "21", "22")] == [
        HEARTBEAT_KEY,
        HEARTBEAT_VALUE,
        TRANSACTION_KEY,
        TRANSACTION_VALUE,
    ]
    orders = Table(
        "sales_order",
        ("entity_id",),
        (
            Column("entity_id", LONG, null=False),
            *(Column(name, TEXT) for name in ("increment_id", "state")),
            Column("customer_id", LONG),
            Column("customer_email", TEXT),
            Column("grand_total", decimal(20, 4)),
            Column("base_currency_code", TEXT),
            Column("created_at", zoned_timestamp(0)),
        ),
    )
    topic = "my.magento.sales_order"
    mine = value_schema("mariadb", topic, orders)
    kept = genuine["20"]
    kept["fields"][0]["type"][1]["fields"] = kept["fields"][0]["type"][1]["fields"][:8]  # float and double: not ours
    assert mine == kept
    assert key_schema(topic, orders) == genuine["19"]


def test_the_source_block_of_postgres_is_the_genuine_one() -> None:
    genuine = json.loads((CORPUS / "postgres" / "schemas.json").read_text())
    assert genuine["11"]["fields"][2]["type"] == source_schema("postgresql")


def test_column_types_look_as_they_do_in_the_corpus() -> None:
    genuine = json.loads((CORPUS / "postgres" / "schemas.json").read_text())["7"]["fields"][0]["type"][1]["fields"]
    by_name = {field["name"]: field for field in genuine}
    assert Column("birth_date", DATE).avro_field() == by_name["birth_date"]
    assert Column("updated_at", TIMESTAMP).avro_field() == by_name["updated_at"]
    assert Column("updated_us", MICRO_TIMESTAMP).avro_field() == by_name["updated_us"]
    assert Column("credit_limit", decimal(12, 2)).avro_field() == by_name["credit_limit"]
    assert Column("lifetime", VARIABLE_DECIMAL).avro_field() == by_name["lifetime"]
    assert Column("id", INT, null=False, default=0).avro_field() == by_name["id"]


# Values


@pytest.mark.parametrize("number", ["0", "0.01", "-0.01", "1.27", "1.28", "-1.28", "-1.29", "99999999999999999.99"])
def test_decimals_are_written_as_java_writes_them(number: str) -> None:
    table = Table(
        "t", ("id",), (Column("id", INT, null=False), Column("d", decimal(20, 2)), Column("v", VARIABLE_DECIMAL))
    )
    connector, writer, book = play("postgresql", [table], transaction_topic=False)
    connector.insert("t", {"id": -5, "d": Decimal(number), "v": Decimal(number)})
    value = Reader(book)(writer.messages[0].value)
    assert value is not None
    assert value["after"]["d"] == Decimal(number)
    unscaled = int.from_bytes(value["after"]["v"]["value"], "big", signed=True)
    assert Decimal(unscaled).scaleb(-value["after"]["v"]["scale"]) == Decimal(number)
    assert len(value["after"]["v"]["value"]) == max(1, (unscaled if unscaled >= 0 else ~unscaled).bit_length() // 8 + 1)


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_bytes_equal_what_fastavro_writes(kind: str) -> None:
    connector, writer, book = play(kind, partitions=2, toast_bytes_min=1)
    connector.load("thing", [{"id": number, "name": "x", "big": "y"} for number in range(3)])
    connector.snapshot()
    connector.update("thing", (1,), {"name": "Łódź"})
    connector.update("thing", (1,), {"id": 2**40})
    connector.delete("thing", (2,))
    connector.heartbeat()
    connector.incremental_snapshot("thing")
    with connector.transaction() as transaction:
        transaction.truncate("thing")
    read = Reader(book)
    assert writer.messages
    for message in writer.messages:
        for raw in (message.key, message.value):
            if raw is not None:
                schema = read.parsed[int.from_bytes(raw[1:5], "big")]
                out = io.BytesIO()
                fastavro.schemaless_writer(out, schema, read(raw))
                assert out.getvalue() == raw[5:]


# Operations


def test_a_delete_is_followed_by_its_tombstone_in_its_partition() -> None:
    connector, writer, _ = play("mariadb", partitions=5, transaction_topic=False)
    connector.insert("thing", {"id": 1})
    connector.delete("thing", (1,))
    deleted, tombstone = writer.messages[1:]
    assert (tombstone.key, tombstone.partition, tombstone.value) == (deleted.key, deleted.partition, None)


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_a_changed_key_is_delete_tombstone_and_create_at_one_position(kind: str) -> None:
    connector, writer, book = play(kind, transaction_topic=False, context_headers=False)
    connector.insert("thing", {"id": 1, "name": "x"})
    connector.update("thing", (1,), {"id": 2})
    read = Reader(book)
    deleted, tombstone, created = writer.messages[1:]
    gone, came = read(deleted.value), read(created.value)
    assert gone is not None and came is not None
    assert (gone["op"], came["op"], tombstone.value) == ("d", "c", None)
    assert position(gone) == position(came)
    assert deleted.headers == tombstone.headers == [("__debezium.newkey", b'{"id":2}')]
    assert created.headers == [("__debezium.oldkey", b'{"id":1}')]
    assert came["after"] == {"id": 2, "name": "x", "big": None}
    assert came["transaction"]["total_order"] == 2


def test_rows_of_one_mariadb_statement_share_a_position_but_for_the_row() -> None:
    connector, writer, book = play("mariadb", transaction_topic=False)
    connector.load("thing", [{"id": number} for number in range(4)])
    with connector.transaction() as transaction:
        transaction.update("thing", [(0,), (1,), (2,)], {"name": "a"})
        transaction.update("thing", [(3,)], {"name": "b"})
    sources = [value["source"] for value in map(Reader(book), (m.value for m in writer.messages)) if value]
    assert [source["row"] for source in sources] == [0, 1, 2, 0]
    assert len({source["pos"] for source in sources[:3]}) == 1
    assert sources[3]["pos"] > sources[0]["pos"]


def test_postgres_says_before_only_with_full_replica_identity() -> None:
    befores = []
    for full in (False, True):
        connector, writer, book = play("postgresql", replica_identity_full=full, transaction_topic=False)
        connector.insert("thing", {"id": 7, "name": "x"})
        connector.update("thing", (7,), {"name": "y"})
        connector.delete("thing", (7,))
        values = [Reader(book)(message.value) for message in writer.messages]
        befores.append([value["before"] for value in values if value])
    assert befores[0] == [None, None, {"id": 7, "name": None, "big": None}]
    assert befores[1] == [None, {"id": 7, "name": "x", "big": None}, {"id": 7, "name": "y", "big": None}]


def test_an_unchanged_toast_value_goes_unsaid_and_a_changed_one_is_said() -> None:
    connector, writer, book = play("postgresql", transaction_topic=False, toast_bytes_min=3)
    connector.insert("thing", {"id": 1, "big": "long"})
    connector.update("thing", (1,), {"name": "y"})
    connector.update("thing", (1,), {"big": "longer"})
    values = [Reader(book)(message.value) for message in writer.messages]
    assert [value["after"]["big"] for value in values if value] == ["long", UNAVAILABLE, "longer"]
    assert connector.rows("thing")[1,]["big"] == "longer"


def test_an_incremental_snapshot_leaves_out_rows_changed_in_its_window_and_yields_to_later_commits() -> None:
    connector, writer, book = play("postgresql", transaction_topic=False)
    for number in (1, 2, 3):
        connector.insert("thing", {"id": number, "name": "old"})
    early = connector.begin()
    early.update("thing", [(3,)], {"name": "new"})  # takes its log position before the snapshot's
    sent = len(writer.messages)
    connector.incremental_snapshot("thing", during=lambda: connector.update("thing", (2,), {"name": "new"}))
    connector.commit(early)
    values = [value for value in map(Reader(book), (m.value for m in writer.messages[sent:])) if value]
    reads = [value for value in values if value["op"] == "r"]
    assert [value["after"]["id"] for value in reads] == [1, 3]
    assert {(value["source"]["lsn"], value["source"]["txId"]) for value in reads} == {(None, None)}
    late = values[-1]
    assert late["after"]["name"] == "new" and late["source"]["lsn"] < int(json.loads(reads[0]["source"]["sequence"])[1])
    assert position(late) > position(reads[1])


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_a_transaction_that_fails_leaves_nothing(kind: str) -> None:
    connector, writer, _ = play(kind)
    with pytest.raises(KeyError), connector.transaction() as transaction:
        transaction.insert("thing", {"id": 1})
        transaction.delete("thing", [(2,)])
    assert connector.rows("thing") == {} and writer.messages == []


def test_transaction_markers_count_what_lies_between_them() -> None:
    connector, writer, book = play("mariadb")
    with connector.transaction() as transaction:
        transaction.insert("thing", {"id": 1})
        transaction.update("thing", [(1,)], {"id": 2})
    values = [Reader(book)(message.value) for message in writer.messages]
    begin, end = values[0], values[-1]
    assert begin is not None and end is not None
    assert (begin["status"], end["status"], end["event_count"]) == ("BEGIN", "END", 3)
    assert end["data_collections"] == [{"data_collection": "db.thing", "event_count": 3}]


def test_a_wider_table_gets_a_new_schema_and_keeps_its_rows() -> None:
    connector, writer, book = play("mariadb", transaction_topic=False)
    connector.insert("thing", {"id": 1, "name": "x"})
    connector.alter(Table("thing", ("id",), (*SMALL.columns, Column("more", INT))))
    connector.update("thing", (1,), {"more": 5})
    value = Reader(book)(writer.messages[-1].value)
    assert value is not None
    assert value["before"] == {"id": 1, "name": "x", "big": None, "more": None}
    assert len(book.subjects["src.db.thing-value"]) == 2


def test_naive_times_are_written_as_local_time_and_zoned_ones_in_utc() -> None:
    at = datetime(2026, 3, 1, 23, 30, 5, 123456, tzinfo=UTC)
    columns = (
        Column("id", LONG, null=False),
        Column("s", zoned_timestamp(0)),
        Column("z", zoned_timestamp(6)),
        Column("ms", TIMESTAMP),
        Column("us", MICRO_TIMESTAMP),
    )
    connector, writer, book = play("mariadb", [Table("t", ("id",), columns)], transaction_topic=False)
    local = at.replace(tzinfo=None)
    connector.insert("t", {"id": 1, "s": at, "z": at, "ms": local, "us": local})
    value = Reader(book)(writer.messages[0].value)
    assert value is not None
    after = value["after"]
    assert (after["s"], after["z"]) == ("2026-03-01T23:30:05Z", "2026-03-01T23:30:05.123456Z")
    assert EPOCH + timedelta(milliseconds=after["ms"]) == local.replace(microsecond=123000)
    assert EPOCH + timedelta(microseconds=after["us"]) == local
