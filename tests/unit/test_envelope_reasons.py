"""One bad message amid good ones: it alone is refused, with its reason and its bytes, and says no value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from nurt.model.raw import DAMAGED_TOPIC, RawBatch
from nurt.model.refusal import Reason
from tests.corpus_messages import accounted
from tests.envelopes import VALUE_ID, Topic, connect, decimal, entry, unscaled

COLUMNS = {
    "id": "int",
    "email": ["null", "string"],
    "total": ["null", decimal(2)],
    "tags": ["null", {"type": "array", "items": "string"}],
}
ROW = {"id": 1, "email": "secret@example.com", "total": unscaled(1999), "tags": None}
ORDERS = entry("order", email="email", gross="total")


def _not_confluent(topic: Topic) -> None:
    topic.raw(topic.key_of(ROW), b'{"id": 1, "email": "secret@example.com"}')


def _too_short(topic: Topic) -> None:
    topic.raw(topic.key_of(ROW), b"\0\0\0")


def _empty(topic: Topic) -> None:
    topic.raw(topic.key_of(ROW), b"")


def _unknown_schema(topic: Topic) -> None:
    topic.raw(topic.key_of(ROW), b"\0\0\0\x99\x99" + topic.envelope("c", None, ROW)[5:])


def _cut_short(topic: Topic) -> None:
    topic.raw(topic.key_of(ROW), topic.envelope("c", None, ROW)[:-9])


def _too_long(topic: Topic) -> None:
    topic.raw(topic.key_of(ROW), topic.envelope("c", None, ROW) + b"\0")


def _another_record(topic: Topic) -> None:
    topic.schemas[9] = {"type": "record", "name": "Other", "fields": [{"name": "else", "type": "string"}]}
    topic.raw(None, topic.write(9, {"else": "secret@example.com"}))


def _no_record(topic: Topic) -> None:
    topic.schemas[9] = "string"
    topic.raw(None, topic.write(9, "secret@example.com"))


def _no_row(topic: Topic) -> None:
    topic.raw(topic.key_of(ROW), topic.envelope("u", ROW, None))


def _unknown_operation(topic: Topic) -> None:
    topic.raw(topic.key_of(ROW), topic.envelope("x", None, ROW))


def _delete_without_key(topic: Topic) -> None:
    topic.raw(None, topic.envelope("d", None, None))


def _too_many_digits(topic: Topic) -> None:
    topic.upsert(row={**ROW, "total": unscaled(10**38)})


def _too_large(topic: Topic) -> None:
    topic.upsert(row={**ROW, "total": unscaled(10**30)})


BAD: list[tuple[Callable[[Topic], None], Reason, str]] = [
    (_not_confluent, Reason.NOT_CONFLUENT, "no zero byte and schema id before the value"),
    (_too_short, Reason.NOT_CONFLUENT, "no zero byte and schema id before the value"),
    (_empty, Reason.NOT_CONFLUENT, "no zero byte and schema id before the value"),
    (_unknown_schema, Reason.UNKNOWN_SCHEMA, "schema id 39321 of the value"),
    (_cut_short, Reason.BAD_AVRO, "value: the message ends before its schema does"),
    (_too_long, Reason.BAD_AVRO, "value: bytes are left over behind the value"),
    (_another_record, Reason.NO_ENVELOPE, "schema id 9: flattened without any of the mapped columns"),
    (_no_record, Reason.NO_ENVELOPE, "schema id 9: its values are no records"),
    (_no_row, Reason.NO_ENVELOPE, "an upsert without its row"),
    (_unknown_operation, Reason.UNKNOWN_OPERATION, "op (expected one of c, r, u, d, t, m)"),
    (_delete_without_key, Reason.NO_KEY, "key: id"),
    (_too_many_digits, Reason.OUT_OF_RANGE, "column total: more digits than Decimal(precision=38, scale=2)"),
    (_too_large, Reason.OUT_OF_RANGE, ""),
]


@pytest.mark.parametrize(("write", "reason", "detail"), BAD, ids=[write.__name__[1:] for write, _, _ in BAD])
def test_one_bad_message_costs_only_itself(write: Callable[[Topic], None], reason: Reason, detail: str) -> None:
    topic = Topic(COLUMNS)
    for number in range(5):
        topic.upsert(row={**ROW, "id": number})
    write(topic)
    for number in range(5, 10):
        topic.upsert(row={**ROW, "id": number})
    translated = topic.translator(ORDERS).translate(topic.batch)
    (refused,) = translated.refused
    (frame,) = [entity.frame for entity in translated.entities]
    assert frame["key"].to_list() == [str(number) for number in range(10)]
    assert frame["gross"].to_list() == [199_900] * 10
    assert refused.reason is reason
    assert (refused.topic, refused.partition, refused.offset) == ("s.t", 0, 5)
    assert (refused.key, refused.value) == (topic.batch.keys[5], topic.batch.values[5])
    assert refused.timestamp_ms == topic.batch.timestamps_ms[5]
    assert detail in refused.detail
    assert "secret" not in refused.detail
    assert accounted(translated) == len(topic.batch)


def test_a_column_that_holds_a_list_refuses_what_needs_it_and_no_delete() -> None:
    topic = Topic(COLUMNS)
    topic.upsert(row={**ROW, "tags": ["secret"]})
    topic.delete(ROW)
    translated = topic.translator(entry("order", email="tags")).translate(topic.batch)
    assert [(refused.offset, refused.reason) for refused in translated.refused] == [(0, Reason.WRONG_TYPE)]
    assert translated.refused[0].detail == "column tags: a list, a map or one of several types"
    assert translated.entities[0].frame["key"].to_list() == ["1"]


def test_a_geometry_refuses_what_needs_it() -> None:
    fields = [{"name": "wkb", "type": "bytes"}]
    point = {**connect("record", "io.debezium.data.geometry.Point"), "name": "Point", "fields": fields}
    topic = Topic({"id": "int", "place": ["null", point]})
    topic.upsert(row={"id": 1, "place": {"wkb": b"\1"}})
    (refused,) = topic.translator(entry(email="place")).translate(topic.batch).refused
    assert refused.detail == "column place: a record (io.debezium.data.geometry.Point)"


def test_what_is_not_mapped_may_hold_anything() -> None:
    topic = Topic(COLUMNS)
    topic.upsert(row={**ROW, "total": unscaled(10**40), "tags": ["a", "b"]})
    translated = topic.translator(entry("order", email="email")).translate(topic.batch)
    assert not translated.refused
    assert translated.entities[0].frame.height == 1


def test_a_delete_with_an_old_row_that_does_not_fit_is_a_delete() -> None:
    topic = Topic(COLUMNS)
    topic.delete({**ROW, "total": unscaled(10**40)})
    translated = topic.translator(ORDERS).translate(topic.batch)
    assert not translated.refused
    assert translated.entities[0].frame["op"].to_list() == [1]


def test_a_topic_of_damaged_archive_lines_is_refused_whatever_the_mapping_says() -> None:
    topic = Topic(COLUMNS)
    topic.upsert(row=ROW)
    damaged = replace(topic.batch, topic=DAMAGED_TOPIC)
    translated = topic.translator(ORDERS).translate(damaged)
    assert [(refused.reason, refused.value) for refused in translated.refused] == [
        (Reason.NOT_CONFLUENT, topic.batch.values[0])
    ]


def test_a_schema_that_the_registry_learns_later_is_asked_for_again() -> None:
    topic = Topic(COLUMNS)
    topic.upsert(row=ROW)
    translator = topic.translator(ORDERS)
    registry = translator._schemas._registry
    late = registry.schemas.pop(VALUE_ID)  # type: ignore[attr-defined]
    assert translator.translate(topic.batch).refused[0].reason is Reason.UNKNOWN_SCHEMA
    registry.schemas[VALUE_ID] = late  # type: ignore[attr-defined]
    assert translator.translate(topic.batch).entities[0].frame.height == 1


def test_an_empty_batch_says_nothing() -> None:
    topic = Topic(COLUMNS)
    topic.delete(ROW)
    translator = topic.translator(ORDERS)
    translator.translate(topic.batch)
    assert accounted(translator.translate(Topic(COLUMNS).batch)) == 0
    assert accounted(translator.translate(RawBatch("unmapped", [], [], [], [], [], []))) == 0
