"""Compile a topic's mapping for rows of one schema: expressions, conversions, and what cannot work there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import polars as pl

from nurt.mapping.convert import BLANK, Conversion, conversion, plain_text
from nurt.mapping.sql.evaluate import Wanted, result_type, spread, wanted
from nurt.mapping.types import Expression, Parent, Reference, TopicMapping
from nurt.model.entities import FieldType
from nurt.model.references import token_prefix

PLANS_MAX = 4096
"""Compiled plans that are kept: topics times writer schemas."""

KEY_SEPARATOR = "\x1f"
WHERE = "where"
IDENTIFIER = "identifier "
HIDDEN = "#"
"""First character of the name of a field that holds what an entry's own row says within an expression."""

_STAND_INS = (pl.Null(), pl.String(), pl.Int64(), pl.Float64(), pl.Boolean(), pl.Datetime("us", "UTC"), pl.Date())


@dataclass(frozen=True, slots=True)
class Step:
    """Step that evaluates and converts one expression: a field, `where`, or an extra identifier."""

    name: str
    wanted: Wanted
    convert: Conversion
    value: pl.Expr | None  # over the result, both under the step's name; None: the result is the value
    columns: frozenset[str]
    field: str | None = None  # of a stored table: its name in the mapping file
    is_number: bool = False  # a truth value is stored as 0 or 1


@dataclass(frozen=True, slots=True)
class KeyText:
    """Native key as text: parts joined by U+001F, null when any part is null."""

    parts: tuple[Wanted, ...]
    text: pl.Expr  # over the evaluated parts, named key
    id_text: pl.Expr  # over the text: what the row's id is made of
    id_prefix: bytes  # what comes before that text in the id's input
    refused: pl.Expr | None  # over the evaluated parts: a part that is no key
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan for all rows of one topic and schema."""

    key: KeyText | None
    parents: tuple[KeyText, ...]
    where: Step | None
    steps: tuple[Step, ...]
    stand_ins: dict[str, pl.DataType]  # optional columns that these rows lack, with the type of their nulls
    broken_key: str | None  # why no row can be read
    broken: tuple[str, ...]  # why no upsert can be read


@lru_cache(maxsize=PLANS_MAX)
def plan_for(topic: TopicMapping, columns: tuple[tuple[str, pl.DataType], ...]) -> Plan:
    """Compile a topic's mapping for rows with these columns."""
    schema = pl.Schema(columns)
    stand_ins = _stand_ins(topic, schema)
    schema = pl.Schema({**schema, **stand_ins})
    zone = topic.system.timezone
    broken: list[str] = []
    key_broken: list[str] = []
    owner = topic.system.name
    key = key_text("key", topic.key, (owner, topic.name), schema, key_broken)
    parents = [
        key_text(f"parent {parent.name}", parent.reference, (owner, parent.name), schema, broken)
        if parent.field is None
        else _reference_text(parent, parent.field, owner, schema, broken)
        for parent in topic.parents
    ]
    where = None
    if topic.where is not None:
        where = step(WHERE, topic.where, FieldType.BOOL, schema, zone, broken)
    types, titles = topic.field_types, topic.titles
    steps = [
        step(name, expression, types[name], schema, zone, broken, titles.get(name))
        for name, expression in topic.fields.items()
    ]
    for number, (kind, expression) in enumerate(topic.identifiers):
        name = f"{IDENTIFIER}{number} {kind}"
        steps.append(step(name, expression, FieldType.STR, schema, zone, broken))
    return Plan(
        key,
        tuple(parent for parent in parents if parent is not None),
        where,
        tuple(step for step in steps if step is not None),
        stand_ins,
        key_broken[0] if key_broken else None,
        tuple(broken),
    )


def faults(topic: TopicMapping, schema: Mapping[str, pl.DataType]) -> list[str]:
    """List what in a topic's mapping cannot work for rows with these columns; [] when all can."""
    plan = plan_for(topic, tuple(schema.items()))
    always = [f"{step_title}: {detail}" for step_title, detail in _always_refused(plan)]
    return [*([plan.broken_key] if plan.broken_key is not None else []), *plan.broken, *always]


def _always_refused(plan: Plan) -> Iterable[tuple[str, str]]:
    """Name the steps whose type can never become the field's type."""
    for step in (*((plan.where,) if plan.where is not None else ()), *plan.steps):
        if step.convert.never:
            yield title(step), step.convert.detail


def _stand_ins(topic: TopicMapping, schema: pl.Schema) -> dict[str, pl.DataType]:
    """Choose for each missing optional column a type with which most expressions can be evaluated."""
    stand_ins: dict[str, pl.DataType] = {name: pl.Null() for name in sorted(topic.optional - set(schema))}
    expressions = list(_expressions(topic))
    for name in stand_ins:
        concerned = [expression for expression in expressions if name in expression.columns]

        def failures(dtype: pl.DataType, name: str = name, concerned: list[Expression] = concerned) -> int:
            whole = pl.Schema({**schema, **stand_ins, name: dtype})
            return sum(result_type(spread(expression), whole) is None for expression in concerned)

        stand_ins[name] = min(_STAND_INS, key=failures)
    return stand_ins


def _expressions(topic: TopicMapping) -> Iterable[Expression]:
    yield from topic.fields.values()
    yield from (expression for _, expression in topic.identifiers)
    for parent in topic.parents:
        yield from parent.reference.parts
    if topic.where is not None:
        yield topic.where


def _typed(what: str, expression: Expression, schema: pl.Schema, broken: list[str]) -> pl.DataType | None:
    """Return the expression's type over the schema, or what is wrong."""
    lacking = sorted(expression.columns - set(schema))
    if lacking:
        broken.append(
            f"{what}: column {', '.join(lacking)} is not among the columns that the message's schema offers "
            "(correct the name, or list it under `optional`)"
        )
        return None
    dtype = result_type(spread(expression), pl.Schema({name: schema[name] for name in sorted(expression.columns)}))
    if dtype is None:
        broken.append(f"{what}: the expression cannot be evaluated over {_described(expression.columns, schema)}")
    return dtype


def described(columns: Iterable[str], rows: pl.DataFrame) -> str:
    """Name columns with their types, for details that must not show values."""
    return _described(columns, rows.schema)


def _described(columns: Iterable[str], schema: pl.Schema) -> str:
    return ", ".join(f"{name} ({schema[name]})" for name in sorted(columns) if name in schema) or "no column"


def step(
    name: str,
    expression: Expression,
    field_type: FieldType,
    schema: pl.Schema,
    zone: str,
    broken: list[str],
    field: str | None = None,
) -> Step | None:
    """Compile one expression and its conversion; None where it cannot be evaluated, then `broken` says why.

    Args:
        field: of a stored table: its name in the mapping file.
    """
    dtype = _typed(_title(name if field is None else field), expression, schema, broken)
    if dtype is None:
        return None
    is_part = field is not None and field.startswith(HIDDEN) and field_type is FieldType.STR
    convert = _part_conversion(dtype) if is_part else conversion(field_type, dtype, zone, expression.rounded)
    is_number = field is not None and field_type is FieldType.BOOL
    if is_number:
        truth = convert.value
        convert = replace(convert, value=lambda e: truth(e).cast(pl.Int64), as_it_is=False)
    value = None if convert.as_it_is else convert.value(pl.col(name)).alias(name)
    return Step(name, wanted(name, expression, dtype), convert, value, expression.columns, field, is_number)


def _part_conversion(dtype: pl.DataType) -> Conversion:
    """Write a part of an expression as text, which is evaluated further where rows are combined."""
    if dtype == pl.String:
        return conversion(FieldType.STR, dtype, "", False)
    if _part_text(pl.lit(None, dtype), dtype) is None:
        return conversion(FieldType.STR, pl.List(pl.String()), "", False)
    detail = f"{dtype} with a fraction; write ROUND(..., 2) and CAST(... AS DECIMAL(18,4)) to make it exact"
    return Conversion(lambda e: _part_text(e, dtype), detail=detail)  # type: ignore[arg-type, return-value]


def _title(name: str) -> str:
    if name == WHERE:
        return name
    if name.startswith(HIDDEN):
        return f"the part {name[1:]!r} of an expression"
    return f"identifier {name.split(' ', 2)[2]}" if name.startswith(IDENTIFIER) else f"field {name}"


def title(step: Step) -> str:
    """Name a step as the mapping file does."""
    return _title(step.name if step.field is None else step.field)


def key_text(
    what: str, reference: Reference, table: tuple[str, str], schema: pl.Schema, broken: list[str]
) -> KeyText | None:
    """Compile a key of a table (system, entity); None when it cannot be read from rows of this schema."""
    parts: list[Wanted] = []
    texts: list[pl.Expr] = []
    refused: list[pl.Expr] = []
    for number, part in enumerate(reference.parts):
        dtype = _typed(what, part, schema, broken)
        if dtype is None:
            return None
        name = f"{what} {number}"
        text = _part_text(pl.col(name), dtype)
        if text is None:
            broken.append(f"{what}: {dtype} cannot be a key")
            return None
        parts.append(wanted(name, part, dtype))
        texts.append(text)
        if dtype.is_float():
            refused.append(text.is_null() & pl.col(name).is_not_null())
        elif dtype == pl.String and len(reference.parts) > 1:
            refused.append(pl.col(name).str.contains(KEY_SEPARATOR, literal=True))
    whole = texts[0] if len(texts) == 1 else pl.concat_str(texts, separator=KEY_SEPARATOR)
    bad = pl.any_horizontal(refused).fill_null(False) if refused else None
    prefix = KEY_SEPARATOR.join(table) + KEY_SEPARATOR
    return KeyText(tuple(parts), whole.alias("key"), _id_text(prefix), prefix.encode(), bad, reference.columns)


def _reference_text(parent: Parent, field: str, system: str, schema: pl.Schema, broken: list[str]) -> KeyText | None:
    """Compile a reference to a field of the parent: written as the parent's own field is, blank text as null."""
    what, (part,) = f"parent {parent.name}", parent.reference.parts
    dtype = _typed(what, part, schema, broken)
    if dtype is None:
        return None
    convert = conversion(FieldType.STR, dtype, "UTC", part.rounded)
    if convert.never:
        broken.append(f"{what}: {convert.detail}")
        return None
    name = f"{what} 0"
    text = convert.value(pl.col(name))
    prefix = token_prefix(system, parent.name, field)
    filled = pl.when(text.str.contains(BLANK).not_()).then(text)
    id_text = _id_text(prefix)
    columns = parent.reference.columns
    return KeyText((wanted(name, part, dtype),), filled.alias("key"), id_text, prefix.encode(), None, columns)


def _id_text(prefix: str) -> pl.Expr:
    return pl.format(prefix.replace("{", "{{").replace("}", "}}") + "{}", "key")


def _part_text(part: pl.Expr, dtype: pl.DataType) -> pl.Expr | None:
    """Write one key part as text, the same for all types that may hold one key; None for types without keys."""
    text = plain_text(part, dtype)
    if text is not None:
        return text
    if dtype == pl.Boolean:
        return part.cast(pl.String)
    if dtype == pl.Binary:
        return part.bin.encode("hex")
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        return part.dt.to_string("iso")
    if dtype.is_float():
        whole = pl.when(part.is_finite() & (part == part.round(0)) & (part.abs() < 2.0**53)).then(part)
        return whole.cast(pl.Int64).cast(pl.String)
    if dtype == pl.Null:
        return pl.lit(None, pl.String)
    return None
