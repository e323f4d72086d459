"""The third stage: slots and shares into accounts; then who is concerned is touched by name. Hot path."""

from __future__ import annotations

import numpy as np

from nurt.core.accounts import AccountsFolded, fold_accounts, newest_shares
from nurt.core.columns import distinct, id_list
from nurt.core.context import FoldContext
from nurt.core.identity import Touched
from nurt.core.said import Said
from nurt.model.change import Change
from nurt.model.keys import Keys
from nurt.ports import Store

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
        slot_keys, sum_keys = self._keys.of_words(b"a", ids), self._keys.of_words(b"s", ids)
        pairs = newest.said
        share_keys = self._keys.of_words(b"c", pairs.to ^ pairs.child, beside=pairs.to)
        values = self._store.read([*slot_keys, *sum_keys, *share_keys])
        accounts = len(ids)
        stored_slots, stored_sums = values[:accounts], values[accounts : 2 * accounts]
        stored_shares = values[2 * accounts :]
        folded = fold_accounts(codes[: len(slots)], slots, newest, stored_slots, stored_sums, stored_shares)
        change = Change()
        change.store(slot_keys, folded.slots, stored_slots)
        change.store(sum_keys, folded.sums, stored_sums)
        change.store(share_keys, folded.shares, stored_shares)
        self._store.write(change)
        if not self._alone:  # who is touched by name reads what was written, and may do so elsewhere
            self._store.settle()
        return self._touched(id_list(ids), folded)

    def _touched(self, ids: list[bytes], folded: AccountsFolded) -> dict[str, list[Touched]]:
        """Say which accounts of each realm were touched."""
        realms = [self._context.realm.get(system, _NO_REALM) for system in folded.systems]
        if len(set(realms)) == 1:
            moved_to = {ids[owner]: to for owner, to in folded.moved_to.items()}
            return {realms[0]: [Touched(ids, folded.links, moved_to)]}
        touched: dict[str, list[Touched]] = {}
        for realm in dict.fromkeys(realms):
            here = np.flatnonzero(np.isin(folded.system, [code for code, one in enumerate(realms) if one == realm]))
            mine = here.tolist()
            moved_to = {ids[owner]: folded.moved_to[owner] for owner in mine if owner in folded.moved_to}
            touched[realm] = [Touched([ids[one] for one in mine], [folded.links[one] for one in mine], moved_to)]
        return touched
