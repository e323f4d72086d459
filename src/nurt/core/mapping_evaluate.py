"""Evaluate expressions over rows so that one bad row never harms its neighbours.

polars evaluates a column whole or not at all; when it refuses, the rows are halved until only the guilty are left.
"""

from __future__ import annotations

import polars as pl

from nurt.core.mapping_types import Expression

FAILURES = (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, TypeError, OverflowError)


def result_type(expr: pl.Expr, schema: pl.Schema) -> pl.DataType | None:
    """Return the type of an expression over rows of `schema`, or None when it cannot be evaluated over them at all."""
    try:
        return pl.DataFrame(schema=schema).select(expr.alias("r")).schema["r"]
    except FAILURES:
        return None


def spread(expression: Expression) -> pl.Expr:
    """Return an expression that has one value a row, even where it names no column."""
    if expression.columns:
        return expression.expr
    constant = pl.select(expression.expr.alias("c"))
    return pl.repeat(constant["c"][0], pl.len(), dtype=constant.schema["c"])


def evaluate(
    rows: pl.DataFrame, exprs: dict[str, pl.Expr], types: dict[str, pl.DataType]
) -> tuple[pl.DataFrame, dict[str, list[int]]]:
    """Evaluate all expressions; return their columns, and by name the rows where one failed (null there)."""
    try:
        return rows.select(expr.alias(name) for name, expr in exprs.items()), {}
    except FAILURES:
        pass
    columns: list[pl.Series] = []
    failed: dict[str, list[int]] = {}
    for name, expr in exprs.items():
        guilty: list[int] = []
        columns.append(_bisect(rows, expr.alias(name), name, types[name], 0, guilty))
        if guilty:
            failed[name] = guilty
    return pl.DataFrame(columns), failed


def _bisect(
    rows: pl.DataFrame, expr: pl.Expr, name: str, dtype: pl.DataType, first: int, guilty: list[int]
) -> pl.Series:
    try:
        return rows.select(expr)[name].cast(dtype)
    except FAILURES:
        if rows.height <= 1:
            guilty.extend(range(first, first + rows.height))
            return pl.Series(name, [None] * rows.height, dtype=dtype)
    half = rows.height // 2
    left = _bisect(rows[:half], expr, name, dtype, first, guilty)
    right = _bisect(rows[half:], expr, name, dtype, first + half, guilty)
    return left.append(right)
