"""A mapping as checked values: which topic holds which entity of which system, and the expressions of its fields."""

from __future__ import annotations

from collections.abc import Mapping as Of
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import polars as pl

from nurt.errors import ConfigurationError
from nurt.mapping.topic_patterns import TopicPattern
from nurt.model.entities import ENTITIES, FieldType
from nurt.model.references import First, reference_kind
from nurt.model.stock.plan import StockPlan
from nurt.model.table_kinds import TABLE

if TYPE_CHECKING:
    from nurt.mapping.joins.plan import Joins
    from nurt.mapping.joins.types import Mixed, Use


@dataclass(frozen=True, slots=True)
class System:
    """Source system: a database; its keys have a meaning only within it."""

    name: str
    realm: str  # systems of one realm may meet in one profile, systems of two realms never
    country: str | None  # ISO 3166 alpha-2, for phones and tax ids of rows that name none
    market: str | None  # for orders without a market
    currency: str | None  # ISO 4217, for orders and invoices that name none
    priority: int  # smaller wins
    timezone: str  # IANA; how date-times without an offset are read
    placeholders: tuple[str, ...] = ()  # the connector's own `unavailable.value.placeholder`, beside Debezium's default


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """SQL expression over a source row's columns."""

    text: str
    expr: pl.Expr
    columns: frozenset[str]
    rounded: bool  # the outermost call is ROUND: its float may become money
    mixed: Mixed | None = None  # other rows have a part in it; `expr` reads what `mixed` says


def at_line(expression: Expression, line: int) -> Expression:
    """Note where an expression stands that other rows have a part in: some mistakes are known later."""
    mixed = expression.mixed
    return expression if mixed is None else replace(expression, mixed=replace(mixed, line=line))


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Native key: one expression for each part, in the order of the key that it refers to."""

    parts: tuple[Expression, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """List the columns of the key, in order of first use."""
        return tuple(dict.fromkeys(name for part in self.parts for name in sorted(part.columns)))


@dataclass(frozen=True, slots=True, eq=False)
class Parent:
    """Reference from a child to its parent."""

    kind: str  # canonical kind of the parent
    name: str  # the parent entity's name in this system
    reference: Reference
    field: str | None = None  # field of the parent that the reference names; None: its key
    first: First = ()  # which of several parents with one value is meant

    @property
    def told_kind(self) -> str:
        """Return the kind as rows tell it."""
        return self.kind if self.field is None else reference_kind(self.kind, self.field)


@dataclass(frozen=True, slots=True, eq=False)
class TopicMapping:
    """Mapping of one topic's rows. Compared by identity: `Mapping.for_topic` gives one object a topic."""

    pattern: str
    line: int
    system: System
    kind: str
    name: str
    key: Reference
    parents: tuple[Parent, ...]  # the first whose key is not null is the parent
    where: Expression | None
    fields: dict[str, Expression]  # in the order of the entity's own fields
    identifiers: tuple[tuple[str, Expression], ...]
    optional: frozenset[str]  # columns that some versions of the table lack; null there
    file_name: str = ""
    shared: bool = False  # several topics may hold the table: its rows note theirs
    order: tuple[str, ...] = ()  # names of such topics, or `*` patterns: a later one takes the place of earlier ones
    more: tuple[TopicMapping, ...] = ()  # further items of `into`: what each row is, too
    types: Of[str, FieldType] | None = None  # of a table's fields; None: those of the canonical entity
    uses: Of[str, Use] = field(default_factory=dict)  # names under `with`
    titles: Of[str, str] = field(default_factory=dict)  # column of a stored table -> the field's name here

    @property
    def items(self) -> tuple[TopicMapping, ...]:
        """List all that a row is; the message counts where the first one's row lives."""
        return (self, *self.more)

    @property
    def all_columns(self) -> frozenset[str]:
        """List every column that an upsert needs for any of the items."""
        return frozenset().union(*(item.columns for item in self.items))

    @property
    def field_types(self) -> Of[str, FieldType]:
        """Return the types of the fields."""
        return ENTITIES[self.kind].fields if self.types is None else self.types

    def of_items(self, items: Sequence[TopicMapping]) -> TopicMapping:
        """Return the mapping with these items, the first of which leads."""
        first, *more = items
        return replace(first, more=tuple(replace(one, more=()) for one in more))

    @property
    def key_columns(self) -> tuple[str, ...]:
        """List the columns that every change must have, deletes included."""
        return self.key.columns

    @property
    def columns(self) -> frozenset[str]:
        """List every column that an upsert needs, key columns included."""
        expressions = [*self.key.parts, *self.fields.values(), *(expression for _, expression in self.identifiers)]
        for parent in self.parents:
            expressions.extend(parent.reference.parts)
        if self.where is not None:
            expressions.append(self.where)
        expressions.extend(part for use in self.uses.values() for part in use.by)
        return frozenset().union(*(expression.columns for expression in expressions))


@dataclass(frozen=True, slots=True, eq=False)
class TopicRule:
    """Rule of one entry of `topics`: a pattern, and the mapping of matching topics, except for the system's name."""

    pattern: TopicPattern
    system: str  # may name groups of the pattern: shop_{market}
    mapping: TopicMapping  # its `system` is a placeholder until a topic is known
    line: int  # of the entry; items of `into` have lines of their own


@dataclass(frozen=True, slots=True, eq=False)
class Mapping:
    """Mapping of the whole mapping file, checked."""

    file_name: str
    systems: dict[str, System]
    topics: tuple[TopicRule, ...]
    rules: dict[str, tuple[str, ...]]  # profile field -> rules in order; every field is there
    identifier_rules: dict[str, tuple[str, ...]]  # extra identifier kind -> steps in order
    stock: StockPlan | None = None
    joins: Joins | None = None  # None: tables have no numbers yet
    _known: dict[str, TopicMapping | None] = field(default_factory=dict, repr=False)

    def narrowed(self, kinds: frozenset[str]) -> Mapping:
        """Return the mapping for a flow that knows only these kinds: other entries, and other items, are left out.

        A table is kept where an entry that is kept uses it, and by the flow of profiles if none does.
        """
        every = [(rule.system, one) for rule in self.topics for one in rule.mapping.items]
        used = _used(every, [one for one in every if one[1].kind in kinds])
        if "customer" in kinds:
            of_others = _used(every, [one for one in every if one[1].kind != TABLE])
            used |= {(system, one.name) for system, one in every} - of_others
        kept = []
        for rule in self.topics:
            items = [
                one
                for one in rule.mapping.items
                if one.kind in kinds or (one.kind == TABLE and (rule.system, one.name) in used)
            ]
            if items:
                kept.append(replace(rule, mapping=rule.mapping.of_items(items)))
        return replace(self, topics=tuple(kept), _known={})

    def referred(self) -> dict[str, dict[str, First]]:
        """Return, by name of an entity, the fields that others name its rows by."""
        found: dict[str, dict[str, First]] = {}
        for item in (item for rule in self.topics for item in rule.mapping.items):
            for parent in item.parents:
                if parent.field is not None:
                    found.setdefault(parent.name, {})[parent.field] = parent.first
        return found

    def for_topic(self, topic: str) -> TopicMapping | None:
        """Return the mapping of a topic, or None when no pattern matches; the first pattern that matches counts.

        The same topic always gets the same object. Raises ConfigurationError when the pattern gives a system that is
        not declared: a typing error must not lose rows.
        """
        if topic not in self._known:
            self._known[topic] = self._find(topic)
        return self._known[topic]

    def _find(self, topic: str) -> TopicMapping | None:
        for rule in self.topics:
            groups = rule.pattern.fullmatch(topic)
            if groups is None:
                continue
            name = rule.system.format_map(groups)
            if name not in self.systems:
                raise ConfigurationError(
                    f"mapping topic {topic}: {rule.mapping.file_name}:{rule.mapping.line}: its system is {name!r}, "
                    f"which `systems` lacks (expected one of {', '.join(sorted(self.systems))}); "
                    "declare the system, or narrow the pattern"
                )
            system = self.systems[name]
            return rule.mapping.of_items([replace(one, system=system) for one in rule.mapping.items])
        return None


def _used(every: Sequence[tuple[str, TopicMapping]], by: Sequence[tuple[str, TopicMapping]]) -> set[tuple[str, str]]:
    """Name the tables (system, entity) that entries use, and those that these tables use."""
    uses_of = {(system, one.name): one.uses.values() for system, one in every}
    left = [(system, one.name) for system, one in by]
    used: set[tuple[str, str]] = set()
    while left:
        at = left.pop()
        found = {(use.system or at[0], table) for use in uses_of.get(at, ()) for table in use.tables} - used
        used |= found
        left += found
    return used
