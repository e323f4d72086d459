"""Analytics stores, each the real one: exactly the newest revision of every profile is visible, through kills too."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx2 as httpx
import polars as pl
import pytest
from redis import Redis

from nurt.adapters.clickhouse_sink import ClickhouseSink
from nurt.adapters.delivery_rows import tables_of
from nurt.adapters.delivery_store import DeliveryStore
from nurt.adapters.delta_sink import DeltaSink
from nurt.adapters.iceberg_sink import IcebergSink
from nurt.adapters.postgres_sink import PostgresSink
from nurt.adapters.profile_tables import TABLES
from nurt.core.delivery_notes import Message
from nurt.errors import Fenced
from nurt.model.keys import Keys
from nurt.operators.deliver_tables import TableDeliverer
from nurt.ports import TableSink
from tests.contracts.published import encode, id_of, profile, rich
from tests.delivery.chaos import Killed
from tests.delivery.scene import mapping_of
from tests.services.receivers.proxy import Wire, wire_to
from tests.services.stack.daemon import free_ports

Tables = dict[str, pl.DataFrame]


@dataclass
class Target:
    """A store: how it is opened, and what a reader sees of it."""

    open: Callable[[], TableSink]
    read: Callable[[], Tables]
    rows: int = 150
    wire: Wire | None = None  # what lies between nurt and the store, where there is a network
    cut_rate: float = 0.05


@pytest.fixture(params=["postgres", "clickhouse", "delta", "iceberg"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    kind = request.param
    if kind == "postgres":
        server = request.getfixturevalue("postgres")
        with wire_to(server.port) as wire:
            yield _postgres(server, wire)
    elif kind == "clickhouse":
        yield from _clickhouse(tmp_path)
    elif kind == "delta":
        from deltalake import DeltaTable

        path = str(tmp_path / "profiles")
        mapping = mapping_of(f"{{kind: delta, path: {path}}}")
        yield Target(lambda: DeltaSink(mapping), lambda: _flat(pl.from_arrow(DeltaTable(path).to_pyarrow_table())))
    else:
        text = f"{{kind: iceberg, catalog: {{type: sql, uri: 'sqlite:///{tmp_path}/c.db', warehouse: 'file://{tmp_path}'}}}}"
        mapping = mapping_of(text)

        def read() -> Tables:
            from pyiceberg.catalog import load_catalog

            catalog = load_catalog("nurt", type="sql", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{tmp_path}")
            return _flat(pl.from_arrow(catalog.load_table("nurt.profiles").scan().to_arrow()))

        yield Target(lambda: IcebergSink(mapping), read, rows=60)


def _postgres(server: Any, wire: Wire) -> Target:
    import psycopg

    base, schema = f"postgresql://{server.user}:{server.password}@127.0.0.1", f"s{time.time_ns()}"
    url = f"{base}:{server.port}/{server.database}"
    sent = f"{base}:{wire.port}/{server.database}?sslmode=disable"

    def read() -> Tables:
        tables = {}
        with psycopg.connect(url) as connection:
            for name, columns in TABLES.items():
                listed = ", ".join(f'"{column}"' for column in columns)
                rows = connection.execute(f"SELECT {listed} FROM {schema}.{name}".encode()).fetchall()
                tables[name] = pl.DataFrame(rows, schema=columns, orient="row")
        return tables

    mapping = mapping_of(f"{{kind: postgres, url: '{sent}', schema: {schema}}}")
    return Target(lambda: PostgresSink(mapping), read, wire=wire, cut_rate=0.004)  # a batch is some 70 answers


def _clickhouse(folder: Path) -> Iterator[Target]:
    (port,) = free_ports(1)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.services.receivers.clickhouse_server", str(port), str(folder / "ch")]
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                httpx.get(url)
                break
            except httpx.HTTPError:
                time.sleep(0.1)

        def read() -> Tables:
            tables = {}
            for name, columns in TABLES.items():
                content = httpx.post(url, content=f"SELECT * FROM nurt.{name}".encode(), timeout=60).content
                frame = pl.read_parquet(io.BytesIO(content)) if content else pl.DataFrame(schema=columns)
                texts = [column for column, kind in frame.schema.items() if kind == pl.Binary]
                tables[name] = frame.with_columns(pl.col(texts).cast(pl.String)).cast(columns)  # type: ignore[arg-type]
            return tables

        with wire_to(port) as wire:
            mapping = mapping_of(f"{{kind: clickhouse, url: 'http://127.0.0.1:{wire.port}'}}")
            yield Target(lambda: ClickhouseSink(mapping), read, wire=wire)
    finally:
        server.kill()
        server.wait()


def _flat(nested: Any) -> Tables:
    """Undo the nesting, as a reader would with UNNEST."""
    tables = {"profiles": nested.select(list(TABLES["profiles"])).cast(TABLES["profiles"])}
    for name, columns in TABLES.items():
        if name == "profiles":
            continue
        column = name.removeprefix("profile_")
        rows = nested.select("id", "revision", column).filter(pl.col(column).list.len() > 0)
        ranked = rows.with_columns(rank=pl.int_ranges(1, pl.col(column).list.len() + 1)).explode(
            column, "rank", empty_as_null=True
        )
        tables[name] = ranked.unnest(column).select(list(columns)).cast(columns)
    return tables


class World:
    """Profiles that change at random, and the messages that say so."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.offset = 0
        self.bodies: dict[int, bytes] = {}
        self.messages: list[Message] = []

    def live(self, people: int, changes: int) -> None:
        for _ in range(changes):
            self.offset += 1
            number = self.random.randrange(people)
            dice = self.random.random()
            body: bytes | None
            if dice < 0.1:
                body = None
                self.bodies.pop(number, None)
            elif dice < 0.2:
                body = encode(profile(number, self.offset, state="redirect", redirect_to=id_of(number + 1).hex()))
            else:
                body = encode(rich(number, self.offset))
            if body is not None:
                self.bodies[number] = body
            self.messages.append(Message(id_of(number).hex(), (0, self.offset), None, body))

    def expected(self) -> Tables:
        said = [Message(id_of(number).hex(), (0, 0), None, body) for number, body in self.bodies.items()]
        return tables_of(said, []).flat


def _same(found: Tables, expected: Tables) -> None:
    for name in TABLES:
        columns = list(TABLES[name])
        assert found[name].select(columns).sort(columns).equals(expected[name].select(columns).sort(columns)), name


def test_an_erasure_takes_what_was_stored_and_not_noted(target: Target, redis_url: str) -> None:
    prefix, who = f"a{time.time_ns()}", id_of(1).hex()

    def deliverer(killed_after: str = "") -> TableDeliverer:
        def fault(step: str) -> None:
            if step == killed_after:
                raise Killed

        store = DeliveryStore(Redis.from_url(redis_url), Keys(prefix, 4), "lake")
        store.begin()
        return TableDeliverer(target.open(), store, tables_of, 0, fault=fault)

    to = deliverer("answered")
    with pytest.raises(Killed):
        to.deliver([Message(who, (0, 1), None, encode(rich(1, 7)))])
    to.close()
    assert target.read()["profiles"].height == 1
    to = deliverer()
    to.deliver([Message(who, (0, 2), None, None)])  # the live message is compacted away
    assert all(frame.height == 0 for frame in target.read().values())
    to.deliver([Message(who, (0, 3), None, encode(rich(1, 9)))])
    assert target.read()["profiles"]["revision"].to_list() == [9]
    to.close()


def test_readers_see_exactly_the_newest_revision_through_replays_and_kills(target: Target, redis_url: str) -> None:
    world = World(5)
    world.live(target.rows // 3, target.rows)
    random = Random(1)
    prefix = f"a{time.time_ns()}"

    def fault(_step: str) -> None:
        if random.random() < 0.15:
            raise Killed

    def deliverer(fault: Callable[[str], None] = fault) -> TableDeliverer:
        store = DeliveryStore(Redis.from_url(redis_url), Keys(prefix, 4), "lake")
        store.begin()
        return TableDeliverer(target.open(), store, tables_of, 0, fault=fault)

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
    _same(target.read(), world.expected())


def test_a_delivery_that_was_overtaken_writes_nothing_more(target: Target, redis_url: str) -> None:
    world = World(3)
    world.live(5, 10)
    client, keys = Redis.from_url(redis_url), Keys(f"a{time.time_ns()}", 4)
    stores = [DeliveryStore(client, keys, "lake") for _ in range(2)]
    workers = []
    for store in stores:
        store.begin()
        workers.append(TableDeliverer(target.open(), store, tables_of, 0))
    workers[1].deliver(world.messages)
    for act in (lambda: workers[0].deliver(world.messages[:1]), workers[0].retry_parked):
        with pytest.raises(Fenced, match="overtaken"):
            act()
    _same(target.read(), world.expected())
    for worker in workers:
        worker.close()


@pytest.mark.parametrize("target", ["postgres", "clickhouse"], indirect=True)
def test_cut_wires_and_an_outage_lose_nothing(target: Target, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = target.wire
    assert wire is not None
    monkeypatch.setattr("nurt.core.delivery_attempts.BACKOFF_S", 0.005)
    monkeypatch.setattr("nurt.core.delivery_attempts.BACKOFF_S_MAX", 0.3)
    world, random = World(9), Random(9)
    world.live(target.rows // 3, target.rows)
    store = DeliveryStore(Redis.from_url(redis_url), Keys(f"a{time.time_ns()}", 4), "lake")
    store.begin()
    to = TableDeliverer(target.open(), store, tables_of, 0)
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
    _same(target.read(), world.expected())


def test_an_older_revision_never_replaces_a_newer_one(target: Target) -> None:
    sink = target.open()
    newer, older = encode(rich(1, 9)), encode(rich(1, 5))
    subject = id_of(1).hex()
    for body in (newer, older, newer):
        assert sink.write(tables_of([Message(subject, (0, 1), None, body)], [])).trouble is None
    _same(target.read(), tables_of([Message(subject, (0, 1), None, newer)], []).flat)
    assert sink.write(tables_of([], [(subject, 9)])).trouble is None
    assert not target.read()["profiles"].height
    sink.close()


def test_a_column_that_a_later_nurt_adds_is_added(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    older, newer = (Message(id_of(n).hex(), (0, n), None, encode(rich(n, n))) for n in (1, 2))
    with monkeypatch.context() as past:
        past.setitem(TABLES, "profiles", {name: kind for name, kind in TABLES["profiles"].items() if name != "market"})
        sink = target.open()
        assert sink.write(tables_of([older], [])).trouble is None
        sink.close()
    sink = target.open()
    assert sink.write(tables_of([newer], [])).trouble is None
    sink.close()
    expected = tables_of([older, newer], []).flat["profiles"]
    is_old = pl.col("id") == id_of(1).hex()
    wanted = expected.with_columns(market=pl.when(~is_old).then("market"))
    columns = list(TABLES["profiles"])
    assert target.read()["profiles"].select(columns).sort("id").equals(wanted.select(columns).sort("id"))
