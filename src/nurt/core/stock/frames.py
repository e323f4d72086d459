"""Contributions of stock as frames: packed from columns, and folded into slots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from nurt.core.arrow_columns import Texts
from nurt.core.columns import words
from nurt.core.packing import Int64s, text_buffers
from nurt.core.said import Contributions, no_texts
from nurt.core.slots import fold_slots
from nurt.core.tables import Table
from nurt.model.values import Values


def fit(frame: pl.DataFrame, columns: dict[str, pl.DataType]) -> pl.DataFrame:
    """Give a frame exactly these columns; what it lacks is null."""
    held = frame.schema
    return frame.select(
        (pl.col(name) if held[name] == dtype else pl.col(name).cast(dtype))
        if name in held
        else pl.lit(None, dtype).alias(name)
        for name, dtype in columns.items()
    )


def slots_of(table: Table, said: pl.DataFrame, columns: dict[str, pl.DataType]) -> pl.DataFrame:
    """Pack what is said into slots; who is gone says nothing more.

    Args:
        table: of the parent's value.
        said: columns of the table (those that are absent are null), `to`, `gone` and what `columns` asks for besides.
        columns: of the result.
    """
    packed = table.pack_rows(said)
    if said["gone"].any():
        packed = packed.set(said["gone"], b"")
    return fit(said.with_columns(packed.alias("slot")), columns)


def fold_frame(table: Table, values: Sequence[bytes | None], owner: Int64s, said: pl.DataFrame) -> list[bytes | None]:
    """Return parents' values after contributions (to, child, stamp, part, gone, slot); see `fold_slots`."""
    offsets, body = text_buffers(said["slot"])
    none = no_texts(said.height)
    to = words(said["to"])
    contributions = Contributions(
        to,
        words(said["child"]),
        said["stamp"].to_numpy(),
        said["part"].to_numpy(),
        said["gone"].to_numpy(),
        Texts(offsets[:-1], offsets[1:], body),
        *(none, none, none),
        np.zeros_like(to),
    )
    return fold_slots(table, Values.of(values), owner, contributions).values.plain()
