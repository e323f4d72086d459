"""Read keys, and references to parents by another field than their key."""

from __future__ import annotations

from yaml.nodes import MappingNode, Node, ScalarNode

from nurt.mapping.sections import read_expression, reference_items
from nurt.mapping.sql.compile import column
from nurt.mapping.types import Expression, Parent, Reference
from nurt.mapping.words import REFERENCE_WORDS, Shape, Word
from nurt.mapping.yaml_lines import Complaints, items_of, nearest, section, text_of
from nurt.model.entities import ENTITIES, Entity
from nurt.model.references import KEY, First

PARTS_MAX = 8
"""Largest number of parts of a key."""

_SQL_PART = {"sql": Word(Shape.SQL, "An expression over key columns.", True)}
_FIELDS = tuple(name for name in REFERENCE_WORDS if name != "first")
SEEKERS = frozenset({"payment", "invoice", "refund"})
"""Kinds that may name their order by a field: what no stock is counted by, and what an order adds up."""


def read_reference(node: Node, what: str, complaints: Complaints) -> Reference | None:
    """Read a key: one part, or several."""
    parts: list[Expression] = []
    items = reference_items(node)
    if not 1 <= len(items) <= PARTS_MAX:
        complaints.add(node, f"{what}: {len(items)} parts (expected 1 to {PARTS_MAX})")
    for item in items:
        if isinstance(item, MappingNode):
            inner = section(item, what, _SQL_PART, complaints).get("sql")
            part = read_expression(inner, what, complaints) if inner is not None else None
            if part is not None and not part.columns and part.mixed is None:
                complaints.add(item, f"{what}: {part.text!r} names no column (expected at least one)")
        else:
            name = text_of(item, what, complaints)
            if name is not None and any(sign in name for sign in "(' "):
                complaints.add(
                    item, f"{what}: {name!r} is no column (expected a column's name, or {{sql: ...}} for an expression)"
                )
                name = None
            part = column(name) if name is not None else None
        if part is not None:
            parts.append(part)
    return Reference(tuple(parts)) if parts and len(parts) == len(items) else None


def is_reference(node: Node) -> bool:
    """Say whether a parent is named by a field: a section whose keys are not `sql`."""
    return isinstance(node, MappingNode) and not any(
        isinstance(key, ScalarNode) and key.value == "sql" for key, _ in node.value
    )


def read_field_reference(
    key: Node, node: Node, what: str, entity: Entity, parent_kind: str | None, complaints: Complaints
) -> list[Parent]:
    """Read a parent that is named by a field; [] after a complaint."""
    name = str(key.value)
    what = f"{what}: parent {name}"
    values = section(node, what, REFERENCE_WORDS, complaints)
    fields = [field for field in _FIELDS if field in values]
    if parent_kind != "order" or entity.kind not in SEEKERS:
        hint = "for a customer, map `identifiers`" if parent_kind == "customer" else "name its key"
        able = ", ".join(sorted(SEEKERS & ENTITIES.keys()))
        complaints.add(
            key, f"{what}: a {entity.kind} names {name!r} by a field (expected one of {able}, of an order); {hint}"
        )
        return []
    if len(fields) != 1:
        complaints.add(key, f"{what}: {len(fields)} fields (expected one of {', '.join(_FIELDS)})")
        return []
    reference = read_reference(values[fields[0]], f"{what}: {fields[0]}", complaints)
    if reference is not None and len(reference.parts) != 1:
        complaints.add(key, f"{what}: {len(reference.parts)} parts (expected one column or {{sql: ...}})")
        return []
    first = _read_first(values.get("first"), f"{what}: first", parent_kind, complaints)
    return [Parent(parent_kind, name, reference, fields[0], first)] if reference is not None else []


def _read_first(node: Node | None, what: str, kind: str, complaints: Complaints) -> First:
    """Read the fields by which the first of several rows is chosen."""
    found: list[tuple[str, bool]] = []
    known = (*ENTITIES[kind].fields, KEY)
    for item in items_of(node, what, complaints) if node is not None else []:
        words = (text_of(item, what, complaints) or "").split()
        if not words:
            continue
        if words[0] not in known:
            complaints.add(item, f"{what}: unknown field {words[0]!r} of {kind} {nearest(words[0], known)}")
        elif len(words) > 2 or (len(words) == 2 and words[1] not in ("asc", "desc")):
            complaints.add(item, f"{what}: {' '.join(words)!r} (expected a field, and perhaps asc or desc)")
        else:
            found.append((words[0], words[1:] == ["desc"]))
    return tuple(found)
