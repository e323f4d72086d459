"""Keys are read from whatever converter wrote them, typed as the table's own, and odd ones cost nothing else."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given

from nurt.debezium.conventions import Conventions
from nurt.debezium.message_keys import KeyReader
from nurt.debezium.text_keys import decimal_text, fields_of
from tests.envelopes import Topic, connect, decimal, entry, unscaled

SCHEMAS: dict[int, Any] = {
    1: {"type": "record", "name": "K", "fields": [{"name": "tenant", "type": "string"}, {"name": "id", "type": "int"}]},
    2: {
        "type": "record",
        "name": "K",
        "fields": [{"name": "id", "type": "long"}, {"name": "tenant", "type": "string"}],
    },
    3: "string",
    4: {"type": "record", "name": "K", "fields": [{"name": "other", "type": "long"}]},
}
PL1 = b"\0\0\0\0\x01\x04pl\x02"  # tenant pl, id 1


def reader(*columns: str) -> KeyReader:
    return KeyReader(columns, Conventions(), SCHEMAS.get)


def test_keys_of_several_schemas_keep_their_order() -> None:
    keys = reader("tenant", "id").read([PL1, None, b"\0\0\0\0\x02\x06\x04de", PL1])
    assert keys.columns["tenant"].to_list() == ["pl", None, "de", "pl"]
    assert keys.columns["id"].to_list() == [1, None, 3, 1]
    assert keys.there.tolist() == [True, False, True, True]


@pytest.mark.parametrize("key", [b"", b"\0\0", b"\0\0\0\0\x09\x02", PL1[:-1], PL1 + b"x", b"\xff\xfe", b"[1]"])
def test_a_key_that_cannot_be_read_is_null_beside_those_that_can(key: bytes) -> None:
    keys = reader("tenant", "id").read([PL1, key, PL1])
    assert keys.columns["id"].to_list() == [1, None, 1]


def test_a_key_without_the_wanted_column_lacks_it() -> None:
    keys = reader("id").read([b"\0\0\0\0\x04\x02"])
    assert dict(keys.columns) == {}
    assert keys.there.tolist() == [True]


def test_a_text_key_belongs_to_the_only_column() -> None:
    assert reader("id").read([b"\0\0\0\0\x03\x04ab"]).columns["id"].to_list() == ["ab"]
    assert "id" not in reader("id", "tenant").read([b"\0\0\0\0\x03\x04ab"]).columns


def test_no_keys_have_no_columns() -> None:
    assert dict(reader("id").read([]).columns) == {}


@pytest.mark.parametrize(
    ("type_", "wire", "in_json"),
    [
        ("long", 7, 7),
        ("string", "a,b", "a,b"),
        ("boolean", True, True),
        (connect("string", "io.debezium.data.Uuid"), "u-1", "u-1"),
        (connect("int", "io.debezium.time.Date"), 19000, 19000),
        (connect("string", "io.debezium.time.ZonedTimestamp"), "2024-05-06T07:08:09Z", "2024-05-06T07:08:09Z"),
        (decimal(2), unscaled(1250), 12.5),
        (decimal(2), unscaled(1250), "12.50"),
        (decimal(2), unscaled(-1250), base64.b64encode(unscaled(-1250)).decode()),
    ],
)
def test_a_new_key_in_json_names_the_row_that_the_table_has(type_: Any, wire: Any, in_json: Any) -> None:
    topic = Topic({"id": type_})
    topic.delete({"id": wire}, headers=[("__debezium.newkey", json.dumps({"id": in_json}).encode())])
    topic.upsert(row={"id": wire})
    frame = topic.translator(entry()).translate(topic.batch).entities[0].frame
    assert frame["moved_to"][0] == frame["row"][1] is not None


def test_oracles_number_as_a_key_reads_as_its_digits() -> None:
    fields = [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}]
    number = {**connect("record", "io.debezium.data.VariableScaleDecimal"), "name": "N", "fields": fields}
    topic = Topic({"id": number}, kind="oracle")
    topic.upsert(row={"id": {"scale": 0, "value": unscaled(1024)}})
    topic.delete({"id": {"scale": 0, "value": unscaled(1024)}})
    frame = topic.translator(entry()).translate(topic.batch).entities[0].frame
    assert frame["key"].to_list() == ["1024", "1024"]
    assert frame["row"][0] == frame["row"][1]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["id", "scale", "value"]), inner),
    max_leaves=5,
)


@given(st.sampled_from(["long", "string", "boolean", "double", decimal(2)]), json_values)
def test_no_json_is_too_odd_for_a_header(type_: Any, value: Any) -> None:
    topic = Topic({"id": type_})
    sample: Any = {"long": 1, "string": "a", "boolean": True, "double": 1.5}.get(str(type_), b"\1")
    topic.delete({"id": sample}, headers=[("__debezium.newkey", json.dumps({"id": value}).encode())])
    schemas = topic.schemas
    keys = KeyReader(("id",), Conventions(), lambda id_: schemas.get(id_))
    keys.read(topic.batch.keys)
    moved = keys.read_moved(topic.batch.headers)
    assert moved is not None
    assert all(isinstance(column, pl.Series) and len(column) == 1 for column in moved.values())


@given(st.binary(max_size=40), st.lists(st.sampled_from(["id", "a.b", "("]), min_size=1, max_size=2, unique=True))
def test_no_text_is_too_odd_for_a_key(text: bytes, columns: list[str]) -> None:
    assert isinstance(fields_of(text, columns), dict)


def test_json_nested_without_end_is_a_text() -> None:
    assert fields_of(b"[" * 100_000, ["a", "b"]) == {}


def test_numbers_without_end_are_no_decimals() -> None:
    assert decimal_text("1e999999999", 2) is None
    assert decimal_text({"scale": 10**9, "value": "AQ=="}, 2) is None
    assert decimal_text("AQ==", 2) == str(Decimal("0.01"))
