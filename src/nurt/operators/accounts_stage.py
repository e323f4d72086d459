"""The third stage: slots and shares into accounts; then who is concerned is touched by name. Hot path."""

from __future__ import annotations

import polars as pl

from nurt.core.accounts import AccountsFolded, fold_accounts, newest_shares
from nurt.core.columns import encode_ids
from nurt.core.context import FoldContext
from nurt.core.contributions import Said
from nurt.core.identity import Touched
from nurt.core.tables import OWNER
from nurt.model.change import Change
from nurt.model.keys import Keys
from nurt.ports import Store


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
        slots, shares, buckets = said.slots, said.shares, said.buckets
        if not slots.height and not shares.height:
            return {}
        codes, ids = encode_ids(pl.concat([slots["to"], shares["to"], buckets["to"]]))
        cut, end = slots.height, slots.height + shares.height
        slots = slots.with_columns(pl.Series(OWNER, codes[:cut]))
        newest = newest_shares(
            shares.with_columns(pl.Series(OWNER, codes[cut:end])), buckets.with_columns(pl.Series(OWNER, codes[end:]))
        )
        pairs = newest.heads
        slot_keys, sum_keys = self._keys.of(b"a", ids), self._keys.of(b"s", ids)
        share_keys = self._keys.of_pairs(b"c", pairs["to"].to_list(), pairs["child"].to_list())
        values = self._store.read([*slot_keys, *sum_keys, *share_keys])
        owners = len(ids)
        folded = fold_accounts(slots, newest, values[:owners], values[owners : 2 * owners], values[2 * owners :])
        change = Change()
        change.store(slot_keys, folded.slots)
        change.store(sum_keys, folded.sums)
        change.store(share_keys, folded.shares)
        self._store.write(change)
        if not self._alone:  # who is touched by name reads what was written, and may do so elsewhere
            self._store.settle()
        realms = folded.system.replace_strict(dict(self._context.realm), default="default", return_dtype=pl.String)
        return {realm: _touched(ids, folded, realms == realm) for realm in realms.unique(maintain_order=True)}


def _touched(ids: list[bytes], folded: AccountsFolded, is_here: pl.Series) -> list[Touched]:
    """Say which accounts of a realm were touched."""
    moved_to = {ids[owner]: to for owner, to in folded.moved_to.items() if is_here[owner]}
    if is_here.all():
        return [Touched(ids, folded.links.to_list(), moved_to)]
    here = is_here.arg_true()
    return [Touched([ids[owner] for owner in here], folded.links.gather(here).to_list(), moved_to)]
