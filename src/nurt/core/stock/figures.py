"""What is said of skus, and which thresholds it crossed. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from nurt.core.stock.promise import Weighed
from nurt.core.stock.routes import Routes
from nurt.core.tables import OWNER, Table
from nurt.model.stock_plan import UNIT, StockPlan

Int64s = npt.NDArray[np.int64]
OK, LOW, OUT = 0, 1, 2
EVENTS = {(OK, LOW): "low_stock", (OK, OUT): "out_of_stock", (LOW, OUT): "out_of_stock"}
BACK = "back_in_stock"

PUBLISHED = Table(
    {
        "sku": pl.String(),
        "channel": pl.String(),
        "market": pl.String(),
        "available": pl.Int64(),
        "level": pl.Int64(),
        "oversold": pl.Int64(),
        "drifts": pl.Int64(),
    },
    zero=("available", "level", "oversold", "drifts"),
)
"""What was last published of a shelf, by route, and on which side of its thresholds it was."""


def free_of_kits(free: Int64s, kits: pl.DataFrame, parts: Int64s) -> None:
    """Set what can be sold of kits: as often as the scarcest part allows; (skus, routes), in place.

    Args:
        kits: owner, part (index into `parts`), quantity: pieces of the part in one kit.
        parts: (parts, routes) what is free of them.
    """
    if not kits.height:
        return
    owner, quantity = kits[OWNER].to_numpy(), kits["quantity"].to_numpy()
    most = np.where(quantity[:, None] > 0, parts[kits["part"].to_numpy()] // np.maximum(quantity, 1)[:, None], 2**40)
    kit, first = np.unique(owner, return_index=True)
    order = np.argsort(owner, kind="stable")
    del first
    starts = np.searchsorted(owner[order], kit)
    free[kit] = np.minimum.reduceat(most[order], starts, axis=0) * UNIT


def figures(
    routes: Routes, skus: Sequence[str], weighed: Weighed, free: Int64s, ledger: Int64s, oversold: Int64s
) -> pl.DataFrame:
    """Lay out a row for every sku and route that is sold: owner, sku, channel, market, available and its arithmetic."""
    count, sold = len(skus), routes.sold
    places = len(routes.locations)
    in_route = np.array(
        [[routes.bins[route] >> at & 1 for at in range(places * (1 + len(routes.horizons)))] for route in range(sold)],
        dtype=np.int64,
    ).reshape(sold, places * (1 + len(routes.horizons)))
    on_hand = weighed.on_hand @ in_route[:, :places].T
    inbound = weighed.inbound @ in_route[:, places:].T
    touching = np.array(
        [[int(routes.bins[a] & routes.bins[b] != 0) for b in range(len(routes.names))] for a in range(sold)],
        dtype=np.int64,
    ).reshape(sold, len(routes.names))
    held = weighed.held @ touching.T + weighed.located @ in_route[:, :places].T
    reserved = ledger @ touching.T
    buffer = np.broadcast_to(routes.buffers[:sold] + (in_route[:, :places] @ weighed.buffer), (count, sold))
    channels = [channel for channel, _ in routes.names[:sold]]
    markets = [market for _, market in routes.names[:sold]]
    return pl.DataFrame(
        {
            OWNER: np.repeat(np.arange(count), sold),
            "sku": np.repeat(np.array(skus, dtype=object), sold).tolist(),
            "channel": channels * count,
            "market": markets * count,
            "available": free[:, :sold].reshape(-1),
            "on_hand": on_hand.reshape(-1),
            "inbound": inbound.reshape(-1),
            "held": held.reshape(-1),
            "reserved": reserved.reshape(-1),
            "buffer": np.ascontiguousarray(buffer).reshape(-1),
            "oversold": np.repeat(oversold, sold),
        },
        schema_overrides={OWNER: pl.Int64, "sku": pl.String, "channel": pl.String, "market": pl.String},
    )


def levels_of(plan: StockPlan, available: pl.Expr, before: pl.Expr) -> pl.Expr:
    """Say on which side of the thresholds a figure is: a threshold is only crossed back past the hysteresis."""
    out = (available <= 0) | ((before == OUT) & (available < plan.hysteresis))
    low = (available <= plan.low) | ((before >= LOW) & (available < plan.low + plan.hysteresis))
    return pl.when(out).then(OUT).when(low & (plan.low > 0)).then(LOW).otherwise(OK).cast(pl.Int64)


def crossing(before: int | None, now: int) -> str | None:
    """Name the event of a crossing; the first figure of a sku crosses nothing."""
    if before is None or before == now:
        return None
    return EVENTS.get((before, now), BACK if before == OUT else None)
