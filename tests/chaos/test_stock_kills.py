"""Whatever is killed: what can be sold at the end is what a plain recomputation over the sources' tables says."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from datetime import date
from importlib.resources import files
from pathlib import Path

import orjson
import pytest
from redis import Redis

from nurt.columnar.ids import Ids
from nurt.mapping.load import load_mapping
from nurt.model.entities import STOCK_KINDS
from nurt.model.stock.plan import UNIT
from nurt.simulate.connector.targets import simulate_to_archive
from tests.chaos.cluster import Cluster, Deployment
from tests.chaos.naive_rows import read_archive
from tests.oracle.stock_batch import StockRow, expected_stock
from tests.services.stack.redis_server import RedisServer

END_S = 200.0
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, str, str], int]]:
    folder = tmp_path_factory.mktemp("archive")
    simulate_to_archive(folder, seed=5, customers=100, days=30, last_day=date(2026, 3, 31))
    return folder, expected_of(folder)


def expected_of(folder: Path) -> dict[tuple[str, str, str], int]:
    """Recompute what can be sold from the tables that an archive's messages leave."""
    mapping = load_mapping((files("nurt") / "presets" / "demo.yaml").read_text(encoding="utf-8"), "demo.yaml")
    narrow = mapping.narrowed(STOCK_KINDS)
    of_kinds = read_archive(folder, narrow, Ids(bytes(16))).rows
    rows = [
        StockRow(row.system, kind, row.key, dict(row.fields), row.parent_key, (None,) * 4, row.ts_ms)
        for kind, some in of_kinds.items()
        for row in some
    ]
    plan = mapping.stock
    assert plan is not None
    systems = mapping.systems.values()
    expected = expected_stock(
        rows, plan, {one.name: one.priority for one in systems}, {one.name: one.market or "" for one in systems}, 2**42
    )
    return expected.available


@pytest.fixture
def ended() -> Iterator[None]:
    yield
    Cluster.end_all()


def shown(server: RedisServer) -> dict[tuple[str, str, str], int]:
    """Read the read model, as a shop does."""
    found = {}
    with Redis.from_url(server.url) as client:
        for key in client.scan_iter(match="nurt-stock{r:default}v*", count=5_000):
            for place, pieces in orjson.loads(client.get(key)).items():  # type: ignore[arg-type]
                channel, market = place.split("/")
                found[key.decode().partition("}v")[2], channel, market] = round(pieces * UNIT)
    return found


def test_killed_workers_leave_what_can_be_sold_as_it_is(
    archive: tuple[Path, dict[tuple[str, str, str], int]],
    start_redis: Callable[..., RedisServer],
    tmp_path: Path,
    ended: None,
) -> None:
    folder, expected = archive
    server = start_redis("valkey")
    deployment = Deployment(tmp_path, server, folder, rows_max=200, analytics=False)
    rng = random.Random(4)
    for _ in range(3):
        cluster = Cluster(deployment.config, rng.randint(1, 3), flow="stock")
        cluster.wait_until(lambda: bool(shown(server)), 60)
        time.sleep(rng.random() * 1.5)
        rng.choice([cluster.kill_all, lambda one=cluster: one.kill_worker(rng.randint(0, 2))])()
        if not cluster.ended:
            cluster.wait(60)
    last = Cluster(deployment.config, 2, flow="stock")
    assert last.wait(END_S) == 0, last.tail()
    found = shown(server)
    wrong = {key: (found.get(key), value) for key, value in expected.items() if found.get(key) != value}
    assert not wrong
    assert expected
