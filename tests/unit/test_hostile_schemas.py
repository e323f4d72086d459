"""Whoever may write to the registry chooses schemas: each costs its own messages, and work by their bytes."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from nurt.avro import DecodeErrorCode, compile_reader, list_paths
from nurt.avro.compile import INSTRUCTIONS_MAX
from nurt.avro.schema import DEPTH_MAX, NODES_MAX, parse_schema
from nurt.errors import ConfigurationError
from nurt.mapping.load import load_mapping
from nurt.model.entity_frame import Translated
from nurt.model.refusal import Reason
from nurt.translate.translator import Translator
from tests.corpus_messages import Schemas, accounted
from tests.envelopes import IDS, VALUE_ID, Topic, entry


def record(name: str, *types: Any, **more: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": f"f{at}", "type": type_} for at, type_ in enumerate(types)],
        **more,
    }


def doubled(times: int, leaf: Any = None) -> dict[str, Any]:
    """Records that name the one before them twice: 2^times of the leaf, which takes no bytes."""
    types = [record("r0", *([] if leaf is None else [leaf]))]
    types += [record(f"r{at}", f"r{at - 1}", f"r{at - 1}") for at in range(1, times + 1)]
    return record("all", "long", {"type": "array", "items": ["null", *types]}, f"r{times}")


def chain(length: int) -> dict[str, Any]:
    """Records that name the one before them once, none of them deep in the JSON."""
    return record("all", ["null", record("r0", "long"), *(record(f"r{at}", f"r{at - 1}") for at in range(1, length))])


def nested(kind: str, times: int) -> Any:
    schema: Any = "long"
    for _ in range(times):
        schema = {"type": kind, "items" if kind == "array" else "values": schema}
    return schema


NONE_OF_AVRO: dict[str, Any] = {
    "arrays 520 deep": nested("array", 520),
    "maps 70 deep": nested("map", 70),
    "wrapped 1000 times": None,
    "names 10,000 deep": chain(5_000),
    "too many types": record("wide", *["long"] * NODES_MAX),
    "a fixed of 2^63": record("r", {"type": "fixed", "name": "f", "size": 2**63}),
    "a fixed of nan": record("r", {"type": "fixed", "name": "f", "size": float("nan")}),
    "a fixed of infinity": record("r", {"type": "fixed", "name": "f", "size": float("inf")}),
    "symbols that are numbers": record("r", {"type": "enum", "name": "e", "symbols": [1, 2]}),
    "symbols that are a number": record("r", {"type": "enum", "name": "e", "symbols": 7}),
    "a lone surrogate as a symbol": record("r", {"type": "enum", "name": "e", "symbols": ["\ud800"]}),
    "fields that are a text": {"type": "record", "name": "r", "fields": "abc"},
    "a name that is a number": {"type": "record", "name": 7, "fields": []},
    "a name of a field that is a list": {"type": "record", "name": "r", "fields": [{"name": [], "type": "int"}]},
    "parameters that are a list": record("r", {"type": "int", "connect.parameters": [1]}),
    "a semantic name that is a list": record("r", {"type": "int", "connect.name": []}),
    "a scale of 2^70": record("r", {"type": "bytes", "logicalType": "decimal", "scale": 2**70}),
    "a logical type that is an object": record("r", {"type": "bytes", "logicalType": {}}),
    "a number": 5,
    "nothing": None,
    "a union in a union": [["null"], "int"],
}
wrapped: Any = "long"
for _ in range(1_000):
    wrapped = {"type": wrapped}
NONE_OF_AVRO["wrapped 1000 times"] = wrapped


@pytest.mark.parametrize("schema", NONE_OF_AVRO.values(), ids=NONE_OF_AVRO.keys())
def test_what_is_no_avro_of_a_table_is_said_and_raises_nothing_else(schema: Any) -> None:
    with pytest.raises(ConfigurationError, match="correct the schema"):
        parse_schema(schema)


def test_records_that_name_each_other_twice_cost_no_more_than_their_bytes() -> None:
    reader = compile_reader(doubled(60), ["f0"])
    messages = [b"\x0e\0"] * 1_000
    bad = reader.read(messages, skip=0).bad
    assert set(bad.tolist()) == {DecodeErrorCode.TOO_MUCH}


def test_records_that_name_each_other_twice_are_read_while_they_cost_little() -> None:
    for times in (1, 3, 5):
        reader = compile_reader(doubled(times), ["f0"])
        assert reader.read([b"\x0e\0"], skip=0).bad.tolist() == [0]
        leaves = 1 << times
        with_bytes = compile_reader(doubled(times, "long"), ["f0"])
        assert with_bytes.read([b"\x0e\0" + b"\x02" * leaves], skip=0).bad.tolist() == [0]


def test_a_long_list_of_records_has_all_the_work_that_its_bytes_need() -> None:
    inner = record("inner", ["null", "long"], record("empty"), {"type": "array", "items": "long"})
    reader = compile_reader(record("all", {"type": "array", "items": inner}, "long"), ["f1"])
    body = b"\xa0\x9c\x01" + b"\0\0" * 10_000 + b"\0\x0e"
    assert reader.read([body], skip=0).frame["f1"].to_list() == [7]


def test_a_list_that_is_linked_400_times_is_read() -> None:
    schema = record("node", "long", ["null", "node"])
    body = b"\x02\x02" * 400 + b"\x02\0"
    assert compile_reader(record("all", schema, "long"), ["f1"]).read([body + b"\x0e"], skip=0).frame["f1"][0] == 7


def test_a_table_of_3000_columns_with_both_images_is_read() -> None:
    row = record("Value", *[["null", "string"]] * 2_000, *["long"] * 1_000, namespace="shop")
    envelope = record("Envelope", ["null", row], ["null", "shop.Value"], "string")
    assert len(compile_reader(envelope, [f"f1.f{at}" for at in range(3_000)]).types) == 3_000


def test_paths_do_not_double_without_an_end() -> None:
    with pytest.raises(ConfigurationError, match="paths"):
        list_paths(record("all", ["null", *(doubled(30)["fields"][1]["type"]["items"][1:])], "r30"))
    assert len(list_paths(doubled(4))) == 1 + 31


def test_a_program_has_an_end() -> None:
    leaf = record("leaf", *[{"type": "fixed", "name": f"x{at}", "size": 1 + at} for at in range(90)], "boolean")
    leaf["fields"] = [one for at in range(45) for one in (leaf["fields"][at], {"name": f"s{at}", "type": "string"})]
    many = record("all", leaf, *["leaf"] * 2_000)
    with pytest.raises(ConfigurationError, match=f"more than {INSTRUCTIONS_MAX} instructions"):
        compile_reader(many, [])


def test_a_schema_may_lie_as_deep_as_is_allowed() -> None:
    assert parse_schema(record("r", nested("array", DEPTH_MAX - 2))).height < DEPTH_MAX


# -- in a topic

COLUMNS = {"id": "int", "email": ["null", "string"]}
ROW = {"id": 1, "email": "one@x.example"}


def translated(topic: Topic) -> Translated:
    text = "systems:\n  s: {timezone: UTC}\ntopics:\n  - match: s.t\n    system: s\n" + entry("customer", email="email")
    return Translator(load_mapping(text, "test.yaml"), Schemas(topic.schemas), IDS).translate(topic.batch)


def in_envelope(topic: Topic, extra: Any) -> dict[str, Any]:
    """Give the topic's own schema another field."""
    schema = copy.deepcopy(topic.schemas[VALUE_ID])
    schema["fields"].append({"name": "extra", "type": extra})
    return schema  # type: ignore[no-any-return]


@pytest.mark.parametrize("schema", [*NONE_OF_AVRO.values()], ids=NONE_OF_AVRO.keys())
def test_a_schema_that_is_none_costs_its_own_messages_only(schema: Any) -> None:
    topic = Topic(COLUMNS)
    topic.upsert("c", row=ROW)
    topic.schemas[9] = schema
    topic.schemas[10] = in_envelope(topic, schema)
    for schema_id in (9, 10):
        topic.raw(topic.key_of(ROW), b"\0\0\0\0" + bytes([schema_id]) + topic.envelope("c", None, ROW)[5:])
    topic.upsert("u", row=ROW | {"email": "two@x.example"})
    out = translated(topic)
    assert accounted(out) == len(topic.batch)
    assert [one.reason for one in out.refused] == [Reason.UNKNOWN_SCHEMA] * 2
    assert out.entities[0].frame["email"].to_list() == ["one@x.example", "two@x.example"]


def test_a_schema_bomb_costs_its_own_messages_only() -> None:
    topic = Topic(COLUMNS)
    topic.upsert("c", row=ROW)
    topic.schemas[9] = in_envelope(topic, doubled(50))
    topic.raw(topic.key_of(ROW), b"\0\0\0\0\x09" + topic.envelope("c", None, ROW)[5:] + b"\x02\0")
    out = translated(topic)
    assert [(one.reason, one.detail.split(": ")[0]) for one in out.refused] == [(Reason.BAD_AVRO, "value")]
    assert out.entities[0].frame["email"].to_list() == ["one@x.example"]
