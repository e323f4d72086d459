"""The second stage: what rows say of an order into the order, and what the order says to its account. Hot path."""

from __future__ import annotations

import polars as pl

from nurt.core.columns import encode_ids
from nurt.core.context import FoldContext
from nurt.core.contributions import Said, nothing_said
from nurt.core.orders import fold_orders
from nurt.core.tables import OWNER
from nurt.model.change import Change
from nurt.model.keys import Keys
from nurt.ports import Store


class OrdersStage:
    """Owns the orders of a worker's shards."""

    def __init__(self, store: Store, keys: Keys, context: FoldContext) -> None:
        self._store = store
        self._keys = keys
        self._context = context

    def fold(self, said: pl.DataFrame) -> Said:
        """Fold contributions (columns TO_ORDER, in order) and say each order's whole contribution to accounts."""
        if not said.height:
            return nothing_said()
        codes, ids = encode_ids(said["to"])
        keys = self._keys.of(b"o", ids)
        stored = self._store.read(keys)
        incoming = said.with_columns(pl.Series(OWNER, codes))
        stamp = self._store.next_stamp()
        folded = fold_orders(incoming, stored, pl.Series(ids, dtype=pl.Binary), stamp, self._context)
        change = Change()
        change.store(keys, folded.values)
        self._store.write(change)
        return folded.said
