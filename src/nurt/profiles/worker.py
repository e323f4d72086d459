"""One worker's stages over one store: run by a Bytewax worker, or by a test without Bytewax."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nurt.assemble.worker import assembling
from nurt.control.logs import NO_LOGS, KnownLogs
from nurt.control.reconcile import UNRECONCILED, decode_unreconciled
from nurt.limits import DUE_PROFILES_MAX
from nurt.mapping.joins.plan import NO_JOINS, Joins
from nurt.model.fence import pending_score
from nurt.model.keys import Keys
from nurt.model.published import PublishedBatch
from nurt.model.state_write import StateWrite
from nurt.model.units import Day
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.profiles.accounts_stage import AccountsStage
from nurt.profiles.from_rows import ProfileEmitter
from nurt.profiles.identity_stage import IdentityStage
from nurt.profiles.orders_stage import OrdersStage
from nurt.profiles.profiles_stage import DirtyKey, ProfilesStage, decode_dirty_key, encode_dirty_key
from nurt.profiles.references.stage import ReferencesStage
from nurt.profiles.renormalise import IdentifierRenormaliser
from nurt.rows.children.contributions import ContributionSet, join_contribution_sets
from nurt.rows.sweeps import Sweep
from nurt.rows.worker import RowsWorker


class Worker(RowsWorker[ContributionSet, Day]):
    """Six stages over one store, and one for each level of joins; each takes the results of the stage before."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        context: FoldContext,
        schema: Mapping[str, Any],
        sweeps: Sequence[Sweep] = (),
        logs: KnownLogs = NO_LOGS,
        normalisation: int = 0,
        joins: Joins = NO_JOINS,
    ) -> None:
        renormaliser = IdentifierRenormaliser(context)
        emitter, self.levels = assembling(ProfileEmitter(context), store, keys, joins, context, lambda: self.epoch)
        super().__init__(store, keys, emitter, sweeps, Day, logs, renormaliser, normalisation)
        self.references = ReferencesStage(store, keys)
        self.orders = OrdersStage(store, keys, context)
        self.accounts = AccountsStage(store, keys, context)
        self.identity = IdentityStage(store, keys, context, lambda: self.epoch)
        self.profiles = ProfilesStage(store, keys, context, schema, lambda: self.epoch, lambda: self.as_of)
        self._knows_unreconciled = False

    def pending_dirty_keys(self) -> list[DirtyKey]:
        """Return, once a run, the pending dirty keys of earlier runs, now marked as pending in this epoch."""
        return [decode_dirty_key(member) for member in self.owe_again() or ()]

    def owe(self, dirty_keys: Sequence[DirtyKey]) -> None:
        """Store dirty keys that wait for publication, so that the next run takes those that this run does not."""
        score = pending_score(self.store.run, self.epoch)
        change = StateWrite()
        for dirty_key in dirty_keys:
            change.pending.setdefault(self.keys.place_of(dirty_key[1]), {})[encode_dirty_key(dirty_key)] = score
        self.store.write(change)

    def unreconciled(self) -> Iterator[PublishedBatch]:
        """Publish unreconciled profiles again, after all input is read again.

        The launch of a run with an older, restored state stores their keys; see `control/launch.py`.
        """
        if self._knows_unreconciled:
            return
        self._knows_unreconciled = True
        names = [place + UNRECONCILED for place in self.store.places]
        dirty_keys = [dirty_key for value in self.store.read(names) for dirty_key in decode_unreconciled(value)]
        for at in range(0, len(dirty_keys), DUE_PROFILES_MAX):
            yield self.profiles.materialise(dirty_keys[at : at + DUE_PROFILES_MAX], pending=True, again=True)
        if dirty_keys:
            self.store.write(StateWrite(drop=names))

    def due_profiles(self) -> PublishedBatch:
        """Recompute some of the profiles that the clock changed; the others wait for the next tick."""
        due = [decode_dirty_key(member) for member in self.store.due_timers(self.as_of, DUE_PROFILES_MAX)]
        return self.profiles.materialise(due, pending=True)


def merged(rows: ContributionSet, orders: ContributionSet) -> ContributionSet:
    """Join contributions of rows and orders to accounts."""
    return join_contribution_sets([rows, orders])
