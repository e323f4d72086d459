"""Write Debezium envelopes of one table as bytes: Confluent's wire header, images, source block, transaction block."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from nurt.ports.registry import SchemaRegistry
from nurt.simulate.connector.columns import Key, Row, Table, encode_long, encode_text
from nurt.simulate.connector.schemas import VERSION, key_schema, value_schema

ConnectorKind = Literal["mariadb", "postgresql"]

NULL, SOME = b"\x00", b"\x02"  # branches of a union ["null", X]
_STREAMED = b"\x00" + encode_text("false")  # branch 0: the union is [enum, "null"]


def wire_header(schema_id: int) -> bytes:
    """Return what Confluent's serialiser puts before a body. Source: Confluent wire format."""
    return b"\x00" + schema_id.to_bytes(4, "big")


def some_long(number: int) -> bytes:
    """Write a long in a union with null."""
    return SOME + encode_long(number)


def some_text(text: str | None) -> bytes:
    """Write a string in a union with null."""
    return NULL if text is None else SOME + encode_text(text)


@dataclass(frozen=True, slots=True)
class Place:
    """Place of a change in the source's own order; MariaDB uses the first line, PostgreSQL the second."""

    file: str = ""
    pos: int = 0
    row: int = 0
    gtid: str | None = None
    server_id: int = 0
    commit_lsn: int | None = None  # sequence[0]: end of the last transaction that the connector saw
    change_lsn: int = 0  # sequence[1]
    lsn: int | None = None  # null in an incremental snapshot
    tx_id: int | None = None


class TableEnvelopes:
    """Writer of one table's keys and envelopes, with the schema ids of the registry."""

    def __init__(
        self, kind: ConnectorKind, prefix: str, database: str, schema: str, table: Table, registry: SchemaRegistry
    ) -> None:
        self.table = table
        self.collection = f"{schema}.{table.name}"
        self.topic = f"{prefix}.{self.collection}"
        self._kind = kind
        key_id = registry.register(f"{self.topic}-key", key_schema(self.topic, table))
        value_id = registry.register(f"{self.topic}-value", value_schema(kind, self.topic, table))
        self._key_header = wire_header(key_id)
        self._value_header = wire_header(value_id)
        self._columns = [(column.name, column.encoder()) for column in table.columns]
        encoders = dict(self._columns)
        self._key_encoders = [encoders[name] for name in table.key]
        self._fillers = {column.name: column.filler() for column in table.columns}
        self._source_head = encode_text(VERSION) + encode_text(kind) + encode_text(prefix)
        self._db = encode_text(database)
        if kind == "mariadb":
            self._names = some_text(table.name)
        else:
            self._names = encode_text(schema) + encode_text(table.name)

    def key(self, key: Key) -> bytes:
        """Write a message key with its wire header."""
        return self._key_header + b"".join(
            [encode(value) for encode, value in zip(self._key_encoders, key, strict=True)]
        )

    def image(self, row: Row) -> bytes:
        """Write a row's record, as `before` and `after` hold it."""
        return b"".join([encode(row[name]) for name, encode in self._columns])

    def filler_image(self, key: Key) -> bytes:
        """Write the `before` of a delete under REPLICA IDENTITY DEFAULT: the key and filler."""
        return self.image({**self._fillers, **dict(zip(self.table.key, key, strict=True))})

    def key_json(self, key: Key) -> bytes:
        """Write a key for the headers of a re-key: JSON."""
        named = {name: _plain(value) for name, value in zip(self.table.key, key, strict=True)}
        return json.dumps(named, separators=(",", ":"), ensure_ascii=False).encode()

    def envelope(
        self,
        op: str,
        before: bytes | None,
        after: bytes | None,
        place: Place,
        transaction: bytes,
        source_us: int,
        at_us: int,
        snapshot: str = "false",
    ) -> bytes:
        """Write a whole message value; `transaction` is a written block or NULL, times are us since 1970 UTC."""
        parts = [
            self._value_header,
            NULL if before is None else SOME + before,
            NULL if after is None else SOME + after,
            self._source_head,
            encode_long(source_us // 1000),
            _STREAMED if snapshot == "false" else b"\x00" + encode_text(snapshot),
            self._db,
        ]
        if self._kind == "mariadb":
            parts += [
                NULL,
                some_long(source_us),
                some_long(source_us * 1000),
                self._names,
                encode_long(place.server_id),
                some_text(place.gtid),
                encode_text(place.file),
                encode_long(place.pos),
                encode_long(place.row),
                NULL,
                NULL,
            ]
        else:
            first = "null" if place.commit_lsn is None else f'"{place.commit_lsn}"'
            parts += [
                some_text(f'[{first},"{place.change_lsn}"]'),
                some_long(source_us),
                some_long(source_us * 1000),
                self._names,
                NULL if place.tx_id is None else some_long(place.tx_id),
                NULL if place.lsn is None else some_long(place.lsn),
                NULL,
                NULL,
                NULL,
            ]
        parts += [
            transaction,
            encode_text(op),
            some_long(at_us // 1000),
            some_long(at_us),
            some_long(at_us * 1000 + at_us % 1000),
        ]
        return b"".join(parts)


def transaction_block(transaction_id: str, total_order: int, collection_order: int) -> bytes:
    """Write the envelope's `transaction` record in its union."""
    return SOME + encode_text(transaction_id) + encode_long(total_order) + encode_long(collection_order)


def transaction_marker(status: str, transaction_id: str, counts: Mapping[str, int] | None, ts_ms: int) -> bytes:
    """Write the body of a BEGIN (no counts) or END message of the transaction topic."""
    body = encode_text(status) + encode_text(transaction_id)
    if counts is None:
        body += NULL + NULL
    else:
        body += some_long(sum(counts.values())) + SOME
        items = [SOME + encode_text(name) + encode_long(count) for name, count in counts.items()]
        body += (encode_long(len(items)) + b"".join(items) if items else b"") + encode_long(0)
    return body + encode_long(ts_ms)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | datetime) else value
