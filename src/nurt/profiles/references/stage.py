"""The stage between rows and orders, where the mapping names orders by a field: rows find the order that is meant."""

from __future__ import annotations

from nurt.columnar.distinct import distinct
from nurt.model.keys import Keys
from nurt.model.state_write import StateWrite
from nurt.ports.store import Store
from nurt.profiles.references.fold import fold_tokens
from nurt.rows.children.contributions import Contributions, no_contributions


class ReferencesStage:
    """The stage that owns the tokens of a worker's shards."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    def fold(self, contributions: Contributions) -> Contributions:
        """Fold contributions, in order; return those of everything that names a token to orders.

        A token says all of it whenever something of it arrives: a replay of a row repeats what a crash lost.
        """
        if not len(contributions):
            return no_contributions()
        owner, firsts = distinct(contributions.to)
        ids = contributions.to[firsts]
        keys = self._keys.rows_of(b"K", ids)
        (stored,) = self._store.load([keys])
        folded = fold_tokens(owner, contributions, stored, ids, self._store.next_stamp())
        change = StateWrite()
        change.keep(keys, folded.values, folded.changed)
        change.counts.update(folded.waiting)
        self._store.write(change)
        return folded.to_orders
