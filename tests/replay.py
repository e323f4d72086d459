"""Read Debezium messages with fastavro and rebuild the tables from them, the plainest right way."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import fastavro

from nurt.simulate.connector.columns import UNAVAILABLE
from nurt.simulate.connector.messages import Message
from nurt.simulate.connector.schemas import SchemaBook

EPOCH = datetime(1970, 1, 1)


class Reader:
    """Reads messages with fastavro, each body to its last byte."""

    def __init__(self, book: SchemaBook) -> None:
        self.parsed = {number: fastavro.parse_schema(schema) for number, schema in book.schemas.items()}

    def __call__(self, raw: bytes | None) -> dict[str, Any] | None:
        if raw is None:
            return None
        assert raw[0] == 0
        body = io.BytesIO(raw[5:])
        value = fastavro.schemaless_reader(body, self.parsed[int.from_bytes(raw[1:5], "big")], None)
        assert body.read() == b""
        assert isinstance(value, dict)
        return value


def position(value: dict[str, Any]) -> tuple[int, ...]:
    """The connector's order within one run of it; a null sequence[0] is before every commit that it saw."""
    source = value["source"]
    if source["connector"] == "mariadb":
        return int(source["file"].split(".")[1]), source["pos"], source["row"]
    first, second = json.loads(source["sequence"])
    return -1 if first is None else int(first), int(second), 0


def semantic(avro: Any, value: Any) -> Any:
    """Turn an Avro value of Debezium's into the Python value that a row holds."""
    branches = avro if isinstance(avro, list) else [avro]
    kind = next(branch for branch in branches if branch != "null")
    name = kind.get("connect.name") if isinstance(kind, dict) else None
    if value is None or value == UNAVAILABLE:
        return value
    if name == "io.debezium.time.Date":
        return date(1970, 1, 1) + timedelta(days=value)
    if name == "io.debezium.time.Timestamp":
        return EPOCH + timedelta(milliseconds=value)
    if name == "io.debezium.time.MicroTimestamp":
        return EPOCH + timedelta(microseconds=value)
    if name == "io.debezium.time.ZonedTimestamp":
        return datetime.fromisoformat(value)
    if name == "io.debezium.data.VariableScaleDecimal":
        return Decimal(int.from_bytes(value["value"], "big", signed=True)).scaleb(-value["scale"])
    return value


def replay(log: Iterable[Message], book: SchemaBook) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
    """Rebuild the tables from a log the plainest right way: per row the highest position wins, truncates are floors.

    A full snapshot amid the stream begins a new source epoch in its partition (so a table must not be truncated behind
    one: the truncate's partition may have missed it). Where sequence[0] is unknown, the
    partition's order decides between a row's events, and the log position alone between a row and a truncate (whose
    lock lets no transaction straddle it).
    """
    read = Reader(book)
    held: dict[str, dict[tuple[Any, ...], tuple[Any, dict[str, Any] | None]]] = defaultdict(dict)
    floors: dict[str, Any] = {}
    epochs: dict[tuple[str, int], int] = defaultdict(int)
    streamed: set[tuple[str, int]] = set()
    for message in log:
        value = read(message.value)
        if value is None or "op" not in value or message.topic.endswith("dbz_signal"):
            continue
        place = (message.topic, message.partition)
        full = value["op"] == "r" and value["source"]["snapshot"] != "incremental"
        if full and place in streamed:
            epochs[place] += 1
            streamed.discard(place)
        elif not full:
            streamed.add(place)
        order = (epochs[place], position(value))
        if value["op"] == "t":
            floors[message.topic] = max(order, floors.get(message.topic, order))
            continue
        key_record = read(message.key)
        assert key_record is not None
        key = tuple(key_record.values())
        before = held[message.topic].get(key)
        known = before is not None and -1 not in (order[1][0], before[0][1][0])
        if before is not None and order < (before[0] if known else (order[0], ())):
            continue
        row = value["after"]
        if row is not None:
            schema = book.schemas[int.from_bytes((message.value or b"")[1:5], "big")]
            fields = schema["fields"][0]["type"][1]["fields"]
            row = {field["name"]: semantic(field["type"], row[field["name"]]) for field in fields}
            if before is not None and before[1] is not None:
                row = {name: before[1].get(name) if said == UNAVAILABLE else said for name, said in row.items()}
        held[message.topic][key] = (order, row)
    return {
        topic: {
            key: row
            for key, (order, row) in rows.items()
            if row is not None and not (topic in floors and is_under(order, floors[topic]))
        }
        for topic, rows in held.items()
    }


def is_under(order: Any, floor: Any) -> bool:
    if order[0] == floor[0] and -1 in (order[1][0], floor[1][0]):
        return bool(order[1][1:] <= floor[1][1:])
    return bool(order <= floor)


def assert_same_rows(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for topic, rows in expected.items():
        got = found.get(topic, {})
        assert set(got) == set(rows), topic
        for key, row in rows.items():
            # a row written before an ALTER says nothing of the new column, which is null
            assert dict.fromkeys(row) | got[key] == row, (topic, key)
