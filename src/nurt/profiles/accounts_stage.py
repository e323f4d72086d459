"""The third stage: fold child records and partials into accounts, and name the changed accounts. Hot path."""

from __future__ import annotations

import numpy as np

from nurt.columnar.distinct import distinct, id_list
from nurt.columnar.types import Words
from nurt.model.keys import Keys
from nurt.model.state_write import StateWrite
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.profiles.accounts import AccountsFolded, fold_accounts, newest_partials
from nurt.profiles.identity.resolve import AccountChanges
from nurt.rows.children.contributions import ContributionSet

_NO_REALM = "default"
"""The realm of a system without a realm in the mapping."""


class AccountsStage:
    """The stage that owns the accounts of a worker's shards."""

    def __init__(self, store: Store, keys: Keys, context: FoldContext) -> None:
        self._store = store
        self._keys = keys
        self._context = context
        self._alone = keys.is_every_shard(store.places)

    def fold(self, contributions: ContributionSet) -> dict[str, list[AccountChanges]]:
        """Fold contributions of rows and orders, write accounts, and return those that got contributions, by realm.

        An account is returned on any arrival, changed or not: a replay must reach the stages that a crash kept from it.
        """
        records, partials = contributions.records, contributions.partials
        if not len(records) and not len(partials):
            return {}
        to = np.concatenate((records.to, partials.to))
        codes, firsts = distinct(to)
        ids = to[firsts]
        newest = newest_partials(codes[len(records) :], partials)
        pairs = newest.contributions
        record_keys, aggregate_keys = self._keys.rows_of(b"a", ids), self._keys.rows_of(b"s", ids)
        partial_keys = self._keys.rows_of(b"c", pairs.to ^ pairs.child, beside=pairs.to)
        stored = self._store.load([record_keys, aggregate_keys, partial_keys])
        folded = fold_accounts(codes[: len(records)], records, newest, *stored)
        before, _, partials_before = stored
        change = StateWrite()
        gone = before.there & ~folded.alive
        change.keep(record_keys, folded.records.values, folded.records.changed & folded.alive | gone, folded.alive)
        change.keep(aggregate_keys, folded.aggregates.aggregates, ~folded.aggregates.same)
        kept = folded.aggregates.partials
        change.keep(partial_keys, kept, folded.aggregates.fresh & (kept.there | partials_before.there))
        self._store.write(change)
        if not self._alone:  # later stages read what was written, maybe on another worker
            self._store.settle()
        return self._account_changes(ids, folded)

    def _account_changes(self, ids: Words, folded: AccountsFolded) -> dict[str, list[AccountChanges]]:
        """List, by realm, the accounts that got contributions."""
        realms = [self._context.realm.get(system, _NO_REALM) for system in folded.systems]
        moved_to = {ids[owner].tobytes(): to for owner, to in folded.moved_to.items()}
        whole = AccountChanges(ids, folded.links, moved_to)
        if len(set(realms)) == 1:
            return {realms[0]: [whole]}
        account_changes: dict[str, list[AccountChanges]] = {}
        for realm in dict.fromkeys(realms):
            codes = [code for code, one in enumerate(realms) if one == realm]
            mine = whole.take(np.flatnonzero(np.isin(folded.system, codes)))
            there = {*id_list(mine.accounts)} if moved_to else ()
            moved = {account: to for account, to in moved_to.items() if account in there}
            account_changes[realm] = [AccountChanges(mine.accounts, mine.links, moved)]
        return account_changes
