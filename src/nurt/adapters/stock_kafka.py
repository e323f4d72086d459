"""Stock on Kafka: figures and orders on compacted topics, events beside them; one transaction a batch and topic."""

from __future__ import annotations

from typing import Any

import polars as pl

from nurt.adapters.kafka_settings import KafkaSettings
from nurt.adapters.kafka_sink import KafkaProfileSink
from nurt.core.avro.writer import Writer, compile_writer
from nurt.model.published import PublishedBatch
from nurt.model.stock_published import StockBatch
from nurt.ports import SchemaRegistry
from nurt.schemas import load

STOCK, ORDERS, EVENTS = "nurt.stock", "nurt.orders", "nurt.stock-events"
"""Names of the contracts; topics may be called otherwise."""

VALUE_VERSIONS = {STOCK: 1, ORDERS: 2, EVENTS: 1}
"""Of the contracts' values."""

_TEXTS = ("number", "reference", "status", "carrier", "tracking")
_TIME = pl.Int64()
_LINE = pl.Struct(
    {
        **dict.fromkeys(("sku", "location"), pl.String()),
        **dict.fromkeys(("ordered", "returned", "booked", "shipped", "remaining"), pl.Int64()),
    }
)
_DOCUMENT = pl.Struct({**dict.fromkeys(("system", "number", "status"), pl.String()), "booked_at": _TIME})
_SHIPMENT = pl.Struct(
    {
        **dict.fromkeys(("system", "number", "carrier", "tracking", "status"), pl.String()),
        "shipped_at": _TIME,
        "delivered_at": _TIME,
    }
)
ORDER_COLUMNS: dict[str, pl.DataType] = {
    **dict.fromkeys(("id", "realm", "system", "number", "reference", "channel", "market", "status"), pl.String()),
    "placed_at": _TIME,
    "stage": pl.String(),
    "lines": pl.List(_LINE),
    "documents": pl.List(_DOCUMENT),
    "shipments": pl.List(_SHIPMENT),
    "account": pl.String(),
}
EVENT_COLUMNS: dict[str, pl.DataType] = {
    **dict.fromkeys(("id", "kind", "realm", "sku", "channel", "market", "location"), pl.String()),
    "at": pl.Int64(),
    "quantity": pl.Int64(),
    "orders": pl.List(pl.String()),
}


class KafkaStockSink:
    """Writes figures, orders and events, each to its topic if it has one; implements `ports.StockSink`."""

    def __init__(
        self,
        settings: KafkaSettings,
        registry: SchemaRegistry,
        topic: str | None,
        orders_topic: str | None,
        events_topic: str | None,
        *,
        deployment: str,
        **place: Any,
    ) -> None:
        self._sinks: dict[str, KafkaProfileSink] = {}
        self._writers: dict[str, Writer] = {}
        for name, chosen in ((STOCK, topic), (ORDERS, orders_topic), (EVENTS, events_topic)):
            if chosen is None:
                continue
            value, key = load(f"{name}-value.v{VALUE_VERSIONS[name]}"), load(f"{name}-key.v1")
            self._sinks[name] = KafkaProfileSink(
                settings,
                registry,
                value,
                key,
                deployment=f"{deployment}-{name}",
                topic=chosen,
                key_of=None if name == ORDERS else _as_it_is,
                **place,
            )
            self._writers[name] = compile_writer(value)
        self._keys = compile_writer(load(f"{STOCK}-key.v1"))

    def write(self, batch: StockBatch) -> None:
        """See ports.StockSink."""
        if STOCK in self._sinks and batch.figures.height:
            frame = batch.figures.with_columns(
                pl.lit(batch.revision).alias("revision"), pl.lit(batch.as_of_ms).alias("as_of")
            )
            self._send(STOCK, self._keys.write(frame), batch.revision, list(self._writers[STOCK].write(frame)))
        if ORDERS in self._sinks and batch.orders:
            alive = [order for order in batch.orders.values() if order is not None]
            frame = pl.DataFrame(alive, schema=ORDER_COLUMNS).with_columns(pl.lit(batch.revision).alias("revision"))
            bodies = iter(self._writers[ORDERS].write(frame))
            values = [None if order is None else next(bodies) for order in batch.orders.values()]
            self._send(ORDERS, list(batch.orders), batch.revision, values)
        if EVENTS in self._sinks and batch.events:
            rows = [{**event, "at": event["at_ms"]} for event in batch.events]
            frame = pl.DataFrame(rows, schema=EVENT_COLUMNS)
            keys = [_text(event["id"]) for event in batch.events]
            self._send(EVENTS, keys, batch.revision, list(self._writers[EVENTS].write(frame)))

    def _send(self, name: str, keys: list[bytes], revision: int, values: list[bytes | None]) -> None:
        self._sinks[name].write(PublishedBatch(keys, [revision] * len(keys), values))

    def close(self) -> None:
        """See ports.StockSink."""
        for sink in self._sinks.values():
            sink.close()


def _as_it_is(key: bytes) -> bytes:
    return key


def _text(text: str) -> bytes:
    """Write an Avro `string`."""
    body = text.encode()
    length, out = len(body) << 1, bytearray()
    while length >= 0x80:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    return bytes(out) + body
