"""Columns get the meaning that their writer declared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from nurt.avro import ColumnType, compile_reader, join
from nurt.debezium.change_reader import ColumnReader
from nurt.debezium.conventions import UNAVAILABLE, Conventions, Placeholders
from nurt.debezium.semantics import DecodedColumn, meaning_of
from nurt.debezium.timestamps import INSTANT
from nurt.model.entities import ENTITIES
from tests.envelopes import Topic, connect, decimal, entry, unscaled

WARSAW = "Europe/Warsaw"


def given(type_: Any, values: list[Any], zone: str = "UTC", placeholders: Sequence[str] = ()) -> DecodedColumn:
    """Write values with fastavro as a column of rows and read them back with their meaning."""
    topic = Topic({"id": "int", "x": ["null", type_]})
    messages = [topic.envelope("c", None, {"id": 1, "x": value}) for value in values]
    reader = ColumnReader(topic.schemas[2], "after.", ["x"], Conventions(zone, Placeholders(placeholders)))
    return reader.decode(compile_reader(topic.schemas[2], reader.paths).read(messages).columns)["x"]


TIMES: list[tuple[Any, Any, pl.DataType, Any]] = [
    (connect("int", "io.debezium.time.Date"), 3711, pl.Date(), date(1980, 2, 29)),
    (connect("int", "org.apache.kafka.connect.data.Date"), 3711, pl.Date(), date(1980, 2, 29)),
    ({"type": "int", "logicalType": "date"}, 3711, pl.Date(), date(1980, 2, 29)),
    (connect("string", "io.debezium.time.IsoDate"), "1980-02-29Z", pl.Date(), date(1980, 2, 29)),
    (connect("string", "io.debezium.time.IsoDate"), "1980-02-29", pl.Date(), date(1980, 2, 29)),
    (connect("long", "io.debezium.time.Timestamp"), 1714979289123, INSTANT, datetime(2024, 5, 6, 5, 8, 9, 123000)),
    (
        connect("long", "org.apache.kafka.connect.data.Timestamp"),
        1714979289123,
        INSTANT,
        datetime(2024, 5, 6, 5, 8, 9, 123000),
    ),
    (
        connect("long", "io.debezium.time.MicroTimestamp"),
        1714979289123456,
        INSTANT,
        datetime(2024, 5, 6, 5, 8, 9, 123456),
    ),
    (
        connect("long", "io.debezium.time.NanoTimestamp"),
        1714979289123456789,
        INSTANT,
        datetime(2024, 5, 6, 5, 8, 9, 123456),
    ),
    (
        {"type": "long", "logicalType": "local-timestamp-millis"},
        1714979289123,
        INSTANT,
        datetime(2024, 5, 6, 5, 8, 9, 123000),
    ),
    # instants, whatever the system's zone is
    (
        {"type": "long", "logicalType": "timestamp-millis"},
        1714979289123,
        INSTANT,
        datetime(2024, 5, 6, 7, 8, 9, 123000),
    ),
    (
        {"type": "long", "logicalType": "timestamp-micros"},
        1714979289123456,
        INSTANT,
        datetime(2024, 5, 6, 7, 8, 9, 123456),
    ),
    (
        connect("string", "io.debezium.time.ZonedTimestamp"),
        "2024-05-06T07:08:09Z",
        INSTANT,
        datetime(2024, 5, 6, 7, 8, 9),
    ),
    (connect("int", "io.debezium.time.Time"), 1500, pl.Int64(), 1_500_000),
    (connect("long", "io.debezium.time.MicroTime"), 1500, pl.Int64(), 1500),
    (connect("long", "io.debezium.time.NanoTime"), 1_999, pl.Int64(), 1),
    (connect("int", "io.debezium.time.Year"), 2024, pl.Int64(), 2024),
    (connect("long", "io.debezium.time.MicroDuration"), -5, pl.Int64(), -5),
    (connect("string", "io.debezium.time.ZonedTime"), "05:30:15Z", pl.String(), "05:30:15Z"),
]


@pytest.mark.parametrize(("type_", "value", "dtype", "expected"), TIMES)
def test_time_in_every_unit(type_: Any, value: Any, dtype: pl.DataType, expected: Any) -> None:
    if isinstance(expected, datetime):
        expected = expected.replace(tzinfo=UTC)
    column = given(type_, [value, None], WARSAW).column
    assert column.dtype == dtype
    assert column.to_list() == [expected, None]


TEXTS = ["Json", "Uuid", "Xml", "Enum", "EnumSet", "Ltree"]


@pytest.mark.parametrize("name", TEXTS)
def test_texts_of_a_semantic_type_are_texts(name: str) -> None:
    assert given(connect("string", f"io.debezium.data.{name}"), ["a,b", None]).column.to_list() == ["a,b", None]


def test_a_real_enum_is_a_text() -> None:
    enum = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
    assert given(enum, ["B", "A", None]).column.to_list() == ["B", "A", None]


def test_plain_numbers_keep_their_kind() -> None:
    assert given("int", [1]).column.dtype == pl.Int64
    assert given("float", [0.25]).column.to_list() == [0.25]
    assert given("double", [0.1, float("nan"), float("inf")]).column.to_list() == [0.1, None, None]
    assert given("boolean", [True, None]).column.to_list() == [True, None]


def test_decimals_have_the_writers_scale() -> None:
    column = given(decimal(3), [unscaled(1234), unscaled(-1), None]).column
    assert column.dtype == pl.Decimal(38, 3)
    assert column.to_list() == [Decimal("1.234"), Decimal("-0.001"), None]


def test_a_decimal_column_of_negative_scale_is_exact() -> None:
    assert given(decimal(-3), [unscaled(12)]).column.to_list() == [Decimal(12_000)]


def test_a_plain_avro_decimal_is_a_decimal() -> None:
    fixed = {"type": "fixed", "name": "F", "size": 4, "logicalType": "decimal", "precision": 9, "scale": 2}
    assert given(fixed, [(-5).to_bytes(4, "big", signed=True)]).column.to_list() == [Decimal("-0.05")]


def test_decimals_written_as_texts_stay_texts() -> None:
    assert given("string", ["12.3400"]).column.to_list() == ["12.3400"]


VARIABLE = {
    **connect("record", "io.debezium.data.VariableScaleDecimal"),
    "name": "VariableScaleDecimal",
    "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}],
}


def test_each_value_of_an_unscaled_decimal_brings_its_own_scale() -> None:
    values = [(0, 7), (2, -1250), (-2, 3), (18, 1), (19, 10)]
    found = given(VARIABLE, [{"scale": scale, "value": unscaled(value)} for scale, value in values] + [None])
    assert found.column.to_list() == [7, Decimal("-12.5"), 300, Decimal("1e-18"), Decimal("1e-18"), None]
    assert found.unfit is None


def test_an_unscaled_decimal_that_does_not_fit_says_so_for_itself_alone() -> None:
    values = [(0, 10**20), (19, 1), (0, 1), (10_000, 1), (-10_000, 1), (10_000, 0)]
    found = given(VARIABLE, [{"scale": scale, "value": unscaled(value)} for scale, value in values])
    assert found.unfit is not None
    assert found.unfit.tolist() == [True, True, False, True, True, False]
    assert found.column.to_list() == [None, None, 1, None, None, 0]


def test_bits_are_an_integer() -> None:
    bits = connect("bytes", "io.debezium.data.Bits")
    found = given(bits, [b"\x15", b"\x00\x01", None, b"\xff" * 8, b"\x01" + b"\0" * 12])
    assert found.column.to_list() == [21, 256, None, None, 1]
    assert found.unfit is not None
    assert found.unfit.tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("rows", [3, 28])  # the placeholder has 28 bytes
@pytest.mark.parametrize("type_", ["string", "bytes", decimal(2), connect("string", "io.debezium.data.Json")])
def test_a_value_that_the_source_did_not_send_is_marked(type_: Any, rows: int) -> None:
    binary = type_ == "bytes" or (isinstance(type_, dict) and type_["type"] == "bytes")
    other, placeholder = (b"\1", UNAVAILABLE.encode()) if binary else ("a", UNAVAILABLE)
    found = given(type_, [placeholder, None] + [other] * (rows - 2))
    assert found.unavailable is not None
    assert found.unavailable.tolist() == [True] + [False] * (rows - 1)
    assert found.column[0] is None
    assert found.column.null_count() == 2
    assert found.unfit is None or not found.unfit.any()


def test_the_placeholders_row_holds_the_field_and_not_its_neighbours() -> None:
    topic = Topic({"id": "int", "email": "string", "name": ["null", "string"]})
    for email in ("a@example.com", UNAVAILABLE):
        topic.upsert(row={"id": 1, "email": email, "name": "n"})
    frame = topic.translator(entry(email="email", first_name="name")).translate(topic.batch).entities[0].frame
    assert frame["unavailable"].to_list() == [0, 1]
    assert frame["email"].to_list() == ["a@example.com", None]
    assert frame["first_name"].to_list() == ["n", "n"]


def test_a_held_foreign_key_holds_the_parent() -> None:
    topic = Topic({"id": "int", "owner": ["null", "string"]})
    topic.upsert(row={"id": 1, "owner": UNAVAILABLE})
    mapping = entry("order") + "    parent: {customer: owner}\n"
    frame = topic.translator(mapping).translate(topic.batch).entities[0].frame
    assert frame["unavailable"].to_list() == [1 << 62]
    assert frame["parent"].to_list() == [None]


OWN = {  # as Debezium 3.5.0 makes them: UnchangedToastedPlaceholder, and the JSON of an hstore
    "__debezium_unavailable_value": (
        b"__debezium_unavailable_value",
        '{"__debezium_unavailable_value":"__debezium_unavailable_value"}',
        '["b68a35a7-17ad-35b3-af2a-ae46edb4545a"]',
        "[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,117,101]",
    ),
    "__toasted__": (
        b"__toasted__",
        '{"__toasted__":"__toasted__"}',
        '["c04e9c05-54d7-3edc-996a-1ce7bc7fc20c"]',
        "[95, 95, 116, 111, 97, 115, 116, 101, 100, 95, 95]",
    ),
    "hex:00ff5f5f7a": (
        b"\x00\xff__z",
        '{"\\u0000\ufffd__z":"\\u0000\ufffd__z"}',
        '["7fc3a57c-bb62-34c8-b6c2-590ff1058dc7"]',
        "[0,-1,95,95,122]",
    ),
    'say "it" \\ \u017c': (
        'say "it" \\ \u017c'.encode(),
        '{"say \\"it\\" \\\\ \u017c":"say \\"it\\" \\\\ \u017c"}',
        '["929673a7-831f-3953-9936-21390143c141"]',
        "[115,97,121,32,34,105,116,34,32,92,32,-59,-68]",
    ),
}


@pytest.mark.parametrize("setting", OWN)
def test_a_placeholder_of_ones_own_is_known_in_every_form(setting: str) -> None:
    blob, *texts = OWN[setting]
    text = blob.decode(errors="replace")
    texts += [text, json.dumps([text], ensure_ascii=False)]
    found = given("string", [*texts, text + "x", UNAVAILABLE, None], placeholders=[setting])
    assert found.unavailable is not None
    assert found.unavailable.tolist() == [True] * len(texts) + [False, True, False]
    found = given("bytes", [blob, blob + b"x", UNAVAILABLE.encode()], placeholders=[setting])
    assert found.unavailable is not None
    assert found.unavailable.tolist() == [True, False, True]


def test_texts_like_a_placeholder_that_nobody_told_of_are_texts() -> None:
    for text in ("__toasted__", '{"a":"a"}', '["__debezium_unavailable_value","b"]', "[]", "{}"):
        assert given("string", [text], placeholders=["__x__"]).column.to_list() == [text]


@pytest.mark.parametrize("flattened", [False, True])
def test_a_placeholder_of_ones_own_holds_field_identifier_and_parent(flattened: bool) -> None:
    topic = Topic({"id": "int", "email": "string", "card": "string"})
    orders = Topic({"id": "int", "owner": "string"})
    for one, row in (
        (topic, {"id": 1, "email": "__toasted__", "card": "__toasted__"}),
        (orders, {"id": 1, "owner": "?"}),
    ):
        one.flattened(row) if flattened else one.upsert(row=row)
    mapping = entry(email="email") + "    identifiers: {card: card}\n"
    told = ["__toasted__", "hex:3f"]
    frame = topic.translator(mapping, placeholders=told).translate(topic.batch).entities[0].frame
    assert frame["unavailable"].to_list() == [1 | 1 << len(ENTITIES["customer"].fields)]
    frame = orders.translator(entry("order") + "    parent: {customer: owner}\n", placeholders=told)
    assert frame.translate(orders.batch).entities[0].frame["unavailable"].to_list() == [1 << 62]


SCALES: list[tuple[dict[str, Any], Any]] = [
    ({"connect.parameters": {"scale": "2"}}, Decimal("12.34")),
    ({"connect.parameters": {"scale": 2}}, Decimal("12.34")),
    ({"connect.parameters": {"scale": "-2"}}, Decimal("123400")),
    ({"connect.parameters": {"scale": "2"}, "logicalType": "decimal", "precision": 9}, Decimal("12.34")),
    ({"connect.parameters": {"scale": "0"}}, Decimal("1234")),
    ({"logicalType": "decimal", "precision": 9}, Decimal("1234")),
    ({"logicalType": "decimal", "precision": 9, "scale": 2}, Decimal("12.34")),
]


@pytest.mark.parametrize(("schema", "expected"), SCALES)
def test_a_decimals_scale_may_stand_among_connects_parameters_alone(schema: dict[str, Any], expected: Any) -> None:
    type_ = connect("bytes", "org.apache.kafka.connect.data.Decimal", **schema)
    assert given(type_, [unscaled(1234)]).column.to_list() == [expected]


def test_a_decimal_whose_schema_says_no_scale_is_refused() -> None:
    topic = Topic({"id": "int", "x": connect("bytes", "org.apache.kafka.connect.data.Decimal")})
    topic.upsert(row={"id": 1, "x": unscaled(1234)})
    (refused,) = topic.translator(entry("order", gross="x")).translate(topic.batch).refused
    assert refused.detail == "column x: a decimal whose schema says no scale (org.apache.kafka.connect.data.Decimal)"


@pytest.mark.parametrize("avro", ["array", "map", "record"])
def test_what_no_column_holds_has_no_meaning(avro: str) -> None:
    assert meaning_of(ColumnType(avro, nullable=True)) is None


def test_no_rows_have_every_meaning() -> None:
    for type_, *_ in TIMES:
        assert len(given(type_, []).column) == 0
    assert len(given(decimal(2), []).column) == len(given(VARIABLE, []).column) == 0
    assert len(join([])) == 0
