"""The steps of the flow of profiles: what its stages do with the parcels of a moment, and how batches are joined."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from nurt.model.entity_frame import Translated
from nurt.model.published import PublishedBatch
from nurt.model.tick import Tick
from nurt.model.units import Day
from nurt.profiles.identity.resolve import Touched
from nurt.profiles.profiles_stage import Touch
from nurt.profiles.worker import Worker
from nurt.rows.contributions import Said, join_said
from nurt.runtime.routing import Routes
from nurt.runtime.steps import Parcel, is_tick


class ProfileSteps:
    """What the stages of one worker do with the parcels of a moment."""

    def __init__(self, worker: Worker, routes: Routes, index: int, linger_ms: int = 0) -> None:
        self._worker = worker
        self._routes = routes
        self._me = index
        self._linger_s = linger_ms / 1000
        self._lingering: dict[Touch, None] = {}
        self._since_s = 0.0

    def rows(self, items: Sequence[Translated | Tick[Day]]) -> Iterator[Parcel]:
        """Fold rows; the first tick of an epoch lifts the heads and goes on down the same worker."""
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
                        yield from self._routes.split_said(swept)
            if batches:
                yield from self._routes.split_said(self._worker.rows.fold(batches))

    def orders(self, items: Sequence[Said | Tick[Day]]) -> Iterator[Parcel]:
        """Fold orders; what rows said to accounts of this worker goes along."""
        said = join_said([item for item in items if isinstance(item, Said)])
        if len(said.slots) or len(said.shares):
            yield self._me, said
        yield from self._routes.split_said(self._worker.orders.fold(said.to_orders))
        yield from self._ticks(items)

    def accounts(self, items: Sequence[Said | Tick[Day]]) -> Iterator[Parcel]:
        """Fold accounts, and touch identity by realm."""
        said = join_said([item for item in items if isinstance(item, Said)])
        for realm, touched in self._worker.accounts.fold(said).items():
            yield self._routes.of_realm(realm), (realm, touched)
        yield from self._ticks(items)

    def identity(self, items: Sequence[tuple[str, list[Touched]] | Tick[Day]]) -> Iterator[Parcel]:
        """Resolve the realms of this worker, and touch profiles by name."""
        if any(map(is_tick, items)):
            for worker, touches in self._routes.split_touches(list(dict.fromkeys(self._worker.owed_touches()))):
                yield worker, Owed(touches)
        by_realm: dict[str, list[Touched]] = {}
        for item in items:
            if not isinstance(item, Tick):
                by_realm.setdefault(item[0], []).extend(item[1])
        for realm, touched in by_realm.items():
            profiles = self._worker.identity.resolve(realm, touched)
            yield from self._routes.split_touches([(realm, profile) for profile in profiles])
        yield from self._ticks(items)

    def profiles(self, items: Sequence[list[Touch] | Owed | Tick[Day]]) -> Iterator[PublishedBatch]:
        """Recompute what was touched, what was owed, and what the clock changed."""
        touched: dict[Touch, None] = {}
        owed: dict[Touch, None] = {}
        for item in items:
            if isinstance(item, Owed):
                owed.update(dict.fromkeys(item))
            elif not isinstance(item, Tick):
                touched.update(dict.fromkeys(item))
        stage = self._worker.profiles
        touches = [touch for touch in touched if touch not in owed]
        yield stage.materialise(touches) if not self._linger_s else self._linger(touches)
        yield from stage.materialise_owed(owed)
        if any(map(is_tick, items)):
            yield self._worker.due_profiles()
        if any(isinstance(item, Tick) and item.caught_up for item in items):
            yield from self._worker.strays()

    def _linger(self, touches: Sequence[Touch]) -> PublishedBatch:
        """Let touches wait for more of the same profiles; meanwhile they are owed, for no replay would make them."""
        now_s = time.monotonic()
        if not self._lingering:
            self._since_s = now_s
        fresh = [touch for touch in touches if touch not in self._lingering]
        if fresh:
            self._worker.owe(fresh)
            self._lingering.update(dict.fromkeys(fresh))
        return self._lingered() if now_s - self._since_s >= self._linger_s else PublishedBatch([], [], [])

    def flush(self) -> Iterator[PublishedBatch]:
        """Recompute what lingers."""
        yield self._lingered()

    def _lingered(self) -> PublishedBatch:
        touches, self._lingering = list(self._lingering), {}
        return self._worker.profiles.materialise(touches)

    def _ticks(self, items: Sequence[Any]) -> Iterator[Parcel]:
        for item in items:
            if isinstance(item, Tick):
                yield self._me, item


class Owed(list[Touch]):
    """Touches that no replay would make again."""


def joined_profiles(items: list[PublishedBatch]) -> list[PublishedBatch]:
    """Make one batch of all items; none where there is nothing to publish."""
    batch = PublishedBatch(
        [id_ for item in items for id_ in item.ids],
        [revision for item in items for revision in item.revisions],
        [value for item in items for value in item.values],
    )
    return [batch] if len(batch) else []


def told_profiles(batches: list[PublishedBatch]) -> str:
    """Say how many profiles there are, for the log."""
    return f"{sum(map(len, batches))} profiles"
