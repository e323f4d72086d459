"""The real stages of stock as a deployment that histories and mishaps can be played on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from nurt.mapping.joins.plan import NO_JOINS, Joins
from nurt.model.keys import Keys
from nurt.model.stock.plan import StockPlan
from nurt.model.stock.published import StockBatch
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.rows.sweeps import ordered_sweeps
from nurt.runtime.stock_steps import StockSteps
from nurt.stock.routes import compile_routes
from nurt.stock.stages.worker import StockWorker
from tests.oracle.engine import Engine
from tests.oracle.naming import DEPLOYMENT_IDS
from tests.oracle.stock_histories import BASE_MS, SYSTEMS
from tests.oracle.values import TODAY

UNIT_MS = 20_000
"""What counts as a day here: bookings are over after two."""


def moment_of(day: int) -> int:
    """Say which moment a plan's day stands for."""
    return BASE_MS + (day - TODAY) * UNIT_MS


class StockEngine(Engine):
    """A cluster of the real stages; implements `Deployment`."""

    def __init__(
        self,
        plan: StockPlan,
        seed: int = 0,
        store_of: Callable[[Store], Store] = lambda store: store,
        joins: Joins = NO_JOINS,
    ) -> None:
        self.stock_routes = compile_routes(plan)

        def worker_of(store: Store, keys: Keys, context: FoldContext) -> StockWorker:
            sweeps = ordered_sweeps(self.records)
            return StockWorker(store_of(store), keys, context, self.stock_routes, sweeps, joins=joins)

        levels = len(joins.levels)
        super().__init__(SYSTEMS, {}, DEPLOYMENT_IDS.ids, BASE_MS, worker_of, seed, levels)  # type: ignore[arg-type]
        self.figures: dict[tuple[str, str, str], tuple[int, int]] = {}
        self.orders: dict[bytes, tuple[int, dict[str, Any] | None]] = {}
        self.events: dict[str, dict[str, Any]] = {}
        self._stock: list[StockSteps] = []

    def drain(self, as_of: int) -> Any:
        """Let the moment come, and the clock change whatever it changes."""
        super().drain(moment_of(as_of))
        return {key: available for key, (_, available) in self.figures.items()}

    def kill(self) -> None:
        super().kill()
        self._stock = []

    def _carry(self, parcels: list[tuple[int, Any]]) -> None:
        if not self._stock:
            self._stock = [
                StockSteps(steps._worker, self.routes, index, server_clock=False)  # type: ignore[arg-type]
                for index, steps in enumerate(self._steps)
            ]
        waiting: dict[int, list[Any]] = {worker: [] for worker in range(self.routes.workers)}
        for worker, item in parcels:
            waiting[worker].append(item)
        for stage in (one for one in self._stages if one == "rows" or one.startswith("assemble_")):
            order = list(waiting)
            self._choose.shuffle(order)
            sent = [list(getattr(self._stock[one], stage)(waiting[one])) for one in order if waiting[one]]
            waiting = self._mixed(sent)
        for worker, items in waiting.items():
            if items:
                for batch in self._stock[worker].stock(items):
                    self._count()
                    self._take(batch)

    def _take(self, batch: StockBatch) -> None:
        if batch.figures.height:
            names = ("sku", "channel", "market", "available")
            for sku, channel, market, available in batch.figures.select(pl.col(names)).iter_rows():
                held = self.figures.get((sku, channel, market), (-1, 0))
                if batch.revision >= held[0]:
                    self.figures[sku, channel, market] = batch.revision, available
        for one, order in batch.orders.items():
            if batch.revision >= self.orders.get(one, (-1, None))[0]:
                self.orders[one] = batch.revision, order
        for event in batch.events:
            self.events[event["id"]] = event
