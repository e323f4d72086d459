"""Joins compiled for the stage that assembles rows: numbers, columns of stored rows, and steps to evaluate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from nurt.mapping.joins.types import Rank
from nurt.mapping.plan import IDENTIFIER, KeyText, Step
from nurt.mapping.types import Parent
from nurt.model.entities import FieldType

VALUE_TYPES: dict[FieldType, pl.DataType] = {
    FieldType.STR: pl.String(),
    FieldType.BOOL: pl.Boolean(),
    FieldType.TS: pl.Datetime("us", "UTC"),
    FieldType.DAY: pl.Date(),
    FieldType.AMOUNT: pl.Decimal(38, 4),
}
"""Types that columns of stored rows have in expressions."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredTable:
    """Table as its rows are stored: rows of an `entity: table`, or the base or the result of an entry with `with`."""

    number: int
    kind: str  # `table/<number>`: the kind of its rows in frames, layouts and keys
    system: str  # as its entry writes it
    name: str  # the entity's name
    slots: dict[str, str]  # field -> column of the stored row: c0.. for texts, n0.. for the other types
    types: dict[str, FieldType]


@dataclass(frozen=True, slots=True, eq=False)
class CompiledUse:
    """Use of other rows, with its number and the stored tables that it means."""

    number: int
    name: str
    system: str | None  # of the other rows; None: the system of the row itself
    tables: tuple[StoredTable, ...]
    on: tuple[str, ...]  # fields of the other rows with our key; () for a row that is looked up
    pivot: tuple[str, str] | None  # fields with an attribute's name and value
    only: dict[str, tuple[str, ...]]
    first: tuple[Rank, ...]
    columns: tuple[str, ...]  # what expressions use: fields, or names of attributes; `<name>.<column>` in frames
    types: dict[str, FieldType]  # of these columns


@dataclass(frozen=True, slots=True, eq=False)
class AssemblyPlan:
    """Expressions of an entry with `with`, for systems of one time zone.

    They read a frame with `Assembled.schema`.
    """

    by: dict[str, KeyText]  # name of a look-up -> its key; reads own fields and rows beside
    where: Step | None
    steps: tuple[Step, ...]  # fields, and identifiers, named as in `mapping.plan`
    parents: tuple[tuple[Parent, KeyText], ...]  # the first whose key is not null is the parent


@dataclass(frozen=True, slots=True, eq=False)
class Assembled:
    """Entry whose rows are made of several rows."""

    kind: str  # of the rows that are made: a canonical kind, or the result's `table/<number>`
    name: str  # the entity's name
    level: int  # from 1: above the levels of all that it uses
    base: StoredTable  # its own rows
    result: StoredTable | None  # what other entries use of it; None: it is no table
    uses: tuple[CompiledUse, ...]
    copied: dict[str, str]  # field of what is made -> field of the base that holds it whole, in the field's type
    own: tuple[str, ...]  # fields of the base that expressions read
    schema: dict[str, pl.DataType]  # of the frame that they read: own fields by name, others as `<use>.<column>`
    plan: Callable[[str], AssemblyPlan]  # time zone -> the plan, the same object for the same zone

    @property
    def identifies(self) -> bool:
        """Return whether the rows bring extra identifiers."""
        return any(step.name.startswith(IDENTIFIER) for step in self.plan("UTC").steps)


@dataclass(frozen=True, slots=True, eq=False)
class Joins:
    """All joins of a mapping."""

    levels: tuple[tuple[Assembled, ...], ...]  # those of level k stand at k - 1
    tables: Mapping[str, StoredTable]  # by kind


NO_JOINS = Joins((), {})


def value_of(field_type: FieldType, stored: pl.Expr) -> pl.Expr:
    """Turn a stored column (String, or Int64) into what expressions read."""
    if field_type is FieldType.STR:
        return stored
    if field_type is FieldType.BOOL:
        return stored.cast(pl.Boolean)
    if field_type is FieldType.AMOUNT:
        return stored.cast(VALUE_TYPES[field_type]) / pl.lit(10_000).cast(VALUE_TYPES[field_type])
    return stored.cast(pl.Int32).cast(pl.Date) if field_type is FieldType.DAY else stored.cast(VALUE_TYPES[field_type])
