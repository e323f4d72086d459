"""Law: what can be sold equals a plain recomputation over the final rows, whatever happens meanwhile."""

from __future__ import annotations

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from nurt.model.stock.plan import UNIT
from nurt_client.ids import ledger_token
from tests.hypothesis_profiles import examples
from tests.oracle.frames import batch_of
from tests.oracle.mishaps import Plan, plans, run_plan
from tests.oracle.naming import DEPLOYMENT_IDS
from tests.oracle.stock_batch import expected_stock
from tests.oracle.stock_engine import StockEngine, moment_of
from tests.oracle.stock_histories import SKUS, SYSTEMS, StockHistory, stock_histories
from tests.oracle.values import TODAY

slowly = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=examples(40))


def judge(history: StockHistory, engine: StockEngine, as_of: int) -> list[str]:
    priority = {name: system.priority for name, system in SYSTEMS.items()}
    markets = {name: system.market or "" for name, system in SYSTEMS.items()}
    expected = expected_stock(history.truth, history.plan, priority, markets, moment_of(as_of))
    found = {key: available for key, (_, available) in engine.figures.items()}
    wrong = [
        f"{key}: {found.get(key)} (expected {expected.available.get(key, 0)})"
        for key in {**found, **expected.available}
        if (found.get(key) or 0) != expected.available.get(key, 0)
    ]
    orders = {(row.system, row.key): row.id for row in history.truth if row.kind == "order"}
    for (system, key, sku), remaining in expected.remaining.items():
        order = engine.orders.get(orders[system, key], (0, None))[1]
        said = sum(line["remaining"] for line in order["lines"] if line["sku"] == sku) if order else None
        if said != remaining:
            wrong.append(f"order {system}/{key} of {sku}: {said} (expected {remaining})")
    for one, parcels in expected.parcels.items():
        order = engine.orders.get(one, (0, None))[1]
        told = (
            [(parcel["system"], parcel["status"], parcel["tracking"]) for parcel in order["shipments"]] if order else []
        )
        if sorted(told, key=repr) != sorted(parcels, key=repr):
            wrong.append(f"parcels of order {one.hex()}: {told} (expected {parcels})")
    alive = {one for one, (_, order) in engine.orders.items() if order is not None}
    wrong += [f"order {one.hex()} is said to live" for one in alive - set(orders.values())]
    if wrong:
        note("\n".join([str(history.plan), history.transcript(), *wrong]))
    return wrong


@slowly
@given(stock_histories(), st.integers(TODAY, TODAY + 4), st.integers(1, 4))
def test_stock_equals_the_batch(history: StockHistory, as_of: int, workers: int) -> None:
    engine = StockEngine(history.plan, seed=workers)
    engine.start(workers)
    at = 0
    while at < len(history.arrivals):
        size = history.sizes[at % len(history.sizes)]
        engine.feed(batch_of(history.arrivals[at : at + size], DEPLOYMENT_IDS))
        at += size
    engine.drain(as_of)
    assert not judge(history, engine, as_of)


@slowly
@given(stock_histories(), plans(), st.integers(0, 9))
def test_stock_equals_the_batch_whatever_happens(history: StockHistory, plan: Plan, seed: int) -> None:
    engine = StockEngine(history.plan, seed)
    _, as_of = run_plan(engine, history, plan, DEPLOYMENT_IDS, TODAY)  # type: ignore[arg-type]
    assert not judge(history, engine, as_of)


@slowly
@given(stock_histories(), st.lists(st.integers(0, 10**6), min_size=4, max_size=12), st.integers(1, 3))
def test_reservations_leave_nothing_behind(history: StockHistory, asked: list[int], workers: int) -> None:
    """Whatever was reserved, booked by its order, released or lost in a crash: when it has expired, nothing holds."""
    engine = StockEngine(history.plan, workers)
    at = engine.start(workers)
    engine.drain(TODAY)
    place, now = engine.keys.realm_place("default"), moment_of(TODAY)
    for turn in range(max(len(asked), len(history.arrivals))):
        noise = asked[turn % len(asked)] + turn
        channel, number = ("pl", "de")[noise % 2], ("1", "2", "3", "r1")[noise // 2 % 4]
        match_key = ledger_token(DEPLOYMENT_IDS.ids, channel, number)
        sku = DEPLOYMENT_IDS.one("sku\x1f" + SKUS[noise // 8 % 3])
        ledger = engine.memory.ledger(place)
        if noise % 11 == 0:
            ledger.call("release", (match_key,), now)
        else:
            lines = ("1", sku, (1 + noise % 3) * UNIT)
            status = ledger.call("reserve", (match_key, f"{channel}/DE", 1_000 + noise % 40_000, *lines), now)[0]
            assert status in (b"accepted", b"refused", b"known", b"differs", b"closed")
        if noise % 7 == 0:
            engine.kill()
            at = engine.start(workers)
        events = history.arrivals[at : at + 2]
        if events:
            engine.feed_until(batch_of(events, DEPLOYMENT_IDS), at + len(events))
            at += len(events)
        if noise % 3 == 0:
            engine.commit()
    while at < len(history.arrivals):
        engine.feed_until(batch_of(history.arrivals[at : at + 3], DEPLOYMENT_IDS), min(at + 3, len(history.arrivals)))
        at += 3
    engine.drain(TODAY + 5)
    assert not [key for key in engine.memory.values if key.startswith(place + b"m")]
    assert not judge(history, engine, TODAY + 5)
