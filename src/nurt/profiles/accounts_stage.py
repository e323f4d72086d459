"""The third stage: slots and shares into accounts; then who is concerned is touched by name. Hot path."""

from __future__ import annotations

import numpy as np

from nurt.columnar.distinct import distinct, id_list
from nurt.columnar.types import Words
from nurt.model.keys import Keys
from nurt.model.state_write import Change
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.profiles.accounts import AccountsFolded, fold_accounts, newest_shares
from nurt.profiles.identity.resolve import Touched
from nurt.rows.contributions import Said

_NO_REALM = "default"
"""The realm of a system that the mapping gives none."""


class AccountsStage:
    """Owns the accounts of a worker's shards."""

    def __init__(self, store: Store, keys: Keys, context: FoldContext) -> None:
        self._store = store
        self._keys = keys
        self._context = context
        self._alone = keys.is_every_shard(store.places)

    def fold(self, said: Said) -> dict[str, list[Touched]]:
        """Fold what rows and orders said, write it, and return the accounts touched, by realm.

        An account is touched on any arrival, changed or not: a replay must reach whom a crash kept from hearing.
        """
        slots, shares = said.slots, said.shares
        if not len(slots) and not len(shares):
            return {}
        to = np.concatenate((slots.to, shares.to))
        codes, firsts = distinct(to)
        ids = to[firsts]
        newest = newest_shares(codes[len(slots) :], shares)
        pairs = newest.said
        slot_keys, sum_keys = self._keys.rows_of(b"a", ids), self._keys.rows_of(b"s", ids)
        share_keys = self._keys.rows_of(b"c", pairs.to ^ pairs.child, beside=pairs.to)
        stored = self._store.load([slot_keys, sum_keys, share_keys])
        folded = fold_accounts(codes[: len(slots)], slots, newest, *stored)
        before, _, shares_before = stored
        change = Change()
        gone = before.there & ~folded.alive
        change.keep(slot_keys, folded.slots.values, folded.slots.changed & folded.alive | gone, folded.alive)
        change.keep(sum_keys, folded.sums.sums, ~folded.sums.same)
        kept = folded.sums.shares
        change.keep(share_keys, kept, folded.sums.fresh & (kept.there | shares_before.there))
        self._store.write(change)
        if not self._alone:  # who is touched by name reads what was written, and may do so elsewhere
            self._store.settle()
        return self._touched(ids, folded)

    def _touched(self, ids: Words, folded: AccountsFolded) -> dict[str, list[Touched]]:
        """Say which accounts of each realm were touched."""
        realms = [self._context.realm.get(system, _NO_REALM) for system in folded.systems]
        moved_to = {ids[owner].tobytes(): to for owner, to in folded.moved_to.items()}
        whole = Touched(ids, folded.links, moved_to)
        if len(set(realms)) == 1:
            return {realms[0]: [whole]}
        touched: dict[str, list[Touched]] = {}
        for realm in dict.fromkeys(realms):
            codes = [code for code, one in enumerate(realms) if one == realm]
            mine = whole.take(np.flatnonzero(np.isin(folded.system, codes)))
            there = {*id_list(mine.accounts)} if moved_to else ()
            moved = {account: to for account, to in moved_to.items() if account in there}
            touched[realm] = [Touched(mine.accounts, mine.links, moved)]
        return touched
