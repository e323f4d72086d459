"""The translator again, a message at a time with fastavro and plain Python: the oracle of its tests.

It shares with the product the entities' field table and the hash of ids, and nothing else.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import fastavro

from nurt.columnar.ids import Ids
from nurt.model.entities import ENTITIES, FieldType
from nurt.model.raw import RawBatch

UNAVAILABLE = "__debezium_unavailable_value"
EPOCH = datetime(1970, 1, 1)
FULL = {"true", "first", "last", "first_in_data_collection", "last_in_data_collection"}
ISO = re.compile(
    r"[\x00- ]*(?P<sign>[+-]?)(?P<year>\d{4,10})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"([Tt ](?P<time>\d\d:\d\d(:\d\d)?)([.,](?P<fraction>\d+))?)?"
    r"((?P<offset>[Zz]|[+-]\d\d(:?\d\d(:\d\d)?)?)(\[.*\])?)?(?P<before>[\x00- ]*BC)?[\x00- ]*",
    re.ASCII | re.DOTALL,
)
LSN = re.compile(r"[0-9a-fA-F]{1,8}:[0-9a-fA-F]{1,8}:[0-9a-fA-F]{1,4}")
SEQUENCE = re.compile(r' *\[ *(?:null|(?P<a>"?)(\d{1,18})(?P=a)) *, *(?:null|(?P<b>"?)(\d{1,18})(?P=b)) *\]', re.ASCII)
Row = Mapping[str, Any]


@dataclass(frozen=True)
class NaiveTable:
    """One topic's mapping: `fields` name a column, or make the value from the row of typed columns."""

    system: str
    kind: str
    key: tuple[str, ...]
    fields: Mapping[str, str | Callable[[Row], Any]]
    name: str = ""
    zone: str = "UTC"
    parent: tuple[str, str] | None = None  # kind, column

    @property
    def entity(self) -> str:
        return self.name or self.kind


class Refusal(Exception):
    """Carries the reason's text."""


class NotOurs(Exception):
    """Carries the reason."""


class _Typed(Mapping[str, Any]):
    """The columns of a row, each read when it is asked for: what nobody asks for cannot be refused."""

    def __init__(self, row: Row, types: Mapping[str, Any], zone: Any) -> None:
        self._row, self._types, self._zone = row, types, zone

    def __getitem__(self, name: str) -> Any:
        return meaning(self._row[name], self._types[name], self._zone)

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)


@dataclass
class Naive:
    schemas: Mapping[int, Any]
    tables: Mapping[str, NaiveTable]
    ids: Ids
    epochs: dict[tuple[str, int], int] = field(default_factory=dict)
    deleted: set[tuple[str, int, int, bytes | None]] = field(default_factory=set)

    def say(self, batch: RawBatch) -> list[tuple[str, Any]]:
        """For each message: ("row", columns) | ("truncated", position) | ("refused", reason) | ("not_ours", reason)."""
        return [self._say(batch, i) for i in range(len(batch))]

    def _say(self, batch: RawBatch, i: int) -> tuple[str, Any]:
        try:
            return self._translate(batch, i)
        except Refusal as refusal:
            return "refused", str(refusal)
        except NotOurs as reason:
            return "not_ours", str(reason)

    def _translate(self, batch: RawBatch, i: int) -> tuple[str, Any]:
        topic, table = batch.topic, self.tables.get(batch.topic)
        partition, offset, value = batch.partitions[i], batch.offsets[i], batch.values[i]
        head: dict[str, Any] = {
            "system": table.system if table else "",
            "entity": table.entity if table else "",
            "partition": partition,
            "offset": offset,
            "topic": None,  # one topic holds each table here
        }
        if value is None:
            if table is None or batch.keys[i] is None or (topic, partition, offset - 1, batch.keys[i]) in self.deleted:
                raise NotOurs("tombstone")
            epoch = self._epoch(topic, partition, full=False)
            head |= {"op": 1, "snapshot": 0, "source_epoch": epoch, "ts_ms": batch.timestamps_ms[i]}
            head |= dict.fromkeys(("p0", "p1", "p2", "p3"))
            return "row", self._delete(batch, i, table, head, {})
        if table is None:
            raise NotOurs(self._foreign(topic, value))
        schema, body = self._decoded(value)
        name = schema.get("name", "").rpartition(".")[2] if isinstance(schema, dict) else ""
        special = {
            "Heartbeat": "heartbeat",
            "TransactionMetadataValue": "transaction",
            "MessageValue": "logical_message",
        }
        if name in special:
            raise NotOurs(special[name])
        if not isinstance(body, dict) or "op" not in body or "after" not in body:
            raise Refusal("neither_envelope_nor_flattened_row")
        source, op = body["source"], body["op"]
        if op == "m":
            raise NotOurs("logical_message")
        if op not in tuple("crudt"):
            raise Refusal("unknown_operation")
        if op in "cru" and body["after"] is None:
            raise Refusal("neither_envelope_nor_flattened_row")
        snapshot = source.get("snapshot")
        full = snapshot in FULL
        epoch = self._epoch(topic, partition, full)
        position = naive_position(source)
        if op == "t":
            return "truncated", (epoch, position)
        times = (source.get("ts_ms"), body.get("ts_ms"), batch.timestamps_ms[i])
        head |= {
            "op": 0,
            "snapshot": 1 if full else 2 if snapshot == "incremental" else 0,
            "source_epoch": epoch,
            **dict(zip(("p0", "p1", "p2", "p3"), position, strict=True)),
            "ts_ms": next((time for time in times if time is not None and time > 0), batch.timestamps_ms[i]),
        }
        if op == "d":
            self.deleted.add((topic, partition, offset, batch.keys[i]))
            head["op"] = 1
            return "row", self._delete(batch, i, table, head, body)
        row = body["after"]
        types = _types(schema, "after")
        head["moved_from"] = self._other_key(batch, i, table, "__debezium.oldkey")
        return "row", self._upsert(table, head, row, types)

    def _other_key(self, batch: RawBatch, i: int, table: NaiveTable, header: str) -> bytes | None:
        other = dict(batch.headers[i] or []).get(header)
        if other is None:
            return None
        fields = json.loads(other)
        return self._id(table, table.entity, "\x1f".join(str(fields[column]) for column in table.key))

    def _upsert(self, table: NaiveTable, head: dict[str, Any], row: Row, types: Mapping[str, Any]) -> dict[str, Any]:
        key = "\x1f".join(str(row[column]) for column in table.key)
        said = {**head, "key": key, "row": self._id(table, table.entity, key), "unavailable": 0, "moved_to": None}
        said |= dict.fromkeys(("parent_kind", "parent", "parent_entity", "parent_key"))
        if table.parent is not None and row[table.parent[1]] is not None:
            kind, native = table.parent[0], str(row[table.parent[1]])
            said |= {"parent_kind": kind, "parent_entity": kind, "parent_key": native}
            said["parent"] = self._id(table, kind, native)
        typed = _Typed(row, types, table.zone)
        for bit, (name, field_type) in enumerate(ENTITIES[table.kind].fields.items()):
            expression = table.fields.get(name)
            if expression is None:
                said[name] = None
                continue
            if isinstance(expression, str) and row.get(expression) == UNAVAILABLE:
                said[name] = None
                said["unavailable"] |= 1 << bit
                continue
            value = typed.get(expression) if isinstance(expression, str) else expression(typed)
            said[name] = canonical(value, field_type)
        return said

    def _delete(self, batch: RawBatch, i: int, table: NaiveTable, head: dict[str, Any], body: Row) -> dict[str, Any]:
        key = batch.keys[i]
        native: Mapping[str, Any] = body.get("before") or {} if key is None else self._decoded(key)[1]
        if any(native.get(column) is None for column in table.key):
            raise Refusal("row_without_key")
        text = "\x1f".join(str(native[column]) for column in table.key)
        said = {**head, "key": text, "row": self._id(table, table.entity, text), "unavailable": 0}
        said |= {"moved_to": self._other_key(batch, i, table, "__debezium.newkey"), "moved_from": None}
        said |= dict.fromkeys(("parent_kind", "parent", "parent_entity", "parent_key", *ENTITIES[table.kind].fields))
        return said

    def _id(self, table: NaiveTable, entity: str, key: str) -> bytes:
        return self.ids.one(f"{table.system}\x1f{entity}\x1f{key}")

    def _epoch(self, topic: str, partition: int, full: bool) -> int:
        epoch = self.epochs.get((topic, partition), 0)
        if full != (epoch % 2 == 0):
            epoch += 1
        self.epochs[topic, partition] = epoch
        return epoch

    def _decoded(self, message: bytes) -> tuple[Any, Any]:
        if len(message) < 5 or message[0] != 0:
            raise Refusal("not_confluent_wire_format")
        schema = self.schemas.get(int.from_bytes(message[1:5], "big"))
        if schema is None:
            raise Refusal("unknown_schema_id")
        plain = _without_logical_types(schema)
        body = io.BytesIO(message[5:])
        try:
            value = fastavro.schemaless_reader(body, plain)
        except Exception:
            raise Refusal("body_does_not_match_schema") from None
        if body.read():
            raise Refusal("body_does_not_match_schema")
        return schema, value

    def _foreign(self, topic: str, value: bytes) -> str:
        if topic.startswith("__debezium-heartbeat."):
            return "heartbeat"
        if topic.startswith("outbox.event."):
            return "outbox"
        schema = self.schemas.get(int.from_bytes(value[1:5], "big"))
        if not isinstance(schema, dict):
            return "unmapped"
        names = {
            "TransactionMetadataValue": "transaction",
            "SchemaChangeValue": "schema_change",
            "MessageValue": "logical_message",
        }
        if schema["name"] in names:
            return names[schema["name"]]
        columns = set(_types(schema, "after"))
        if columns == {"id", "type", "data"}:
            return "signal"
        return "outbox" if {"aggregatetype", "aggregateid"} <= columns else "unmapped"


def naive_position(source: Row) -> tuple[int | None, ...]:
    if "lsn" in source:
        found = SEQUENCE.fullmatch(source["sequence"] or "")
        first, second = (part and int(part) for part in (found[2], found[4])) if found else (None, None)
        return first, source["lsn"] if second is None else second, 0, 0
    if "file" in source:
        number = re.fullmatch(r".*\.([0-9]{1,18})", source["file"], re.DOTALL)
        return (int(number[1]) if number else None, source["pos"], source["row"], 0)
    if "commit_lsn" in source:
        commit, change = (
            [int(part, 16) for part in source[name].split(":")]
            if LSN.fullmatch(source[name] or "") and int(source[name].split(":")[0], 16) < 2**31
            else None
            for name in ("commit_lsn", "change_lsn")
        )
        p0, p1 = (commit[0] << 32 | commit[1], commit[2]) if commit else (None, None)
        p2 = change[0] << 32 | change[1] if change else None
        serial = source["event_serial_no"]
        return p0, p1, p2, change[2] << 32 | serial if change and serial is not None and 0 <= serial < 2**32 else None
    return None, None, None, None


def meaning(value: Any, type_: Any, zone: str) -> Any:
    """Give one value the meaning that its type declares; datetimes are aware, in UTC."""
    name = type_.get("connect.name", "").rpartition(".")[2] if isinstance(type_, dict) else ""
    if value is None or value == UNAVAILABLE:
        return None
    if name == "Decimal":
        return Decimal(int.from_bytes(value, "big", signed=True)).scaleb(-int(type_["scale"]))
    try:
        if name == "Date":
            return date(1970, 1, 1) + timedelta(days=value)
        if name in ("Timestamp", "MicroTimestamp", "NanoTimestamp"):
            micros = {"Timestamp": value * 1000, "MicroTimestamp": value, "NanoTimestamp": value // 1000}[name]
            local = (EPOCH + timedelta(microseconds=micros)).replace(tzinfo=ZoneInfo(zone))
            return local.astimezone(UTC)
        if name == "ZonedTimestamp":
            return zoned(value, zone)
    except (OverflowError, ValueError):
        return None
    return value


def zoned(text: str, zone: str) -> datetime | None:
    """Read an instant; None: no calendar holds it."""
    if not text.strip("".join(map(chr, range(33)))) or re.fullmatch(r"[\x00- ]*[+-]?infinity[\x00- ]*", text, re.I):
        return None
    found = ISO.fullmatch(text)
    if found is None or int(found["month"]) > 12 or int(found["day"]) > 31:
        raise Refusal("time_cannot_be_read")
    clock = found["time"] or "00:00"
    fraction = f".{found['fraction'][:6]:0<6}" if found["fraction"] else ""
    offset = (found["offset"] or "").upper().replace("Z", "+00:00")
    try:
        time.fromisoformat(f"{clock}{fraction}{offset}")
    except ValueError:
        raise Refusal("time_cannot_be_read") from None
    if int(offset[1:3] or 0) > 18:
        raise Refusal("time_cannot_be_read")
    if found["sign"] == "-" or found["before"] or len(found["year"].lstrip("0")) > 4:
        return None
    try:
        moment = datetime.fromisoformat(
            f"{int(found['year']):04}-{found['month']}-{found['day']}T{clock}{fraction}{offset}"
        )
        return (moment if offset else moment.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)
    except (OverflowError, ValueError):
        return None


def canonical(value: Any, field_type: FieldType) -> Any:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if field_type is FieldType.STR:
        return str(value)
    if field_type is FieldType.DAY:
        return (value - date(1970, 1, 1)).days
    if field_type is FieldType.TS:
        return (value - EPOCH.replace(tzinfo=UTC)) // timedelta(microseconds=1)
    if field_type is FieldType.AMOUNT:
        units = Decimal(value) * 10_000
        if units != int(units) or abs(units) >= 2**63:
            raise Refusal("value_out_of_range")
        return int(units)
    return bool(value)


def _types(schema: Any, field_name: str) -> dict[str, Any]:
    """Give the type of each column of an envelope's row, by what it is when not null."""
    named = {f["name"]: f["type"] for f in schema.get("fields", ())}
    if field_name not in named:
        return {}
    branches = named[field_name] if isinstance(named[field_name], list) else [named[field_name]]
    branches = [branch for branch in branches if branch != "null"]
    if branches == ["Value"] or isinstance(branches[0], str):
        return _types(schema, "before") if field_name == "after" else {}
    found = {}
    for column in branches[0].get("fields", ()):
        types = column["type"] if isinstance(column["type"], list) else [column["type"]]
        present = [type_ for type_ in types if type_ != "null"]
        found[column["name"]] = present[0] if present else "null"
    return found


def _without_logical_types(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _without_logical_types(value) for key, value in schema.items() if key != "logicalType"}
    return [_without_logical_types(part) for part in schema] if isinstance(schema, list) else schema
