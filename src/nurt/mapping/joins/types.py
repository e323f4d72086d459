"""Joins as checked values: which tables an entry uses, which rows of them, and what is made of these."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from nurt.mapping.types import Expression
from nurt.model.entities import FieldType

HIDDEN = "#"
"""First character of the name of a field that holds what an entry's own row says within an expression."""


@dataclass(frozen=True, slots=True)
class Rank:
    """Field by which the rows of a side are ordered: by value if both are numbers, nulls last."""

    field: str
    descending: bool


@dataclass(frozen=True, slots=True, eq=False)
class Mixed:
    """SQL expression over an entry's own row and over rows that it is joined with.

    `expr` reads hidden fields by their names, and other rows' columns as `<name under with>.<column>`.
    """

    text: str
    expr: pl.Expr
    own: dict[str, Expression]  # hidden field -> what the own row says, over its source's columns
    own_types: dict[str, FieldType]  # STR or BOOL
    joined: frozenset[tuple[str, str]]  # (name under `with`, column)
    rounded: bool  # the outermost call is ROUND: its float may become money


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """Use of another table's rows under one name of `with`."""

    name: str
    line: int
    system: str | None  # as its entry writes it; None: the system of the row itself
    tables: tuple[str, ...]  # entity names; rows of several are taken for one table's
    on: tuple[str, ...]  # beside: the fields of the other rows that hold our key; () for a row that is looked up
    by: tuple[Mixed, ...]  # looked up: its key's parts, over our own row and rows beside it
    pivot: tuple[str, str] | None  # fields with an attribute's name and value
    only: dict[str, tuple[str, ...]]  # field -> texts, one of which it must have
    first: tuple[Rank, ...]  # which row counts of several; behind these, the smallest key


@dataclass(frozen=True, slots=True, eq=False)
class MixedParent:
    """Reference to a parent whose key is made of several rows."""

    kind: str
    name: str
    parts: tuple[Mixed, ...]


@dataclass(frozen=True, slots=True, eq=False)
class With:
    """What an entry makes of its own row and others: all that its `with` can concern."""

    uses: dict[str, Use]
    fields: dict[str, Mixed]  # those that other rows have a part in; the rest are fields of the own row
    parents: tuple[MixedParent, ...]  # all of the entry's, in order
    where: Mixed | None  # None: the own row says, or there is none
    identifiers: tuple[tuple[str, Mixed], ...]

    def every(self) -> Iterator[Mixed]:
        """Yield all expressions, those of look-ups' keys as well."""
        for use in self.uses.values():
            yield from use.by
        yield from self.fields.values()
        for parent in self.parents:
            yield from parent.parts
        if self.where is not None:
            yield self.where
        yield from (one for _, one in self.identifiers)
