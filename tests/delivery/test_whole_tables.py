"""Analytics stores are told profiles, stock and orders whole, by the same flow, on archives and on topics."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import psycopg
import pytest

from nurt.app.delivery import Delivery, open_store, run_delivery
from nurt.app.delivery_config import destination_named
from nurt.app.delivery_tools import preview, retry_refusals
from nurt.app.running import run_here, run_stock_here
from nurt.errors import ConfigurationError
from nurt.flows.deliver import deliver
from nurt.flows.profiles import profiles
from nurt.flows.stock import stock
from nurt.model.delivery import Op
from nurt.settings import KafkaSettings, Settings, StockSettings
from tests.contracts.published_stock import rich_figure, rich_order
from tests.delivery.test_stock_and_orders import _tell
from tests.delivery.test_without_topics import settings

__all__ = ["settings"]

DELIVERY = """
destinations:
  warehouse: {{kind: postgres, of: [profiles, stock, orders], url: '{url}', schema: {schema}, linger_ms: 50}}
  lake: {{kind: delta, of: [orders, stock], path: '{lake}/{{of}}', linger_ms: 50}}
"""
TABLES = {"profile": "profiles", "figure": "stock", "order": "orders"}
STOCK = "sku, channel, market, revision, available, on_hand, inbound, held, reserved, buffer, oversold, as_of"


def _url(postgres: Any) -> str:
    return f"postgresql://{postgres.user}:{postgres.password}@127.0.0.1:{postgres.port}/{postgres.database}"


def _run(settings: Settings, name: str, **how: Any) -> None:
    run_delivery(
        deliver, Delivery(settings, destination_named(settings, name), threading.Event(), until_end=True, **how)
    )


@pytest.mark.timeout(180)
def test_a_store_holds_what_both_flows_found_and_is_told_nothing_twice(
    settings: Settings,
    postgres: Any,
    tmp_path: Path,
) -> None:
    from deltalake import DeltaTable

    own, lake = f"s{uuid.uuid4().hex[:8]}", tmp_path / "lake"
    written = DELIVERY.format(url=_url(postgres), schema=own, lake=lake)
    settings.destinations.write_text(written.replace("of: [orders, stock]", "of: orders"))
    run_here(profiles, settings)
    run_stock_here(stock, settings)
    writes, read, unmapped = preview(settings, destination_named(settings, "warehouse"))
    waiting = Counter(write.object for write in writes if write.op is Op.UPSERT)
    assert len(writes) <= read and not unmapped
    for name in ("warehouse", "lake"):
        _run(settings, name)
    assert not (lake / "stock").exists()
    settings.destinations.write_text(written)
    _run(settings, "lake")  # what is told now, too, is told from the beginning

    with psycopg.connect(_url(postgres), autocommit=True) as connection:

        def asked(query: str) -> list[tuple[Any, ...]]:
            return connection.execute(query.replace("$", own + ".").encode()).fetchall()

        def state() -> list[list[tuple[Any, ...]]]:
            tables = ("profiles", "stock", "orders", "order_lines", "order_documents", "order_shipments")
            return [asked(f"SELECT t::text FROM ${table} t ORDER BY 1") for table in tables]

        with duckdb.connect(str(tmp_path / "stock.duckdb"), read_only=True) as found:
            figures = found.execute(f"SELECT {STOCK} FROM stock_now ORDER BY ALL").fetchall()
        told = asked(f"SELECT {STOCK} FROM $stock")
        assert sorted(told) == sorted(figures) and len(figures) > 10
        with duckdb.connect(str(tmp_path / "profiles.duckdb"), read_only=True) as found:
            people = found.execute("SELECT id, revision FROM profiles ORDER BY ALL").fetchall()
        assert asked("SELECT id, revision FROM $profiles ORDER BY 1") == people
        (whose,) = asked("SELECT count(*) FROM $orders JOIN $profile_accounts a USING (account)")
        assert whose[0] > 20, "an order names the account that its profile lists"
        lost = asked("SELECT id FROM $order_lines LEFT JOIN $orders USING (id, revision) WHERE stage IS NULL")
        assert not lost, "rows of one revision are there together"
        orders = pl.read_delta(str(lake / "orders"))
        assert sorted(orders["id"]) == sorted(id_ for (id_,) in asked("SELECT id FROM $orders"))
        some = orders.filter(pl.col("lines").list.len() > 0).explode("lines", empty_as_null=True)
        lines = some.unnest("lines").select("id", "sku", "ordered").rows()
        assert sorted(lines) == sorted(asked("SELECT id, sku, ordered FROM $order_lines")) and len(lines) > 20
        assert pl.read_delta(str(lake / "stock")).height == len(figures)

        counted = {one: asked(f"SELECT count(*) FROM ${name}")[0][0] for one, name in TABLES.items()}
        assert waiting == counted, "a dry run said so"

        before, version = state(), DeltaTable(str(lake / "orders")).version()
        for name in ("warehouse", "lake"):
            assert preview(settings, destination_named(settings, name)) == ([], 0, 0)
            _run(settings, name)
        assert DeltaTable(str(lake / "orders")).version() == version, "what was told is not told again"
        _run(settings, "warehouse", from_scratch=True)
        assert state() == before and not open_store(settings, "warehouse").refusals()


def test_a_figure_that_is_refused_is_found_and_gets_another_chance(
    tmp_path: Path, redis_url: str, kafka: str, topic: Any, postgres: Any
) -> None:
    own, url = f"s{uuid.uuid4().hex[:8]}", _url(postgres)
    names = {"stock": f"stock-{own}", "orders": f"orders-{own}"}
    (tmp_path / "delivery.yaml").write_text(
        f"destinations: {{desk: {{kind: postgres, of: [stock, orders], url: '{url}', schema: {own}, linger_ms: 50}}}}"
    )
    settings = Settings(
        mapping=tmp_path / "mapping.yaml",
        data=tmp_path / "data",
        redis_url=redis_url,
        prefix=own,
        kafka=KafkaSettings(kafka),
        stock=StockSettings(topic=names["stock"], orders_topic=names["orders"]),
        destinations=tmp_path / "delivery.yaml",
    )
    for name in names.values():
        topic(name=name)

    def figure(number: int, revision: int, is_there: bool = True) -> tuple[Any, dict[str, Any] | None]:
        made = {**rich_figure(number, revision), "market": "PL"}
        return {key: made[key] for key in ("realm", "sku", "channel", "market")}, made if is_there else None

    def order(number: int, revision: int, is_there: bool = True) -> tuple[Any, dict[str, Any] | None]:
        made = rich_order(number, revision)
        return made["id"], made if is_there else None

    _tell(settings, kafka, names["stock"], "nurt.stock", figure(1, 1), figure(2, 1))
    _tell(settings, kafka, names["orders"], "nurt.orders", order(1, 1), order(2, 1))
    _run(settings, "desk")
    with psycopg.connect(url, autocommit=True) as connection:

        def asked(query: str) -> list[tuple[Any, ...]]:
            return connection.execute(query.replace("$", own + ".").encode()).fetchall()

        assert asked("SELECT sku, revision FROM $stock ORDER BY 1") == [("S-1", 1), ("S-2", 1)]
        connection.execute(f"ALTER TABLE {own}.stock ADD CONSTRAINT picky CHECK (sku <> 'S-3')".encode())
        _tell(settings, kafka, names["stock"], "nurt.stock", figure(1, 2), figure(2, 2, False), figure(3, 2))
        _tell(settings, kafka, names["orders"], "nurt.orders", order(1, 2), order(2, 2, False))
        _run(settings, "desk")
        assert asked("SELECT sku, revision FROM $stock") == [("S-1", 2)]
        (told,) = asked("SELECT id, revision, number, placed_at, stage FROM $orders")
        made = rich_order(1, 2)
        placed_at = made["placed_at"] and made["placed_at"].replace(tzinfo=None)
        assert told == (made["id"], 2, made["number"], placed_at, made["stage"])
        assert len(asked("SELECT * FROM $order_lines")) == len(made["lines"])
        (refusal,) = open_store(settings, "desk").refusals()
        assert (refusal.object, refusal.code) == ("figure", "CheckViolation")
        connection.execute(f"ALTER TABLE {own}.stock DROP CONSTRAINT picky".encode())
        assert retry_refusals(settings, destination_named(settings, "desk")) == 1
        _run(settings, "desk")
        assert asked("SELECT sku, revision FROM $stock ORDER BY 1") == [("S-1", 2), ("S-3", 2)]
    assert not open_store(settings, "desk").refusals()


def test_a_section_that_says_something_else_is_refused_with_what_to_write(settings: Settings) -> None:
    def refused(section: str) -> str:
        settings.destinations.write_text(f"destinations: {{lake: {section}}}")
        with pytest.raises(ConfigurationError) as found:
            destination_named(settings, "lake")
        return str(found.value)

    assert "did you mean 'orders'" in refused("{kind: delta, path: x, of: [stock, order]}")
    assert "s3://lake/{of}" in refused("{kind: delta, path: x, of: [stock, orders]}")
    assert "nurt.{of}" in refused("{kind: iceberg, table: x.y, of: [stock, orders]}")
    assert "at each object" in refused("{preset: webhook, url: 'http://x', of: [profiles, orders]}")
    assert "no `objects`" in refused("{preset: webhook, kind: postgres, url: x}")
