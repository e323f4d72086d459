"""Write the Avro schemas that Debezium 3 and Confluent's AvroConverter register for a table and a connector."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from nurt.simulate.connector.columns import Table

VERSION = "3.6.3.Final"

SCHEMA_JSON = dict[str, Any]

_SNAPSHOT: SCHEMA_JSON = {
    "type": "string",
    "connect.version": 1,
    "connect.parameters": {
        "allowed": "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"
    },
    "connect.default": "false",
    "connect.name": "io.debezium.data.Enum",
}


def _optional(name: str, kind: str) -> SCHEMA_JSON:
    return {"name": name, "type": ["null", kind], "default": None}


_SOURCE_HEAD: list[SCHEMA_JSON] = [
    {"name": "version", "type": "string"},
    {"name": "connector", "type": "string"},
    {"name": "name", "type": "string"},
    {"name": "ts_ms", "type": "long"},
    {"name": "snapshot", "type": [_SNAPSHOT, "null"], "default": "false"},
    {"name": "db", "type": "string"},
    _optional("sequence", "string"),
    _optional("ts_us", "long"),
    _optional("ts_ns", "long"),
]

_SOURCE_TAIL: dict[str, list[SCHEMA_JSON]] = {
    "postgresql": [
        {"name": "schema", "type": "string"},
        {"name": "table", "type": "string"},
        _optional("txId", "long"),
        _optional("lsn", "long"),
        _optional("xmin", "long"),
        _optional("origin", "string"),
        _optional("origin_lsn", "long"),
    ],
    "mariadb": [
        _optional("table", "string"),
        {"name": "server_id", "type": "long"},
        _optional("gtid", "string"),
        {"name": "file", "type": "string"},
        {"name": "pos", "type": "long"},
        {"name": "row", "type": "int"},
        _optional("thread", "long"),
        _optional("query", "string"),
    ],
}

_BLOCK: SCHEMA_JSON = {
    "type": "record",
    "name": "block",
    "namespace": "event",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "total_order", "type": "long"},
        {"name": "data_collection_order", "type": "long"},
    ],
    "connect.version": 1,
    "connect.name": "event.block",
}


def source_schema(connector: str) -> SCHEMA_JSON:
    """Return the `source` record of a connector (`postgresql`, `mariadb`)."""
    namespace = f"io.debezium.connector.{connector}"
    return {
        "type": "record",
        "name": "Source",
        "namespace": namespace,
        "fields": _SOURCE_HEAD + _SOURCE_TAIL[connector],
        "connect.version": 1,
        "connect.name": f"{namespace}.Source",
    }


def value_schema(connector: str, topic: str, table: Table) -> SCHEMA_JSON:
    """Return the envelope of a table's changes; a named type is written out once, then only its name."""
    seen: set[str] = set()

    def once(avro: Any) -> Any:
        if isinstance(avro, list):
            return [once(branch) for branch in avro]
        if isinstance(avro, dict) and avro.get("type") == "record":
            full_name = f"{avro['namespace']}.{avro['name']}"
            if full_name in seen:
                return full_name
            seen.add(full_name)
        return avro

    fields = [{**field, "type": once(field["type"])} for field in (column.avro_field() for column in table.columns)]
    row = {"type": "record", "name": "Value", "fields": fields, "connect.name": f"{topic}.Value"}
    return {
        "type": "record",
        "name": "Envelope",
        "namespace": topic,
        "fields": [
            {"name": "before", "type": ["null", row], "default": None},
            {"name": "after", "type": ["null", "Value"], "default": None},
            {"name": "source", "type": source_schema(connector)},
            {"name": "transaction", "type": ["null", _BLOCK], "default": None},
            {"name": "op", "type": "string"},
            _optional("ts_ms", "long"),
            _optional("ts_us", "long"),
            _optional("ts_ns", "long"),
        ],
        "connect.version": 2,
        "connect.name": f"{topic}.Envelope",
    }


def key_schema(topic: str, table: Table) -> SCHEMA_JSON:
    """Return the key record of a table."""
    columns = {column.name: column for column in table.columns}
    fields = [columns[name].avro_field() for name in table.key]
    return {"type": "record", "name": "Key", "namespace": topic, "fields": fields, "connect.name": f"{topic}.Key"}


def _common(name: str, fields: list[SCHEMA_JSON]) -> SCHEMA_JSON:
    namespace = "io.debezium.connector.common"
    full_name = f"{namespace}.{name}"
    head = {"type": "record", "name": name, "namespace": namespace, "fields": fields}
    return {**head, "connect.version": 1, "connect.name": full_name}


HEARTBEAT_KEY = _common("ServerNameKey", [{"name": "serverName", "type": "string"}])
HEARTBEAT_VALUE = _common("Heartbeat", [{"name": "ts_ms", "type": "long"}])
TRANSACTION_KEY = _common("TransactionMetadataKey", [{"name": "id", "type": "string"}])
_COLLECTION: SCHEMA_JSON = {
    "type": "record",
    "name": "collection",
    "namespace": "event",
    "fields": [{"name": "data_collection", "type": "string"}, {"name": "event_count", "type": "long"}],
    "connect.version": 1,
    "connect.name": "event.collection",
}
TRANSACTION_VALUE = _common(
    "TransactionMetadataValue",
    [
        {"name": "status", "type": "string"},
        {"name": "id", "type": "string"},
        _optional("event_count", "long"),
        {
            "name": "data_collections",
            "type": ["null", {"type": "array", "items": ["null", _COLLECTION]}],
            "default": None,
        },
        {"name": "ts_ms", "type": "long"},
    ],
)


class SchemaBook:
    """Registry without a server, with ids from 1; implements `ports.registry.SchemaRegistry`."""

    def __init__(self) -> None:
        self.schemas: dict[int, dict[str, Any]] = {}
        self.subjects: dict[str, list[int]] = {}
        self._lock = threading.Lock()

    def schema(self, schema_id: int, archive: str = "") -> dict[str, Any] | None:
        """Return the schema with this id, or None."""
        return self.schemas.get(schema_id)

    def register(self, subject: str, schema: Mapping[str, Any]) -> int:
        """Return the id of the schema, a new one when no subject has had it; equal schemas share an id."""
        with self._lock:
            found = next((number for number, known in self.schemas.items() if known == schema), None)
            number = len(self.schemas) + 1 if found is None else found
            self.schemas[number] = dict(schema)
            versions = self.subjects.setdefault(subject, [])
            if number not in versions:
                versions.append(number)
            return number
