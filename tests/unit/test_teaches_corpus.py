"""What tests/corpus/README.md teaches, point by point, as the translator has learnt it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import polars as pl
import pytest

from nurt.avro import compile_reader
from nurt.debezium.change_reader import ColumnReader
from nurt.debezium.conventions import Conventions
from nurt.debezium.semantics import DecodedColumn
from nurt.debezium.wire import split_wire
from nurt.model.entities import ENTITIES
from nurt.model.entity_frame import DELETE, FULL_SNAPSHOT, INCREMENTAL_SNAPSHOT, STREAMED, UPSERT, Translated
from tests.corpus_messages import IDS, MAPPING, batches, lines, schemas, translator

POSTGRES, MARIADB, SQLSERVER = "postgres", "mariadb", "sqlserver_synthetic"


@pytest.fixture(scope="module")
def translated() -> Mapping[str, Translated]:
    """What each topic says."""
    said = {}
    for folder in (POSTGRES, MARIADB, SQLSERVER):
        translate = translator(folder).translate
        said.update({topic: translate(batch) for topic, batch in batches(folder).items()})
    return said


def rows(translated: Translated) -> list[dict[str, Any]]:
    return translated.entities[0].frame.to_dicts()


def at(translated: Translated, offset: int) -> dict[str, Any]:
    return next(row for row in rows(translated) if row["offset"] == offset)


def columns(folder: str, topic: str, names: list[str]) -> dict[str, DecodedColumn]:
    """Read the row's columns of all of a topic's values that its first schema wrote, with their meaning."""
    batch = batches(folder)[topic]
    wire = split_wire([value for value in batch.values if value is not None])
    schema_id = int(wire.schema_ids[0])
    rows = next(rows for id_, rows in wire.by_schema() if id_ == schema_id)
    reader = ColumnReader(schemas(folder)[schema_id], "after.", names, Conventions("Europe/Warsaw"))
    return reader.decode(
        compile_reader(schemas(folder)[schema_id], reader.paths).read_joined(wire.joined, rows).columns
    )


# 1. Positions are compared per row only


def test_1_a_lower_lsn_behind_a_higher_one_is_still_a_row(translated: Mapping[str, Translated]) -> None:
    every = [rows(translated[f"pg.shop.{name}"]) for name in ("customers", "orders", "composite")]
    assert [len(some) for some in every] == [30, 15, 4]
    # over the topics of one connector, in the order of commits, the position falls
    arrived = sorted(((row["ts_ms"], row["p1"]) for some in every for row in some), key=lambda pair: pair[0])
    assert any(later[1] < earlier[1] for earlier, later in pairwise(arrived))


def test_1_postgresql_positions_are_the_two_parts_of_sequence(translated: Mapping[str, Translated]) -> None:
    assert [at(translated["pg.shop.orders"], 10)[part] for part in ("p0", "p1", "p2", "p3")] == [
        116069656,
        116070048,
        0,
        0,
    ]
    assert [at(translated["pg.shop.orders"], 0)[part] for part in ("p0", "p1")] == [None, 116032456]


# 2. MariaDB: (file, pos, row)


def test_2_five_rows_of_one_update_differ_in_their_row_number(translated: Mapping[str, Translated]) -> None:
    batch = batches(MARIADB)["my.magento.sales_order"]
    update = [row for row in rows(translated[batch.topic]) if row["offset"] >= 5]
    # the fifth of them is refused for its six decimals, whatever its position
    assert [(row["p0"], row["p1"], row["p2"], row["p3"]) for row in update] == [(1, 29218, n, 0) for n in range(4)]
    assert [refused.offset for refused in translated[batch.topic].refused] == [4, 9]


# 3. Incremental snapshots


def test_3_incremental_snapshot_rows_without_lsn_stand_where_sequence_says(
    translated: Mapping[str, Translated],
) -> None:
    read = [row for row in rows(translated["pg.shop.customers"]) if row["snapshot"] == INCREMENTAL_SNAPSHOT]
    assert len(read) == 10
    assert {(row["p0"], row["p1"]) for row in read} == {(116130672, 116130672)}
    assert {row["op"] for row in read} == {UPSERT}


def test_3_watermarks_on_the_signal_table_are_not_ours(translated: Mapping[str, Translated]) -> None:
    assert translated["pg.shop.dbz_signal"].not_ours == {("pg.shop.dbz_signal", "not_ours", "signal"): 5}
    assert translated["my.magento.dbz_signal"].not_ours == {("my.magento.dbz_signal", "not_ours", "signal"): 5}


def test_3_full_incremental_and_streamed_rows_are_told_apart(translated: Mapping[str, Translated]) -> None:
    kinds = [row["snapshot"] for row in rows(translated["pg.shop.customers"])]
    assert kinds == [FULL_SNAPSHOT] * 6 + [STREAMED] * 14 + [INCREMENTAL_SNAPSHOT] * 10


def test_3_an_incremental_snapshot_begins_no_source_epoch(translated: Mapping[str, Translated]) -> None:
    assert [row["source_epoch"] for row in rows(translated["pg.shop.customers"])] == [0] * 6 + [1] * 24


# 4. A primary-key change is a re-key


@pytest.mark.parametrize(
    ("topic", "deleted", "created", "system", "entity", "old", "new"),
    [
        ("pg.shop.customers", 10, 12, "pg", "customer", "100", "101"),
        ("pg.shop.composite", 2, 4, "pg", "composite", "de\x1f1", "fr\x1f1"),
        ("my.magento.customer_entity", 4, 6, "my", "customer", "3", "500"),
    ],
)
def test_4_a_renamed_row_says_where_it_went(
    translated: Mapping[str, Translated],
    topic: str,
    deleted: int,
    created: int,
    system: str,
    entity: str,
    old: str,
    new: str,
) -> None:
    gone, made = at(translated[topic], deleted), at(translated[topic], created)
    assert (gone["op"], gone["key"], made["op"], made["key"]) == (DELETE, old, UPSERT, new)
    assert gone["moved_to"] == made["row"] == IDS.one(f"{system}\x1f{entity}\x1f{new}")
    assert made["moved_to"] is None
    assert [gone[part] for part in ("p0", "p1", "p2")] == [made[part] for part in ("p0", "p1", "p2")]


def test_4_a_plain_delete_went_nowhere(translated: Mapping[str, Translated]) -> None:
    gone = at(translated["pg.shop.customers"], 13)
    assert (gone["op"], gone["key"], gone["moved_to"]) == (DELETE, "101", None)


# 5. REPLICA IDENTITY DEFAULT


def test_5_the_filler_of_a_deletes_old_row_is_not_read(translated: Mapping[str, Translated]) -> None:
    # its bytes hold email "", created_at 1970 and active true
    raw = next(line for line in lines(POSTGRES) if line["topic"] == "pg.shop.customers" and line["offset"] == 16)
    assert raw["value_decoded"]["before"]["created_at"] == "1970-01-01T00:00:00.000000Z"
    gone = at(translated["pg.shop.customers"], 16)
    assert (gone["op"], gone["key"]) == (DELETE, "6")
    assert {gone[name] for name in ENTITIES["customer"].fields} == {None}


def test_5_a_whole_old_row_is_not_read_either(translated: Mapping[str, Translated]) -> None:
    gone = at(translated["pg.shop.orders"], 7)  # REPLICA IDENTITY FULL
    assert (gone["op"], gone["key"], gone["parent"], gone["status"]) == (DELETE, "5", None, None)


# 6. TOAST


def test_6_an_unchanged_toast_column_keeps_what_is_held(translated: Mapping[str, Translated]) -> None:
    row = at(translated["pg.shop.customers"], 9)
    bit = list(ENTITIES["customer"].fields).index("company")  # mapped from the column `note`
    assert (row["unavailable"], row["company"], row["first_name"]) == (1 << bit, None, "Toasty")


def test_6_a_toast_column_that_was_sent_is_not_held(translated: Mapping[str, Translated]) -> None:
    row = at(translated["pg.shop.customers"], 8)
    assert row["unavailable"] == 0
    assert len(row["company"]) == 9000


# 7. Tables without a key

NO_KEY_TABLE = """
  - match: {topic}
    system: {system}
    entity: product
    key: a
    fields: {{name: b}}
"""


def test_7_rows_of_a_table_without_key_are_named_by_the_row_itself() -> None:
    mapping = MAPPING + NO_KEY_TABLE.format(topic="my\\.magento\\.nopk", system="my")
    batch = batches(MARIADB)["my.magento.nopk"]
    assert batch.keys == [None] * 4
    said = translator(MARIADB, mapping).translate(batch)
    assert [(row["op"], row["key"]) for row in rows(said)] == [(UPSERT, "1"), (DELETE, "1")]
    assert said.not_ours == {(batch.topic, "not_ours", "tombstone"): 1}
    assert [truncate.offset for truncate in said.truncated] == [3]


def test_7_a_truncate_has_no_key_and_says_its_position(translated: Mapping[str, Translated]) -> None:
    (truncate,) = translated["pg.shop.orders"].truncated
    assert (truncate.kind, truncate.system, truncate.entity) == ("order", "pg", "order")
    assert truncate.position == (116123296, 116128768, 0, 0)
    assert (truncate.source_epoch, truncate.partition, truncate.offset) == (1, 0, 16)


# 8. Transactions


def test_8_transaction_markers_are_not_ours(translated: Mapping[str, Translated]) -> None:
    assert translated["pg.transaction"].not_ours == {("pg.transaction", "not_ours", "transaction"): 60}
    assert translated["my.transaction"].not_ours == {("my.transaction", "not_ours", "transaction"): 36}


# 9. Numbers


def test_9_a_decimal_has_the_scale_of_its_own_writer(translated: Mapping[str, Translated]) -> None:
    gross = {row["offset"]: row["gross"] for row in rows(translated["pg.shop.orders"]) if row["op"] == UPSERT}
    assert gross[10] == -55_000  # decimal(10,2): -5.50
    assert gross[14] == 12_345  # decimal(14,4) after an ALTER TABLE: 1.2345


def test_9_an_unscaled_numeric_is_exact() -> None:
    given = columns(POSTGRES, "pg.shop.customers", ["lifetime"])["lifetime"]
    assert given.column.dtype == pl.Decimal(38, 18)
    assert str(given.column[0]).rstrip("0") == "99999999999999999999.123456789"


def test_9_nan_is_null() -> None:
    given = columns(POSTGRES, "pg.shop.customers", ["ratio", "lifetime"])
    place = next(i for i, line in enumerate(_values()) if (line["after"] or {}).get("id") == 300)
    assert given["ratio"].column[place] is None
    assert given["ratio"].column[0] == 0.1


def test_9_a_declared_precision_above_38_holds_what_fits() -> None:
    given = columns(POSTGRES, "pg.shop.customers", ["cash"])["cash"]  # money: decimal(64, 2)
    assert [str(value) for value in given.column.drop_nulls().unique(maintain_order=True)][:2] == ["12.34", "-1.50"]
    assert given.unfit is None


def test_9_an_unsigned_bigint_arrives_wrapped() -> None:
    column = columns(MARIADB, "my.magento.customer_entity", ["big"])["big"].column
    assert column[0] == -1  # 18446744073709551615 in the database


# 10. Time


def test_10_every_unit_of_time_becomes_the_same_instant() -> None:
    pg = columns(POSTGRES, "pg.shop.customers", ["birth_date", "updated_at", "updated_us", "created_at", "wake"])
    assert str(pg["birth_date"].column[0]) == "1980-02-29"
    assert str(pg["updated_at"].column[0]) == "2024-05-06 05:08:09.123000+00:00"  # ms, without zone: Warsaw's
    assert str(pg["updated_us"].column[0]) == "2024-05-06 05:08:09.123456+00:00"
    assert str(pg["created_at"].column[0]) == "2026-11-22 00:25:50.760745+00:00"  # timestamptz
    assert pg["wake"].column[0] == 27015123456
    erp = columns(SQLSERVER, "erp.ERPXL_DEMO.CDN.KntKarty", ["DataMod", "DataOff", "DataUr", "Godz"])
    assert str(erp["DataMod"].column[0]) == "2024-05-06 05:08:09.123456+00:00"  # ns, without zone
    assert str(erp["DataOff"].column[0]) == "2024-05-06 07:08:09.123456+00:00"  # datetimeoffset(7)
    assert str(erp["DataUr"].column[0]) == "1980-02-29"
    assert erp["Godz"].column[0] == 27015123456


def test_10_what_no_datetime_holds_is_null_and_costs_neither_row_nor_neighbours(
    translated: Mapping[str, Translated],
) -> None:
    infinite = at(translated["pg.shop.customers"], 20)
    assert (infinite["key"], infinite["email"]) == ("300", "inf@example.com")
    assert (infinite["birth_date"], infinite["created_at"], infinite["updated_at"]) == (None, None, None)
    ancient = at(translated["pg.shop.customers"], 21)
    assert ancient["birth_date"] is None  # 44 BC
    assert ancient["updated_at"] == 253402300799999000  # the last millisecond of 9999
    assert at(translated["pg.shop.customers"], 22)["birth_date"] == 3711
    assert not translated["pg.shop.customers"].refused


# 11. Heartbeats


def test_11_heartbeats_are_not_ours_by_their_schema_too() -> None:
    batch = batches(POSTGRES)["__debezium-heartbeat.pg"]
    renamed = type(batch)("beats", *(getattr(batch, name) for name in batch.__slots__[1:]))
    assert translator(POSTGRES).translate(batch).not_ours == {(batch.topic, "not_ours", "heartbeat"): 11}
    assert translator(POSTGRES).translate(renamed).not_ours == {("beats", "not_ours", "heartbeat"): 11}


# 12. At least once


@pytest.mark.parametrize("folder", [POSTGRES, MARIADB, SQLSERVER])
def test_12_a_repeated_batch_says_the_same_again(folder: str) -> None:
    translate = translator(folder).translate
    for batch in batches(folder).values():
        first, again = translate(batch), translate(batch)
        assert [entity.frame.to_dicts() for entity in first.entities] == [
            entity.frame.to_dicts() for entity in again.entities
        ]
        assert (first.truncated, first.refused, first.not_ours) == (again.truncated, again.refused, again.not_ours)


def _values() -> list[dict[str, Any]]:
    """The decoded values of the customers' topic, for the row that `columns` has in the same place."""
    said = [line["value_decoded"] for line in lines(POSTGRES) if line["topic"] == "pg.shop.customers"]
    return [value for value in said if value is not None]
