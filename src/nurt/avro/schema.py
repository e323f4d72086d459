"""Read an Avro schema's JSON into nodes whose named types are resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nurt.errors import ConfigurationError

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})


@dataclass(slots=True, eq=False)
class Node:
    """Type in a schema; a named type is one node, with any number of references.

    Not frozen, because a recursive record holds itself: nothing changes a node after `parse_schema` has returned it.
    """

    kind: str  # a primitive's name, record, enum, fixed, array, map or union
    name: str = ""  # full name of a record, enum or fixed
    logical: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)  # the JSON object, for connect.name and the like
    fields: list[tuple[str, Node]] = field(default_factory=list)  # record
    branches: list[Node] = field(default_factory=list)  # union; an array's or map's one item type
    symbols: tuple[str, ...] = ()  # enum
    size_bytes: int = 0  # fixed

    @property
    def item(self) -> Node:
        """Return the type of an array's items or of a map's values."""
        return self.branches[0]

    def without_null(self) -> tuple[Node, int, int] | None:
        """Split an optional type: its type when present, the branch of null (-1: none), the number of branches.

        A union of null and one other type, or of a single type, is optional; a wider union gives None.
        """
        if self.kind != "union":
            return self, -1, 0
        nulls = [i for i, branch in enumerate(self.branches) if branch.kind == "null"]
        if len(self.branches) == 1:
            return self.branches[0], -1, 1
        if len(self.branches) == 2 and len(nulls) == 1:
            return self.branches[1 - nulls[0]], nulls[0], 2
        return None


def parse_schema(schema: Mapping[str, Any] | Sequence[Any] | str) -> Node:
    """Resolve a schema, as parsed from JSON, into its root node.

    Raises ConfigurationError when it is not an Avro schema; names only schema text.
    """
    try:
        return _parse(schema, "", {})
    except (KeyError, TypeError, ValueError, AttributeError) as failed:
        raise _wrong("some field", type(failed).__name__, "an Avro schema") from failed


def _parse(schema: Any, namespace: str, named: dict[str, Node]) -> Node:
    if isinstance(schema, str):
        if schema in PRIMITIVES:
            return Node(schema)
        known = named.get(_full_name(schema, namespace)) or named.get(schema)
        if known is None:
            raise _wrong(schema, "an unknown type", "a primitive or a type defined before")
        return known
    if isinstance(schema, Mapping):
        return _parse_object(schema, namespace, named)
    if isinstance(schema, Sequence):
        if not schema:
            raise _wrong("union", "no branches", "one at least")
        branches = [_parse(branch, namespace, named) for branch in schema]
        if any(branch.kind == "union" for branch in branches):
            raise _wrong("union", "a union directly within", "any other type")
        return Node("union", branches=branches)
    raise _wrong(type(schema).__name__, "neither name, object nor list", "JSON of a schema")


def _parse_object(schema: Mapping[str, Any], namespace: str, named: dict[str, Node]) -> Node:
    kind = schema.get("type")
    if not isinstance(kind, str):
        return _parse(kind, namespace, named)  # {"type": {...}} is what it wraps
    if kind in PRIMITIVES:
        return Node(kind, logical=schema.get("logicalType"), attributes=schema)
    if kind in ("array", "map"):
        item = _parse(schema.get("items" if kind == "array" else "values"), namespace, named)
        return Node(kind, attributes=schema, branches=[item])
    if kind not in ("record", "error", "enum", "fixed"):
        return _parse(kind, namespace, named)
    own_namespace = schema.get("namespace", namespace)
    name = _full_name(str(schema.get("name", "")), own_namespace)
    node = Node("record" if kind == "error" else kind, name, schema.get("logicalType"), schema)
    named[name] = node
    if kind == "enum":
        node.symbols = tuple(schema.get("symbols", ()))
    elif kind == "fixed":
        node.size_bytes = int(schema.get("size", -1))
        if node.size_bytes < 0:
            raise _wrong(name, "a fixed type without size", "`size` in bytes")
    else:
        inner = name.rpartition(".")[0]
        for entry in schema.get("fields", ()):
            node.fields.append((entry["name"], _parse(entry["type"], inner, named)))
    return node


def _full_name(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _wrong(which: str, found: str, expected: str) -> ConfigurationError:
    return ConfigurationError(
        f"reading Avro schema at {which}: {found} (expected {expected}); correct the schema in the registry"
    )
