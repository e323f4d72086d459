"""Who begins to keep what is published is told everything once, whenever the worker dies meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nurt.model.keys import Keys
from nurt.model.stock.plan import UNIT, StockPlan
from nurt.model.stock.published import StockBatch
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.stock.routes import compile_routes
from nurt.stock.stages.backlog import AGAIN, MARK
from nurt.stock.stages.worker import StockWorker
from tests.flows.test_stock_rules import LastPublished, plan
from tests.oracle.deployment import Killed
from tests.oracle.stock_engine import StockEngine
from tests.oracle.values import TODAY


class Kept:
    """Keeps what a realm's worker publishes; implements stock.stages.backlog.Keeper."""

    def __init__(self, mark: bytes = b"one") -> None:
        self.mark = mark
        self.skus: dict[str, int] = {}
        self.orders: dict[bytes, dict[str, Any] | None] = {}
        self.cleared = 0

    def clear(self, realm: str) -> None:
        assert realm == "default"
        self.cleared += 1
        self.skus, self.orders = {}, {}

    def take(self, batch: StockBatch) -> None:
        if batch.figures.height:
            self.skus |= dict.fromkeys(batch.figures["sku"], batch.revision)
        self.orders |= batch.orders


class KeepingEngine(StockEngine):
    """Stages whose worker has, or has not, a keeper."""

    keeper: Kept | None = None

    def __init__(self, rules: StockPlan) -> None:
        super().__init__(rules)
        self._flying: list[StockBatch] = []  # on its way to the keeper, as late as a sink may be

        def worker_of(store: Store, keys: Keys, context: FoldContext) -> StockWorker:
            return StockWorker(store, keys, context, self.stock_routes, keeper=self.keeper)

        self._worker_of = worker_of  # type: ignore[assignment]

    def commit(self) -> None:
        self._land()
        super().commit()

    def kill(self) -> None:
        self._flying = []
        super().kill()

    def _land(self) -> None:
        for batch in self._flying:
            if self.keeper is not None:
                self.keeper.take(batch)
        self._flying = []

    def again(self, keeper: Kept | None) -> None:
        """Start anew with another keeper, and let the flow run a while."""
        self.kill()
        self.keeper = keeper
        self.start(1)
        for _ in range(8):
            self.commit()
            self.drain(TODAY)
        self._land()

    def forget_owed(self) -> None:
        """Let so much time pass that nothing is owed any more."""
        self.memory.pending.clear()

    def _take(self, batch: StockBatch) -> None:
        super()._take(batch)
        self._flying.append(batch)


def told_some() -> tuple[LastPublished, KeepingEngine]:
    told = LastPublished()
    engine = KeepingEngine(plan())
    told.engine = engine
    told.level(10)
    told.row("erp", "stock_level", "2", sku="B", location="N", quantity=3 * UNIT)
    told.order("1", 2)
    told.order("2", 1)
    told.document("1", "1", 2)
    told.row("pl", "order", "2", gone=True)
    return told, engine


def alive(orders: dict[bytes, dict[str, Any] | None]) -> list[str]:
    return sorted(order["number"] for order in orders.values() if order is not None)


def test_a_new_keeper_is_told_everything_once() -> None:
    _, engine = told_some()
    engine.again(None)
    engine.forget_owed()
    kept = Kept()
    engine.again(kept)
    assert (set(kept.skus), alive(kept.orders), kept.cleared) == ({"A", "B"}, ["1"], 1)
    engine.again(kept)
    engine.again(kept)
    assert kept.cleared == 1


def test_a_topic_that_was_made_anew_is_told_everything_once_without_a_keeper(monkeypatch: pytest.MonkeyPatch) -> None:
    _, engine = told_some()
    engine.again(None)
    engine.forget_owed()
    name = engine.keys.realm_place("default") + MARK
    engine.memory.values[name] = AGAIN  # as the launch writes it
    told: list[StockBatch] = []
    monkeypatch.setattr(engine, "_take", told.append)
    engine.again(None)
    heard = Kept()
    for batch in told:
        heard.take(batch)
    assert (set(heard.skus), alive(heard.orders)) == ({"A", "B"}, ["1"])
    assert name not in engine.memory.values
    told.clear()
    engine.forget_owed()
    engine.again(None)
    assert not any(batch.figures.height or batch.orders for batch in told)


def test_keeping_in_another_form_or_after_a_pause_begins_anew() -> None:
    _, engine = told_some()
    kept = Kept()
    engine.again(kept)
    engine.again(None)
    engine.forget_owed()
    engine.again(kept)
    assert kept.cleared == 2 and set(kept.skus) == {"A", "B"}
    engine.again(Kept(b"another form"))
    assert engine.keeper is not None and set(engine.keeper.skus) == {"A", "B"}


@pytest.mark.slow
def test_a_crash_at_any_write_leaves_nothing_unsaid() -> None:
    crashes = 0
    for writes in range(0, 40, 2):
        _, engine = told_some()
        engine.again(None)
        engine.kill()
        engine.forget_owed()
        kept = engine.keeper = Kept()
        engine.start(1)
        engine.crash_after_writes(writes)
        try:
            for _ in range(6):
                engine.commit()
                engine.drain(TODAY)
        except Killed:
            crashes += 1
        engine.again(kept)
        assert (set(kept.skus), alive(kept.orders)) == ({"A", "B"}, ["1"]), writes
    assert crashes > 5


def test_a_changed_plan_is_published_by_the_run_that_begins_with_it() -> None:
    told, engine = told_some()
    assert told.left() == 8
    engine.kill()
    engine.forget_owed()
    rules = plan()
    location = replace(rules.locations["N"], buffer=4 * UNIT)
    engine.stock_routes = compile_routes(replace(rules, locations={"N": location}))
    engine.start(1)
    for _ in range(3):
        engine.drain(TODAY)
    assert told.left() == 4
