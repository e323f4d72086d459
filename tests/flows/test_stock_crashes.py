"""Crashes of the flow of stock at every write, sweeps on the operator's word, and rules switched off.

A rule that nothing would miss is not tested: with each switched off in turn, the oracle must disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nurt.model.entities import ENTITIES
from nurt.model.state_write import StateWrite
from nurt.model.stock.plan import UNIT, Channel, Location, Market, StockPlan
from nurt.ports.store import Store
from nurt.rows import sweeping
from nurt.rows.sweeps import Sweep, sweep_record
from nurt.stock import atp as scales
from nurt.stock.matching import components
from tests.flows.book import Wrapped, go_on, play, play_rest, sweeps_of
from tests.oracle.deployment import Killed
from tests.oracle.sources import Connector, Event, Source
from tests.oracle.stock_batch import expected_stock
from tests.oracle.stock_engine import StockEngine, moment_of
from tests.oracle.stock_histories import BASE_MS, PARENTS, SYSTEMS, StockHistory, closed, some_value
from tests.oracle.values import TODAY

PLAN = StockPlan(
    {"N": Location("N"), "S": Location("S", buffer=UNIT)},
    {"pl": Channel("pl", ("N", "S"), ("PL",)), "de": Channel("de", ("S",), ("DE",))},
    {"PL": Market("PL"), "DE": Market("DE")},
    grace_s=30,
    stuck_s=15,
    low=2 * UNIT,
)


class Books:
    """Writes down what shops, an ERP and a warehouse do, as their connectors say it."""

    def __init__(self) -> None:
        self.log: list[Event] = []
        kinds = {"pl": "postgres", "de": "mysql", "erp": "sqlserver", "wms": "postgres"}
        self.of = {
            name: Connector(Source(system, kinds[name], 1, (), ("order",), False), self.log, value_of=some_value)
            for name, system in SYSTEMS.items()
        }

    def put(self, system: str, kind: str, key: str, parent: str | None = None, **fields: Any) -> None:
        connector, of = self.of[system], PARENTS.get(kind)
        connector.commit()
        held = connector.tables.get((kind, kind), {}).get(key)
        whole = {**(held.fields if held else dict.fromkeys(ENTITIES[kind].fields)), **fields}
        connector.set_row(kind, kind, key, None if parent is None or of is None else (of, of, parent), **whole)

    def delete(self, system: str, kind: str, key: str) -> None:
        self.of[system].commit()
        self.of[system].delete(kind, kind, key)

    def history(self, arrivals: list[Event] | None = None, size: int = 8) -> StockHistory:
        return closed(PLAN, list(self.of.values()), arrivals or self.log, (size,))


def a_hard_day() -> Books:
    """Write down everything that is hard, once."""
    books, at = Books(), BASE_MS * 1000
    for sku, key in (("A", "1"), ("B", "2")):
        books.put("erp", "stock_level", key, sku=sku, location="N", quantity=9 * UNIT)
    books.put("wms", "stock_level", "3", sku="A", location="S", quantity=4 * UNIT)
    books.put("erp", "kit_part", "1", kit="K", sku="A", quantity=2 * UNIT)
    books.put("erp", "kit_part", "2", kit="K", sku="B", quantity=UNIT)
    for number, system in (("1", "pl"), ("2", "de"), ("3", "pl")):
        books.put(system, "order", number, number=number, placed_at=at, sales_channel=system)
        books.put(system, "order_line", number, number, sku="A", quantity=2 * UNIT)
    books.put("pl", "order_line", "9", "3", sku="K", quantity=UNIT)
    books.put("erp", "document", "1", number="d1", order_ref="1, 2", booked_at=at)
    books.put("erp", "document_line", "1", "1", sku="A", quantity=4 * UNIT)
    books.put("erp", "document_line", "2", "1", sku="B", quantity=UNIT)
    books.put("erp", "stock_level", "1", quantity=5 * UNIT)
    books.put("pl", "order_line", "9", "1")  # moves to another order
    books.put("erp", "stock_level", "2", sku="A", location="S")  # moves to another shelf
    books.put("wms", "shipment", "1", status="shipped", document_ref="d1", shipped_at=at)
    books.put("wms", "shipment_line", "1", "1", sku="A", quantity=2 * UNIT)
    books.of["pl"].rekey("order", "order", "3", "30", cascade=True)
    books.put("erp", "document", "1", order_ref="1")  # lets go of an order
    books.put("pl", "order", "30", status="cancelled")
    books.put("erp", "kit_part", "2", sku="A")  # moves to another part
    books.delete("de", "order_line", "2")
    books.put("erp", "stock_level", "1", quantity=0)
    books.of["wms"].truncate_in("stock_level", "stock_level", 0)
    return books


def wrong(history: StockHistory, engine: StockEngine, as_of: int = TODAY) -> list[str]:
    """Say where the end differs from the batch oracle."""
    engine.drain(as_of)
    priority = {name: system.priority for name, system in SYSTEMS.items()}
    markets = {name: system.market or "" for name, system in SYSTEMS.items()}
    expected = expected_stock(history.truth, PLAN, priority, markets, moment_of(as_of))
    found = {key: available for key, (_, available) in engine.figures.items()}
    differing = [
        f"{key}: {found.get(key)} (expected {expected.available.get(key, 0)})"
        for key in {**found, **expected.available}
        if (found.get(key) or 0) != expected.available.get(key, 0)
    ]
    orders = {row.id for row in history.truth if row.kind == "order"}
    alive = {one for one, (_, order) in engine.orders.items() if order is not None}
    return differing + [f"order {one.hex()}" for one in alive ^ orders]


def out_by_events(engine: StockEngine) -> set[tuple[str, str]]:
    """List what is out of stock as far as events told, each by its last one."""
    last: dict[tuple[str, str], tuple[int, str]] = {}
    for one in engine.events.values():
        if one["kind"] in ("low_stock", "out_of_stock", "back_in_stock"):
            key = one["sku"], one["channel"]
            last[key] = max(last.get(key, (0, "")), (int(one["id"].rsplit("/", 1)[1]), one["kind"]))
    return {key for key, (_, kind) in last.items() if kind == "out_of_stock"}


def crash_everywhere(store_of: Callable[[Store], Store] = lambda store: store, first_only: bool = False) -> list[int]:
    """Crash at every write in turn; return those after which the end, or what was told of it, is wrong."""
    history, over = a_hard_day().history(), TODAY + 3  # all bookings are over then
    calm = play(history, StockEngine(PLAN))
    assert not wrong(history, calm, over)
    writes, out = calm.writes, out_by_events(calm)
    assert out
    found = []
    for crash_at in range(writes):
        engine = play(history, StockEngine(PLAN, crash_at % 5, store_of), crash_at)
        try:
            differing = wrong(history, engine, over)
        except Killed:
            engine.kill()
            play_rest(history, engine, engine.start(2))
            differing = wrong(history, engine, over)
        if differing or out_by_events(engine) != out:
            found.append(crash_at)
            if first_only:
                break
    return found


@pytest.mark.slow
def test_a_crash_at_any_write_changes_nothing() -> None:
    assert not crash_everywhere()


class OwesNothing(Wrapped):
    """Forgets what was to be published when it dies."""

    def changed(self, change: StateWrite) -> StateWrite:
        return replace(change, pending={})


class WritesInTwo(Wrapped):
    """Writes papers, and what they hold of shelves, one after the other."""

    def write(self, change: StateWrite) -> None:
        change = change.flatten()
        first = {key: value for key, value in change.put.items() if b"}g" in key or b"}c" in key or b"}j" in key}
        if not first or len(first) == len(change.put):
            self.inner.write(change)
            return
        self.inner.write(StateWrite(put=first))
        self.inner.write(replace(change, put={key: value for key, value in change.put.items() if key not in first}))


@pytest.mark.slow
@pytest.mark.parametrize("broken", [OwesNothing, WritesInTwo])
def test_a_store_without_a_rule_is_noticed(broken: Callable[[Store], Store]) -> None:
    assert crash_everywhere(broken, first_only=True)


RULES_OFF = {
    "bookings_end": lambda monkeypatch: monkeypatch.setattr(scales, "_end_bookings", lambda *_: None),
    "papers_join": lambda monkeypatch: monkeypatch.setattr(components, "joins", lambda members: False),
}


@pytest.mark.parametrize("rule", RULES_OFF)
def test_a_rule_of_stock_that_is_switched_off_is_noticed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    RULES_OFF[rule](monkeypatch)
    history = a_hard_day().history()
    assert wrong(history, play(history, StockEngine(PLAN)))


# -- rows that vanished while no connector told


def a_connector_was_down() -> tuple[StockHistory, StockHistory, list[Sweep]]:
    """Return what arrived, the same without any word of the rows that vanished, and the sweeps that mend it."""
    books = a_hard_day()
    down = books.of["erp"]
    down.capturing = False
    books.delete("erp", "stock_level", "2")
    books.delete("erp", "document_line", "1")
    books.delete("erp", "kit_part", "1")
    down.capturing = True
    down.snapshot()
    books.put("erp", "stock_level", "4", sku="B", location="N", quantity=UNIT)
    tables = {(name, kind): rows for name, one in books.of.items() for (kind, _), rows in one.tables.items()}
    seen = [event for event in books.log if event.key in tables.get((event.system, event.kind), {})]
    known = books.history(arrivals=seen)
    return replace(known, arrivals=tuple(books.log)), known, sweeps_of(books.log)


@pytest.mark.slow
def test_rows_that_vanished_leave_stock_after_the_sweep_whatever_crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "SWEEP_WRITES_MAX", 1)
    history, seen, sweeps = a_connector_was_down()
    for crash_at in (None, *range(0, 40, 3)):
        engine = play(history, StockEngine(PLAN))
        if crash_at is None:
            assert wrong(seen, engine), "nothing told of them"
        engine.kill()
        engine._append(sweep_record(sweeps))
        go_on(engine, epochs=12, crash_at=crash_at)
        assert not wrong(seen, engine), crash_at
