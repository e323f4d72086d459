"""Analytics stores, each the real one: exactly the newest revision of every row is visible, through kills too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import polars as pl
import pytest
from redis import Redis

from nurt.adapters.redis.delivery.store import DeliveryStore
from nurt.delivery.run.batch import SWEEP
from nurt.delivery.run.table_deliverer import TableDeliverer, TableTarget
from nurt.errors import Fenced
from nurt.model.delivery import DesiredState, Lifecycle
from nurt.model.keys import Keys
from tests.delivery.chaos import Killed
from tests.services.receivers.analytics import MADE, Made, Target, World, opened, same


@pytest.fixture(params=MADE)
def made(request: pytest.FixtureRequest) -> Made:
    return MADE[request.param]


@pytest.fixture(params=["postgres", "clickhouse", "delta", "iceberg"])
def target(request: pytest.FixtureRequest, made: Made, tmp_path: Path) -> Iterator[Target]:
    yield from opened(request.param, made, request, tmp_path)


def _shelves(target: Target, made: Made) -> dict[str, TableTarget]:
    return {made.family.name: TableTarget(made.family, target.open(), made.tables_of)}


def test_an_erasure_takes_what_was_stored_and_not_noted(target: Target, made: Made, redis_url: str) -> None:
    prefix = f"a{time.time_ns()}"

    def deliverer(killed_after: str = "") -> TableDeliverer:
        def fault(step: str) -> None:
            if step == killed_after:
                raise Killed

        store = DeliveryStore(Redis.from_url(redis_url), Keys(prefix, 4), "lake")
        store.begin()
        return TableDeliverer(_shelves(target, made), store, 0, fault=fault)

    def revisions() -> list[int]:
        return target.read()[made.family.name]["revision"].to_list()

    to = deliverer("answered")
    with pytest.raises(Killed):
        to.deliver([made.told(1, 7)])
    to.close()
    assert revisions() == [7]
    to = deliverer()
    to.deliver([made.message(1, 8, None)])  # the live message is compacted away
    assert all(frame.height == 0 for frame in target.read().values())
    to.deliver([made.told(1, 9)])
    assert revisions() == [9]
    to.close()


def test_readers_see_exactly_the_newest_revision_through_replays_and_kills(
    target: Target, made: Made, redis_url: str
) -> None:
    world = World(made, 5)
    world.live(target.rows // 3, target.rows)
    random = Random(1)
    prefix = f"a{time.time_ns()}"

    def fault(_step: str) -> None:
        if random.random() < 0.15:
            raise Killed

    def deliverer(fault: Callable[[str], None] = fault) -> TableDeliverer:
        store = DeliveryStore(Redis.from_url(redis_url), Keys(prefix, 4), "lake")
        store.begin()
        return TableDeliverer(
            {made.family.name: TableTarget(made.family, target.open(), made.tables_of)}, store, 0, fault=fault
        )

    at = committed = kills = 0
    to = deliverer()
    while committed < len(world.messages):
        end = min(len(world.messages), at + random.randint(5, 40))
        try:
            to.deliver(world.messages[at:end])
        except Killed:
            kills += 1
            to.close()
            to, at = deliverer(), committed
            continue
        at = end
        if random.random() < 0.6 or at == len(world.messages):
            committed = at
    to.close()
    last = deliverer(lambda _step: None)
    last.deliver(world.messages[-3:])
    last.close()
    assert kills
    same(made.family, target.read(), world.expected())


@pytest.mark.parametrize("made", ["profiles"], indirect=True)
def test_a_delivery_that_was_overtaken_writes_nothing_more(target: Target, made: Made, redis_url: str) -> None:
    world = World(made, 3)
    world.live(5, 10)
    client, keys = Redis.from_url(redis_url), Keys(f"a{time.time_ns()}", 4)
    stores = [DeliveryStore(client, keys, "lake") for _ in range(2)]
    workers = []
    for store in stores:
        store.begin()
        workers.append(TableDeliverer(_shelves(target, made), store, 0))
    workers[1].deliver(world.messages)
    for act in (lambda: workers[0].deliver(world.messages[:1]), workers[0].retry_parked):
        with pytest.raises(Fenced, match="overtaken"):
            act()
    same(made.family, target.read(), world.expected())
    for worker in workers:
        worker.close()


@pytest.mark.parametrize("made", ["profiles"], indirect=True)
@pytest.mark.parametrize("target", ["postgres", "clickhouse"], indirect=True)
def test_cut_wires_and_an_outage_lose_nothing(
    target: Target, made: Made, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = target.wire
    assert wire is not None
    monkeypatch.setattr("nurt.delivery.retry.BACKOFF_S", 0.005)
    monkeypatch.setattr("nurt.delivery.retry.BACKOFF_S_MAX", 0.3)
    world, random = World(made, 9), Random(9)
    world.live(target.rows // 3, target.rows)
    store = DeliveryStore(Redis.from_url(redis_url), Keys(f"a{time.time_ns()}", 4), "lake")
    store.begin()
    to = TableDeliverer(_shelves(target, made), store, 0)
    wire.cut_rate = target.cut_rate
    at = 0
    while at < len(world.messages):
        end = at + random.randint(5, 30)
        if at < len(world.messages) // 2 <= end:
            wire.down = True
            threading.Timer(3.0, lambda: setattr(wire, "down", False)).start()
        to.deliver(world.messages[at:end])
        at = end
    to.close()
    assert wire.cuts
    assert store.status()["last_error"] and not store.refusals()
    wire.cut_rate = 0.0
    same(made.family, target.read(), world.expected())


def test_an_older_revision_never_replaces_a_newer_one(target: Target, made: Made) -> None:
    sink = target.open()
    newer, older = made.told(1, 9), made.told(1, 5)
    for message in (newer, older, newer):
        assert sink.write(made.tables_of([message], [])).failure is None
    same(made.family, target.read(), made.tables_of([newer], []).flat)
    assert sink.write(made.tables_of([], [(newer.subject, 9)])).failure is None
    assert all(not table.height for table in target.read().values())
    sink.close()


def test_a_column_that_a_later_nurt_adds_is_added(target: Target, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    older, newer, family = made.told(1, 1), made.told(2, 2), made.family
    columns = family.tables[family.name]
    with monkeypatch.context() as past:
        past.setitem(family.tables, family.name, {name: kind for name, kind in columns.items() if name != "market"})
        sink = target.open()
        assert sink.write(made.tables_of([older], [])).failure is None
        sink.close()
    sink = target.open()
    assert sink.write(made.tables_of([newer], [])).failure is None
    sink.close()
    expected = made.tables_of([older, newer], []).flat[family.name]
    wanted = expected.with_columns(market=pl.when(pl.col("id") != older.subject).then("market")).select(list(columns))
    assert target.read()[family.name].select(list(columns)).sort("id").equals(wanted.sort("id"))


@pytest.mark.parametrize("target", ["delta"], indirect=True)
def test_what_an_operator_lets_be_swept_goes_and_nothing_else(target: Target, made: Made, redis_url: str) -> None:
    store = DeliveryStore(Redis.from_url(redis_url), Keys(f"a{time.time_ns()}", 4), "lake")
    store.begin()
    to = TableDeliverer(_shelves(target, made), store, 0)
    to.deliver([made.told(number, number) for number in (1, 2)])
    to.close()
    to = TableDeliverer(_shelves(target, made), store, 1)
    to.deliver([made.told(2, 2)])
    ((left, record),) = store.left_over(1)
    assert (left, record.of) == (made.told(1, 1).subject, made.family.name)
    store.ask_again([DesiredState(left, None, record.place, Lifecycle.SWEPT, of=record.of)], SWEEP)
    assert to.retry_parked() == 1
    assert target.read()[made.family.name]["id"].to_list() == [made.told(2, 2).subject]
    assert not list(store.left_over(1))
    to.close()
