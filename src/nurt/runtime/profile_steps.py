"""The steps of the flow of profiles: what its stages do with the parcels of a moment, and how batches are joined."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from nurt.model.entity_frame import Translated
from nurt.model.published import PublishedBatch
from nurt.model.tick import Tick
from nurt.model.units import Day
from nurt.model.value_forms import PROFILES
from nurt.profiles.identity.resolve import AccountChanges
from nurt.profiles.profiles_stage import DirtyKey
from nurt.profiles.worker import Worker
from nurt.rows.children.contributions import (
    ContributionSet,
    empty_contribution_set,
    join_contribution_sets,
    no_contributions,
)
from nurt.runtime.join_steps import JoinSteps
from nurt.runtime.routing import WorkerRoutes
from nurt.runtime.steps import Parcel, is_tick


class ProfileSteps(JoinSteps):
    """Stages of one worker, over the parcels of a moment."""

    def __init__(self, worker: Worker, routes: WorkerRoutes, index: int, linger_ms: int = 0) -> None:
        super().__init__(worker, routes, index, routes.split_said)
        self._worker = worker
        self.store, self.forms = worker.store, PROFILES
        self._routes = routes
        self._me = index
        self._linger_s = linger_ms / 1000
        self._lingering: dict[DirtyKey, None] = {}
        self._since_s = 0.0

    def rows(self, items: Sequence[Translated | Tick[Day]]) -> Iterator[Parcel]:
        """Fold rows; the first tick of an epoch advances the epoch of all fences and goes on down the same worker."""
        for _, some in groupby(items, is_tick):
            ticks, batches = [], []
            for item in some:
                if isinstance(item, Tick):
                    ticks.append(item)
                else:
                    batches.append(item)
            for tick in ticks:
                if self._worker.begin_epoch(tick):
                    yield self._me, tick
                    swept = self._worker.rows.sweep(tick.epoch)
                    if swept is not None:
                        yield from self.said(swept)
            if batches:
                yield from self.said(self._worker.rows.fold(batches))

    def references(self, items: Sequence[ContributionSet | Tick[Day]]) -> Iterator[Parcel]:
        """Find the orders that rows name by a field; other contributions go along."""
        contributions = join_contribution_sets([item for item in items if isinstance(item, ContributionSet)])
        found = self._worker.references.fold(contributions.to_references)
        yield self._me, replace(contributions, to_references=no_contributions())
        yield from self._routes.split_said(replace(empty_contribution_set(), to_orders=found))
        yield from self._ticks(items)

    def orders(self, items: Sequence[ContributionSet | Tick[Day]]) -> Iterator[Parcel]:
        """Fold orders; contributions of rows to accounts of this worker go along."""
        contributions = join_contribution_sets([item for item in items if isinstance(item, ContributionSet)])
        if len(contributions.records) or len(contributions.partials):
            yield self._me, contributions
        yield from self._routes.split_said(self._worker.orders.fold(contributions.to_orders))
        yield from self._ticks(items)

    def accounts(self, items: Sequence[ContributionSet | Tick[Day]]) -> Iterator[Parcel]:
        """Fold accounts, and make dirty keys of identity by realm."""
        contributions = join_contribution_sets([item for item in items if isinstance(item, ContributionSet)])
        for realm, dirty in self._worker.accounts.fold(contributions).items():
            yield self._routes.of_realm(realm), (realm, dirty)
        yield from self._ticks(items)

    def identity(self, items: Sequence[tuple[str, list[AccountChanges]] | Tick[Day]]) -> Iterator[Parcel]:
        """Resolve the realms of this worker, and make dirty keys of profiles."""
        if any(map(is_tick, items)):
            for worker, dirty_keys in self._routes.split_dirty_keys(
                list(dict.fromkeys(self._worker.pending_dirty_keys()))
            ):
                yield worker, Pending(dirty_keys)
        by_realm: dict[str, list[AccountChanges]] = {}
        for item in items:
            if not isinstance(item, Tick):
                by_realm.setdefault(item[0], []).extend(item[1])
        for realm, dirty in by_realm.items():
            profiles = self._worker.identity.resolve(realm, dirty)
            yield from self._routes.split_dirty_keys([(realm, profile) for profile in profiles])
        yield from self._ticks(items)

    def profiles(self, items: Sequence[list[DirtyKey] | Pending | Tick[Day]]) -> Iterator[PublishedBatch]:
        """Recompute dirty profiles, pending ones, and those that the clock changed."""
        dirty: dict[DirtyKey, None] = {}
        pending: dict[DirtyKey, None] = {}
        for item in items:
            if isinstance(item, Pending):
                pending.update(dict.fromkeys(item))
            elif not isinstance(item, Tick):
                dirty.update(dict.fromkeys(item))
        stage = self._worker.profiles
        dirty_keys = [dirty_key for dirty_key in dirty if dirty_key not in pending]
        yield stage.materialise(dirty_keys) if not self._linger_s else self._linger(dirty_keys)
        yield from stage.materialise_pending(pending)
        if any(map(is_tick, items)):
            yield self._worker.due_profiles()
        if any(isinstance(item, Tick) and item.caught_up for item in items):
            yield from self._worker.unreconciled()

    def _linger(self, dirty_keys: Sequence[DirtyKey]) -> PublishedBatch:
        """Let dirty keys wait for more of the same profiles; meanwhile they are pending: no replay makes them."""
        now_s = time.monotonic()
        if not self._lingering:
            self._since_s = now_s
        fresh = [dirty_key for dirty_key in dirty_keys if dirty_key not in self._lingering]
        if fresh:
            self._worker.owe(fresh)
            self._lingering.update(dict.fromkeys(fresh))
        return self._lingered() if now_s - self._since_s >= self._linger_s else PublishedBatch([], [], [])

    def flush(self) -> Iterator[PublishedBatch]:
        """Recompute the dirty keys that wait."""
        yield self._lingered()

    def _lingered(self) -> PublishedBatch:
        dirty_keys, self._lingering = list(self._lingering), {}
        return self._worker.profiles.materialise(dirty_keys)

    def _ticks(self, items: Sequence[Any]) -> Iterator[Parcel]:
        for item in items:
            if isinstance(item, Tick):
                yield self._me, item


class Pending(list[DirtyKey]):
    """Pending dirty keys: no replay would make them again."""


def joined_profiles(items: list[PublishedBatch]) -> list[PublishedBatch]:
    """Make one batch of all items; no batch where there is nothing to publish."""
    batch = PublishedBatch(
        [id_ for item in items for id_ in item.ids],
        [revision for item in items for revision in item.revisions],
        [value for item in items for value in item.values],
    )
    return [batch] if len(batch) else []


def told_profiles(batches: list[PublishedBatch]) -> str:
    """Say how many profiles there are, for the log."""
    return f"{sum(map(len, batches))} profiles"
