"""Read what an entry says of joins: names under `with`, and its expressions over several rows."""

from __future__ import annotations

import re
from collections.abc import Collection

from yaml.nodes import MappingNode, Node, ScalarNode

from nurt.mapping.joins.split import column_of
from nurt.mapping.joins.types import Rank, Use
from nurt.mapping.sections import read_expression, reference_items
from nurt.mapping.sql.compile import column
from nurt.mapping.types import Expression, Reference
from nurt.mapping.words import FIELD_TYPES, PIVOT_WORDS, USE_NAME_WORD, USE_WORDS, Shape, Word
from nurt.mapping.yaml_lines import Complaints, items_of, line_of, nearest, pairs, section, text_of
from nurt.model.entities import Entity, FieldType
from nurt.model.table_kinds import TABLE

USES_MAX, FIELDS_MAX, PARTS_MAX, ONLY_MAX = 16, 32, 8, 64
"""Names under one `with`; fields of a table; parts of a key; texts of one field of `only`."""
KEY = "key"
"""What `first` calls the row's key."""

_SQL_PART = {"sql": Word(Shape.SQL, "An expression.", True)}
_FIELD = Word(Shape.TEXT, "", pattern="[a-z_][a-z0-9_]*", expected="small letters, digits, '_'")


def _read_types(node: Node | None, what: str, fields: tuple[str, ...], complaints: Complaints) -> dict[str, FieldType]:
    """Read the types of a table's fields; a field without one is text."""
    types = dict.fromkeys(fields, FieldType.STR)
    for key, value in (pairs(node, f"{what}: types", complaints) or []) if node is not None else []:
        word = text_of(value, f"{what}: types {key.value}", complaints)
        if key.value not in types:
            complaints.add(key, f"{what}: types: unknown field {key.value!r} {nearest(key.value, types)}")
        elif word is not None and word not in FIELD_TYPES:
            complaints.add(value, f"{what}: types {key.value}: {word!r} {nearest(word, FIELD_TYPES)}")
        elif word is not None:
            types[key.value] = FieldType(word)
    return types


def read_table(node: Node, what: str, values: dict[str, Node], complaints: Complaints) -> Entity:
    """Read which fields a table has, as an entity that stands for its rows."""
    fields = values.get("fields")
    names = tuple(key.value for key, _ in pairs(fields, f"{what}: fields", complaints) or []) if fields else ()
    if not names:
        complaints.add(node, f"{what}: fields: none (expected those that others use); list them")
    if "name" not in values:
        complaints.add(node, f"{what}: `name` is missing (expected a text): what `with` calls the table")
    _check_field_names(node, what, names, complaints)
    return Entity(TABLE, 0, (), False, _read_types(values.get("types"), what, names, complaints))


def _check_field_names(node: Node, what: str, fields: tuple[str, ...], complaints: Complaints) -> None:
    """Complain about names of a table's fields that expressions could not write."""
    if len(fields) > FIELDS_MAX:
        complaints.add(node, f"{what}: fields: {len(fields)} (expected at most {FIELDS_MAX}); leave out what is unused")
    for name in fields:
        if not re.fullmatch(_FIELD.pattern or "", name):
            complaints.add(node, f"{what}: field {name!r} (expected {_FIELD.expected})")


def read_uses(node: Node, what: str, complaints: Complaints) -> dict[str, Use]:
    """Read the names under `with`; expressions that are read next may use them."""
    found: dict[str, Use] = {}
    all_pairs = pairs(node, f"{what}: with", complaints) or []
    complaints.names = names = [key.value for key, _ in all_pairs]
    if not 1 <= len(names) <= USES_MAX:
        complaints.add(node, f"{what}: with: {len(names)} names (expected 1 to {USES_MAX})")
    for key, value in all_pairs:
        text_of(key, f"{what}: with", complaints, USE_NAME_WORD)
        use = _read_use(key, value, f"{what}: with {key.value}", names, complaints)
        if use is not None:
            found[use.name] = use
    return found


def _read_use(key: ScalarNode, node: Node, what: str, names: list[str], complaints: Complaints) -> Use | None:
    values = section(node, what, USE_WORDS, complaints)
    tables = _texts(values.get("table"), f"{what}: table", complaints)
    system = text_of(values["system"], f"{what}: system", complaints) if "system" in values else None
    on = _texts(values.get("on"), f"{what}: on", complaints)
    if ("on" in values) == ("by" in values):
        complaints.add(
            node,
            f"{what}: {'both `on` and `by`' if 'on' in values else 'neither `on` nor `by`'} (expected one: `on` names "
            "fields of the other table that hold our key, `by` what of ours is its key)",
        )
    if "on" in values and system is not None:
        complaints.add(
            values["system"],
            f"{what}: system: beside `on` (expected rows of our own system, for a key means something only there); "
            "remove it",
        )
    by = _read_by(values["by"], f"{what}: by", complaints) if "by" in values else ()
    by = tuple(joined_column(part, names) for part in by)
    pivot = None
    if "pivot" in values:
        inner = section(values["pivot"], f"{what}: pivot", PIVOT_WORDS, complaints)
        name, value = (
            text_of(inner[word], f"{what}: pivot {word}", complaints) if word in inner else None for word in PIVOT_WORDS
        )
        pivot = (name, value) if name is not None and value is not None else None
    for word in ("pivot", "only", "first"):
        if word in values and "by" in values:
            complaints.add(
                values[word],
                f"{what}: {word}: beside `by` (expected with `on` alone: a key names one row); remove it",
            )
    only = _read_only(values.get("only"), f"{what}: only", complaints)
    first = _read_first(values.get("first"), f"{what}: first", complaints)
    if len(tables) > 1 and pivot is None:
        complaints.add(
            values["table"], f"{what}: table: {len(tables)} tables without `pivot` (expected one); use two names"
        )
    if not tables:
        return None
    return Use(key.value, line_of(key), system, tables, on, by, pivot, only, first)


def _texts(node: Node | None, what: str, complaints: Complaints) -> tuple[str, ...]:
    items = items_of(node, what, complaints) if node is not None else []
    return tuple(text for item in items if (text := text_of(item, what, complaints)) is not None)


def _read_only(node: Node | None, what: str, complaints: Complaints) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for key, value in (pairs(node, what, complaints) or []) if node is not None else []:
        texts = _texts(value, f"{what} {key.value}", complaints)
        if not 1 <= len(texts) <= ONLY_MAX:
            complaints.add(value, f"{what} {key.value}: {len(texts)} texts (expected 1 to {ONLY_MAX})")
        found[key.value] = texts
    return found


def _read_first(node: Node | None, what: str, complaints: Complaints) -> tuple[Rank, ...]:
    ranks: list[Rank] = []
    for item in items_of(node, what, complaints) if node is not None else []:
        text = text_of(item, what, complaints) or ""
        words = text.split()
        if not 1 <= len(words) <= 2 or (len(words) == 2 and words[1].lower() not in ("asc", "desc")):
            complaints.add(item, f"{what}: {text!r} (expected a field, or a field and `desc`)")
            continue
        descending = len(words) == 2 and words[1].lower() == "desc"
        if ranks and ranks[-1].field == KEY:
            complaints.add(item, f"{what}: {text!r} behind `key` (expected nothing: two rows never have one key)")
        ranks.append(Rank(words[0], descending))
    return tuple(ranks)


def _read_by(node: Node, what: str, complaints: Complaints) -> tuple[Expression, ...]:
    items = reference_items(node)
    if not 1 <= len(items) <= PARTS_MAX:
        complaints.add(node, f"{what}: {len(items)} parts (expected 1 to {PARTS_MAX})")
    parts: list[Expression | None] = []
    for item in items:
        if isinstance(item, MappingNode):
            inner = section(item, what, _SQL_PART, complaints).get("sql")
            parts.append(read_expression(inner, what, complaints) if inner is not None else None)
        elif (text := text_of(item, what, complaints)) is not None:
            name, dot, _ = text.partition(".")
            if dot and name not in complaints.names:
                complaints.add(item, f"{what}: unknown name {name!r} in {text!r} {nearest(name, complaints.names)}")
            parts.append(column(text))
    return tuple(part for part in parts if part is not None)


def joined_reference(reference: Reference, uses: Collection[str]) -> Reference:
    """Let parts of a key that are written as `name.column` name columns of other rows."""
    return Reference(tuple(joined_column(part, uses) for part in reference.parts))


def joined_column(part: Expression, uses: Collection[str]) -> Expression:
    """Let a column that is written as `name.column` be that of another row."""
    name, dot, other = part.text.partition(".")
    return column_of(other, name) if dot and name in uses and part.columns == {part.text} else part
