"""Published figures of skus, and the thresholds that they crossed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from nurt.columnar.types import Int64s
from nurt.model.stock.plan import UNIT, StockPlan
from nurt.state.table import OWNER
from nurt.stock.holds import NetStock
from nurt.stock.routes import SalesRoutes

OK, LOW, OUT = 0, 1, 2
EVENTS = {(OK, LOW): "low_stock", (OK, OUT): "out_of_stock", (LOW, OUT): "out_of_stock"}
BACK = "back_in_stock"


def free_of_kits(free: Int64s, owner: Int64s, part: Int64s, pieces: Int64s, parts: Int64s) -> None:
    """Set the free quantity of kits, by the scarcest part; (skus, routes), in place.

    Args:
        owner, part, pieces: sorted by owner: a kit, an index into `parts`, the part's quantity in one kit.
        parts: (parts, routes) free quantity of the parts.
    """
    if not len(owner):
        return
    most = np.where(pieces[:, None] > 0, parts[part] // np.maximum(pieces, 1)[:, None], 2**40)
    kits, starts = np.unique(owner, return_index=True)
    free[kits] = np.minimum.reduceat(most, starts, axis=0) * UNIT


NUMBERS = ("available", "on_hand", "inbound", "held", "reserved", "buffer")


@dataclass(frozen=True, slots=True, eq=False)
class StockFigures:
    """Figures of what can be sold of skus, with their terms: (skus, sold routes) each.

    Attributes:
        oversold: (skus,) quantity that is held beyond stock.
    """

    available: Int64s
    on_hand: Int64s
    inbound: Int64s
    held: Int64s
    reserved: Int64s
    buffer: Int64s
    oversold: Int64s

    def frame(self, routes: SalesRoutes, skus: Sequence[str]) -> pl.DataFrame:
        """Lay out a row for every sku and route: owner, sku, channel, market, the numbers, oversold."""
        count, sold = len(skus), routes.sold
        owner = pl.Series(np.repeat(np.arange(count), sold))
        names = [pl.Series(names, dtype=pl.String) for names in zip(*routes.names[:sold], strict=True)]
        route = pl.Series(np.tile(np.arange(sold), count))
        return pl.DataFrame(
            {
                OWNER: owner,
                "sku": pl.Series(skus, dtype=pl.String).gather(owner),
                "channel": names[0].gather(route),
                "market": names[1].gather(route),
                **{name: np.ascontiguousarray(getattr(self, name)).reshape(-1) for name in NUMBERS},
                "oversold": np.repeat(self.oversold, sold),
            }
        )


def figures_of(
    routes: SalesRoutes, net_stock: NetStock, free: Int64s, ledger: Int64s, oversold: Int64s
) -> StockFigures:
    """Sum up, for every sold route, the terms of its ATP."""
    sold, places = routes.sold, len(routes.locations)
    in_route = np.array(
        [[routes.bins[route] >> at & 1 for at in range(places * (1 + len(routes.horizons)))] for route in range(sold)],
        dtype=np.int64,
    ).reshape(sold, places * (1 + len(routes.horizons)))
    touching = np.array(
        [[int(routes.bins[a] & routes.bins[b] != 0) for b in range(len(routes.names))] for a in range(sold)],
        dtype=np.int64,
    ).reshape(sold, len(routes.names))
    buffer = routes.buffers[:sold] + (in_route[:, :places] @ net_stock.buffer)
    return StockFigures(
        free[:, :sold],
        net_stock.on_hand @ in_route[:, :places].T,
        net_stock.inbound @ in_route[:, places:].T,
        net_stock.held @ touching.T + net_stock.located @ in_route[:, :places].T,
        ledger @ touching.T,
        np.broadcast_to(buffer, (len(free), sold)),
        oversold,
    )


def levels_of(plan: StockPlan, available: Int64s, before: Int64s) -> Int64s:
    """Return the figures' side of the thresholds: a figure crosses back only beyond the hysteresis."""
    out = (available <= 0) | ((before == OUT) & (available < plan.hysteresis))
    low = (available <= plan.low) | ((before >= LOW) & (available < plan.low + plan.hysteresis))
    return np.where(out, OUT, np.where(low & (plan.low > 0), LOW, OK))


def crossing(before: int | None, now: int) -> str | None:
    """Name the event of a crossing; a sku's first figure crosses nothing."""
    if before is None or before == now:
        return None
    return EVENTS.get((before, now), BACK if before == OUT else None)
