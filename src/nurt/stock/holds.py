"""What can be promised of skus: what holds leave of what lies there. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nurt.columnar.types import Int64s
from nurt.state.table import Table
from nurt.stock.routes import SalesRoutes

DAY_MS = 86_400_000

HOLD, BOOKING, KIT = 1, 2, 3
"""Parts of a shelf's holds: a sum over orders; what a paper booked and on hand may not show yet; a kit that uses it."""

HOLDS = Table.stored("holds")
"""A shelf's second value: what orders, documents and kits hold of it."""


@dataclass(frozen=True, slots=True, eq=False)
class NetStock:
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

    def free(self, routes: SalesRoutes, ledger: Int64s | None = None) -> Int64s:
        """Say what each route can promise, (skus, routes); `ledger` is what reservations hold, (skus, routes)."""
        slack = self.slack if ledger is None else self.slack - ledger @ routes.inside
        least = np.empty((len(slack), len(routes.names)), dtype=np.int64)
        for route in range(len(routes.names)):
            least[:, route] = slack[:, routes.inside[route] == 1].min(axis=1)
        return np.maximum(least - routes.buffers, 0)

    def oversold(self, routes: SalesRoutes, ledger: Int64s) -> Int64s:
        """Say how much more of skus is held than there is."""
        if not len(self.slack):
            return np.zeros(0, dtype=np.int64)
        slack = (self.slack - ledger @ routes.inside).min(axis=1)
        located: Int64s = np.maximum(self.located - np.maximum(self.on_hand, 0), 0).sum(axis=1)
        return np.maximum(-slack, 0) + located
