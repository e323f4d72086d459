"""The registry of message schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class SchemaRegistry(Protocol):
    """Writer schemas by id, and a place to register our own."""

    def schema(self, schema_id: int, archive: str = "") -> dict[str, Any] | None:
        """Return the parsed Avro schema with this id, or None when the registry has no such id.

        `archive` names the archive of the id, because one id may mean two schemas in two archives.
        Retries with back-off, and logs that, while the registry is down; known ids are cached for ever.
        """
        ...

    def register(self, subject: str, schema: Mapping[str, Any]) -> int:
        """Return the id of `schema` under `subject`, registering it when new.

        Raises ConfigurationError when the registry finds the schema incompatible.
        """
        ...
