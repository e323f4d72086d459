"""All stages of a single worker, one after another: the flow of profiles without Bytewax."""

from __future__ import annotations

from collections.abc import Sequence

from nurt.model.entity_frame import Translated
from nurt.model.published import PublishedBatch
from nurt.model.tick import Tick
from nurt.model.units import Day
from nurt.profiles.identity.resolve import AccountChanges
from nurt.profiles.profiles_stage import DirtyKey
from nurt.profiles.worker import Worker, merged
from nurt.rows.children.contributions import ContributionSet, join_contribution_sets, join_contributions


class Chain:
    """All stages of a single worker, one after another: the flow without Bytewax."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def feed(self, batches: Sequence[Translated]) -> PublishedBatch:
        """Carry a micro-batch from translated messages to profiles."""
        return self._said(self.worker.rows.fold(batches))

    def _said(self, contributions: ContributionSet) -> PublishedBatch:
        worker = self.worker
        contributions = self._joined(contributions)
        referring = worker.references.fold(contributions.to_references)
        to_orders = join_contributions([contributions.to_orders, referring])
        dirty_keys = self._touch(worker.accounts.fold(merged(contributions, worker.orders.fold(to_orders))))
        return worker.profiles.materialise(dirty_keys)

    def _joined(self, contributions: ContributionSet) -> ContributionSet:
        """Carry what rows say through the levels of joins."""
        for level, stage in enumerate(self.worker.levels, 1):
            joins = contributions.joins
            if joins is not None and level in joins.beside:
                contributions = join_contribution_sets([contributions, stage.fold(joins.beside[level])])
        return contributions

    def tick(self, tick: Tick[Day]) -> list[PublishedBatch]:
        """Begin an epoch: advance fences, publish what is pending, recompute due profiles until none is due."""
        worker = self.worker
        worker.begin_epoch(tick)
        swept = worker.rows.sweep(tick.epoch)
        out = [] if swept is None else [self._said(swept)]
        out += list(worker.profiles.materialise_pending(dict.fromkeys(worker.pending_dirty_keys())))
        while len(batch := worker.due_profiles()):
            out.append(batch)
        return out

    def _touch(self, touched: dict[str, list[AccountChanges]]) -> list[DirtyKey]:
        return [
            (realm, profile)
            for realm, accounts in touched.items()
            for profile in self.worker.identity.resolve(realm, accounts)
        ]
