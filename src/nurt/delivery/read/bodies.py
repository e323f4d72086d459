"""Bodies of published messages, by any writer, as bodies of the contract that this nurt knows."""

from __future__ import annotations

import io
from typing import Any, Protocol

import fastavro

from nurt.contracts import schemas

WIRE_BYTES = 5


class WriterSchemas(Protocol):
    """Source of the schemas that bodies were written by."""

    def schema(self, schema_id: int, archive: str = "") -> dict[str, Any] | None:
        """See ports.registry.SchemaRegistry."""
        ...


class BodyConverter:
    """Converter of values in Confluent's wire format to bodies; values of another version are written again.

    Args:
        writers: what bodies were written by; None: by `contract`.
    """

    def __init__(self, contract: str, writers: WriterSchemas | None) -> None:
        self._registry = writers
        self._contract = schemas.load(contract)
        self._parsed = fastavro.parse_schema(self._contract)
        self._writers: dict[int, Any] = {}

    def body(self, value: bytes) -> bytes:
        """Make a body of the contract from a value."""
        schema_id = int.from_bytes(value[1:WIRE_BYTES])
        if schema_id not in self._writers:
            written = self._registry.schema(schema_id) if self._registry else None
            is_ours = written is None or _shape(written) == _shape(self._contract)
            self._writers[schema_id] = None if is_ours else fastavro.parse_schema(dict(written or {}))
        writer = self._writers[schema_id]
        if writer is None:
            return value[WIRE_BYTES:]
        record = fastavro.schemaless_reader(io.BytesIO(value[WIRE_BYTES:]), writer, self._parsed)
        body = io.BytesIO()
        fastavro.schemaless_writer(body, self._parsed, record)
        return body.getvalue()


def _shape(schema: Any) -> Any:
    """Remove from a schema what does not change bytes."""
    if isinstance(schema, dict):
        return {
            key: _shape(value) for key, value in schema.items() if key not in ("doc", "default", "aliases", "order")
        }
    return [_shape(one) for one in schema] if isinstance(schema, list) else schema
