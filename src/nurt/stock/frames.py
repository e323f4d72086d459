"""Frames of stock: fit to the columns of a table, and packed row by row."""

from __future__ import annotations

import polars as pl

from nurt.columnar.types import Bytes, Int64s
from nurt.state.table import OWNER, Table


def fit(frame: pl.DataFrame, columns: dict[str, pl.DataType]) -> pl.DataFrame:
    """Give a frame exactly these columns; a missing column is null."""
    schema = frame.schema
    return frame.select(
        (pl.col(name) if schema[name] == dtype else pl.col(name).cast(dtype))
        if name in schema
        else pl.lit(None, dtype).alias(name)
        for name, dtype in columns.items()
    )


def packed_rows(table: Table, frame: pl.DataFrame) -> tuple[Bytes, Int64s]:
    """Pack each row by itself, without a version: child records; returns the bytes and where each begins (n + 1)."""
    return table.pack_raw_rows(table.raw(frame.with_columns(pl.lit(0, pl.Int64).alias(OWNER))))
