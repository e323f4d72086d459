"""What can be promised of skus: shelves and holds against the plan. Hot path; pure, at an explicit moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from nurt.core.stock.routes import Routes
from nurt.core.stock.said import LEVEL, SUPPLY
from nurt.core.tables import OWNER, Table

Int64s = npt.NDArray[np.int64]
DAY_MS = 86_400_000

HOLD, BOOKING, KIT = 1, 2, 3
"""Parts of a shelf's holds: a sum over orders; what a paper booked and on hand may not show yet; a kit that uses it."""

HOLDS = Table(
    {
        "part": pl.Int64(),
        "sku": pl.String(),
        "channel": pl.String(),
        "market": pl.String(),
        "location": pl.String(),
        "quantity": pl.Int64(),
        "paper": pl.Binary(),
        "system": pl.String(),
        **dict.fromkeys(("p0", "p1", "p2", "p3"), pl.Int64()),
        "due_ms": pl.Int64(),
        "of": pl.String(),  # the kit
    }
)
"""A shelf's second value: what orders, documents and kits hold of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """Skus, weighed; rows are skus.

    Attributes:
        on_hand: (skus, locations) what lies there, net of what the source itself reserved.
        located: (skus, locations) held there by name.
        inbound: (skus, bins beyond locations) what is on its way.
        held: (skus, routes) held by orders and bookings.
        buffer: (locations,) with what staleness adds.
        slack: (skus, unions) what holds leave free; the ledger is not in it.
    """

    on_hand: Int64s
    located: Int64s
    inbound: Int64s
    held: Int64s
    buffer: Int64s
    slack: Int64s

    def free(self, routes: Routes, ledger: Int64s | None = None) -> Int64s:
        """Say what each route can promise, (skus, routes); `ledger` is what reservations hold, (skus, routes)."""
        slack = self.slack if ledger is None else self.slack - ledger @ routes.inside
        least = np.empty((len(slack), len(routes.names)), dtype=np.int64)
        for route in range(len(routes.names)):
            least[:, route] = slack[:, routes.inside[route] == 1].min(axis=1)
        return np.maximum(least - routes.buffers, 0)


def weigh(
    routes: Routes,
    priority: Mapping[str, int],
    skus: int,
    shelves: pl.DataFrame,
    holds: pl.DataFrame,
    as_of_ms: int,
    stale: frozenset[str] = frozenset(),
) -> Weighed:
    """Weigh shelves against holds.

    Args:
        priority: of systems: the smallest is believed where several tell of one location.
        skus: how many; owners of the frames are below.
        shelves: SHELVES and owner.
        holds: HOLDS and owner, without parts KIT; kits' holds are at their parts.
        as_of_ms: bookings due by then are over.
        stale: locations whose news are too old.
    """
    plan, places = routes.plan, len(routes.locations)
    index = {name: at for at, name in enumerate(routes.locations)}
    levels = shelves.filter(pl.col("part") == LEVEL) if shelves.height else shelves
    on_hand = np.zeros((skus, places), dtype=np.int64)
    if levels.height:
        counted = _believed(routes, priority, levels.filter(pl.col("location").is_in(list(index))))
        _add(on_hand, counted, counted["location"].replace_strict(index, return_dtype=pl.Int64), _net(counted))
    supplies = shelves.filter(pl.col("part") == SUPPLY) if levels.height != shelves.height else shelves.clear()
    inbound = _inbound(routes, skus, supplies, index, as_of_ms)
    located = np.zeros((skus, places), dtype=np.int64)
    held = np.zeros((skus, len(routes.names)), dtype=np.int64)
    if holds.height:
        holds = without_shown(holds, levels, as_of_ms)
        there = pl.col("location").is_in(list(index)).fill_null(False)
        at_place, on_route = holds.filter(there), holds.filter(~there)
        if at_place.height:
            where = at_place["location"].replace_strict(index, return_dtype=pl.Int64)
            _add(located, at_place, where, at_place["quantity"].to_numpy())
        if on_route.height:
            _add(held, on_route, _routes_of(routes, on_route), on_route["quantity"].to_numpy())
    buffer = np.array(
        [
            plan.locations[name].buffer + (plan.locations[name].stale_buffer if name in stale else 0)
            for name in routes.locations
        ],
        dtype=np.int64,
    )
    caps = np.hstack([np.maximum(on_hand - located - buffer, 0), inbound])
    return Weighed(on_hand, located, inbound, held, buffer, caps @ routes.covers - held @ routes.inside)


def without_shown(holds: pl.DataFrame, levels: pl.DataFrame, as_of_ms: int) -> pl.DataFrame:
    """Leave out bookings that on hand shows by now, and those whose grace is over.

    On hand shows a booking when a level of that sku, of the same system (and location, where the booking names one),
    stands at a later place in the system's commit order. An unknown part of a position decides nothing.
    """
    if not (holds["part"] == BOOKING).any():
        return holds
    sums, bookings = holds.filter(pl.col("part") != BOOKING), holds.filter(pl.col("part") == BOOKING)
    bookings = bookings.filter(pl.col("due_ms") > as_of_ms).with_row_index("n")
    later = (
        bookings.join(levels.select(OWNER, "system", *_suffixed()), on=[OWNER, "system"], how="inner")
        .filter(pl.col("location").is_null() | (pl.col("location") == pl.col("location_l")))
        .filter(_passes(0))
    )
    bookings = bookings.filter(~pl.col("n").is_in(later["n"].implode())).drop("n")
    return pl.concat([sums, bookings])


def _suffixed() -> list[pl.Expr]:
    return [pl.col(name).alias(f"{name}_l") for name in ("location", "p0", "p1", "p2", "p3")]


def _passes(part: int) -> pl.Expr:
    """Compare positions part by part; equal ones pass: one commit wrote both."""
    if part == 4:
        return pl.lit(True)
    booked, level = pl.col(f"p{part}"), pl.col(f"p{part}_l")
    return (level > booked).fill_null(False) | ((level == booked).fill_null(False) & _passes(part + 1))


def _net(levels: pl.DataFrame) -> Int64s:
    return (levels["quantity"].fill_null(0) - levels["reserved_quantity"].fill_null(0)).to_numpy()


def _believed(routes: Routes, priority: Mapping[str, int], levels: pl.DataFrame) -> pl.DataFrame:
    """Keep the levels of the one system that counts for each sku and location."""
    if levels["system"].n_unique() <= 1 and not any(one.system for one in routes.plan.locations.values()):
        return levels
    told = {name: one.system for name, one in routes.plan.locations.items() if one.system is not None}
    wanted = pl.col("location").replace_strict(told, default=None, return_dtype=pl.String)
    levels = levels.filter(wanted.is_null() | (wanted == pl.col("system")))
    systems = sorted(levels["system"].unique().to_list(), key=lambda name: (priority.get(name, 100), name))
    ranks = dict(zip(systems, range(len(systems)), strict=True))
    rank = pl.col("system").replace_strict(ranks, default=0, return_dtype=pl.Int64)
    return levels.filter(rank == rank.min().over(OWNER, "location"))


def _inbound(routes: Routes, skus: int, supplies: pl.DataFrame, index: Mapping[str, int], as_of_ms: int) -> Int64s:
    places = len(routes.locations)
    inbound = np.zeros((skus, places * len(routes.horizons)), dtype=np.int64)
    if not supplies.height or not routes.horizons:
        return inbound
    today = as_of_ms // DAY_MS
    left = supplies.filter(
        pl.col("location").is_in(list(index)), pl.col("expected_on").is_between(today, today + routes.horizons[-1])
    )
    days = (left["expected_on"] - today).to_numpy()
    horizon = np.searchsorted(np.array(routes.horizons), days)
    at = left["location"].replace_strict(index, return_dtype=pl.Int64).to_numpy()
    _add(inbound, left, pl.Series(horizon * places + at), left["quantity"].fill_null(0).to_numpy())
    return inbound


def _routes_of(routes: Routes, holds: pl.DataFrame) -> pl.Series:
    names = holds.select("channel", "market").unique()
    found = [routes.route_of(channel or "", market or "") for channel, market in names.iter_rows()]
    known = names.with_columns(pl.Series("route", found, dtype=pl.Int64))
    return holds.join(known, on=["channel", "market"], how="left", nulls_equal=True, maintain_order="left")["route"]


def _add(sums: Int64s, frame: pl.DataFrame, column: pl.Series, quantity: Int64s) -> None:
    np.add.at(sums, (frame[OWNER].to_numpy(), column.to_numpy()), quantity)
