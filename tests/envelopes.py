"""Invent Debezium topics message by message: envelopes, flattened rows, deletes, tombstones."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import fastavro

from nurt.columnar.ids import Ids
from nurt.control.source_epochs import SourceEpochs
from nurt.mapping.joins.compile import numbered, numbers_for
from nurt.mapping.joins.numbers import Numbers
from nurt.mapping.load import load_mapping
from nurt.model.raw import Headers, RawBatch
from nurt.translate.translator import Translator
from tests.corpus_messages import Schemas

KEY_ID, VALUE_ID = 1, 2
IDS = Ids(bytes(range(16)))

SOURCES: dict[str, list[dict[str, Any]]] = {
    "postgresql": [
        {"name": "sequence", "type": ["null", "string"], "default": None},
        {"name": "lsn", "type": ["null", "long"], "default": None},
    ],
    "mysql": [
        {"name": "server_id", "type": "long"},
        {"name": "file", "type": "string"},
        {"name": "pos", "type": "long"},
        {"name": "row", "type": "int"},
    ],
    "oracle": [{"name": "scn", "type": ["null", "string"], "default": None}],
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "postgresql": {"sequence": None, "lsn": None},
    "mysql": {"server_id": 1, "file": "binlog.000001", "pos": 4, "row": 0},
    "oracle": {"scn": "1"},
}


def connect(avro: str, name: str, **more: Any) -> dict[str, Any]:
    """An Avro type with Connect's semantic name."""
    return {"type": avro, "connect.name": name, **more}


def decimal(scale: int, precision: int = 38) -> dict[str, Any]:
    parameters = {"scale": str(scale)}
    name = "org.apache.kafka.connect.data.Decimal"
    return {
        **connect("bytes", name, scale=scale, precision=precision, logicalType="decimal"),
        "connect.parameters": parameters,
    }


def unscaled(whole: int) -> bytes:
    return whole.to_bytes(whole.bit_length() // 8 + 1, "big", signed=True)


class Topic:
    """One topic of one table; every method appends a message and returns its place in the batch."""

    def __init__(
        self,
        columns: Mapping[str, Any],
        key: tuple[str, ...] = ("id",),
        kind: str = "postgresql",
        name: str = "s.t",
        added: tuple[dict[str, Any], ...] = (),
    ) -> None:
        """`added` are fields that a transformation put into flattened rows."""
        self.kind, self.name, self.key = kind, name, key
        fields = [{"name": column, "type": type_} for column, type_ in columns.items()]
        keys = [{"name": column, "type": _present(columns[column])} for column in key if column in columns]
        value = {"type": "record", "name": "Value", "fields": fields}
        source = {
            "type": "record",
            "name": "Source",
            "fields": [
                {"name": "ts_ms", "type": "long"},
                {"name": "snapshot", "type": ["string", "null"], "default": "false"},
                *SOURCES[kind],
            ],
        }
        envelope = [
            {"name": "before", "type": ["null", value]},
            {"name": "after", "type": ["null", "Value"]},
            {"name": "source", "type": source},
            {"name": "op", "type": "string"},
            {"name": "ts_ms", "type": ["null", "long"]},
        ]
        self.flat = {"type": "record", "name": "Value", "namespace": "flat", "fields": [*fields, *added]}
        self.schemas: dict[int, Any] = {
            KEY_ID: {"type": "record", "name": "Key", "namespace": "s.t", "fields": keys},
            VALUE_ID: {"type": "record", "name": "Envelope", "namespace": "s.t", "fields": envelope},
            3: self.flat,
        }
        self.batch = RawBatch(name, [], [], [], [], [], [])
        self.next_offset: dict[int, int] = {}
        self._parsed: dict[int, Any] = {}

    def write(self, schema_id: int, value: Any) -> bytes:
        out = io.BytesIO()
        if schema_id not in self._parsed:
            self._parsed[schema_id] = fastavro.parse_schema(_raw(self.schemas[schema_id]))
        fastavro.schemaless_writer(out, self._parsed[schema_id], value)
        return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()

    def raw(
        self,
        key: bytes | None,
        value: bytes | None,
        partition: int = 0,
        headers: Headers | None = None,
        offset: int | None = None,
    ) -> int:
        offset = self.next_offset.get(partition, 0) if offset is None else offset
        self.next_offset[partition] = offset + 1
        self.batch.partitions.append(partition)
        self.batch.offsets.append(offset)
        self.batch.timestamps_ms.append(1_700_000_000_000 + len(self.batch.offsets))
        self.batch.keys.append(key)
        self.batch.values.append(value)
        self.batch.headers.append(headers)
        return len(self.batch) - 1

    def upsert(
        self, op: str = "c", partition: int = 0, key: bytes | None = None, row: Any = None, **source: Any
    ) -> int:
        key = self.key_of(row) if key is None and row is not None else key
        return self.raw(key, self.envelope(op, None, row, **source), partition)

    def delete(
        self,
        row: Mapping[str, Any],
        partition: int = 0,
        key: bytes | str | None = "own",
        headers: Headers | None = None,
        **source: Any,
    ) -> int:
        written = self.key_of(row) if isinstance(key, str) else key
        return self.raw(written, self.envelope("d", row, None, **source), partition, headers)

    def tombstone(self, row: Mapping[str, Any], partition: int = 0, headers: Headers | None = None) -> int:
        return self.raw(self.key_of(row), None, partition, headers)

    def flattened(self, row: Mapping[str, Any], partition: int = 0, **added: Any) -> int:
        return self.raw(self.key_of(row), self.write(3, {**row, **added}), partition)

    def envelope(self, op: str, before: Any, after: Any, **source: Any) -> bytes:
        body = {"ts_ms": 1_600_000_000_000, "snapshot": "false", **DEFAULTS[self.kind], **source}
        return self.write(
            VALUE_ID, {"before": before, "after": after, "source": body, "op": op, "ts_ms": 1_600_000_000_001}
        )

    def key_of(self, row: Mapping[str, Any]) -> bytes:
        return self.write(KEY_ID, {column: row[column] for column in self.key if column in row})

    def translator(
        self, topics: str, zone: str = "UTC", epochs: SourceEpochs | None = None, placeholders: Sequence[str] = ()
    ) -> Translator:
        """A translator whose mapping has `topics` as the body of this topic's entry."""
        system = f"timezone: {zone}, unavailable_placeholder: {json.dumps(list(placeholders))}"
        text = f"systems:\n  s: {{{system}}}\ntopics:\n  - match: {json.dumps(self.name)}\n    system: s\n"
        mapping = load_mapping(text + topics, "test.yaml")
        stored = numbered(mapping, numbers_for(mapping, Numbers()))
        return Translator(stored, Schemas(_raw(self.schemas)), IDS, epochs)


def entry(kind: str = "customer", key: str = "id", **fields: str) -> str:
    """The rest of a topic's entry in a mapping."""
    lines = [f"    entity: {kind}", f"    key: {key}", "    fields:" if fields else "    fields: {}"]
    return "\n".join([*lines, *(f"      {name}: {json.dumps(text)}" for name, text in fields.items())]) + "\n"


def _present(type_: Any) -> Any:
    return next(branch for branch in type_ if branch != "null") if isinstance(type_, list) else type_


def _raw(schema: Any) -> Any:
    """Leave out `logicalType`, so that fastavro writes what it is given; Connect's names say the same."""
    if isinstance(schema, dict):
        return {name: _raw(value) for name, value in schema.items() if name != "logicalType"}
    return [_raw(part) for part in schema] if isinstance(schema, list) else schema
