"""Evaluate expressions over rows so that one bad row never harms its neighbours.

polars evaluates a column whole or not at all; when it refuses, the rows are halved until only bad rows are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from nurt.mapping.types import Expression

FAILURES = (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, TypeError, OverflowError)


def result_type(expr: pl.Expr, schema: pl.Schema) -> pl.DataType | None:
    """Return the type of an expression over rows of `schema`, or None when it cannot be evaluated over any row.

    A row of nulls is tried: polars lacks some operators for a type (% of decimals), and fails only when it evaluates.
    """
    try:
        return pl.DataFrame(schema=schema).clear(1).select(expr.alias("r")).schema["r"]
    except FAILURES:
        return None


def spread(expression: Expression) -> pl.Expr:
    """Return the expression with one value a row, even where it names no column."""
    if expression.columns:
        return expression.expr
    constant = pl.select(expression.expr.alias("c"))
    return pl.repeat(constant["c"][0], pl.len(), dtype=constant.schema["c"])


@dataclass(frozen=True, slots=True)
class Wanted:
    """Expression to evaluate over rows, with the name and type of its result."""

    name: str
    expr: pl.Expr
    dtype: pl.DataType
    column: str | None  # the expression is this column alone


def wanted(name: str, expression: Expression, dtype: pl.DataType) -> Wanted:
    """Prepare an expression for evaluation."""
    expr = spread(expression)
    return Wanted(name, expr.alias(name), dtype, expr.meta.output_name() if expr.meta.is_column() else None)


def evaluate(rows: pl.DataFrame, all_wanted: Sequence[Wanted]) -> tuple[dict[str, pl.Series], dict[str, list[int]]]:
    """Evaluate expressions; return their columns by name, and by name the rows where one failed (null there).

    Most expressions are columns and are only renamed: polars' engine would cost more.
    """
    found = {each.name: rows[each.column].alias(each.name) for each in all_wanted if each.column is not None}
    rest = [each for each in all_wanted if each.column is None]
    failed: dict[str, list[int]] = {}
    if not rest:
        return found, failed
    try:
        evaluated = rows.select_seq(each.expr for each in rest)
        found.update((each.name, _a_value_a_row(evaluated[each.name], rows)) for each in rest)
    except FAILURES:
        for each in rest:
            guilty: list[int] = []
            found[each.name] = _bisect(rows, each.expr, each.name, each.dtype, 0, guilty)
            if guilty:
                failed[each.name] = guilty
    return found, failed


def _a_value_a_row(column: pl.Series, rows: pl.DataFrame) -> pl.Series:
    """Repeat a value that polars returns once: nested choices between constants, where all rows choose the same."""
    return column if column.len() == rows.height else column.new_from_index(0, rows.height)


def _bisect(
    rows: pl.DataFrame, expr: pl.Expr, name: str, dtype: pl.DataType, first: int, guilty: list[int]
) -> pl.Series:
    try:
        return _a_value_a_row(rows.select_seq(expr)[name], rows).cast(dtype)
    except FAILURES:
        if rows.height <= 1:
            guilty.extend(range(first, first + rows.height))
            return pl.Series(name, [None] * rows.height, dtype=dtype)
    half = rows.height // 2
    left = _bisect(rows[:half], expr, name, dtype, first, guilty)
    right = _bisect(rows[half:], expr, name, dtype, first + half, guilty)
    return left.append(right)
