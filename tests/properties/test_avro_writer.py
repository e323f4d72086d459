"""The columnar writer gives the bytes that fastavro gives, for any writable schema and any values."""

from __future__ import annotations

import io
import json
import random
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nurt.avro import compile_writer
from nurt.errors import ConfigurationError
from tests.hypothesis_profiles import examples

DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 19, "scale": 4}
DAY = {"type": "int", "logicalType": "date"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
TEXTS = ("", "a", "Łódź", "x" * 12, "y" * 13, "日本語テキスト", "long " * 60)
LONGS = (0, -1, 1, 63, -64, 64, -65, 2**31, 2**62, -(2**62), 2**63 - 1, -(2**63))
UNSCALED = (0, 1, -1, 127, 128, -128, -129, 32767, -32768, 2**62, -(2**62), 10**18, 2**63 - 1, -(2**63))
EPOCH = date(1970, 1, 1)


class Made:
    """A schema under construction: names are used once."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.names = 0

    def name(self) -> str:
        self.names += 1
        return f"n{self.names}"

    def type(self, depth: int) -> tuple[Any, Any]:
        """Give an Avro type and the polars type of its column."""
        kinds = ["boolean", "int", "long", "float", "double", "bytes", "string", "enum", "fixed", "decimal"]
        kinds += ["day", "micros", "fixed_decimal", "optional", "optional"]
        kind = self.rng.choice(kinds + ["record", "array", "record", "array"] * (depth > 0))
        if kind == "optional":
            inner, column = self.type(depth - 1)
            if isinstance(inner, list):
                return inner, column
            return self.rng.choice([["null", inner], [inner, "null"], [inner]]), column
        if kind == "record":
            fields = [(f"f{i}", *self.type(depth - 1)) for i in range(self.rng.randint(1, 4))]
            schema = {"type": "record", "name": self.name(), "fields": [{"name": f, "type": t} for f, t, _ in fields]}
            return schema, pl.Struct({f: column for f, _, column in fields})
        if kind == "array":
            item, column = self.type(depth - 1)
            return {"type": "array", "items": item}, pl.List(column)
        if kind == "enum":
            return {"type": "enum", "name": self.name(), "symbols": ["A", "AB", "C" * 20]}, pl.String
        if kind == "fixed":
            return {"type": "fixed", "name": self.name(), "size": self.rng.choice([1, 5, 16])}, pl.Binary
        if kind == "fixed_decimal":
            size = self.rng.choice([9, 12])
            return DECIMAL | {"type": "fixed", "name": self.name(), "size": size}, pl.Int64
        named = {"decimal": DECIMAL, "day": DAY, "micros": MICROS}
        columns = {"boolean": pl.Boolean, "float": pl.Float64, "double": pl.Float64, "bytes": pl.Binary}
        columns |= {"string": pl.String, "int": self.rng.choice([pl.Int64, pl.Int32]), "day": pl.Int32}
        return named.get(kind, kind), columns.get(kind, pl.Int64)

    def value(self, schema: Any) -> Any:
        """Make up a value as fastavro takes it; decimals are unscaled integers."""
        rng = self.rng
        if isinstance(schema, list):
            absent = "null" in schema and rng.random() < 0.4
            return None if absent else self.value(next(t for t in schema if t != "null"))
        kind = schema["type"] if isinstance(schema, dict) else schema
        if kind == "record":
            return {field["name"]: self.value(field["type"]) for field in schema["fields"]}
        if kind == "array":
            return [
                self.value(schema["items"]) for _ in range(rng.choice([0, 0, 1, 2, 70]) if rng.random() < 0.9 else 3)
            ]
        if isinstance(schema, dict) and schema.get("logicalType") == "decimal":
            held = [number for number in UNSCALED if abs(number) < 10 ** schema["precision"]]
            return rng.choice([rng.choice(held), rng.randint(-(10**9), 10**9)])
        if kind == "enum":
            return rng.choice(schema["symbols"])
        if kind == "fixed":
            return rng.randbytes(schema["size"])
        if kind == "int":
            return rng.choice([0, -1, 64, 2**31 - 1, -(2**31), 19_999])
        return {
            "boolean": lambda: rng.random() < 0.5,
            "long": lambda: rng.choice(LONGS),
            "float": lambda: rng.choice([0.0, -1.5, 0.25]),
            "double": lambda: rng.choice([0.1, -1e300]),
            "bytes": lambda: rng.randbytes(rng.choice([0, 3, 40])),
            "string": lambda: rng.choice(TEXTS),
        }[kind]()


def for_fastavro(schema: Any, value: Any) -> Any:
    """Give decimals and fixed decimals the objects that fastavro wants; days and timestamps it takes as numbers."""
    if isinstance(schema, list):
        return None if value is None else for_fastavro(next(t for t in schema if t != "null"), value)
    if not isinstance(schema, dict) or value is None:
        return value
    if schema["type"] == "record":
        return {f["name"]: for_fastavro(f["type"], value[f["name"]]) for f in schema["fields"]}
    if schema["type"] == "array":
        return [for_fastavro(schema["items"], item) for item in value]
    if schema.get("logicalType") == "decimal":
        return Decimal(value).scaleb(-schema["scale"])
    return value


def with_fastavro(schema: Any, value: Any) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, schema, for_fastavro(schema, value))
    return stream.getvalue()


@settings(max_examples=examples(300), deadline=None)
@given(seed=st.integers(0, 2**40), rows=st.integers(1, 9), cut=st.booleans())
def test_any_frame_is_written_byte_for_byte_as_fastavro_writes_it(seed: int, rows: int, cut: bool) -> None:
    made = Made(random.Random(seed))
    fields = [(f"r{i}", *made.type(3)) for i in range(made.rng.randint(1, 6))]
    schema = {"type": "record", "name": "root", "fields": [{"name": name, "type": type_} for name, type_, _ in fields]}
    values = [made.value(schema) for _ in range(rows)]
    columns = {name: pl.Series(name, [v[name] for v in values], dtype=dtype) for name, _, dtype in fields}
    frame = pl.DataFrame(columns).with_columns(pl.lit(1).alias("not in the schema"))
    if cut:
        frame, values = pl.concat([frame, frame], rechunk=True).slice(1, rows), [*values[1:], values[0]]
    assert compile_writer(schema).write(frame) == [with_fastavro(schema, value) for value in values]


def profile_schema() -> Any:
    return json.loads((Path(__file__).parents[2] / "schemas" / "nurt.profiles-value.v1.avsc").read_text())


def polars_type(schema: Any, named: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return polars_type(next(t for t in schema if t != "null"), named)
    if isinstance(schema, str) and schema in named:
        return named[schema]
    if isinstance(schema, dict) and schema["type"] == "record":
        named[schema["name"]] = pl.Struct({f["name"]: polars_type(f["type"], named) for f in schema["fields"]})
        return named[schema["name"]]
    if isinstance(schema, dict) and schema["type"] == "array":
        return pl.List(polars_type(schema["items"], named))
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(schema, dict) and kind == "enum":
        return pl.String
    if isinstance(schema, dict) and schema.get("logicalType") == "decimal":
        return pl.Int64
    return {"boolean": pl.Boolean, "string": pl.String}.get(kind, pl.Int64)


def expand(schema: Any, named: dict[str, Any]) -> Any:
    """Put a named type's definition in the place of every later mention, for making up values."""
    if isinstance(schema, list):
        return [expand(branch, named) for branch in schema]
    if isinstance(schema, str):
        return named.get(schema, schema)
    if schema["type"] == "record":
        whole = {"type": "record", "name": schema["name"]}
        whole["fields"] = [{"name": f["name"], "type": expand(f["type"], named)} for f in schema["fields"]]
        named[schema["name"]] = whole
        return whole
    if schema["type"] == "array":
        return {"type": "array", "items": expand(schema["items"], named)}
    return schema


@settings(max_examples=examples(40), deadline=None)
@given(seed=st.integers(0, 2**40))
def test_profiles_are_written_byte_for_byte_as_fastavro_writes_them(seed: int) -> None:
    schema = profile_schema()
    whole = expand(schema, {})
    made = Made(random.Random(seed))
    values = [made.value(whole) for _ in range(5)]
    frame = pl.DataFrame(values, schema=polars_type(schema, {}).to_schema())
    parsed = fastavro.parse_schema(schema)
    expected = []
    for value in values:
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, parsed, for_fastavro(whole, value))
        expected.append(stream.getvalue())
    assert compile_writer(schema).write(frame) == expected


def record(**types: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": "root",
        "fields": [{"name": name, "type": type_} for name, type_ in types.items()],
    }


def test_dates_and_times_of_polars_are_written_in_the_schemas_unit() -> None:
    millis = {"type": "long", "logicalType": "timestamp-millis"}
    schema = record(day=["null", DAY], at=MICROS, at_ms=millis)
    day = date(2026, 11, 22)
    moment = pl.Series([day], dtype=pl.Date).cast(pl.Datetime("us"))
    frame = pl.DataFrame({"day": [day], "at": moment.dt.cast_time_unit("ms"), "at_ms": moment})
    days = (day - EPOCH) // timedelta(days=1)
    ms = days * 86_400_000
    value = {"day": days, "at": ms * 1000, "at_ms": ms}
    assert compile_writer(schema).write(frame) == [with_fastavro(schema, value)]


def test_a_column_of_nothing_but_nulls_needs_no_type() -> None:
    inner = {"type": "record", "name": "inner", "fields": [{"name": "x", "type": "string"}]}
    schema = record(a=["null", "string"], b=["null", inner], c={"type": "array", "items": "long"}, d=["null", "long"])
    frame = pl.DataFrame({name: pl.Series([None, None], dtype=pl.Null) for name in "abcd"})
    value = {"a": None, "b": None, "c": [], "d": None}
    assert compile_writer(schema).write(frame) == [with_fastavro(schema, value)] * 2


@pytest.mark.parametrize("dtype", [pl.String, pl.Enum(["x", "A", "B" * 20]), pl.Categorical])
def test_texts_may_be_held_as_categories(dtype: Any) -> None:
    symbols = {"type": "enum", "name": "e", "symbols": ["A", "B" * 20]}
    schema = record(a=symbols, b=["null", "string"], c={"type": "array", "items": "string"})
    a, b, c = ["A", "B" * 20, "A"], ["A", None, "B" * 20], [["A"], [], ["B" * 20, "A"]]
    frame = pl.DataFrame({"a": a, "b": b, "c": c}, schema={"a": dtype, "b": dtype, "c": pl.List(dtype)})
    expected = [with_fastavro(schema, {"a": a[i], "b": b[i], "c": c[i]}) for i in range(3)]
    assert compile_writer(schema).write(frame) == expected


def test_a_text_that_many_rows_share_is_written_for_each() -> None:
    text = "one literal, longer than a view, held once" * 9
    frame = pl.DataFrame({"i": range(500)}).with_columns(pl.lit(text).alias("a"))
    assert compile_writer(record(a="string")).write(frame) == [with_fastavro(record(a="string"), {"a": text})] * 500


def test_a_null_list_of_a_required_array_is_an_empty_one() -> None:
    schema = record(c={"type": "array", "items": "long"})
    bodies = compile_writer(schema).write(pl.DataFrame({"c": [None, [5], []]}, schema={"c": pl.List(pl.Int64)}))
    assert bodies == [with_fastavro(schema, {"c": c}) for c in ([], [5], [])]


def test_a_frame_without_rows_gives_no_bodies() -> None:
    assert compile_writer(record(a="long")).write(pl.DataFrame(schema={"a": pl.Int64})) == []


INNER = {"type": "record", "name": "inner", "fields": [{"name": "x", "type": "string"}]}


@pytest.mark.parametrize(
    ("type_", "values", "dtype", "path"),
    [
        ("long", [1, None], pl.Int64, "a: a null"),
        ("int", [2**31], pl.Int64, "a: a number out of range"),
        ("string", [5], pl.Int64, "a: a column of int64"),
        ("long", [0.5], pl.Float64, "a: a column of double"),
        (INNER, [None], pl.Struct({"x": pl.String}), "a: a null"),
        (INNER, [{"x": None}], pl.Struct({"x": pl.String}), "a.x: a null"),
        (INNER, [{"y": "v"}], pl.Struct({"y": pl.String}), "a.x: no such field"),
        (["null", INNER], ["text"], pl.String, "a: a column of string_view"),
        ({"type": "array", "items": "long"}, [[1, None]], pl.List(pl.Int64), "a[]: a null"),
        ({"type": "enum", "name": "e", "symbols": ["A"]}, ["secret"], pl.String, "a: a text that is no symbol"),
        ({"type": "fixed", "name": "f", "size": 2}, [b"secret"], pl.Binary, "a: bytes of another size"),
        (DECIMAL | {"type": "fixed", "name": "f", "size": 2}, [40_000], pl.Int64, "a: a number out of range"),
    ],
)
def test_a_frame_that_the_schema_cannot_hold_is_refused_by_column(
    type_: Any, values: Any, dtype: Any, path: str
) -> None:
    with pytest.raises(ValueError, match="writing Avro column") as refused:
        compile_writer(record(a=type_)).write(pl.DataFrame({"a": pl.Series(values, dtype=dtype)}))
    assert path in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ValueError, match="column b: no such column"):
        compile_writer(record(a="long", b="long")).write(pl.DataFrame({"a": [1]}))


@pytest.mark.parametrize("type_", [{"type": "map", "values": "long"}, ["long", "string"], ["null", "root"], "null"])
def test_a_schema_that_columns_cannot_write_is_refused_when_compiled(type_: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"compiling an Avro writer at a"):
        compile_writer(record(a=type_))
