"""Joins as checked values: which tables an entry uses, which rows of them, and what is made of these."""

from __future__ import annotations

from dataclasses import dataclass

from nurt.mapping.types import Expression
from nurt.model.entities import FieldType


@dataclass(frozen=True, slots=True)
class Rank:
    """Field by which the rows of a side are ordered: by value if both are numbers, nulls last."""

    field: str
    descending: bool


@dataclass(frozen=True, slots=True, eq=False)
class Mixed:
    """Parts of an expression over an entry's own row and over rows that it is joined with.

    The expression reads hidden fields by their names, and other rows' columns as `<name under with>.<column>`.
    """

    own: dict[str, Expression]  # hidden field -> what the own row says, over its source's columns
    types: dict[str, FieldType]  # of hidden fields: STR or BOOL
    joined: frozenset[tuple[str, str]]  # (name under `with`, column)
    line: int = 0  # where it stands; 0: at its entry


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """Use of another table's rows under one name of `with`."""

    name: str
    line: int
    system: str | None  # as its entry writes it; None: the system of the row itself
    tables: tuple[str, ...]  # entity names; rows of several are taken for one table's
    on: tuple[str, ...]  # beside: the fields of the other rows that hold our key; () for a row that is looked up
    by: tuple[Expression, ...]  # looked up: its key's parts, over our own row and rows beside it
    pivot: tuple[str, str] | None  # fields with an attribute's name and value
    only: dict[str, tuple[str, ...]]  # field -> texts, one of which it must have
    first: tuple[Rank, ...]  # which row counts of several; behind these, the smallest key
