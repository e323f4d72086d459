"""Analytics stores, each the real one, and what is told to them: profiles, figures of stock, orders."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx2 as httpx
import polars as pl
import pytest

from nurt.adapters.analytics.clickhouse import ClickhouseSink
from nurt.adapters.analytics.delta import DeltaSink
from nurt.adapters.analytics.iceberg import IcebergSink
from nurt.adapters.analytics.postgres import PostgresSink
from nurt.delivery.journal import Message
from nurt.delivery.ports import TableSink
from nurt.delivery.read.families import FAMILIES, ContractTables, tables_of
from nurt.delivery.table_family import TableBatch, TableFamily
from nurt.model.delivery import PROFILES
from tests.contracts.published import encode, id_of, profile, rich
from tests.contracts.published_stock import rich_figure, rich_order, written
from tests.delivery.scene import mapping_of
from tests.services.receivers.proxy import Wire, wire_to
from tests.services.stack.daemon import free_ports

Tables = dict[str, pl.DataFrame]


@dataclass
class Made:
    """What is told of a family: made-up bodies, and what reads them."""

    family: TableFamily
    body: Callable[[int, int], bytes]
    tables_of: Callable[[Sequence[Message], Sequence[tuple[str, int]]], TableBatch]

    def message(self, number: int, offset: int, body: bytes | None) -> Message:
        return Message(id_of(number).hex(), (0, offset), None, body, self.family.name)

    def told(self, number: int, revision: int) -> Message:
        return self.message(number, revision, self.body(number, revision))


MADE = {
    PROFILES: Made(FAMILIES[PROFILES], lambda number, revision: encode(rich(number, revision)), tables_of),
    "stock": Made(
        FAMILIES["stock"],
        lambda number, revision: written("stock", rich_figure(number, revision)),
        ContractTables("stock", None),
    ),
    "orders": Made(
        FAMILIES["orders"],
        lambda number, revision: written("orders", rich_order(number, revision)),
        ContractTables("orders", None),
    ),
}


@dataclass
class Target:
    """A store: how it is opened, and what a reader sees of it."""

    open: Callable[[], TableSink]
    read: Callable[[], Tables]
    rows: int = 150
    wire: Wire | None = None  # what lies between nurt and the store, where there is a network
    cut_rate: float = 0.05


def opened(kind: str, made: Made, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    """Start a store, or make its folder."""
    family = made.family
    if kind == "postgres":
        server = request.getfixturevalue("postgres")
        with wire_to(server.port) as wire:
            yield _postgres(family, server, wire)
    elif kind == "clickhouse":
        yield from _clickhouse(family, tmp_path)
    elif kind == "delta":
        from deltalake import DeltaTable

        path = tmp_path / family.name
        mapping = mapping_of(f"{{kind: delta, path: '{tmp_path}/{{of}}'}}")
        yield Target(
            lambda: DeltaSink(mapping, family),
            lambda: _flat(family, pl.from_arrow(DeltaTable(path).to_pyarrow_table())),
        )
    else:
        text = f"{{kind: iceberg, catalog: {{type: sql, uri: 'sqlite:///{tmp_path}/c.db', warehouse: 'file://{tmp_path}'}}}}"
        mapping = mapping_of(text)

        def read() -> Tables:
            from pyiceberg.catalog import load_catalog

            catalog = load_catalog("nurt", type="sql", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{tmp_path}")
            return _flat(family, pl.from_arrow(catalog.load_table(f"nurt.{family.name}").scan().to_arrow()))

        yield Target(lambda: IcebergSink(mapping, family), read, rows=60)


def _postgres(family: TableFamily, server: Any, wire: Wire) -> Target:
    import psycopg

    base, schema = f"postgresql://{server.user}:{server.password}@127.0.0.1", f"s{time.time_ns()}"
    url = f"{base}:{server.port}/{server.database}"
    sent = f"{base}:{wire.port}/{server.database}?sslmode=disable"

    def read() -> Tables:
        tables = {}
        with psycopg.connect(url) as connection:
            for name, columns in family.tables.items():
                listed = ", ".join(f'"{column}"' for column in columns)
                rows = connection.execute(f"SELECT {listed} FROM {schema}.{name}".encode()).fetchall()
                tables[name] = pl.DataFrame(rows, schema=columns, orient="row")
        return tables

    mapping = mapping_of(f"{{kind: postgres, url: '{sent}', schema: {schema}}}")
    return Target(lambda: PostgresSink(mapping, family), read, wire=wire, cut_rate=0.004)  # a batch is some 70 answers


def _clickhouse(family: TableFamily, folder: Path) -> Iterator[Target]:
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
            for name, columns in family.tables.items():
                content = httpx.post(url, content=f"SELECT * FROM nurt.{name}".encode(), timeout=60).content
                frame = pl.read_parquet(io.BytesIO(content)) if content else pl.DataFrame(schema=columns)
                texts = [column for column, kind in frame.schema.items() if kind == pl.Binary]
                tables[name] = frame.with_columns(pl.col(texts).cast(pl.String)).cast(columns)  # type: ignore[arg-type]
            return tables

        with wire_to(port) as wire:
            mapping = mapping_of(f"{{kind: clickhouse, url: 'http://127.0.0.1:{wire.port}'}}")
            yield Target(lambda: ClickhouseSink(mapping, family), read, wire=wire)
    finally:
        server.kill()
        server.wait()


def _flat(family: TableFamily, nested: Any) -> Tables:
    """Undo the nesting, as a reader would with UNNEST."""
    columns = family.tables[family.name]
    tables = {family.name: nested.select(list(columns)).cast(columns)}
    for column, name in family.lists().items():
        columns = family.tables[name]
        rows = nested.select("id", "revision", column).filter(pl.col(column).list.len() > 0)
        ranked = rows.with_columns(rank=pl.int_ranges(1, pl.col(column).list.len() + 1)).explode(
            column, "rank", empty_as_null=True
        )
        tables[name] = ranked.unnest(column).select(list(columns)).cast(columns)
    return tables


class World:
    """Profiles, figures or orders that change at random, and the messages that say so."""

    def __init__(self, made: Made, seed: int) -> None:
        self.made = made
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
            elif dice < 0.2 and self.made.family.name == PROFILES:
                body = encode(profile(number, self.offset, state="redirect", redirect_to=id_of(number + 1).hex()))
            else:
                body = self.made.body(number, self.offset)
            if body is not None:
                self.bodies[number] = body
            self.messages.append(self.made.message(number, self.offset, body))

    def expected(self) -> Tables:
        said = [self.made.message(number, 0, body) for number, body in self.bodies.items()]
        return self.made.tables_of(said, []).flat


def same(family: TableFamily, found: Tables, expected: Tables) -> None:
    for name, kinds in family.tables.items():
        columns = list(kinds)
        assert found[name].select(columns).sort(columns).equals(expected[name].select(columns).sort(columns)), name
