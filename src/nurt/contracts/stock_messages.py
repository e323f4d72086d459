"""Published stock as messages of its contracts: Avro keys and bodies, without wire header."""

from __future__ import annotations

import polars as pl

from nurt.avro.writer import compile_writer
from nurt.columnar.varint import zigzag_bytes
from nurt.contracts.schemas import load
from nurt.model.published import PublishedBatch
from nurt.model.stock.published import StockBatch

STOCK, ORDERS, EVENTS = "nurt.stock", "nurt.orders", "nurt.stock-events"
"""Names of the contracts; topics may be called otherwise."""

VALUE_VERSIONS = {STOCK: 1, ORDERS: 2, EVENTS: 1}
"""Versions of the contracts' values."""

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


def value_contract(name: str) -> str:
    """Name the contract of values that are written today."""
    return f"{name}-value.v{VALUE_VERSIONS[name]}"


class StockMessages:
    """A writer of messages of one contract.

    Args:
        name: STOCK, ORDERS or EVENTS.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.version = VALUE_VERSIONS[name]
        self.value_schema, self.key_schema = load(value_contract(name)), load(f"{name}-key.v1")
        self._values = compile_writer(self.value_schema)
        self._keys = compile_writer(self.key_schema) if name == STOCK else None  # keys of other contracts are texts

    def of(self, batch: StockBatch) -> PublishedBatch:
        """Write a batch's messages of this contract: key -> body; None is a tombstone."""
        if self.name == STOCK:
            keys, values = self._figures(batch)
        elif self.name == ORDERS:
            keys, values = self._orders(batch)
        else:
            keys, values = self._events(batch)
        return PublishedBatch(keys, [batch.revision] * len(keys), values)

    def _figures(self, batch: StockBatch) -> tuple[list[bytes], list[bytes | None]]:
        if not batch.figures.height:
            return [], []
        frame = batch.figures.with_columns(
            pl.lit(batch.revision).alias("revision"), pl.lit(batch.as_of_ms).alias("as_of")
        )
        assert self._keys is not None
        return self._keys.write(frame), list(self._values.write(frame))

    def _orders(self, batch: StockBatch) -> tuple[list[bytes], list[bytes | None]]:
        alive = [order for order in batch.orders.values() if order is not None]
        frame = pl.DataFrame(alive, schema=ORDER_COLUMNS).with_columns(pl.lit(batch.revision).alias("revision"))
        bodies = iter(self._values.write(frame))
        values = [None if order is None else next(bodies) for order in batch.orders.values()]
        return [_text(one.hex()) for one in batch.orders], values

    def _events(self, batch: StockBatch) -> tuple[list[bytes], list[bytes | None]]:
        rows = [{**event, "at": event["at_ms"]} for event in batch.events]
        frame = pl.DataFrame(rows, schema=EVENT_COLUMNS)
        return [_text(event["id"]) for event in batch.events], list(self._values.write(frame))


def _text(text: str) -> bytes:
    """Write an Avro `string`."""
    body = text.encode()
    return zigzag_bytes(len(body)) + body
