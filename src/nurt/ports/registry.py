"""Where schemas of messages are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class SchemaRegistry(Protocol):
    """Writer schemas by id, and a place to register what we publish."""

    def schema(self, schema_id: int, archive: str = "") -> dict[str, Any] | None:
        """Return the parsed Avro schema with this id, or None when the registry says that there is none.

        `archive` names the archive that the id was met in, for ids of two archives may mean two things.
        Retries with back-off while the registry is down, and says so; known ids are cached for ever.
        """
        ...

    def register(self, subject: str, schema: Mapping[str, Any]) -> int:
        """Return the id of `schema` under `subject`, registering it when new.

        Raises ConfigurationError when the registry finds it incompatible.
        """
        ...
