"""The columnar reader says what fastavro says, for any schema, any value, and any damage."""

from __future__ import annotations

import base64
import functools
import io
import json
import math
import random
import struct
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nurt.avro import DecodeErrorCode, compile_reader, list_paths
from tests.hypothesis_profiles import examples

CORPUS = Path(__file__).parents[1] / "corpus"
SCALARS = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
TEXTS = ("", "a", "Łódź", "x" * 12, "y" * 13, "日本語テキスト", "🜂" * 5, "plain ascii, rather long" * 4)
LONGS = (0, -1, 1, 63, -64, 64, 8191, -8193, 2**31 - 1, -(2**31), 2**55, 2**56, -(2**62), 2**63 - 1, -(2**63))


# -- any schema and any value of it, encoded by hand so that every branch and block form occurs


def make_schema(rng: random.Random, depth: int, names: list[str]) -> Any:
    kinds = [*SCALARS, "enum", "fixed", "decimal", "optional", "optional"]
    if depth:
        kinds += ["record", "record", "array", "map", "union", "single", "reference"]
    kind = rng.choice(kinds)
    name = f"n{len(names)}"
    if kind in SCALARS:
        return rng.choice([kind, {"type": kind, "connect.name": "x.Y"}])
    if kind == "decimal":
        return {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 3}
    if kind == "enum":
        names.append(name)
        return {
            "type": "enum",
            "name": name,
            "symbols": ["A", "B_long_enough_not_to_be_inline", "C"][: rng.randint(1, 3)],
        }
    if kind == "fixed":
        names.append(name)
        return {"type": "fixed", "name": name, "size": rng.choice([1, 4, 12, 13, 40])}
    if kind == "optional":
        inner = make_schema(rng, max(depth - 1, 0), names)
        if isinstance(inner, list) or inner == "null" or (isinstance(inner, dict) and inner["type"] == "null"):
            inner = "string"
        return rng.choice([["null", inner], [inner, "null"]])
    if kind == "record":
        names.append(name)
        fields = [{"name": f"f{i}", "type": make_schema(rng, depth - 1, names)} for i in range(rng.randint(0, 6))]
        if rng.random() < 0.3:
            fields.append({"name": "again", "type": ["null", name]})
        return {"type": "record", "name": name, "fields": fields}
    if kind in ("array", "map"):
        item = make_schema(rng, depth - 1, names)
        return {"type": kind, "items" if kind == "array" else "values": item}
    if kind == "single":
        return [rng.choice(SCALARS)]
    if kind == "union":
        return rng.sample(SCALARS, rng.randint(2, 5))
    return rng.choice(["string", "long"])


def varint(number: int) -> bytes:
    raw = (number << 1 ^ number >> 63) & (1 << 64) - 1
    out = bytearray()
    while raw > 127:
        out.append(raw & 127 | 128)
        raw >>= 7
    return bytes([*out, raw])


def encode(rng: random.Random, schema: Any, named: dict[str, Any], depth: int = 0) -> bytes:
    """Make up a value and give its bytes."""
    if isinstance(schema, list):
        branch = rng.randrange(len(schema)) if depth < 12 or "null" not in schema else schema.index("null")
        return varint(branch) + encode(rng, schema[branch], named, depth + 1)
    if isinstance(schema, str) and schema in named:
        schema = named[schema]
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(schema, dict) and "name" in schema:
        named[schema["name"]] = schema
    if kind == "null":
        return b""
    if kind == "boolean":
        return bytes([rng.randrange(2)])
    if kind in ("int", "long"):
        return varint(rng.choice([rng.choice(LONGS), rng.randint(-(2**40), 2**40)]))
    if kind == "float":
        return struct.pack("<f", rng.choice([0.0, -1.5, 3.4e38, math.inf, math.nan]))
    if kind == "double":
        return struct.pack("<d", rng.choice([0.1, -1.5, 1e308, math.inf, math.nan]))
    if kind == "bytes":
        body = rng.randbytes(rng.choice([0, 1, 8, 12, 13, 30]))
        return varint(len(body)) + body
    if kind == "string":
        body = rng.choice(TEXTS).encode()
        return varint(len(body)) + body
    if kind == "enum":
        return varint(rng.randrange(len(schema["symbols"])))
    if kind == "fixed":
        return rng.randbytes(schema["size"])
    if kind == "record":
        return b"".join(encode(rng, field["type"], named, depth + 1) for field in schema["fields"])
    out = b""
    for _ in range(rng.randint(0, 2) if depth < 12 else 0):
        count = rng.randint(1, 3)
        key = (lambda: varint(2) + b"k" + bytes([97 + rng.randrange(26)])) if kind == "map" else (lambda: b"")
        item = schema["values"] if kind == "map" else schema["items"]
        block = b"".join(key() + encode(rng, item, named, depth + 1) for _ in range(count))
        out += varint(count) + block if rng.random() < 0.5 else varint(-count) + varint(len(block)) + block
    return out + varint(0)


def generate(seed: int, messages: int) -> tuple[dict[str, Any], list[bytes]]:
    rng = random.Random(seed)
    names: list[str] = ["root"]
    fields = [{"name": f"r{i}", "type": make_schema(rng, 3, names)} for i in range(rng.randint(1, 8))]
    schema = {"type": "record", "name": "root", "fields": fields}
    return schema, [encode(rng, schema, {}) for _ in range(messages)]


# -- the oracle


def plain(schema: Any) -> Any:
    """Leave out logical types, so that fastavro gives raw numbers and bytes."""
    if isinstance(schema, list):
        return [plain(branch) for branch in schema]
    if isinstance(schema, dict):
        return {key: plain(value) for key, value in schema.items() if key != "logicalType"}
    return schema


@functools.lru_cache(maxsize=256)
def _parsed(schema: str) -> Any:
    return fastavro.parse_schema(plain(json.loads(schema)))


def oracle(schema: Any, body: bytes) -> Any:
    """Read with fastavro; raises when it fails or leaves bytes over."""
    stream = io.BytesIO(body)
    value = fastavro.schemaless_reader(stream, _parsed(json.dumps(schema)), None, handle_unicode_errors="replace")
    if stream.tell() != len(body):
        raise ValueError("bytes left over")
    return value


def value_at(value: Any, path: str, presence: bool) -> Any:
    for name in path.split(".") if path else ():
        if value is None:
            break
        value = value[name]
    return value is not None if presence else value


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float) and math.isnan(ours):
        return math.isnan(theirs)
    return type(ours) is type(theirs) and ours == theirs


def assert_agrees(schema: Any, messages: list[bytes], paths: list[str], intact: bool, skip: int = 0) -> None:
    """Compare each message that we call fine with fastavro, value for value; intact ones must all be fine."""
    reader = compile_reader(schema, paths)
    read = reader.read(messages, skip=skip)
    assert set(reader.types) | reader.not_columnar == set(paths)
    columns = {path: read.frame[path].to_list() for path in reader.types}
    for i, message in enumerate(messages):
        if read.bad[i]:
            assert not intact, (DecodeErrorCode(int(read.bad[i])), i)
            assert all(column[i] is None for column in columns.values())
            continue
        expected = oracle(schema, message[skip:])
        for path, column in columns.items():
            wanted = value_at(expected, path, reader.types[path].avro == "record")
            assert same(column[i], wanted), (path, i)


# -- claims


@settings(max_examples=examples(300), deadline=None)
@given(seed=st.integers(0, 2**40), share=st.sampled_from([1.0, 0.5, 0.1, 0.0]))
def test_any_value_of_any_schema_reads_as_fastavro_reads_it(seed: int, share: float) -> None:
    schema, messages = generate(seed, 9)
    rng = random.Random(seed)
    paths = [path for path in list_paths(schema) if rng.random() < share]
    rng.shuffle(paths)
    assert_agrees(schema, messages, paths, intact=True)


def damage(rng: random.Random, message: bytes, skip: int) -> bytes:
    broken = bytearray(message)
    for _ in range(rng.randint(1, 3)):
        form = rng.randrange(5)
        at = rng.randrange(skip, len(broken)) if len(broken) > skip else None
        if form == 0 and at is not None:
            broken[at] ^= 1 << rng.randrange(8)
        elif form == 1 and at is not None:
            del broken[at:]
        elif form == 2 and at is not None:
            broken[at] = rng.choice([0, 1, 2, 3, 127, 128, 255])
        elif form == 3:
            broken += rng.randbytes(rng.randint(1, 3))
        elif at is not None:
            broken[at:at] = rng.choice([b"\xff" * 10, b"\x80", b"\xff\xff\xff\xff\x0f", b"\x01"])
    return bytes(broken)


def has_items_without_bytes(schema: Any) -> bool:
    """Say whether a damaged count could make fastavro build a list of 2^62 nothings."""
    if isinstance(schema, list):
        return any(map(has_items_without_bytes, schema))
    if not isinstance(schema, dict):
        return False
    if schema["type"] == "array":
        with np.errstate(all="ignore"):
            return takes_no_bytes(schema["items"]) or has_items_without_bytes(schema["items"])
    nested = [schema.get("values"), *(field["type"] for field in schema.get("fields", ()))]
    return any(map(has_items_without_bytes, nested))


def takes_no_bytes(schema: Any) -> bool:
    kind = schema["type"] if isinstance(schema, dict) else schema
    return kind == "null" or (kind == "record" and all(takes_no_bytes(f["type"]) for f in schema["fields"]))


@settings(max_examples=examples(300), deadline=None)
@given(seed=st.integers(0, 2**40))
def test_a_damaged_message_is_bad_or_reads_as_fastavro_reads_it_and_neighbours_are_unharmed(seed: int) -> None:
    schema, messages = generate(seed, 6)
    if has_items_without_bytes(schema):
        return
    rng = random.Random(seed)
    paths = list_paths(schema)
    broken = [damage(rng, message, 0) for message in messages]
    mixed = [each for pair in zip(messages, broken, strict=True) for each in pair]
    assert_agrees(schema, mixed, paths, intact=False)
    bad = compile_reader(schema, paths).read(mixed, skip=0).bad
    assert not bad[::2].any()


def _corpus_messages() -> dict[tuple[str, str], tuple[Any, list[bytes]]]:
    found: dict[tuple[str, str], tuple[Any, list[bytes]]] = {}
    for folder in sorted(CORPUS.iterdir()):
        if not (folder / "messages.jsonl").exists():
            continue
        schemas = json.loads((folder / "schemas.json").read_text())
        for line in (folder / "messages.jsonl").read_text().splitlines():
            entry = json.loads(line)
            for part in ("key", "value"):
                if entry[f"{part}_b64"] is not None:
                    body = base64.b64decode(entry[f"{part}_b64"])
                    schema_id = str(int.from_bytes(body[1:5], "big"))
                    found.setdefault((folder.name, schema_id), (schemas[schema_id], []))[1].append(body)
    return found


CORPUS_MESSAGES = _corpus_messages()


def test_the_corpus_is_whole() -> None:
    assert {folder for folder, _ in CORPUS_MESSAGES} == {
        *("mariadb", "postgres", "postgres_outbox_router", "sqlserver_synthetic")
    }
    assert sum(len(messages) for _, messages in CORPUS_MESSAGES.values()) > 440


@pytest.mark.parametrize("schema_id", CORPUS_MESSAGES, ids="-".join)
def test_every_genuine_message_reads_as_fastavro_reads_it(schema_id: tuple[str, str]) -> None:
    schema, messages = CORPUS_MESSAGES[schema_id]
    paths = list_paths(schema)
    assert_agrees(schema, messages, paths, intact=True, skip=5)
    rng = random.Random(5)
    for share in (0.5, 0.2, 0.0):
        some = [path for path in paths if rng.random() < share]
        assert_agrees(schema, messages, some, intact=True, skip=5)


@pytest.mark.parametrize("schema_id", CORPUS_MESSAGES, ids="-".join)
def test_damaged_genuine_messages_are_bad_or_read_as_fastavro_reads_them(schema_id: tuple[str, str]) -> None:
    schema, messages = CORPUS_MESSAGES[schema_id]
    rng = random.Random(11)
    paths = list_paths(schema)
    reader = compile_reader(schema, paths)
    intact = reader.read(messages).frame
    for _ in range(1 + 200 // len(messages)):
        mixed = [each for message in messages for each in (damage(rng, message, 5), message)]
        assert_agrees(schema, mixed, paths, intact=False, skip=5)
        assert reader.read(mixed).frame[1::2].equals(intact, null_equal=True)
