"""A schema registry that is a folder of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from nurt.adapters.durable import locked, replace_file
from nurt.adapters.files.avro_container import containers_in, schema_id_of, schema_of
from nurt.avro.compatibility import incompatible, why_unreadable
from nurt.errors import ConfigurationError


class FolderRegistry:
    """Schemas in files; implements `ports.registry.SchemaRegistry`.

    `schemas.json` maps ids to schemas, `subjects.json` subjects to their ids in version order. `home` is where new
    ones go; `archives` are folders that are only read, together with the schemas inside their `*.avro` containers.
    Every archive has ids of its own; what it lacks is looked for at home, then in the others. An id that is not known
    makes it look again: another process, or whoever records the archive, may have added it.
    """

    def __init__(self, home: Path, archives: Sequence[Path] = ()) -> None:
        """Read every schema there is.

        Raises ConfigurationError when one folder means different schemas by one id.
        """
        self._home, self._archives = home, [folder for folder in archives if folder != home]
        self._folders: dict[str, dict[int, dict[str, Any]]] = {str(folder): {} for folder in (home, *self._archives)}
        self._seen: dict[Path, tuple[int, int]] = {}
        self._load()

    def schema(self, schema_id: int, archive: str = "") -> dict[str, Any] | None:
        """Return the schema with this id, or None when no file holds it, or others than its archive disagree."""
        found = self._find(schema_id, archive)
        if found is None:
            self._load()
            found = self._find(schema_id, archive)
        return found

    def _find(self, schema_id: int, archive: str) -> dict[str, Any] | None:
        for name in (archive, str(self._home)):
            if schema_id in self._folders.get(name, ()):
                return self._folders[name][schema_id]
        others = [held[schema_id] for held in self._folders.values() if schema_id in held]
        return others[0] if others and all(other == others[0] for other in others) else None

    def register(self, subject: str, schema: Mapping[str, Any]) -> int:
        """Return the id of `schema` under `subject`; a new one is stored durably before its id is returned.

        Raises ConfigurationError when it cannot read what the subject's newest version wrote (BACKWARD).
        """
        self._home.mkdir(parents=True, exist_ok=True)
        with locked(self._home / "schemas.lock"):
            self._load()
            own = self._folders[str(self._home)]
            subjects: dict[str, list[int]] = _read_json(self._home / "subjects.json")
            versions = subjects.setdefault(subject, [])
            for known in versions:
                if own.get(known) == schema:
                    return known
            if versions and (why := why_unreadable(schema, own[versions[-1]])):
                raise incompatible(subject, why)
            stored: dict[str, Any] = _read_json(self._home / "schemas.json")
            same = next((int(text) for text, held in stored.items() if held == schema), None)
            schema_id = (
                same
                or max((known for held in self._folders.values() for known in held if known < 1 << 30), default=0) + 1
            )
            stored[str(schema_id)] = dict(schema)
            versions.append(schema_id)
            replace_file(self._home / "schemas.json", orjson.dumps(stored, option=orjson.OPT_INDENT_2))
            replace_file(self._home / "subjects.json", orjson.dumps(subjects, option=orjson.OPT_INDENT_2))
            self._load()
            return schema_id

    def _load(self) -> None:
        for folder in (self._home, *self._archives):
            held = self._folders[str(folder)]
            path = folder / "schemas.json"
            if self._changed(path):
                for text, schema in _read_json(path).items():
                    _add(held, int(text), schema, path)
            for container in containers_in(folder):
                if self._changed(container):
                    schema = schema_of(container)
                    _add(held, schema_id_of(schema), schema, container)

    def _changed(self, path: Path) -> bool:
        try:
            found = path.stat()
        except FileNotFoundError:
            return False
        now = found.st_mtime_ns, found.st_size
        before, self._seen[path] = self._seen.get(path), now
        return before != now


def _add(held: dict[int, dict[str, Any]], schema_id: int, schema: dict[str, Any], path: Path) -> None:
    if held.setdefault(schema_id, schema) != schema:
        raise ConfigurationError(
            f"reading schemas {path}: id {schema_id} is another schema than it was, or than a container's beside it "
            "(one id, one schema in a folder); put archives of different registries into folders of their own"
        )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content: dict[str, Any] = orjson.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigurationError(f"reading {path}: {error} (JSON that nurt or Kafka wrote); restore the file") from None
    return content
