"""Envelopes, flattened rows, deletes and tombstones, as Debezium and its transformations write them."""

from __future__ import annotations

from typing import Any

import pytest

from nurt.model.entity_frame import DELETE, STREAMED, UPSERT, Translated
from nurt.model.refusal import Reason
from tests.corpus_messages import accounted, select
from tests.envelopes import IDS, KEY_ID, Topic, connect, entry

COLUMNS = {"id": "int", "email": ["null", "string"], "born": ["null", connect("int", "io.debezium.time.Date")]}
ROW = {"id": 1, "email": "a@example.com", "born": 3711}
CUSTOMERS = entry(email="email", birth_date="born")
FLAT_OPTIONAL: Any = ["null", "string"]
DELETED = {"name": "__deleted", "type": FLAT_OPTIONAL}


def changes(translated: Translated) -> list[tuple[int, str, Any]]:
    return [(row["op"], row["key"], row["email"]) for row in translated.entities[0].frame.to_dicts()]


def tombstones(translated: Translated) -> int:
    return sum(n for (_, _, reason), n in translated.not_ours.items() if reason == "tombstone")


# Several schemas in one batch


def test_two_schema_versions_of_one_topic_keep_the_order_of_arrival() -> None:
    topic = Topic(COLUMNS)
    older = Topic({"id": "int", "email": "string"})
    topic.schemas[8] = older.schemas[2]
    for number in range(8):
        if number % 3 == 0:
            old = older.envelope("c", None, {"id": number, "email": "old"})
            topic.raw(topic.key_of({"id": number}), b"\0" + (8).to_bytes(4, "big") + old[5:])
        else:
            topic.upsert(row={**ROW, "id": number})
    mapping = CUSTOMERS + "    optional: born\n"
    translated = topic.translator(mapping).translate(topic.batch)
    (frame,) = [entity.frame for entity in translated.entities]
    assert frame["key"].to_list() == [str(number) for number in range(8)]
    assert frame["birth_date"].to_list() == [None if number % 3 == 0 else 3711 for number in range(8)]


# Flattened rows


def test_a_flattened_row_is_an_upsert_without_position() -> None:
    topic = Topic(COLUMNS)
    topic.flattened(ROW)
    translated = topic.translator(CUSTOMERS).translate(topic.batch)
    (row,) = translated.entities[0].frame.to_dicts()
    assert (row["op"], row["key"], row["email"], row["birth_date"]) == (UPSERT, "1", "a@example.com", 3711)
    assert [row[part] for part in ("p0", "p1", "p2", "p3")] == [None] * 4
    assert (row["snapshot"], row["ts_ms"]) == (STREAMED, topic.batch.timestamps_ms[0])


def test_the_fields_that_a_transformation_added_are_read() -> None:
    added = (
        {"name": "__op", "type": FLAT_OPTIONAL},
        {"name": "__source_ts_ms", "type": ["null", "long"]},
        {"name": "__source_snapshot", "type": FLAT_OPTIONAL},
        {"name": "__source_sequence", "type": FLAT_OPTIONAL},
        {"name": "__source_lsn", "type": ["null", "long"]},
    )
    topic = Topic(COLUMNS, added=added)
    said = {"__op": "u", "__source_ts_ms": 1234, "__source_snapshot": "false", "__source_lsn": 8}
    topic.flattened(ROW, **said, __source_sequence='["5","8"]')
    (row,) = topic.translator(CUSTOMERS).translate(topic.batch).entities[0].frame.to_dicts()
    assert (row["p0"], row["p1"], row["p2"], row["p3"], row["ts_ms"]) == (5, 8, 0, 0, 1234)


def test_short_names_of_added_fields_are_read_too() -> None:
    added = (
        *({"name": f"__{name}", "type": FLAT_OPTIONAL} for name in ("op", "file")),
        *({"name": f"__{name}", "type": ["null", "long"]} for name in ("pos", "row", "ts_ms")),
    )
    topic = Topic(COLUMNS, added=added)
    topic.flattened(ROW, __op="c", __file="binlog.000007", __pos=99, __row=2, __ts_ms=55)
    (row,) = topic.translator(CUSTOMERS).translate(topic.batch).entities[0].frame.to_dicts()
    assert (row["p0"], row["p1"], row["p2"], row["ts_ms"]) == (7, 99, 2, 55)


def test_a_rewritten_delete_is_a_delete_and_its_tombstone_says_nothing_new() -> None:
    topic = Topic(COLUMNS, added=(DELETED,))
    topic.flattened(ROW, __deleted="false")
    topic.flattened({**ROW, "email": None}, __deleted="true")
    topic.tombstone(ROW)
    translated = topic.translator(CUSTOMERS).translate(topic.batch)
    assert changes(translated) == [(UPSERT, "1", "a@example.com"), (DELETE, "1", None)]
    assert tombstones(translated) == 1


def test_a_deletion_mark_may_be_a_boolean() -> None:
    topic = Topic(COLUMNS, added=({"name": "__deleted", "type": ["null", "boolean"]},))
    topic.flattened(ROW, __deleted=False)
    topic.flattened(ROW, __deleted=True)
    topic.flattened(ROW, __deleted=None)
    assert [op for op, _, _ in changes(topic.translator(CUSTOMERS).translate(topic.batch))] == [UPSERT, DELETE, UPSERT]


def test_the_tombstone_of_a_flattened_topic_is_the_delete() -> None:
    topic = Topic(COLUMNS)
    topic.flattened(ROW)
    topic.tombstone(ROW)
    translated = topic.translator(CUSTOMERS).translate(topic.batch)
    assert changes(translated) == [(UPSERT, "1", "a@example.com"), (DELETE, "1", None)]
    assert tombstones(translated) == 0
    assert translated.entities[0].frame["ts_ms"][1] == topic.batch.timestamps_ms[1]


def test_the_tombstone_of_a_flattened_topic_is_the_delete_even_when_it_comes_first() -> None:
    topic = Topic(COLUMNS)
    topic.tombstone(ROW)
    assert changes(topic.translator(CUSTOMERS).translate(topic.batch)) == [(DELETE, "1", None)]


# Tombstones


def test_a_tombstone_behind_its_delete_is_not_ours() -> None:
    topic = Topic(COLUMNS)
    topic.delete(ROW)
    topic.tombstone(ROW)
    translated = topic.translator(CUSTOMERS).translate(topic.batch)
    assert len(changes(translated)) == 1
    assert tombstones(translated) == 1


def test_a_tombstone_is_not_ours_when_its_delete_ended_the_batch_before() -> None:
    topic = Topic(COLUMNS)
    topic.delete(ROW, partition=1)
    topic.upsert(row={**ROW, "id": 2}, partition=0)
    topic.tombstone(ROW, partition=1)
    translate = topic.translator(CUSTOMERS).translate
    assert len(changes(translate(select(topic.batch, [0, 1])))) == 2
    assert tombstones(translate(select(topic.batch, [2]))) == 1


def test_a_tombstone_whose_delete_was_compacted_away_deletes() -> None:
    topic = Topic(COLUMNS)
    topic.upsert(row=ROW)
    topic.tombstone({**ROW, "id": 7})
    assert changes(topic.translator(CUSTOMERS).translate(topic.batch))[1] == (DELETE, "7", None)


def test_a_tombstone_behind_another_rows_delete_deletes() -> None:
    topic = Topic(COLUMNS)
    topic.delete(ROW)
    topic.tombstone({**ROW, "id": 7})
    assert [row[:2] for row in changes(topic.translator(CUSTOMERS).translate(topic.batch))] == [
        (DELETE, "1"),
        (DELETE, "7"),
    ]


def test_deletes_of_one_partition_say_nothing_of_tombstones_in_another() -> None:
    topic = Topic(COLUMNS)
    topic.raw(topic.key_of(ROW), topic.envelope("d", ROW, None), partition=0, offset=4)
    topic.raw(topic.key_of({"id": 2}), None, partition=1, offset=5)
    translated = topic.translator(CUSTOMERS).translate(topic.batch)
    assert [key for _, key, _ in changes(translated)] == ["1", "2"]


def test_a_tombstone_without_key_is_about_no_row() -> None:
    topic = Topic(COLUMNS)
    topic.raw(None, None)
    translated = topic.translator(CUSTOMERS).translate(topic.batch)
    assert tombstones(translated) == accounted(translated) == 1


# Keys of deletes


def test_a_deletes_key_is_the_messages_key_and_not_the_old_row() -> None:
    topic = Topic(COLUMNS)
    topic.delete({**ROW, "id": 99}, key=topic.key_of(ROW))
    assert changes(topic.translator(CUSTOMERS).translate(topic.batch)) == [(DELETE, "1", None)]


def test_a_delete_without_message_key_is_named_by_the_old_row() -> None:
    topic = Topic(COLUMNS)
    topic.delete({**ROW, "id": 99}, key=None)
    assert changes(topic.translator(CUSTOMERS).translate(topic.batch)) == [(DELETE, "99", None)]


def test_postgresqls_filler_is_no_key() -> None:
    """Under REPLICA IDENTITY DEFAULT all but the message's key is made up: a delete must not hit another row."""
    topic = Topic(COLUMNS)
    topic.delete({**ROW, "email": ""})
    translated = topic.translator(entry(key="email")).translate(topic.batch)
    assert [refused.reason for refused in translated.refused] == [Reason.NO_KEY]


def test_mysqls_old_row_is_whole_and_may_be_the_key() -> None:
    topic = Topic(COLUMNS, kind="mysql")
    topic.delete(ROW)
    translated = topic.translator(entry(key="email")).translate(topic.batch)
    assert translated.entities[0].frame["key"].to_list() == ["a@example.com"]


def test_a_key_that_is_one_value_and_no_record_is_read() -> None:
    topic = Topic(COLUMNS)
    topic.schemas[KEY_ID] = "long"
    topic.raw(topic.write(KEY_ID, 1), None)
    assert changes(topic.translator(CUSTOMERS).translate(topic.batch)) == [(DELETE, "1", None)]


@pytest.mark.parametrize("key", [b'{"id": 1}', b'{"schema": {"type": "struct"}, "payload": {"id": 1}}', b"1", b'"1"'])
def test_a_key_in_json_or_plain_text_is_read(key: bytes) -> None:
    topic = Topic(COLUMNS)
    topic.delete(ROW, key=key)
    topic.raw(key, None, offset=9)
    assert [row[:2] for row in changes(topic.translator(CUSTOMERS).translate(topic.batch))] == [(DELETE, "1")] * 2


def test_rows_whose_value_lacks_the_key_take_it_from_the_messages_key() -> None:
    topic = Topic({"email": "string", "id": "int"})
    short = Topic({"email": "string"})
    topic.schemas[8] = short.schemas[2]
    for number in (4, 5):
        body = short.envelope("c", None, {"email": "x"})[5:]
        topic.raw(topic.key_of({"id": number}), b"\0\0\0\0\x08" + body)
    gone = short.envelope("d", {"email": "x"}, None)[5:]
    topic.raw(topic.key_of({"id": 4}), b"\0\0\0\0\x08" + gone)
    assert changes(topic.translator(entry(email="email")).translate(topic.batch)) == [
        (UPSERT, "4", "x"),
        (UPSERT, "5", "x"),
        (DELETE, "4", None),
    ]


# Re-keys


@pytest.mark.parametrize(
    "header",
    [
        b'{"id":7}',
        b'{"schema":{"type":"struct"},"payload":{"id":7}}',
        b"Struct{id=7}",
        b"\0\0\0\0\x01\x0e",  # Avro in Confluent's format
    ],
    ids=["json", "json with schema", "text", "avro"],
)
def test_a_renamed_rows_delete_says_the_new_id(header: bytes) -> None:
    topic = Topic(COLUMNS)
    topic.delete(ROW, headers=[("__debezium.newkey", header), ("other", None)])
    topic.tombstone(ROW, headers=[("__debezium.newkey", header)])
    topic.upsert(row={**ROW, "id": 7})
    topic.delete({**ROW, "id": 8})
    frame = topic.translator(CUSTOMERS).translate(topic.batch).entities[0].frame
    assert frame["moved_to"].to_list() == [IDS.one("s\x1fcustomer\x1f7"), None, None]
    assert frame["row"][1] == IDS.one("s\x1fcustomer\x1f7")


def test_a_renamed_row_of_a_flattened_topic_says_so_too() -> None:
    topic = Topic(COLUMNS)
    topic.tombstone(ROW, headers=[("__debezium.newkey", b'{"id":7}')])
    frame = topic.translator(CUSTOMERS).translate(topic.batch).entities[0].frame
    assert frame["moved_to"].to_list() == [IDS.one("s\x1fcustomer\x1f7")]


def test_a_new_key_that_cannot_be_read_leaves_a_plain_delete() -> None:
    topic = Topic(COLUMNS)
    topic.delete(ROW, headers=[("__debezium.newkey", b"\xff\xfe")])
    translated = topic.translator(CUSTOMERS).translate(topic.batch)
    assert translated.entities[0].frame["moved_to"].to_list() == [None]


def test_a_new_key_with_a_date_has_the_id_of_the_row_that_it_names() -> None:
    topic = Topic(COLUMNS, key=("id", "born"))
    topic.delete(ROW, headers=[("__debezium.newkey", b'{"id":7,"born":3712}')])
    topic.upsert(row={**ROW, "id": 7, "born": 3712})
    frame = topic.translator(entry(key="[id, born]")).translate(topic.batch).entities[0].frame
    assert frame["moved_to"][0] == frame["row"][1]


# Other operations


def test_a_logical_message_in_an_envelope_is_not_ours() -> None:
    topic = Topic(COLUMNS)
    topic.raw(None, topic.envelope("m", None, None))
    translated = topic.translator(CUSTOMERS).translate(topic.batch)
    assert translated.not_ours == {("s.t", "not_ours", "logical_message"): 1}


def test_a_truncate_stands_at_its_position() -> None:
    topic = Topic(COLUMNS, kind="mysql")
    topic.upsert(row=ROW)
    topic.raw(None, topic.envelope("t", None, None, file="binlog.000012", pos=7), partition=3)
    (truncate,) = topic.translator(CUSTOMERS).translate(topic.batch).truncated
    assert (truncate.kind, truncate.system, truncate.entity) == ("customer", "s", "customer")
    assert (truncate.position, truncate.partition, truncate.offset) == ((12, 7, 0, 0), 3, 0)


def test_an_unknown_connector_leaves_the_order_to_the_offsets() -> None:
    topic = Topic(COLUMNS, kind="oracle")
    topic.upsert(row=ROW)
    (row,) = topic.translator(CUSTOMERS).translate(topic.batch).entities[0].frame.to_dicts()
    assert [row[part] for part in ("p0", "p1", "p2", "p3")] == [None] * 4
    assert row["ts_ms"] == 1_600_000_000_000


@pytest.mark.parametrize(("source", "expected"), [(7, 7), (0, 1_600_000_000_001), (-1, 1_600_000_000_001)])
def test_the_commit_time_is_the_sources_or_else_the_envelopes(source: int, expected: int) -> None:
    topic = Topic(COLUMNS)
    topic.upsert(row=ROW, ts_ms=source)
    (row,) = topic.translator(CUSTOMERS).translate(topic.batch).entities[0].frame.to_dicts()
    assert row["ts_ms"] == expected
