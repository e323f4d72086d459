"""Give tables their numbers, and compile joins for the stage that assembles rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Of
from dataclasses import replace
from functools import lru_cache

import orjson
import polars as pl

from nurt.mapping.joins.graph import At, all_items, levels_of
from nurt.mapping.joins.numbers import Numbers
from nurt.mapping.joins.plan import (
    NO_JOINS,
    VALUE_TYPES,
    Assembled,
    AssemblyPlan,
    CompiledUse,
    Joins,
    StoredTable,
)
from nurt.mapping.joins.split import as_mixed
from nurt.mapping.joins.types import Use
from nurt.mapping.plan import IDENTIFIER, WHERE, KeyText, Step, key_text, step, title
from nurt.mapping.types import Expression, Mapping, Reference, TopicMapping
from nurt.model.entities import FieldType
from nurt.model.table_kinds import TABLE, table_kind

MADE = "made"
"""Behind a table's name: what an entry with `with` makes, beside its own rows."""
TEXTS_MAX, NUMBERS_MAX = 16, 8
"""What one use may take of a row: texts, and other fields."""


def has_tables(mapping: Mapping) -> bool:
    """Return whether a mapping needs numbers."""
    return any(item.kind == TABLE or item.uses for _, item in all_items(mapping))


def numbers_for(mapping: Mapping, known: Numbers) -> Numbers:
    """Return the numbers that are known with those that a mapping needs.

    Raises ConfigurationError when a table cannot have one.
    """
    numbers = known
    for at, item in _in_order(mapping):
        for name, columns in _tables_of(at, item):
            numbers = numbers.with_table(name, columns)
    return numbers.with_uses(_use_name(at, item, use) for at, item in _in_order(mapping) for use in item.uses.values())


def numbered(mapping: Mapping, numbers: Numbers) -> Mapping:
    """Return the mapping with kinds of stored tables, and with its joins compiled."""
    if not has_tables(mapping):
        return replace(mapping, joins=NO_JOINS)
    stored: dict[str, StoredTable] = {}
    for at, item in _in_order(mapping):
        for name, columns in _tables_of(at, item):
            number, slots = numbers.of_table(name, columns)
            stored[name] = StoredTable(number, table_kind(number), *at, slots, columns)
    level_of = levels_of(mapping)
    levels: list[list[Assembled]] = [[] for _ in range(max(level_of.values(), default=0))]
    for at, item in _in_order(mapping):
        if item.uses:
            levels[level_of[at] - 1].append(_assembled(at, item, level_of[at], stored, numbers))
    topics = []
    for rule in mapping.topics:
        items = [
            _stored_item(item, stored[_name((rule.system, item.name))]) if _is_stored(item) else item
            for item in rule.mapping.items
        ]
        topics.append(replace(rule, mapping=rule.mapping.of_items(items)))
    joins = Joins(tuple(map(tuple, levels)), {one.kind: one for one in stored.values()})
    return replace(mapping, topics=tuple(topics), joins=joins, _known={})


def _in_order(mapping: Mapping) -> Iterator[tuple[At, TopicMapping]]:
    return (one for one in all_items(mapping) if _is_stored(one[1]))


def _is_stored(item: TopicMapping) -> bool:
    return item.kind == TABLE or bool(item.uses)


def _name(at: At, part: str = "") -> str:
    return "\x1f".join((*at, part) if part else at)


def _tables_of(at: At, item: TopicMapping) -> Iterator[tuple[str, dict[str, FieldType]]]:
    """Name the stored tables of an entry, with their fields: its own rows, and what a table makes of them."""
    yield _name(at), base_columns(item)
    if item.uses and item.kind == TABLE:
        yield _name(at, MADE), dict(item.field_types)


def base_columns(item: TopicMapping) -> dict[str, FieldType]:
    """Name the fields of an entry's own rows: those that it says alone, and what expressions take of it."""
    if not item.uses:
        return dict(item.field_types)
    whole = {name: item.field_types[name] for name, one in item.fields.items() if one.mixed is None}
    for one in mixed_of(item):
        assert one.mixed is not None, "`mixed_of` gives only these"
        whole |= one.mixed.types
    return whole


def mixed_of(item: TopicMapping) -> Iterator[Expression]:
    """Yield the expressions that are evaluated where rows are assembled."""
    for use in item.uses.values():
        yield from map(as_mixed, use.by)
    yield from (one for one in item.fields.values() if one.mixed is not None)
    for parent in item.parents:
        yield from map(as_mixed, parent.reference.parts)
    if item.where is not None and item.where.mixed is not None:
        yield item.where
    yield from (as_mixed(one) for _, one in item.identifiers)


def _stored_item(item: TopicMapping, table: StoredTable) -> TopicMapping:
    """Let an entry's own rows be those of a stored table."""
    expressions = {name: one for name, one in item.fields.items() if one.mixed is None}
    for one in mixed_of(item):
        assert one.mixed is not None, "`mixed_of` gives only these"
        expressions |= one.mixed.own
    slots = sorted(expressions, key=lambda name: (table.slots[name][0], int(table.slots[name][1:])))
    return replace(
        item,
        kind=table.kind,
        parents=(),
        where=None if item.where is not None and item.where.mixed is not None else item.where,
        fields={table.slots[name]: expressions[name] for name in slots},
        identifiers=(),
        types={table.slots[name]: table.types[name] for name in slots},
        uses={},
        titles={table.slots[name]: name for name in slots},
    )


def used_columns(item: TopicMapping, use: Use) -> tuple[str, ...]:
    """Name what expressions use of other rows: fields, or attributes."""
    joined = {column for one in mixed_of(item) if one.mixed for name, column in one.mixed.joined if name == use.name}
    return tuple(sorted(joined))


def _use_name(at: At, item: TopicMapping, use: Use) -> str:
    """Name a use by all that its stored values depend on."""
    first = [[rank.field, rank.descending] for rank in use.first]
    parts = [*at, use.name, use.system, use.tables, use.on, use.pivot, use.only, first, used_columns(item, use)]
    return orjson.dumps(parts).decode()


def _assembled(at: At, item: TopicMapping, level: int, stored: dict[str, StoredTable], numbers: Numbers) -> Assembled:
    base, result = stored[_name(at)], stored.get(_name(at, MADE))
    uses = tuple(_compiled_use(at, item, use, stored, numbers) for use in item.uses.values())
    own = dict.fromkeys(name for one in mixed_of(item) if one.mixed for name in one.mixed.own)
    schema = _schema(base.types, own, {use.name: use.types for use in uses})
    return Assembled(
        item.kind if result is None else result.kind,
        item.name,
        level,
        base,
        result,
        uses,
        {name: name for name, one in item.fields.items() if one.mixed is None},
        tuple(own),
        schema,
        lru_cache(maxsize=None)(lambda zone: plan_of(item, schema, zone)[0]),
    )


def schema_of(at: At, item: TopicMapping, items: dict[At, TopicMapping]) -> dict[str, pl.DataType]:
    """Return the columns of the frame that an entry's expressions read, without any numbers."""
    own = dict.fromkeys(name for one in mixed_of(item) if one.mixed for name in one.mixed.own)
    tables = {use.name: items[use.system or at[0], use.tables[0]].field_types for use in item.uses.values()}
    used = {
        use.name: {one: tables[use.name][one if use.pivot is None else use.pivot[1]] for one in used_columns(item, use)}
        for use in item.uses.values()
    }
    return _schema(base_columns(item), own, used)


def _schema(
    own_types: Of[str, FieldType], own: Iterable[str], used: Of[str, Of[str, FieldType]]
) -> dict[str, pl.DataType]:
    schema = {name: VALUE_TYPES[own_types[name]] for name in own}
    return schema | {
        f"{name}.{column}": VALUE_TYPES[of] for name, types in used.items() for column, of in types.items()
    }


def _compiled_use(
    at: At, item: TopicMapping, use: Use, stored: dict[str, StoredTable], numbers: Numbers
) -> CompiledUse:
    system = use.system or at[0]
    tables = tuple(stored.get(_name((system, table), MADE)) or stored[_name((system, table))] for table in use.tables)
    columns = used_columns(item, use)
    types = {one: tables[0].types[one if use.pivot is None else use.pivot[1]] for one in columns}
    return CompiledUse(
        numbers.uses[_use_name(at, item, use)],
        *(use.name, use.system, tables, use.on, use.pivot, use.only, use.first, columns, types),
    )


def plan_of(
    item: TopicMapping, schema: dict[str, pl.DataType], zone: str
) -> tuple[AssemblyPlan, list[tuple[int, str]]]:
    """Compile what is evaluated where rows are assembled, and say in which line is what cannot be."""
    whole, broken = pl.Schema(schema), list[tuple[int, str]]()

    def note(expressions: Iterable[Expression], found: Iterable[str]) -> None:
        line = max((one.mixed.line for one in expressions if one.mixed is not None), default=0) or item.line
        broken.extend((line, text) for text in found)

    def read(name: str, expression: Expression, field_type: FieldType) -> Step | None:
        found: list[str] = []
        made = step(name, _as_read(expression), field_type, whole, zone, found)
        if made is not None and made.convert.never:
            found.append(f"{title(made)}: {made.convert.detail}")
        note([expression], found)
        return made

    def key(what: str, parts: Iterable[Expression]) -> KeyText | None:
        found: list[str] = []
        whole_parts = [as_mixed(part) for part in parts]
        made = key_text(what, Reference(tuple(map(_as_read, whole_parts))), ("", ""), whole, found)
        note(whole_parts, found)
        return made

    types = item.field_types
    where = item.where if item.where is not None and item.where.mixed is not None else None
    steps = [read(name, one, types[name]) for name, one in item.fields.items() if one.mixed is not None]
    for number, (kind, one) in enumerate(item.identifiers):
        steps.append(read(f"{IDENTIFIER}{number} {kind}", as_mixed(one), FieldType.STR))
    parents = [(parent, key(f"parent {parent.name}", parent.reference.parts)) for parent in item.parents]
    by = {use.name: key(f"with {use.name}: by", use.by) for use in item.uses.values() if use.by}
    plan = AssemblyPlan(
        {name: text for name, text in by.items() if text is not None},
        read(WHERE, where, FieldType.BOOL) if where is not None else None,
        tuple(one for one in steps if one is not None),
        tuple((parent, text) for parent, text in parents if text is not None),
    )
    return plan, broken


def _as_read(expression: Expression) -> Expression:
    """Let an expression name the columns that it reads where rows are assembled."""
    return replace(expression, columns=frozenset(expression.expr.meta.root_names()))
