"""Stock by the million: levels of hot and cold skus in some warehouses, and shop orders that take them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from nurt.model.raw import RawBatch
from nurt.simulate.bulk import CHUNK_ROWS, DAYS, START_S, Topic, Zipf
from nurt.simulate.columns import LONG, MICRO_TIMESTAMP, TEXT, Column, Table, decimal
from nurt.simulate.schemas import SchemaBook

PLACES = 4
LEVELS = Table(
    "stock",
    ("id",),
    (
        Column("id", LONG, null=False),
        Column("sku", TEXT, null=False),
        Column("warehouse", TEXT, null=False),
        Column("quantity", decimal(14, 4), null=False),
        Column("reserved", decimal(14, 4)),
        Column("updated_at", MICRO_TIMESTAMP),
    ),
)
ORDERS = Table(
    "orders",
    ("id",),
    (
        Column("id", LONG, null=False),
        Column("number", TEXT, null=False),
        Column("status", TEXT, null=False),
        Column("placed_at", MICRO_TIMESTAMP),
    ),
)
LINES = Table(
    "order_lines",
    ("id",),
    (
        Column("id", LONG, null=False),
        Column("order_id", LONG, null=False),
        Column("sku", TEXT, null=False),
        Column("quantity", decimal(14, 4), null=False),
    ),
)
STOCK_MAPPING = r"""
systems:
  load: {market: PL}
stock:
  locations: {W0: {buffer: 2}, W1: {}, W2: {}, W3: {}}
  channels:
    load: {locations: [W0, W1, W2, W3], markets: [PL, DE]}
    app: {locations: [W0, W1], markets: [PL], buffer: 1}
  markets: {PL: {}, DE: {locations: [W2, W3]}}
  low: 5
topics:
  - match: 'load\.public\.stock'
    system: load
    entity: stock_level
    key: id
    fields: {sku: sku, location: warehouse, quantity: quantity, reserved_quantity: reserved}
  - match: 'load\.public\.orders'
    system: load
    entity: order
    key: id
    fields: {number: number, status: status, placed_at: placed_at}
  - match: 'load\.public\.order_lines'
    system: load
    entity: order_line
    key: id
    parent: {order: order_id}
    fields: {sku: sku, quantity: quantity}
"""
"""The mapping of `stock_load`'s topics."""


def stock_load(
    events: int,
    book: SchemaBook,
    *,
    skus: int = 100_000,
    partitions: int = 8,
    seed: int = 1,
    orders_share: float = 0.0,
    chunk_rows: int = CHUNK_ROWS,
) -> Iterator[list[RawBatch]]:
    """Yield chunks of changes of stock levels (skus by Zipf, so a few are hot), and of orders of two lines each.

    Args:
        orders_share: of the events: orders and lines, a third and two thirds of them.
    """
    step_us = DAYS * 86_400_000_000 // events
    levels, orders, lines = (
        Topic("postgresql", "load", "public", table, book, partitions, step_us) for table in (LEVELS, ORDERS, LINES)
    )
    rng, zipf, there = np.random.default_rng(seed), Zipf(skus, 1.05), 0
    for first in range(0, events, chunk_rows):
        numbers = np.arange(first, min(first + chunk_rows, events), dtype=np.int64)
        many = int(len(numbers) * orders_share) // 3
        of_orders, of_lines, of_levels = np.split(numbers, [many, 3 * many])
        sku = zipf.draw(rng, len(of_levels))
        place = rng.integers(0, PLACES, len(of_levels))
        ids = sku * PLACES + place
        chunk = [
            levels.batch(
                of_levels,
                {
                    "id": pl.Series(ids),
                    "sku": _names(sku),
                    "warehouse": pl.lit("W") + pl.Series(place).cast(pl.String()),
                    "quantity": pl.Series(rng.integers(0, 500, len(of_levels)) * 10_000),
                    "reserved": pl.Series(rng.integers(0, 3, len(of_levels)) * 10_000),
                    "updated_at": pl.Series(START_S * 1_000_000 + of_levels * step_us),
                },
                np.ones(len(of_levels), dtype=np.bool_),
                None,
            )
        ]
        if many:
            order_ids = np.arange(there + 1, there + many + 1)
            there += many
            at = pl.Series(START_S * 1_000_000 + of_orders * step_us)
            status = pl.lit("open") if first + chunk_rows > events * 0.9 else pl.lit("complete")
            number = pl.Series(order_ids).cast(pl.String())
            values = {"id": pl.Series(order_ids), "number": number, "status": status, "placed_at": at}
            chunk.append(orders.batch(of_orders, values, np.zeros(many, dtype=np.bool_), None))
            values = {
                "id": pl.Series(of_lines),
                "order_id": pl.Series(np.repeat(order_ids, 2)),
                "sku": _names(zipf.draw(rng, 2 * many)),
                "quantity": pl.Series(rng.integers(1, 4, 2 * many) * 10_000),
            }
            chunk.append(lines.batch(of_lines, values, np.zeros(2 * many, dtype=np.bool_), None))
        yield chunk


def _names(numbers: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pl.Series:
    return pl.select(pl.lit("SKU-") + pl.Series(numbers).cast(pl.String()))[:, 0]
