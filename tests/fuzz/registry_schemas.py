"""Schemas that somebody registered: each costs its own messages; the others of the batch become rows."""

from __future__ import annotations

import copy
import logging
from random import Random
from typing import Any

from nurt.mapping.load import load_mapping
from nurt.translate.translator import Translator
from tests.corpus_messages import Schemas, accounted
from tests.envelopes import IDS, KEY_ID, VALUE_ID, Topic, connect, decimal, entry
from tests.fuzz.harness import mutated

COUNT = 100_000
HOSTILE_ID, HOSTILE_KEY_ID = 9, 10
COLUMNS = {
    "id": "int",
    "email": ["null", "string"],
    "total": ["null", decimal(2)],
    "born": ["null", connect("int", "io.debezium.time.Date")],
    "at": ["null", connect("long", "io.debezium.time.MicroTimestamp")],
    "kind": ["null", {"type": "enum", "name": "Kind", "symbols": ["a", "b"]}],
    "tags": {"type": "array", "items": "string"},
    "point": ["null", {"type": "record", "name": "Point", "fields": [{"name": "x", "type": "double"}]}],
}
ROW = {
    "id": 1,
    "email": "a@x.example",
    "total": b"\1",
    "born": 7,
    "at": 7,
    "kind": "a",
    "tags": [],
    "point": {"x": 1.0},
}
MAPPING = "systems:\n  s: {timezone: UTC}\ntopics:\n  - match: s.t\n    system: s\n" + entry(
    "customer", email="email", birth_date="born", created_at="at", gender="kind"
)
ODD: list[Any] = [
    None, 0, -1, 2**63, 2**70, 1e400, True, "", "null", "string", "long", "bytes", "Value", "s.t.Value", "\ud800", [],
    {}, ["null"], ["null", "null"], [[]], {"type": "array", "items": "null"}, {"type": "map", "values": "Value"},
    {"type": "fixed", "name": "f", "size": 3}, {"type": "fixed", "name": "f", "size": 0}, ["null", "Value"], "boolean",
    {"type": "bytes", "logicalType": "decimal", "scale": 99, "precision": 3},
    {"type": "enum", "name": "e", "symbols": []},
    {"type": "long", "connect.name": "io.debezium.data.VariableScaleDecimal"}, "double", "float",
    {"type": "string", "connect.name": "io.debezium.time.ZonedTimestamp"}, "record",
    {"type": "int", "connect.name": "org.apache.kafka.connect.data.Decimal"},
]  # fmt: skip
KEYS = [
    "type",
    "name",
    "namespace",
    "fields",
    "symbols",
    "size",
    "items",
    "values",
    "logicalType",
    "scale",
    "precision",
]
KEYS += ["connect.name", "connect.parameters", "default", "aliases"]


def prepare() -> Topic:
    """Write the sound messages once."""
    logging.disable(logging.WARNING)
    topic = Topic(COLUMNS)
    topic.upsert("c", row=ROW)
    topic.upsert("u", row=ROW)
    topic.delete(ROW)
    return topic


def attempt(random: Random, shared: Topic) -> str:
    """Translate sound messages, and the same bytes under a schema that was changed in some places."""
    topic = copy.copy(shared)
    topic.batch, topic.next_offset = copy.deepcopy(shared.batch), {0: 3}
    topic.schemas = dict(shared.schemas)
    topic.schemas[HOSTILE_ID] = changed(random, shared.schemas[VALUE_ID])
    topic.schemas[HOSTILE_KEY_ID] = changed(random, shared.schemas[KEY_ID])
    sound = len(topic.batch)
    for row in range(sound):
        key, value = shared.batch.keys[row], shared.batch.values[row]
        assert key is not None and value is not None
        body = value[5:] if random.random() < 0.7 else mutated(random, value[5:])
        own_key = b"\0\0\0\0" + bytes([HOSTILE_KEY_ID]) + key[5:] if random.random() < 0.5 else key
        topic.raw(own_key, b"\0\0\0\0" + bytes([HOSTILE_ID]) + body)
    translator = Translator(load_mapping(MAPPING, "fuzz.yaml"), Schemas(topic.schemas), IDS)
    out = translator.translate(topic.batch)
    assert accounted(out) == len(topic.batch), "a message is in no place, or in two"
    assert not [one for one in out.refused if one.offset < sound], "a sound message was refused"
    return "refused" if len(out.refused) == len(topic.batch) - sound else "read"


def changed(random: Random, schema: Any) -> Any:
    """Change a schema in some places of its JSON."""
    whole = [copy.deepcopy(schema)]
    for _ in range(random.choice((1, 1, 2, 4))):
        places: list[tuple[Any, Any]] = []
        _collect(whole, places)
        at, key = random.choice(places)
        kind = random.randrange(5)
        if kind == 0 or not isinstance(at, dict):
            at[key] = copy.deepcopy(random.choice(ODD))
        elif kind == 1:
            del at[key]
        elif kind == 2:
            at[random.choice(KEYS)] = copy.deepcopy(random.choice(ODD))
        elif kind == 3:
            _, other = random.choice([place for place in places if isinstance(place[0], dict)])
            at[key] = copy.deepcopy(at.get(other))
        else:
            for _ in range(random.choice((1, 30, 70))):
                at[key] = {"type": "array", "items": at[key]}
    return whole[0]


def _collect(part: Any, places: list[tuple[Any, Any]]) -> None:
    waiting = [part]
    while waiting:
        one = waiting.pop()
        inner = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        for key, value in inner:
            places.append((one, key))
            waiting.append(value)
