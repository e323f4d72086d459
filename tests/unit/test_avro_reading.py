from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from nurt.avro import MEANINGS, DecodeErrorCode, compile_reader, join, list_paths
from nurt.avro import reader as reader_module
from nurt.errors import ConfigurationError

CORPUS = Path(__file__).parents[1] / "corpus"


def record(name: str = "root", **types: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": field, "type": type_} for field, type_ in types.items()],
    }


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


ENUM = {"type": "enum", "name": "e", "symbols": ["A", "a symbol of more than twelve bytes"]}
FIXED = {"type": "fixed", "name": "f", "size": 3}

BAD = [
    ("long", "", DecodeErrorCode.ENDS_EARLY),
    ("long", "80", DecodeErrorCode.ENDS_EARLY),
    ("long", "ff" * 8, DecodeErrorCode.ENDS_EARLY),
    ("long", "ff" * 9, DecodeErrorCode.ENDS_EARLY),
    ("long", "ff" * 10, DecodeErrorCode.VARINT_TOO_LONG),
    ("long", "ff" * 9 + "02", DecodeErrorCode.VARINT_TOO_LONG),
    ("long", "0202", DecodeErrorCode.BYTES_LEFT_OVER),
    ("string", "0461", DecodeErrorCode.ENDS_EARLY),
    ("string", "01", DecodeErrorCode.NEGATIVE_LENGTH),
    ("string", "feffffffffffffffff01", DecodeErrorCode.ENDS_EARLY),
    ("string", "02ff", DecodeErrorCode.NOT_UTF8),
    ("string", "04c080", DecodeErrorCode.NOT_UTF8),  # overlong
    ("string", "06eda080", DecodeErrorCode.NOT_UTF8),  # a surrogate
    ("string", "08f4908080", DecodeErrorCode.NOT_UTF8),  # above U+10FFFF
    ("string", "04e282", DecodeErrorCode.NOT_UTF8),  # cut within a character
    ("bytes", "0461", DecodeErrorCode.ENDS_EARLY),
    ("bytes", "01", DecodeErrorCode.NEGATIVE_LENGTH),
    ("boolean", "", DecodeErrorCode.ENDS_EARLY),
    ("boolean", "02", DecodeErrorCode.NOT_BOOLEAN),
    ("float", "000000", DecodeErrorCode.ENDS_EARLY),
    ("double", "00000000000000", DecodeErrorCode.ENDS_EARLY),
    (FIXED, "0000", DecodeErrorCode.ENDS_EARLY),
    (ENUM, "04", DecodeErrorCode.NO_SUCH_SYMBOL),
    (ENUM, "01", DecodeErrorCode.NO_SUCH_SYMBOL),
    (["null", "long"], "", DecodeErrorCode.ENDS_EARLY),
    (["null", "long"], "04", DecodeErrorCode.NO_SUCH_BRANCH),
    (["null", "long"], "01", DecodeErrorCode.NO_SUCH_BRANCH),
    (["null", "long"], "ffffffffffffffffff01", DecodeErrorCode.NO_SUCH_BRANCH),
    (["long"], "02", DecodeErrorCode.NO_SUCH_BRANCH),
    (["long"], "ffffffffffffffffff01", DecodeErrorCode.NO_SUCH_BRANCH),
    (["string"], "ffffffffffffffffff01", DecodeErrorCode.NO_SUCH_BRANCH),
    (["null", "long", "string"], "06", DecodeErrorCode.NO_SUCH_BRANCH),
    (array("long"), "04020200", None),
    (array("long"), "03040202" + "00", None),
    (array("long"), "03060202" + "00", DecodeErrorCode.WRONG_BLOCK_SIZE),
    (array("long"), "0301", DecodeErrorCode.NEGATIVE_LENGTH),
    (array("long"), "04", DecodeErrorCode.ENDS_EARLY),
    (array("long"), "feffffffffffffffff01", DecodeErrorCode.ENDS_EARLY),
    (array("long"), "ffffffffffffffffff0100", DecodeErrorCode.ENDS_EARLY),
    (array("null"), "feffffffffffffffff0100", None),
    (array("null"), "0302", DecodeErrorCode.ENDS_EARLY),
    (array("null"), "03020000", DecodeErrorCode.WRONG_BLOCK_SIZE),
    ({"type": "map", "values": "long"}, "02026b0200", None),
    ({"type": "map", "values": "long"}, "02026b", DecodeErrorCode.ENDS_EARLY),
]


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize(("type_", "hexed", "flaw"), BAD)
def test_a_message_that_breaks_its_schema_is_named_and_hurts_no_neighbour(
    type_: Any, hexed: str, flaw: DecodeErrorCode | None, asked: bool
) -> None:
    before, asked_for = b"\x0c", ["first", "value"] if asked else ["first"]
    body = bytes.fromhex(hexed)
    if not asked and flaw in (DecodeErrorCode.NOT_UTF8, DecodeErrorCode.NOT_BOOLEAN):
        flaw = None  # what nobody asked for is passed over, not looked into
    read = compile_reader(record(first="long", value=type_), asked_for).read([before + body], skip=0)
    assert DecodeErrorCode(int(read.bad[0])) == (flaw or DecodeErrorCode.NONE)
    assert read.frame["first"].to_list() == [None if flaw else 6]
    if not isinstance(type_, list):
        reader = compile_reader(record(first="long", value=["null", type_]), asked_for)
        amid = reader.read([before + b"\x00", before + b"\x02" + body, before + b"\x00"], skip=0)
        assert amid.frame["first"].to_list() == [6, None if flaw else 6, 6]
        assert amid.bad.tolist() == [0, flaw or 0, 0]


def is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_exactly_what_python_decodes_is_text() -> None:
    edges = bytes.fromhex("00417f808f909fa0bfc0c1c2dfe0e1ecedeeeff0f1f3f4f5ff")
    bodies = [bytes(each) for size in (1, 2, 3) for each in itertools.product(edges, repeat=size)]
    bodies += [bytes(each) for each in itertools.product(b"\xf0\xf1\xf4", edges, edges, edges)]
    bodies += [b"8 bytes." + body for body in bodies[::7]] + [body + b"8 bytes more" for body in bodies[::7]]
    read = compile_reader("string", [""]).read([bytes([2 * len(body)]) + body for body in bodies], skip=0)
    assert (read.bad == 0).tolist() == [is_text(body) for body in bodies]
    assert (read.bad == 0).sum() > 500


def test_every_flaw_has_a_meaning() -> None:
    assert set(MEANINGS) == set(DecodeErrorCode)


def test_a_message_shorter_than_its_header_is_bad() -> None:
    read = compile_reader(record(a="long"), ["a"]).read([b"\0\0\0\0\1\x02", b"\0\0", b""])
    assert read.bad.tolist() == [DecodeErrorCode.NONE, DecodeErrorCode.ENDS_EARLY, DecodeErrorCode.ENDS_EARLY]
    assert read.frame["a"].to_list() == [1, None, None]


def test_null_messages_are_the_callers_to_leave_out() -> None:
    with pytest.raises(TypeError, match="1 nulls"):
        join([b"a", None])  # type: ignore[list-item]


def test_types_tell_what_the_writer_says() -> None:
    schemas = json.loads((CORPUS / "postgres" / "schemas.json").read_text())
    asked = ["op", "after", "after.credit_limit", "after.birth_date", "after.lifetime", "after.lifetime.scale"]
    types = compile_reader(schemas["7"], [*asked, "after.tags", "after.no_such", "op.deeper"]).types
    assert list(types) == asked
    assert (types["op"].avro, types["op"].nullable) == ("string", False)
    assert (types["after"].avro, types["after"].nullable) == ("record", True)
    money = types["after.credit_limit"]
    assert (money.avro, money.logical, money.scale, money.precision) == ("bytes", "decimal", 2, 12)
    assert money.connect_name == "org.apache.kafka.connect.data.Decimal"
    assert money.connect_parameters == {"scale": "2", "connect.decimal.precision": "12"}
    assert types["after.birth_date"].connect_name == "io.debezium.time.Date"
    assert types["after.lifetime"].connect_name == "io.debezium.data.VariableScaleDecimal"
    assert types["after.lifetime.scale"].nullable


def test_what_columns_cannot_hold_is_listed_apart() -> None:
    inner = record("inner", x="long", tags=array("string"))
    schema = record(
        a=array("long"), b={"type": "map", "values": "long"}, c=["null", inner, "string"], d=["long", "string"]
    )
    reader = compile_reader(schema, ["a", "b", "c", "c.x", "c.tags", "c.no_such", "d", "e", "a.x"])
    assert reader.types == {}
    assert reader.not_columnar == {"a", "b", "c", "c.x", "c.tags", "d"}


def test_a_records_own_path_says_whether_it_is_there() -> None:
    schema = record(a=["null", record("inner", x="long")], b=record("always", y="long"))
    read = compile_reader(schema, ["a", "a.x", "b"]).read([b"\x00\x02", b"\x02\x08\x02", b"\x02"], skip=0)
    assert read.frame.to_dict(as_series=False) == {
        "a": [False, True, None],
        "a.x": [None, 4, None],
        "b": [True, True, None],
    }


def test_columns_come_in_the_order_asked_for_and_once() -> None:
    reader = compile_reader(record(a="long", b="string", c="boolean"), ["c", "a", "c", "b", "a"])
    assert list(reader.types) == ["c", "a", "b"]
    assert reader.read([b"\x02\x02x\x01"], skip=0).frame.rows() == [(True, 1, "x")]


def test_the_root_may_be_a_single_value() -> None:
    for schema in ("string", {"type": "string"}, ["null", "string"]):
        body = b"\x04hi" if not isinstance(schema, list) else b"\x02\x04hi"
        read = compile_reader(schema, [""]).read([body], skip=0)
        assert read.frame.to_dict(as_series=False) == {"": ["hi"]}


TREE = record(value="long", next=["null", "root"], children=array("root"))


def test_a_recursive_record_is_read_along_the_path_and_skipped_elsewhere() -> None:
    leaf = b"\x02\x00\x00"
    middle = b"\x04\x02" + leaf + b"\x04" + leaf + leaf + b"\x00"
    top = b"\x06\x02" + middle + b"\x02" + middle + b"\x00"
    reader = compile_reader(TREE, ["value", "next", "next.value", "next.next.value", "next.next.next"])
    read = reader.read([top, leaf], skip=0)
    assert read.frame.rows() == [(3, True, 2, 1, False), (1, False, None, None, False)]


def test_a_message_nested_without_end_is_bad_and_no_crash() -> None:
    reader = compile_reader(TREE, ["value"])
    leaf = b"\x02\x00\x00"
    shallow, deep = leaf, leaf
    for _ in range(400):
        shallow = b"\x02\x02" + shallow + b"\x00"
    for _ in range(5000):
        deep = b"\x02\x02" + deep + b"\x00"
    read = reader.read([leaf, deep, shallow], skip=0)
    assert read.bad.tolist() == [DecodeErrorCode.NONE, DecodeErrorCode.TOO_DEEP, DecodeErrorCode.NONE]


def test_names_are_found_in_their_namespace() -> None:
    inner = {"type": "record", "name": "Value", "fields": [{"name": "x", "type": "long"}]}
    schema = {
        "type": "record",
        "name": "Envelope",
        "namespace": "shop.orders",
        "fields": [
            {"name": "a", "type": inner},
            {"name": "b", "type": "Value"},
            {"name": "c", "type": "shop.orders.Value"},
        ],
    }
    read = compile_reader(schema, ["a.x", "b.x", "c.x"]).read([b"\x02\x04\x06"], skip=0)
    assert read.frame.rows() == [(1, 2, 3)]


@pytest.mark.parametrize(
    "schema",
    [
        *("no_such", {"type": "no_such"}, [], {"type": "fixed", "name": "f"}, {"type": "array"}),
        *(record(a=5), record(a=["null", ["long"]]), {"type": "record", "name": "r", "fields": [{"type": "long"}]}),
    ],
)
def test_what_is_no_schema_is_refused_when_compiled(schema: Any) -> None:
    with pytest.raises(ConfigurationError, match="reading Avro schema"):
        compile_reader(schema, [])


def test_no_messages_give_an_empty_frame_of_the_same_types() -> None:
    schema = record(a="long", b="double", c="string", d="bytes", e=ENUM, f="boolean", g=record("r"), h="null")
    empty = compile_reader(schema, list_paths(schema)).read([]).frame
    assert empty.schema == {
        **{"a": pl.Int64, "b": pl.Float64, "c": pl.String, "d": pl.Binary},
        **{"e": pl.String, "f": pl.Boolean, "g": pl.Boolean, "h": pl.Null},
    }
    body = b"\x02" + bytes(8) + b"\x02x" + b"\x02y" + b"\x02" + b"\x01"
    full = compile_reader(schema, list_paths(schema)).read([body], skip=0).frame
    assert full.schema == empty.schema
    assert full.rows() == [(1, 0.0, "x", b"y", "a symbol of more than twelve bytes", True, True, None)]


def numbered(count: int) -> list[bytes]:
    return [bytes([2 * i % 128, 4, 97, 98]) for i in range(count)]


def test_some_rows_of_joined_messages_can_be_read_in_any_order() -> None:
    reader = compile_reader(record(a="long", b="string"), ["a", "b"])
    joined = join(numbered(50))
    rows = np.array([41, 3, 3, 0])
    assert reader.read_joined(joined, rows, skip=0).frame["a"].to_list() == [41, 3, 3, 0]


def test_a_batch_too_large_for_arrows_addresses_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = compile_reader(record(a="long", b="string"), ["a", "b"])
    messages = numbered(50)
    messages[7] = b"\xff"
    whole = reader.read(messages, skip=0)
    monkeypatch.setattr(reader_module, "JOINED_BYTES_MAX", 60)
    parts = reader.read(messages, skip=0)
    assert parts.frame.equals(whole.frame)
    assert parts.bad.tolist() == whole.bad.tolist()


def test_one_reader_serves_several_threads() -> None:
    reader = compile_reader(record(a="long", b="string"), ["a", "b"])
    batches = [numbered(20 + i) for i in range(40)]
    expected = [reader.read(batch, skip=0).frame for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda batch: reader.read(batch, skip=0).frame, batches))
    assert all(one.equals(other) for one, other in zip(got, expected, strict=True))


def test_a_frame_outlives_its_reader_and_its_messages() -> None:
    texts = [f"a text longer than an inline view {i}" for i in range(200)]
    messages = [bytes([2 * len(text)]) + text.encode() for text in texts]
    frame = compile_reader("string", [""]).read(messages, skip=0).frame
    del messages
    rubbish = [compile_reader("string", [""]).read([b"\x04zz"] * 200, skip=0).frame for _ in range(20)]
    assert frame[""].to_list() == texts
    assert len(rubbish) == 20
