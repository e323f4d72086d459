"""The steps of the flow of stock: what its stages do with the parcels of a moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from nurt.limits import PUBLISH_SKUS_MAX
from nurt.model.entity_frame import Translated
from nurt.model.stock.published import StockBatch
from nurt.model.tick import Tick
from nurt.model.units import Millis
from nurt.model.value_forms import STOCK
from nurt.runtime.join_steps import JoinSteps
from nurt.runtime.routing import WorkerRoutes
from nurt.runtime.steps import is_tick
from nurt.stock.from_rows import StockContributions, join_stock_contributions, nothing
from nurt.stock.stages.stage import DirtyKeys
from nurt.stock.stages.worker import StockWorker

BEHIND = 20
"""How many times longer figures wait while there is more to read: they are out of date in any case."""


class StockSteps(JoinSteps):
    """Stages of one worker, over the parcels of a moment.

    Args:
        conflate_ms: how long a published sku or order waits for more changes; 0: not at all.
        server_clock: whether reservations expire by the server's clock, or by the clock of ticks.
    """

    def __init__(
        self,
        worker: StockWorker,
        routes: WorkerRoutes,
        index: int,
        conflate_ms: int = 0,
        server_clock: bool = True,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(worker, routes, index, self._split)
        self._worker, self._routes, self._me = worker, routes, index
        self.store, self.forms = worker.store, STOCK
        self._conflate_s, self._now_s = conflate_ms / 1000, now_s
        self._server_clock = server_clock
        self._waiting: dict[str, DirtyKeys] = {}
        self._published_at_s = 0.0

    def rows(self, items: Sequence[Translated | Tick[Millis]]) -> Iterator[tuple[int, Any]]:
        """Fold rows; the first tick of an epoch advances the epoch of all fences and goes on down the same worker."""
        for _, some in groupby(items, is_tick):
            batches: list[Translated] = []
            for item in some:
                if isinstance(item, Tick):
                    self._worker.hear(item)
                    if self._worker.begin_epoch(item):
                        yield self._me, item
                        swept = self._worker.rows.sweep(item.epoch)
                        if swept is not None:
                            yield from self.said(swept)
                else:
                    batches.append(item)
            if batches:
                yield from self.said(self._worker.rows.fold(batches))

    def stock(self, items: Sequence[tuple[str, StockContributions] | Tick[Millis]]) -> Iterator[StockBatch]:
        """Fold sales documents and inventory positions, check timers, and publish what has waited long enough."""
        worker = self._worker
        ticks = [item for item in items if isinstance(item, Tick)]
        events: list[dict[str, Any]] = []
        if ticks:
            pending, events = worker.resume()
            for realm, dirty in pending.items():
                self._wait(realm, dirty)
        by_realm: dict[str, list[StockContributions]] = {}
        for item in items:
            if not isinstance(item, Tick):
                by_realm.setdefault(item[0], []).append(item[1])
        for realm, contributions in by_realm.items():
            self._wait(realm, worker.stage.fold(realm, join_stock_contributions(contributions)))
        if ticks:
            worker.sweep(None if self._server_clock else worker.as_of)
            for realm, dirty in worker.due().items():
                self._wait(realm, worker.stage.fold(realm, nothing(), dirty))
            for realm in worker.realms:
                dirty, told = worker.stage.watch_feeds(realm)
                self._wait(realm, dirty)
                events += told
            self._take_backlog()
            if worker.near:
                worker.open(None if self._server_clock else worker.as_of)
        if events:
            yield StockBatch(worker.store.next_stamp(), worker.as_of, events=tuple(events))
        yield from self._publish(worker.near)

    def flush(self) -> Iterator[StockBatch]:
        """Publish everything that waits."""
        while self._waiting or self._take_backlog():
            self._published_at_s = float("-inf")
            yield from self._publish(True)

    def _split(self, contributions: StockContributions) -> Iterator[tuple[int, tuple[str, StockContributions]]]:
        for realm, part in sorted(contributions.by_realm(self._worker.realm_of).items()):
            yield self._routes.of_realm(realm), (realm, part)

    def _take_backlog(self) -> bool:
        """Let more of what Redis has never kept wait for publication; False: nothing is left."""
        some = self._worker.backlog.some({*self._waiting})
        for realm, dirty in some.items():
            self._wait(realm, dirty)
        return bool(some)

    def _wait(self, realm: str, dirty: DirtyKeys) -> None:
        if not dirty.positions and not dirty.sales_documents:
            return
        self._waiting.setdefault(realm, DirtyKeys()).add(dirty)

    def _publish(self, near: bool) -> Iterator[StockBatch]:
        now_s = self._now_s()
        if not self._waiting or now_s - self._published_at_s < self._conflate_s * (1 if near else BEHIND):
            return
        self._published_at_s = now_s
        for realm in list(self._waiting):
            waiting = self._waiting[realm]
            positions = list(waiting.positions)[:PUBLISH_SKUS_MAX]
            sales_documents = list(waiting.sales_documents)[:PUBLISH_SKUS_MAX]
            for one in positions:
                del waiting.positions[one]
            for one in sales_documents:
                del waiting.sales_documents[one]
            if not waiting.positions and not waiting.sales_documents:
                del self._waiting[realm]
            batch = self._worker.publisher.publish(realm, positions, sales_documents)
            if batch:
                self._worker.store.settle()
                yield batch
