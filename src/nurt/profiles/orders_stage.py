"""The second stage: fold rows' contributions into orders, and emit orders' contributions to accounts. Hot path."""

from __future__ import annotations

from nurt.columnar.distinct import distinct
from nurt.model.keys import Keys
from nurt.model.state_write import StateWrite
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.profiles.orders import fold_orders
from nurt.rows.children.contributions import Contributions, ContributionSet, empty_contribution_set


class OrdersStage:
    """The stage that owns the orders of a worker's shards."""

    def __init__(self, store: Store, keys: Keys, context: FoldContext) -> None:
        self._store = store
        self._keys = keys
        self._context = context

    def fold(self, contributions: Contributions) -> ContributionSet:
        """Fold contributions, in order, and emit each order's whole contribution to accounts."""
        if not len(contributions):
            return empty_contribution_set()
        owner, firsts = distinct(contributions.to)
        ids = contributions.to[firsts]
        keys = self._keys.rows_of(b"o", ids)
        (stored,) = self._store.load([keys])
        folded = fold_orders(owner, contributions, stored, ids, self._store.next_stamp(), self._context)
        change = StateWrite()
        change.keep(keys, folded.values, folded.changed)
        change.counts.update(folded.waiting)
        self._store.write(change)
        return folded.contributions
