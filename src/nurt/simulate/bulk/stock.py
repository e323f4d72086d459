"""Stock by the million: levels of hot and cold skus in some warehouses, and shop orders that take stock."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from nurt.model.raw import RawBatch
from nurt.simulate.bulk.envelopes import CHUNK_ROWS, DAYS, DELETES, REKEYS, START_S, Topic, Values, Zipf
from nurt.simulate.bulk.rows import Bools, BulkRows, Ints, Writes, follow
from nurt.simulate.connector.columns import LONG, MICRO_TIMESTAMP, TEXT, Column, Table, decimal
from nurt.simulate.connector.schemas import SchemaBook

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

    With orders, 1% of each table's changes are deletions, of levels' and lines' 1% re-keys (0.9% of all, when a third
    are of orders and lines); the next change of a deleted level creates it again. `events` are changes: a deletion is
    two messages, with its tombstone, a re-key three. Without orders there are no deletions and no re-keys.

    Args:
        orders_share: share of orders and lines among the events; a third are orders, two thirds lines.
    """
    job = _Stock(events, book, skus, partitions, seed, orders_share)
    for first in range(0, events, chunk_rows):
        yield job.chunk(np.arange(first, min(first + chunk_rows, events), dtype=np.int64))


class _Stock:
    def __init__(
        self, events: int, book: SchemaBook, skus: int, partitions: int, seed: int, orders_share: float
    ) -> None:
        self._events, self._share = events, orders_share
        self._step_us = DAYS * 86_400_000_000 // events
        self._levels, self._orders, self._lines = (
            Topic("postgresql", "load", "public", table, book, partitions, self._step_us)
            for table in (LEVELS, ORDERS, LINES)
        )
        self._rng, self._zipf = np.random.default_rng(seed), Zipf(skus, 1.05)
        self._level_rows, self._order_rows, self._line_rows = (
            BulkRows((skus + 1) * PLACES),
            BulkRows(events + 1),
            BulkRows(events + 1),
        )
        self._orders_there = self._lines_there = 0
        self._line_sku = np.zeros(events + 1, dtype=np.int64)

    def chunk(self, numbers: Ints) -> list[RawBatch]:
        """Write the events of these numbers: levels, orders and lines; orders and lines have the first numbers."""
        many = int(len(numbers) * self._share) // 3
        of_orders, of_lines, of_levels = np.split(numbers, [many, 3 * many])
        chunk = [self._level_changes(of_levels)]
        if many:
            chunk += [self._order_changes(of_orders), self._line_changes(of_lines)]
        return chunk

    def _wishes(self, count: int, rekeys: float = REKEYS) -> tuple[Bools, Bools]:
        """Draw which changes are deletions, and which are re-keys; without orders none."""
        drawn = self._rng.random(count) if self._share else np.ones(count)
        return drawn < DELETES, (drawn >= DELETES) & (drawn < DELETES + rekeys)

    def _level_changes(self, numbers: Ints) -> RawBatch:
        rng, count = self._rng, len(numbers)
        deletes, rekeys = self._wishes(count)
        ids = self._zipf.draw(rng, count) * PLACES + rng.integers(0, PLACES, count)
        ids = follow(rng, ids, deletes | rekeys)
        return self._levels.changes(self._level_rows.change(numbers, ids, deletes, rekeys), self._level)

    def _level(self, writes: Writes) -> Values:
        mixed = writes.numbers * 2_654_435_761 >> 16
        return {
            "sku": _names(writes.rows // PLACES),
            "warehouse": pl.lit("W") + pl.Series(writes.rows % PLACES).cast(pl.String()),
            "quantity": pl.Series(mixed % 500 * 10_000),
            "reserved": pl.Series(mixed // 500 % 3 * 10_000),
            "updated_at": self._at(writes.numbers),
        }

    def _order_changes(self, numbers: Ints) -> RawBatch:
        deletes, _ = self._wishes(len(numbers), rekeys=0.0)
        deletes[0] &= self._orders_there > 0
        ids, self._orders_there = self._ids(~deletes, self._orders_there)
        return self._orders.changes(self._order_rows.change(numbers, ids, deletes), self._order)

    def _order(self, writes: Writes) -> Values:
        late = pl.Series(writes.first > self._events * 0.9)
        return {
            "number": pl.Series(writes.rows).cast(pl.String()),
            "status": pl.when(late).then(pl.lit("open")).otherwise(pl.lit("complete")),
            "placed_at": self._at(writes.first),
        }

    def _line_changes(self, numbers: Ints) -> RawBatch:
        deletes, rekeys = self._wishes(len(numbers))
        new = ~(deletes | rekeys)
        new[0] |= self._lines_there == 0
        ids, self._lines_there = self._ids(new, self._lines_there)
        self._line_sku[ids[new]] = self._zipf.draw(self._rng, int(new.sum()))
        changes = self._line_rows.change(numbers, ids, deletes & ~new, rekeys & ~new)
        return self._lines.changes(changes, self._line)

    def _line(self, writes: Writes) -> Values:
        return {
            "order_id": pl.Series(np.minimum((writes.rows + 1) // 2, self._orders_there)),
            "sku": _names(self._line_sku[writes.rows]),
            "quantity": pl.Series((writes.rows % 3 + 1) * 10_000),
        }

    def _ids(self, new: Bools, there: int) -> tuple[Ints, int]:
        """Give new rows the next numbers, and other changes recent rows; return also the count of rows after that."""
        created = np.cumsum(new) + there
        recent = np.maximum(1, created - self._rng.integers(0, 5000, len(new)))
        return np.where(new, created, recent), int(created[-1])

    def _at(self, numbers: Ints) -> pl.Series:
        return pl.Series(START_S * 1_000_000 + numbers * self._step_us)


def _names(numbers: Ints) -> pl.Series:
    return pl.select(pl.lit("SKU-") + pl.Series(numbers).cast(pl.String()))[:, 0]
