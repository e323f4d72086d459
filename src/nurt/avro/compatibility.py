"""The rule BACKWARD: whether one Avro schema can read what another schema wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nurt.errors import ConfigurationError

PROMOTIONS: dict[str, frozenset[str]] = {
    "int": frozenset({"long", "float", "double"}),
    "long": frozenset({"float", "double"}),
    "float": frozenset({"double"}),
    "string": frozenset({"bytes"}),
    "bytes": frozenset({"string"}),
}
"""Written type (the key) -> types that may read it. Source: Avro 1.11 specification, "Schema Resolution"."""

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})

Named = dict[str, Mapping[str, Any]]


def why_unreadable(reader: Any, writer: Any) -> str | None:
    """Say the first reason why `reader` cannot read what `writer` wrote, with its path; None: it can.

    Stricter than the specification in one point: a decimal keeps its scale, else the same bytes mean another amount.
    """
    return _Comparison(_named(reader), _named(writer)).why(reader, writer, "")


class _Comparison:
    def __init__(self, reader_names: Named, writer_names: Named) -> None:
        self._reader_names, self._writer_names = reader_names, writer_names
        self._under_way: set[tuple[str, str]] = set()

    def why(self, reader: Any, writer: Any, path: str) -> str | None:
        reader, writer = _resolved(reader, self._reader_names), _resolved(writer, self._writer_names)
        if isinstance(writer, list):
            return next((why for branch in writer if (why := self.why(reader, branch, path))), None)
        if isinstance(reader, list):
            reasons = [self.why(branch, writer, path) for branch in reader]
            return None if None in reasons else f"{_at(path)}no branch of the union reads {_kind(writer)}"
        kind, written = _kind(reader), _kind(writer)
        if kind != written:
            return (
                None if kind in PROMOTIONS.get(written, ()) else f"{_at(path)}{written} cannot be read as {kind}"
            ) or self._why_decimal(reader, writer, path)
        if kind in ("record", "enum", "fixed"):
            return self._why_named(kind, reader, writer, path)
        if kind == "array":
            return self.why(reader["items"], writer["items"], f"{path}[]")
        if kind == "map":
            return self.why(reader["values"], writer["values"], f"{path}{{}}")
        return self._why_decimal(reader, writer, path)

    def _why_named(self, kind: str, reader: Mapping[str, Any], writer: Mapping[str, Any], path: str) -> str | None:
        names = {_short(name) for name in (reader["name"], *reader.get("aliases", ()))}
        if _short(writer["name"]) not in names:
            return f"{_at(path)}{kind} {writer['name']} is not {reader['name']}"
        if kind == "fixed":
            same = reader["size"] == writer["size"]
            return self._why_decimal(reader, writer, path) if same else f"{_at(path)}the size of fixed changed"
        if kind == "enum":
            lost = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
            return (
                f"{_at(path)}symbol {lost[0]} is gone, without a default" if lost and "default" not in reader else None
            )
        pair = reader["name"], writer["name"]
        if pair in self._under_way:  # a recursive record: the other fields decide
            return None
        self._under_way.add(pair)
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            where = f"{path}.{field['name']}" if path else str(field["name"])
            known = next(
                (written[name] for name in (field["name"], *field.get("aliases", ())) if name in written), None
            )
            if known is None:
                if "default" not in field:
                    return f"{_at(where)}the field is new and has no default"
            elif why := self.why(field["type"], known["type"], where):
                return why
        return None

    @staticmethod
    def _why_decimal(reader: Any, writer: Any, path: str) -> str | None:
        scales = [
            schema.get("scale", 0) if isinstance(schema, Mapping) and schema.get("logicalType") == "decimal" else None
            for schema in (reader, writer)
        ]
        return None if scales[0] == scales[1] else f"{_at(path)}the decimal's scale was {scales[1]}, now {scales[0]}"


def _at(path: str) -> str:
    return f"{path}: " if path else ""


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _kind(schema: Any) -> str:
    return schema if isinstance(schema, str) else str(schema["type"])


def _resolved(schema: Any, names: Named) -> Any:
    """Follow names and needless wrappers (`{"type": {...}}`) to their type."""
    while True:
        if isinstance(schema, str) and schema not in PRIMITIVES:
            schema = names[_short(schema)]
        elif isinstance(schema, Mapping) and isinstance(schema["type"], dict | list):
            schema = schema["type"]
        elif isinstance(schema, Mapping) and schema["type"] not in PRIMITIVES and _short(schema["type"]) in names:
            schema = names[_short(schema["type"])]
        else:
            return schema


def _named(schema: Any) -> Named:
    """Find every named type, by name without namespace."""
    if isinstance(schema, list):
        return {name: found for branch in schema for name, found in _named(branch).items()}
    if not isinstance(schema, Mapping):
        return {}
    found: Named = {}
    if isinstance(schema["type"], dict | list):
        found |= _named(schema["type"])
    if schema["type"] in ("record", "enum", "fixed"):
        found[_short(schema["name"])] = schema
    for inner in (*(field["type"] for field in schema.get("fields", ())), schema.get("items"), schema.get("values")):
        if inner is not None:
            found |= _named(inner)
    return found


def incompatible(subject: str, why: str) -> ConfigurationError:
    """Make the error of a schema that cannot be registered."""
    return ConfigurationError(
        f"registering schema {subject}: it cannot read what was written before ({why}); "
        "give new fields a default, or publish to another topic"
    )
