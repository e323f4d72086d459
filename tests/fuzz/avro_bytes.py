"""Messages whose bytes are damaged, among sound ones: each is read or has a code, and no other message changes."""

from __future__ import annotations

import io
from random import Random
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa

from nurt.avro import MEANINGS, JoinedMessages, Reader, compile_reader
from nurt.columnar.values import PADDING_BYTES
from tests.fuzz.harness import guarded, mutated

COUNT = 1_000_000

ROW = {
    "type": "record",
    "name": "Value",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "name", "type": ["null", "string"]},
        {"name": "price", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}]},
        {"name": "is_new", "type": ["boolean", "null"]},
    ],
}
SCHEMAS: list[Any] = [
    {
        "type": "record",
        "name": "Envelope",
        "namespace": "shop",
        "fields": [
            {"name": "before", "type": ["null", ROW]},
            {"name": "after", "type": ["null", "Value"]},
            {"name": "op", "type": "string"},
            {"name": "ts_ms", "type": ["null", "long"]},
        ],
    },
    {
        "type": "record",
        "name": "Nested",
        "fields": [
            {"name": "tags", "type": {"type": "array", "items": "string"}},
            {"name": "by_name", "type": {"type": "map", "values": ["null", "long", "double"]}},
            {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["a", "b", "c"]}},
            {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 16}},
            {"name": "ratio", "type": "float"},
            {"name": "size", "type": "double"},
            {"name": "grid", "type": {"type": "array", "items": {"type": "array", "items": "long"}}},
            {"name": "last", "type": "string"},
        ],
    },
    {
        "type": "record",
        "name": "Node",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "next", "type": ["null", "Node"]},
            {"name": "nothing", "type": {"type": "array", "items": "null"}},
        ],
    },
    {"type": "record", "name": "Key", "fields": [{"name": "id", "type": "long"}]},
]
PATHS = [
    ["op", "after.id", "after.name", "after.is_new", "before", "ts_ms"],
    ["kind", "hash", "ratio", "size", "last"],
    ["id", "next.id"],
    ["id"],
]

Shared = list[tuple[list[Reader], Any]]


def prepare() -> Shared:
    """Compile each schema for all its paths and for none: what is skipped is read another way."""
    return [
        ([compile_reader(schema, paths), compile_reader(schema, [])], fastavro.parse_schema(schema))
        for schema, paths in zip(SCHEMAS, PATHS, strict=True)
    ]


def attempt(random: Random, shared: Shared) -> str:
    """Read a damaged message between two sound ones, at the end of readable memory."""
    which = random.randrange(len(shared))
    readers, parsed = shared[which]
    first, damaged, last = (_written(random, which, parsed) for _ in range(3))
    damaged = mutated(random, damaged)
    ends = np.cumsum([len(first), len(damaged), len(last)])
    starts = ends - [len(first), len(damaged), len(last)]
    reader = random.choice(readers)
    data = pa.py_buffer(guarded(first + damaged + last, PADDING_BYTES))
    read = reader.read_joined(JoinedMessages(data, starts, ends), None, 0)
    assert (read.bad[0], read.bad[2]) == (0, 0), "a sound message was refused"
    assert int(read.bad[1]) in MEANINGS
    if reader.types and random.random() < 0.1:  # a frame takes ten times as long as the loop
        again = reader.read([first, last], skip=0)
        assert read.frame[[0, 2]].equals(again.frame), "a sound message changed"
    return "read" if read.bad[1] == 0 else "refused"


def _written(random: Random, which: int, parsed: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, parsed, _MADE[which](random))
    return out.getvalue()


def _row(random: Random) -> Any:
    if random.random() < 0.2:
        return None
    return {
        "id": random.getrandbits(random.randrange(1, 63)),
        "name": random.choice([None, "", "ąę€😀", "x" * random.randrange(40)]),
        "price": random.choice([None, random.randrange(10**6)]),
        "is_new": random.choice([None, True, False]),
    }


def _envelope(random: Random) -> Any:
    rows = _row(random), _row(random)
    rows = tuple(row and {**row, "price": None} for row in rows)
    return {"before": rows[0], "after": rows[1], "op": random.choice("crud"), "ts_ms": random.choice([None, 7])}


def _nested(random: Random) -> Any:
    return {
        "tags": ["t" * random.randrange(9) for _ in range(random.randrange(5))],
        "by_name": {f"k{at}": random.choice([None, at, at / 3]) for at in range(random.randrange(4))},
        "kind": random.choice("abc"),
        "hash": random.randbytes(16),
        "ratio": 0.5,
        "size": random.random(),
        "grid": [[at] * random.randrange(3) for at in range(random.randrange(4))],
        "last": "żółw",
    }


def _node(random: Random) -> Any:
    made = None
    for at in range(random.randrange(1, 6)):
        made = {"id": at, "next": made, "nothing": [None] * random.randrange(3)}
    return made


_MADE = [_envelope, _nested, _node, lambda random: {"id": random.getrandbits(40)}]
