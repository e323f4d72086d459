"""Compile the plan of locations: bins, routes and the unions of routes that bound ATP.

A *bin* is a location, or its expected supplies within a horizon. A *route* is a channel in a market, with the bins
that serve it. All holds on routes can be served exactly when, for every union of routes, the union's holds fit into its
bins (Hall's theorem); so a route's ATP is the least slack of any union around the route. A union of routes without a
shared bin adds no bound to those of its parts, so only connected unions are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from nurt.columnar.types import Int64s
from nurt.errors import ConfigurationError
from nurt.limits import UNIONS_MAX
from nurt.model.stock.plan import Channel, Market, StockPlan
from nurt.model.units import NO_AMOUNT, Amount

ANY = "*"
"""Channel or market of a route for channels or markets that the plan does not name."""


@dataclass(frozen=True, slots=True, eq=False)
class SalesRoutes:
    """Routes of a compiled plan.

    Attributes:
        locations: by index; the locations are the first bins.
        horizons: days of the inbound bins, which follow: bin = locations + horizon * locations + location.
        names: of routes: (channel, market).
        sold: how many of the first routes are sold and published; other routes only have holds.
        buffers: by route, of channel and market.
        bins: by route, a mask of bins.
        inside: shape (routes, unions): 1 where the route's bins are within the union.
        covers: shape (bins, unions): 1 where the union has the bin.
        version: changes with anything that the routes depend on.
    """

    plan: StockPlan
    locations: tuple[str, ...]
    horizons: tuple[int, ...]
    names: tuple[tuple[str, str], ...]
    sold: int
    buffers: Int64s
    bins: tuple[int, ...]
    inside: Int64s
    covers: Int64s
    version: str

    def route_of(self, channel: str, market: str) -> int:
        """Name the route on which an order of this channel and market holds."""
        for name in ((channel, market), (channel, ANY)):
            if name in self.names:
                return self.names.index(name)
        return len(self.names) - 1

    def around(self, route: int) -> list[int]:
        """List the unions that bound a route."""
        return [int(union) for union in np.flatnonzero(self.inside[route])]

    def text(self) -> bytes:
        """Write the plan for the ledger's script."""
        shown: dict[str, Any] = {
            "version": self.version,
            "around": {f"{channel}/{market}": self.around(at) for at, (channel, market) in enumerate(self.names)},
            "buffers": {f"{c}/{m}": int(self.buffers[at]) for at, (c, m) in enumerate(self.names)},
        }
        return json.dumps(shown, sort_keys=True).encode()


def compile_routes(plan: StockPlan) -> SalesRoutes:
    """Compile a plan.

    Raises ConfigurationError when too many locations overlap to list all unions.
    """
    locations = tuple(sorted(plan.locations))
    horizons = tuple(sorted({c.inbound_days for c in plan.channels.values() if c.inbound_days is not None}))
    sold, totals = [], []
    for channel in plan.channels.values():
        for name in channel.markets:
            market = plan.markets.get(name, Market(name))
            bins = _mask(channel, market, locations, horizons)
            sold.append(((channel.name, name), bins, Amount(channel.buffer + market.buffer)))
        totals.append(((channel.name, ANY), _mask(channel, Market(ANY), locations, horizons), channel.buffer))
    totals.append(((ANY, ANY), (1 << len(locations)) - 1, NO_AMOUNT))
    routes = sold + totals
    unions = _unions([bins for _, bins, _ in routes])
    count = len(locations) * (1 + len(horizons))
    inside = np.array([[int(bins & ~union == 0) for union in unions] for _, bins, _ in routes], dtype=np.int64)
    covers = np.array([[union >> at & 1 for union in unions] for at in range(count)], dtype=np.int64)
    version = blake2b(json.dumps(asdict(plan), sort_keys=True, default=str).encode(), digest_size=6).hexdigest()
    return SalesRoutes(
        plan,
        locations,
        horizons,
        tuple(name for name, _, _ in routes),
        len(sold),
        np.array([buffer for _, _, buffer in routes], dtype=np.int64),
        tuple(bins for _, bins, _ in routes),
        inside.reshape(len(routes), len(unions)),
        covers.reshape(count, len(unions)),
        version,
    )


def _mask(channel: Channel, market: Market, locations: tuple[str, ...], horizons: tuple[int, ...]) -> int:
    wanted = [name for name in channel.locations if market.locations is None or name in market.locations]
    mask = 0
    for name in wanted:
        at = locations.index(name)
        mask |= 1 << at
        for number, days in enumerate(horizons):
            if channel.inbound_days is not None and days <= channel.inbound_days:
                mask |= 1 << (len(locations) * (1 + number) + at)
    return mask


def _unions(masks: Iterable[int]) -> list[int]:
    """List all unions of routes that are connected by shared bins."""
    single = sorted(set(masks))
    known = set(single)
    waiting = list(single)
    while waiting:
        union = waiting.pop()
        for mask in single:
            joined = union | mask
            if union & mask and joined not in known:
                known.add(joined)
                waiting.append(joined)
        if len(known) > UNIONS_MAX:
            raise ConfigurationError(
                f"reading the mapping's `stock`: its channels and markets overlap in more than {UNIONS_MAX} ways; let "
                "fewer of them share only some of their locations"
            )
    return sorted(known, key=lambda union: (union.bit_count(), union))
