"""Check the section `topics` of a mapping file: what the rows of each topic are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from nurt.mapping.joins.types import Use
from nurt.mapping.joins.words import joined_reference, read_table, read_uses
from nurt.mapping.patterns import meets_several
from nurt.mapping.references import is_reference, read_field_reference, read_reference
from nurt.mapping.sections import (
    DEFAULT_PRIORITY,
    DEFAULT_REALM,
    DEFAULT_TIMEZONE,
    KIND_WORD,
    read_columns,
    read_expression,
    read_pattern,
    read_system_name,
)
from nurt.mapping.types import Expression, Parent, System, TopicMapping, TopicRule
from nurt.mapping.words import INTO_WORDS, TOPIC_WORDS
from nurt.mapping.yaml_lines import Complaints, items_of, line_of, nearest, pairs, section, text_of
from nurt.model.entities import ENTITIES, IDENTIFIED_KINDS, PROFILE_KINDS, STOCK_KINDS, Entity, FieldType
from nurt.model.references import First
from nurt.model.table_kinds import TABLE

INTO_MAX = 8
"""Largest number of entities that one row may be."""

_KINDS = (*ENTITIES, TABLE)
_NOWHERE = System("", DEFAULT_REALM, None, None, None, DEFAULT_PRIORITY, DEFAULT_TIMEZONE)


def read_topics(
    node: Node, systems: dict[str, System], identifier_kinds: set[str], complaints: Complaints
) -> tuple[TopicRule, ...]:
    """Read every entry, then check rules between entries: patterns, names and keys."""
    if not isinstance(node, SequenceNode) or not node.value:
        complaints.add(node, "topics: no entries (expected a list, each beginning with `- match: ...`)")
        return ()
    names = _names_of_kinds(node, complaints)
    rules: list[TopicRule] = []
    for number, item in enumerate(node.value, 1):
        rule = _read_topic(item, number, names, systems, identifier_kinds, complaints)
        if rule is not None:
            rules.append(rule)
    _check_between(rules, complaints)
    _check_firsts(rules, complaints)
    return tuple(rules)


def _names_of_kinds(topics: SequenceNode, complaints: Complaints) -> dict[str, str]:
    """Map every entity name that the file uses to its kind; the kinds themselves are always names."""
    names = {kind: kind for kind in ENTITIES}
    for item in _all_items(topics):
        values = {key.value: value for key, value in item.value if isinstance(key, ScalarNode)}
        kind, name = values.get("entity"), values.get("name")
        if not isinstance(kind, ScalarNode) or not isinstance(name, ScalarNode) or kind.value not in ENTITIES:
            continue  # a table is nobody's parent
        if names.setdefault(name.value, kind.value) != kind.value:
            complaints.add(
                name,
                f"name: {name.value!r} is the name of a {names[name.value]} already (expected one kind for a name); "
                "choose another",
            )
    return names


def _all_items(topics: SequenceNode) -> Iterator[MappingNode]:
    """Yield every entry, and every item under `into`."""
    for entry in topics.value:
        if not isinstance(entry, MappingNode):
            continue
        yield entry
        for key, value in entry.value:
            if isinstance(key, ScalarNode) and key.value == "into" and isinstance(value, SequenceNode):
                yield from (item for item in value.value if isinstance(item, MappingNode))


@dataclass(frozen=True, slots=True)
class _Item:
    """One entity that a row is, as an entry or an item of `into` says it."""

    line: int
    kind: str
    name: str
    parents: tuple[Parent, ...]
    where: Expression | None
    fields: dict[str, Expression]
    identifiers: tuple[tuple[str, Expression], ...]
    types: dict[str, FieldType] | None
    uses: dict[str, Use]


def _read_topic(
    node: Node,
    number: int,
    names: dict[str, str],
    systems: dict[str, System],
    identifier_kinds: set[str],
    complaints: Complaints,
) -> TopicRule | None:
    what = f"topic {number}"
    complaints.names = ()
    values = section(node, what, TOPIC_WORDS, complaints)
    if isinstance(values.get("match"), ScalarNode):
        what = f"topic '{values['match'].value}'"
    pattern = read_pattern(values["match"], f"{what}: match", complaints) if "match" in values else None
    system = (
        read_system_name(values["system"], f"{what}: system", pattern, systems, complaints)
        if "system" in values
        else None
    )
    key = read_reference(values["key"], f"{what}: key", complaints) if "key" in values else None
    optional = (
        read_columns(values["optional"], f"{what}: optional", complaints) if "optional" in values else frozenset()
    )
    order = _read_order(values.get("order"), what, complaints)
    items = _read_items(node, values, what, names, identifier_kinds, complaints)
    if pattern is None or system is None or key is None or not items:
        return None
    shared = meets_several(pattern.text, system)
    every = [
        TopicMapping(
            *(pattern.text, item.line, _NOWHERE, item.kind, item.name, key, item.parents, item.where, item.fields),
            *(item.identifiers, optional),
            shared=shared,
            order=order,
            types=item.types,
            uses=item.uses,
        )
        for item in items
    ]
    mapping = every[0].of_items(every)
    if order and not mapping.shared:
        complaints.add(
            values["order"], f"{what}: order: `match` meets one topic (expected several topics of one table); remove it"
        )
    if idle := optional - mapping.all_columns:
        complaints.add(
            values["optional"],
            f"{what}: optional: {', '.join(sorted(idle))} is in no expression (expected columns in use)",
        )
    if blind := optional & frozenset(key.columns):
        complaints.add(
            values["optional"], f"{what}: optional: {', '.join(sorted(blind))} is in the key (expected in every row)"
        )
    return TopicRule(pattern, system, mapping, line_of(node))


def _read_items(
    node: Node,
    values: dict[str, Node],
    what: str,
    names: dict[str, str],
    identifier_kinds: set[str],
    complaints: Complaints,
) -> list[_Item]:
    """Read what the rows of an entry are; [] after a complaint."""
    into = values.get("into")
    if into is None:
        if "entity" not in values:
            complaints.add(
                node,
                f"{what}: `entity` is missing (expected a text, or several entities under `into`): "
                f"{TOPIC_WORDS['entity'].meaning}",
            )
            return []
        item = _read_item(node, values, what, names, identifier_kinds, complaints)
        return [item] if item is not None else []
    for name in INTO_WORDS.keys() & values.keys():
        complaints.add(
            values[name], f"{what}: `{name}` beside `into` (expected it in each item); move it into the items"
        )
    if not isinstance(into, SequenceNode) or not 1 <= len(into.value) <= INTO_MAX:
        complaints.add(
            into, f"{what}: into: expected a list of 1 to {INTO_MAX} items, each beginning with `- entity: ...`"
        )
        return []
    items = []
    for number, one in enumerate(into.value, 1):
        title = f"{what}: into {number}"
        items.append(
            _read_item(one, section(one, title, INTO_WORDS, complaints), title, names, identifier_kinds, complaints)
        )
    return [item for item in items if item is not None]


def _read_item(
    node: Node,
    values: dict[str, Node],
    what: str,
    names: dict[str, str],
    identifier_kinds: set[str],
    complaints: Complaints,
) -> _Item | None:
    kind = text_of(values["entity"], f"{what}: entity", complaints) if "entity" in values else None
    if kind is not None and kind not in _KINDS:
        complaints.add(values["entity"], f"{what}: unknown entity {kind!r} {nearest(kind, _KINDS)}")
        kind = None
    name = text_of(values["name"], f"{what}: name", complaints, INTO_WORDS["name"]) if "name" in values else kind
    complaints.names = ()
    uses = read_uses(values["with"], what, complaints) if "with" in values else {}
    where = read_expression(values["where"], f"{what}: where", complaints) if "where" in values else None
    if kind is None:
        return None
    if kind == TABLE:
        entity = read_table(node, what, values, complaints)
    else:
        entity = ENTITIES[kind]
        if "types" in values:
            complaints.add(values["types"], f"{what}: types of a {kind} (expected only for tables); remove them")
    parents = _read_parents(node, values.get("parent"), what, entity, names, complaints, "identifiers" in values)
    parents = tuple(replace(one, reference=joined_reference(one.reference, uses)) for one in parents)
    fields = _read_fields(values.get("fields"), what, entity, complaints)
    extras = _read_identifiers(values.get("identifiers"), what, entity, identifier_kinds, complaints)
    if name is None:
        return None
    types = entity.fields if kind == TABLE else None
    return _Item(line_of(node), kind, name, parents, where, fields, extras, types, uses)


def _read_order(node: Node | None, what: str, complaints: Complaints) -> tuple[str, ...]:
    """Read names of topics, oldest first."""
    items = items_of(node, f"{what}: order", complaints) if node is not None else []
    names = [text_of(item, f"{what}: order", complaints) for item in items]
    return tuple(name for name in names if name)


def _read_parents(
    topic: Node,
    node: Node | None,
    what: str,
    entity: Entity,
    names: dict[str, str],
    complaints: Complaints,
    identified: bool,
) -> tuple[Parent, ...]:
    fitting = [name for name, kind in names.items() if kind in entity.parents]
    if node is None:
        may_identify = entity.kind in IDENTIFIED_KINDS
        if entity.parent_required and not (identified and may_identify):
            complaints.add(
                topic,
                f"{what}: `parent` is missing (expected one of {', '.join(fitting)}); "
                f"say whose child this {entity.kind} is"
                + (", or give it `identifiers` of whom it stands for" if may_identify else ""),
            )
        return ()
    if not entity.parents:
        complaints.add(node, f"{what}: a {entity.kind} has no parent (expected none); remove `parent`")
        return ()
    parents: list[Parent] = []
    found = pairs(node, f"{what}: parent", complaints)
    if found is not None and not found:
        complaints.add(node, f"{what}: parent: nothing (expected one of {', '.join(fitting)})")
    for key, value in found or []:
        if is_reference(value):
            parents.extend(read_field_reference(key, value, what, entity, names.get(key.value), complaints))
            continue
        reference = read_reference(value, f"{what}: parent {key.value}", complaints)
        if names.get(key.value) not in entity.parents:
            complaints.add(
                key, f"{what}: {key.value!r} cannot be the parent of a {entity.kind} {nearest(key.value, fitting)}"
            )
        elif reference is not None:
            parents.append(Parent(names[key.value], key.value, reference))
    return tuple(parents)


def _read_fields(node: Node | None, what: str, entity: Entity, complaints: Complaints) -> dict[str, Expression]:
    found: dict[str, Expression] = {}
    for key, value in (pairs(node, f"{what}: fields", complaints) or []) if node is not None else []:
        expression = read_expression(value, f"{what}: field {key.value}", complaints)
        if key.value not in entity.fields:
            complaints.add(
                key, f"{what}: unknown field {key.value!r} of {entity.kind} {nearest(key.value, entity.fields)}"
            )
        elif expression is not None:
            found[key.value] = expression
    return {name: found[name] for name in entity.fields if name in found}


def _read_identifiers(
    node: Node | None, what: str, entity: Entity, identifier_kinds: set[str], complaints: Complaints
) -> tuple[tuple[str, Expression], ...]:
    if node is None:
        return ()
    if entity.kind not in IDENTIFIED_KINDS:
        kinds = ", ".join(sorted(IDENTIFIED_KINDS))
        complaints.add(node, f"{what}: identifiers of a {entity.kind} (expected only for {kinds}); remove them")
        return ()
    found: list[tuple[str, Expression]] = []
    for key, value in pairs(node, f"{what}: identifiers", complaints) or []:
        if key.value not in identifier_kinds:
            text_of(key, f"{what}: identifiers", complaints, KIND_WORD)
        for item in items_of(value, f"{what}: identifier {key.value}", complaints):
            expression = read_expression(item, f"{what}: identifier {key.value}", complaints)
            if expression is not None:
                found.append((key.value, expression))
    return tuple(found)


def _check_between(rules: list[TopicRule], complaints: Complaints) -> None:
    """Complain about mistakes between two entries, or two items of one."""
    patterns: dict[tuple[str, bool], int] = {}
    tables: dict[tuple[str, str], int] = {}
    parts: dict[tuple[str, str], tuple[int, int]] = {}
    for number, rule in enumerate(rules):
        mapping = rule.mapping
        kinds = {item.kind for item in mapping.items}
        flows = [some for some in (PROFILE_KINDS, STOCK_KINDS) if TABLE in kinds or not kinds.isdisjoint(some)]
        first = min(patterns.setdefault((mapping.pattern, some is STOCK_KINDS), number) for some in flows)
        if first != number:
            complaints.add(
                rule.line,
                f"topic '{mapping.pattern}': the same `match` as in line {rules[first].line} (expected one "
                "entry a topic and flow); put both under one `match` with `into:`",
            )
            continue
        for item in mapping.items:
            _check_name(rule.system, item, tables, complaints)
            parts.setdefault((rule.system, item.name), (len(item.key.parts), item.line))
    for system, item in ((rule.system, item) for rule in rules for item in rule.mapping.items):
        for parent in item.parents:
            if parent.field is not None:
                continue
            count, line = parts.get((system, parent.name), (len(parent.reference.parts), 0))
            if count != len(parent.reference.parts):
                complaints.add(
                    item.line,
                    f"topic '{item.pattern}': parent {parent.name}: {len(parent.reference.parts)} parts "
                    f"(expected {count}, as the key in line {line}, in its order)",
                )


def _check_firsts(rules: list[TopicRule], complaints: Complaints) -> None:
    """Complain about two entries that mean different rows by one value."""
    firsts: dict[tuple[str, str, str], tuple[First, int]] = {}
    for system, item in ((rule.system, item) for rule in rules for item in rule.mapping.items):
        for parent in item.parents:
            if parent.field is None:
                continue
            first, line = firsts.setdefault((system, parent.name, parent.field), (parent.first, item.line))
            if first != parent.first:
                complaints.add(
                    item.line,
                    f"topic '{item.pattern}': parent {parent.name}: another `first` for {parent.field} than in line "
                    f"{line} (expected the same wherever {parent.name} is named by it); write one",
                )


def _check_name(system: str, item: TopicMapping, tables: dict[tuple[str, str], int], complaints: Complaints) -> None:
    """Complain about a second table of one name."""
    if (system, item.name) in tables:
        complaints.add(
            item.line,
            f"topic '{item.pattern}': system {system!r} has an entity {item.name!r} in line "
            f"{tables[system, item.name]} already, and their keys would be taken for one (expected one table a name); "
            "give this one a `name:`",
        )
    tables.setdefault((system, item.name), item.line)
