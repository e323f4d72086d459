"""Read an Avro schema's JSON into nodes whose named types are resolved.

Whoever may write to a registry chooses schemas, so they are bounded: in types, in how deep types lie in each other
(in the JSON, and through names), and in every number. Everything else about them is a ConfigurationError, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nurt.errors import ConfigurationError

NODES_MAX, DEPTH_MAX = 10_000, 64
FIXED_BYTES_MAX = 1 << 24
NUMBER_MAX = 1 << 31
"""Of a decimal's precision and scale."""

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
    height: int = 0  # how deep types lie in this one; a reference back to a type around it counts nothing
    work: int = 1  # the most values that lie in one value, items of arrays and maps left out
    may_be_empty: bool = False  # whether a value may take no bytes
    is_recursive: bool = False  # whether a record names itself within itself

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
        return _Parser().parse(schema, "", 0)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as failed:
        raise _wrong("some field", type(failed).__name__, "an Avro schema") from failed


class _Parser:
    """Parser of one schema, with the types that were named so far."""

    def __init__(self) -> None:
        self._named: dict[str, Node] = {}
        self._count = 0

    def parse(self, schema: Any, namespace: str, depth: int) -> Node:
        self._count += 1
        if self._count > NODES_MAX or depth > DEPTH_MAX:
            found = f"more than {NODES_MAX} types" if depth <= DEPTH_MAX else f"types more than {DEPTH_MAX} deep"
            raise _wrong("a type", found, "a schema of a table")
        if isinstance(schema, str):
            return self._by_name(schema, namespace)
        if isinstance(schema, Mapping):
            return self._parse_object(schema, namespace, depth)
        if isinstance(schema, Sequence):
            if not schema:
                raise _wrong("union", "no branches", "one at least")
            branches = [self.parse(branch, namespace, depth + 1) for branch in schema]
            if any(branch.kind == "union" for branch in branches):
                raise _wrong("union", "a union directly within", "any other type")
            return _raised(Node("union", branches=branches))
        raise _wrong(type(schema).__name__, "neither name, object nor list", "JSON of a schema")

    def _by_name(self, name: str, namespace: str) -> Node:
        if name in PRIMITIVES:
            return Node(name, may_be_empty=name == "null")
        known = self._named.get(_full_name(name, namespace)) or self._named.get(name)
        if known is None:
            raise _wrong(name[:100], "an unknown type", "a primitive or a type defined before")
        known.is_recursive |= known.kind == "record" and not known.height
        return known

    def _parse_object(self, schema: Mapping[str, Any], namespace: str, depth: int) -> Node:
        kind = schema.get("type")
        if not isinstance(kind, str):
            return self.parse(kind, namespace, depth + 1)  # {"type": {...}} is what it wraps
        if kind in PRIMITIVES:
            logical = _text(schema, "logicalType")
            return Node(kind, logical=logical, attributes=_checked(schema), may_be_empty=kind == "null")
        if kind in ("array", "map"):
            item = self.parse(schema.get("items" if kind == "array" else "values"), namespace, depth + 1)
            return _raised(Node(kind, attributes=_checked(schema), branches=[item]))
        if kind not in ("record", "error", "enum", "fixed"):
            return self.parse(kind, namespace, depth + 1)
        name = _full_name(_text(schema, "name") or "", _text(schema, "namespace", namespace) or "")
        node = Node("record" if kind == "error" else kind, name, _text(schema, "logicalType"), _checked(schema))
        self._named[name] = node
        if kind == "enum":
            node.symbols = tuple(_each_text(schema.get("symbols", ())))
        elif kind == "fixed":
            node.size_bytes = int(schema.get("size", -1))
            if not 0 <= node.size_bytes <= FIXED_BYTES_MAX:
                raise _wrong(name, "a fixed type without size, or of a huge one", "`size` in bytes")
            node.may_be_empty = not node.size_bytes
        else:
            inner = name.rpartition(".")[0]
            for entry in schema.get("fields", ()):
                (field_name,) = _each_text([entry["name"]])
                node.fields.append((field_name, self.parse(entry["type"], inner, depth + 1)))
            _raised(node)
        return node


def _raised(node: Node) -> Node:
    """Note of a type that is whole now how deep types lie in it, and how much a reader has to do for one value."""
    inner = [*node.branches, *(type_ for _, type_ in node.fields)]
    node.height = 1 + max((one.height for one in inner), default=0)
    if node.height > DEPTH_MAX:
        raise _wrong(node.name or node.kind, f"types more than {DEPTH_MAX} deep", "a schema of a table")
    if node.kind == "record":
        node.work = 1 + sum(one.work for one in inner)
        node.may_be_empty = all(one.may_be_empty for one in inner)
    elif node.kind == "union":
        node.work = 1 + max(one.work for one in inner)
    return node


def _text(schema: Mapping[str, Any], key: str, otherwise: str | None = None) -> str | None:
    """Return an attribute that is a text; `otherwise` where there is none."""
    found = schema.get(key, otherwise)
    return found if found is None else next(_each_text([found]))


def _each_text(names: Any) -> Iterator[str]:
    for name in names:
        if not isinstance(name, str):
            raise _wrong(str(name)[:100], type(name).__name__, "a text")
        name.encode()  # a lone surrogate is no text
        yield name


def _checked(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a type's attributes, when those that columns are made by are of their types."""
    for key in ("precision", "scale"):
        number = schema.get(key)
        if isinstance(number, int) and abs(number) > NUMBER_MAX:
            raise _wrong(f"`{key}`", "a number beyond 32 bits", "digits of a decimal")
    parameters = schema.get("connect.parameters", {})
    if not isinstance(parameters, Mapping):
        raise _wrong("`connect.parameters`", type(parameters).__name__, "an object")
    said = [one for one in parameters.values() if not isinstance(one, int)]  # (some makers write a scale as a number)
    list(_each_text([schema.get("connect.name", ""), *parameters, *said]))
    return schema


def _full_name(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _wrong(which: str, found: str, expected: str) -> ConfigurationError:
    return ConfigurationError(
        f"reading Avro schema at {which}: {found} (expected {expected}); correct the schema in the registry"
    )
