"""Bodies of published messages, by any writer, as bodies of the contract that this nurt knows."""

from __future__ import annotations

import io
import re
from typing import Any, Protocol

import fastavro

from nurt.contracts import schemas
from nurt.contracts.avro_columns import NotOfContract
from nurt.delivery.journal import Message
from nurt.errors import NurtError

WIRE_BYTES = 5
NO_KEY, NO_BODY, OTHER_BODY = "not_a_key_of_nurt", "not_a_body_of_its_contract", "body_of_another_id"
"""Flaws of messages that nurt did not write."""
_ID = re.compile(rb"\0.{4}\x40([0-9a-f]{32})", re.DOTALL)
"""A key of nurt's: wire header, and an Avro string of 32 hex digits."""
_HEX = re.compile(r"[0-9a-f]{32}")


def id_of(key: bytes) -> str | None:
    """Return the id in a key; None: nurt did not write the key."""
    found = _ID.fullmatch(key)
    return None if found is None else found[1].decode()


def is_id(text: str | None) -> bool:
    """Say whether a text is an id of 32 hex digits."""
    return text is not None and _HEX.fullmatch(text) is not None


def is_body_of(body: bytes, subject: str) -> bool:
    """Say whether a profile's body begins with its own id, the contract's first field."""
    return body.startswith(b"\x40" + subject.encode("ascii"))


def foreign(of: str, place: tuple[int, int], flaw: str) -> Message:
    """Make the message of something on a topic of ours that nurt did not write."""
    return Message(f"{of}-{place[0]}-{place[1]}", place, None, None, of, flaw)


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
        """Make a body of the contract from a value. Raises NotOfContract when none can be made."""
        if len(value) < WIRE_BYTES or value[0]:
            raise NotOfContract("reading a message: no wire header (a schema id before the body); look who writes it")
        try:
            return self._body(value)
        except NurtError:
            raise
        except Exception as failed:  # fastavro raises anything for damaged bytes
            raise NotOfContract(
                f"reading a message: {type(failed).__name__} (a body of {self._contract['name']}); look who writes it"
            ) from None

    def _body(self, value: bytes) -> bytes:
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
