"""What the flow of stock publishes can be read with any Avro reader, and its history with SQL."""

from __future__ import annotations

import io
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import fastavro

from nurt.adapters.analytics.duckdb_stock import DuckdbStockSink
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.adapters.kafka.stock_sink import KafkaStockSink
from nurt.contracts.schemas import load
from nurt.model.stock.published import StockBatch
from tests.contracts.test_profile_sink_kafka import Subjects, read_all
from tests.flows.test_stock_rules import LastPublished


def published() -> list[StockBatch]:
    """Play a small history and keep everything that it publishes."""
    told, batches = LastPublished(), []
    take = told.engine._take
    told.engine._take = lambda batch: (batches.append(batch), take(batch))[1]  # type: ignore[method-assign,func-returns-value]
    told.level(10)
    told.order("1", 9)
    told.document("1", "1", 9)
    told.row("wms", "shipment", "1", status="shipped", order_ref="1", tracking="T1")
    told.level(1)
    told.row("pl", "order", "7", number="7")
    told.row("pl", "order", "7", gone=True)
    return batches


def body(message: bytes, name: str) -> Any:
    return fastavro.schemaless_reader(io.BytesIO(message[5:]), fastavro.parse_schema(load(name)))


def test_figures_orders_and_events_can_be_read_from_their_topics(kafka: str) -> None:
    names = [f"{name}-{uuid.uuid4().hex[:8]}" for name in ("stock", "orders", "events")]
    sink = KafkaStockSink(KafkaSettings(kafka), Subjects(), *names, deployment=names[0], partitions=2)
    for batch in published():
        sink.write(batch)
    sink.close()
    figures: dict[str, Any] = {}
    for _, key, value in read_all(kafka, names[0]):
        assert value is not None
        figure = body(value, "nurt.stock-value.v1")
        assert body(key, "nurt.stock-key.v1") == {k: figure[k] for k in ("realm", "sku", "channel", "market")}
        if figure["revision"] >= figures.get(figure["sku"], {"revision": 0})["revision"]:
            figures[figure["sku"]] = figure
    assert figures["A"]["available"] == Decimal(1)
    orders: dict[str, Any] = {}
    for _, key, value in read_all(kafka, names[1]):
        orders[body(key, "nurt.orders-key.v1")] = None if value is None else body(value, "nurt.orders-value.v2")
    (order,) = [one for one in orders.values() if one is not None]
    assert (order["number"], order["stage"]) == ("1", "shipped")
    assert [one["number"] for one in order["documents"]] == ["D1"]
    assert [one["tracking"] for one in order["shipments"]] == ["T1"]
    assert None in orders.values(), "the deleted order is a tombstone"
    events = [body(value, "nurt.stock-events-value.v1") for _, _, value in read_all(kafka, names[2]) if value]
    assert [one["kind"] for one in events] == ["low_stock"]


def test_the_history_of_stock_can_be_queried(tmp_path: Path) -> None:
    sink = DuckdbStockSink(tmp_path / "stock.duckdb")
    batches = published()
    for batch in [*batches, *batches]:
        sink.write(batch)
    sink.close()
    with duckdb.connect(str(tmp_path / "stock.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT sku, available FROM stock_now").fetchall() == [("A", Decimal(1))]
        assert connection.execute("SELECT kind FROM stock_events").fetchall() == [("low_stock",)]
