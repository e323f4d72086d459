"""Available to promise of skus: stock less holds. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nurt.columnar.types import Int64s
from nurt.state.table import Table
from nurt.stock.routes import SalesRoutes

DAY_MS = 86_400_000

HOLD, BOOKING, KIT = 1, 2, 3
"""Parts of a position's holds: a sum over orders; a booking that on hand may not show yet; a kit that uses the sku."""

HOLDS = Table.stored("holds")
"""An inventory position's second value: what orders, documents and kits hold of the sku."""


@dataclass(frozen=True, slots=True, eq=False)
class NetStock:
    """Netted stock; rows are skus.

    Attributes:
        on_hand: (skus, locations) stock there, less the source's own reserved quantities.
        located: (skus, locations) held at a named location.
        inbound: (skus, bins beyond locations) expected supplies.
        held: (skus, routes) held by orders and bookings.
        buffer: (locations,) with the extra of stale locations.
        slack: (skus, unions) stock less holds, without the ledger's reservations.
    """

    on_hand: Int64s
    located: Int64s
    inbound: Int64s
    held: Int64s
    buffer: Int64s
    slack: Int64s

    def free(self, routes: SalesRoutes, ledger: Int64s | None = None) -> Int64s:
        """Return each route's ATP, (skus, routes); `ledger`: quantities that reservations hold, (skus, routes)."""
        slack = self.slack if ledger is None else self.slack - ledger @ routes.inside
        least = np.empty((len(slack), len(routes.names)), dtype=np.int64)
        for route in range(len(routes.names)):
            least[:, route] = slack[:, routes.inside[route] == 1].min(axis=1)
        return np.maximum(least - routes.buffers, 0)

    def oversold(self, routes: SalesRoutes, ledger: Int64s) -> Int64s:
        """Return, by sku, the quantity that is held beyond stock."""
        if not len(self.slack):
            return np.zeros(0, dtype=np.int64)
        slack = (self.slack - ledger @ routes.inside).min(axis=1)
        located: Int64s = np.maximum(self.located - np.maximum(self.on_hand, 0), 0).sum(axis=1)
        return np.maximum(-slack, 0) + located
