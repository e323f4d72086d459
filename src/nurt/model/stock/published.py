"""Publications of the flow of stock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from nurt.model.units import Millis


@dataclass(frozen=True, slots=True)
class StockBatch:
    """Figures, orders and events, in order.

    Attributes:
        revision: of everything in the batch; it grows from batch to batch.
        as_of_ms: the moment of the computation.
        figures: a row for every sku, channel and market (see `stock.levels`), or without rows.
        orders: by id; None is a tombstone.
        events: each with an `id`, which a repeated event keeps.
        realm: of figures and orders.
    """

    revision: int
    as_of_ms: Millis
    figures: pl.DataFrame = field(default_factory=pl.DataFrame)
    orders: Mapping[bytes, dict[str, Any] | None] = field(default_factory=dict)
    events: tuple[dict[str, Any], ...] = ()
    realm: str = ""

    def __bool__(self) -> bool:
        return bool(self.figures.height or self.orders or self.events)
