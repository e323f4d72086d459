"""Bulk changes of the demo's shop: customers, addresses, orders and their lines."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from nurt.model.raw import RawBatch
from nurt.simulate.bulk.envelopes import (
    CHUNK_ROWS,
    DAYS,
    DELETES,
    REKEYS,
    START_S,
    Topic,
    Values,
    Zipf,
    iso_texts,
    pick,
)
from nurt.simulate.bulk.rows import BulkRows, Ints, Writes, follow
from nurt.simulate.company.goods import PRODUCTS
from nurt.simulate.company.tables import SHOP_TABLES
from nurt.simulate.connector.schemas import SchemaBook

_NAMES = ("Anna", "Jan", "Łucja", "Paweł", "Zofia", "Tomasz", "Ewa")
_SURNAMES = ("Nowak", "Wójcik", "Mazur", "Żak", "Pawlak", "Gołąb")
_PRODUCT_NAMES = tuple(thing.name for thing in PRODUCTS)
_CATEGORIES = tuple(thing.category for thing in PRODUCTS)
_STATES = ("new", "processing", "complete", "canceled", "closed")
_PATHS = np.array([[0, 1, 2, 4, 4], [0, 1, 3, 3, 3]], dtype=np.int64)  # of an order; one order in 16 takes the second
_TABLES = {table.name: table for table in SHOP_TABLES}


def mixed_load(
    events: int,
    book: SchemaBook,
    *,
    customers: int = 1_000_000,
    partitions: int = 8,
    seed: int = 1,
    chunk_rows: int = CHUNK_ROWS,
) -> Iterator[list[RawBatch]]:
    """Yield chunks of `chunk_rows` events, one batch a topic; the same arguments yield the same bytes.

    Customers, addresses (one each) and orders are first created, then updated; a line is created soon after its order,
    4% of its table's changes are returns. One order in twenty is a guest's; every twentieth customer shares a phone.

    Of each table's changes 1% are deletions, of addresses' and lines' 1% re-keys (0.6% of all); a row that was deleted
    is created again by its next change. `events` are changes: a deletion is two messages, with its tombstone, a re-key
    three, so there are about 2.2% more messages.
    """
    job = _Mixed(events, book, customers, partitions, seed)
    for first in range(0, events, chunk_rows):
        yield job.chunk(first, min(chunk_rows, events - first))


class _Mixed:
    def __init__(self, events: int, book: SchemaBook, customers: int, partitions: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._zipf = Zipf(customers, 1.05)
        self._step_us = DAYS * 86_400_000_000 // events
        capacities = {
            "customer_entity": customers + 1,
            "customer_address_entity": customers + 1,
            "sales_order": events + 1,
            "sales_order_item": events + 1,
        }
        self._topics = {
            name: Topic("mariadb", "shop_pl", "magento", _TABLES[name], book, partitions, self._step_us)
            for name in capacities
        }
        self._rows = {name: BulkRows(capacity) for name, capacity in capacities.items()}
        self._orders = 0
        self._order_customer = np.zeros(events + 1, dtype=np.int64)
        self._lines = 0
        self._line_order = np.zeros(events + 1, dtype=np.int64)

    def chunk(self, first: int, rows: int) -> list[RawBatch]:
        """Write the events from `first` on, each batch in the order of the load."""
        kinds = self._rng.choice(4, rows, p=(0.1, 0.1, 0.3, 0.5))
        numbers = [np.flatnonzero(kinds == kind) + first for kind in range(4)]
        makers = (self._customers, self._addresses, self._order_changes, self._line_changes)
        return [make(chosen) for make, chosen in zip(makers, numbers, strict=True) if len(chosen)]

    def _at(self, numbers: Ints) -> pl.Series:
        return iso_texts(START_S + numbers * self._step_us // 1_000_000)

    def _customers(self, numbers: Ints) -> RawBatch:
        deletes = self._rng.random(len(numbers)) < DELETES
        ids = follow(self._rng, self._zipf.draw(self._rng, len(numbers)), deletes)
        changes = self._rows["customer_entity"].change(numbers, ids, deletes)
        return self._topics["customer_entity"].changes(changes, self._customer)

    def _customer(self, writes: Writes) -> Values:
        ids = writes.rows
        phone = 500_000_000 + np.where(ids % 20 == 0, ids - 1, ids)
        return {
            "website_id": pl.lit(1),
            "email": pl.lit("kunde") + pl.Series(ids).cast(pl.String()) + pl.lit("@example.pl"),
            "created_at": pl.lit("2025-11-30T12:00:00Z"),
            "updated_at": self._at(writes.numbers),
            "firstname": pick(ids, _NAMES),
            "lastname": pick(ids // 7, _SURNAMES),
            "telephone": pl.lit("+48") + pl.Series(phone).cast(pl.String()),
            "language": pl.lit("pl"),
            "country_id": pl.lit("PL"),
        }

    def _addresses(self, numbers: Ints) -> RawBatch:
        drawn = self._rng.random(len(numbers))
        deletes, rekeys = drawn < DELETES, (drawn >= DELETES) & (drawn < DELETES + REKEYS)
        ids = follow(self._rng, self._zipf.draw(self._rng, len(numbers)), deletes | rekeys)
        changes = self._rows["customer_address_entity"].change(numbers, ids, deletes, rekeys)
        return self._topics["customer_address_entity"].changes(changes, self._address)

    def _address(self, writes: Writes) -> Values:
        ids = writes.rows
        house = pl.Series(writes.numbers % 190 + 1).cast(pl.String())
        return {
            "parent_id": pl.Series(ids),
            "created_at": pl.lit("2025-11-30T12:00:00Z"),
            "updated_at": self._at(writes.numbers),
            "kind": pl.lit("billing"),
            "firstname": pick(ids, _NAMES),
            "lastname": pick(ids // 7, _SURNAMES),
            "street": pick(ids, ("Długa ", "Wodna ", "Polna ", "Krótka ")) + house,
            "city": pick(ids, ("Gdańsk", "Kraków", "Łódź")),
            "postcode": pl.lit("80-001"),
            "country_id": pl.lit("PL"),
        }

    def _order_changes(self, numbers: Ints) -> RawBatch:
        drawn = self._rng.random(len(numbers))
        new = drawn < 0.6
        new[0] |= self._orders == 0
        created = np.cumsum(new) + self._orders  # number of orders at each event
        recent = np.maximum(1, created - self._rng.integers(0, 5000, len(numbers)))
        ids = np.where(new, created, recent)
        fresh = ids[new]
        guests = self._rng.random(len(fresh)) < 0.05
        self._order_customer[fresh] = np.where(guests, 0, self._zipf.draw(self._rng, len(fresh)))
        self._orders = int(created[-1])
        changes = self._rows["sales_order"].change(numbers, ids, ~new & (drawn >= 1 - DELETES))
        return self._topics["sales_order"].changes(changes, self._order)

    def _order(self, writes: Writes) -> Values:
        ids = writes.rows
        customer = self._order_customer[ids]
        state = pick(_PATHS[(ids % 16 == 0).astype(np.int64), np.clip(writes.steps, 0, 4)], _STATES)
        return {
            "increment_id": pl.Series(100_000_000 + ids).cast(pl.String()),
            "state": state,
            "status": state,
            "store_id": pl.lit(1),
            "customer_id": pl.Series(customer).replace(0, None),
            "customer_is_guest": pl.Series((customer == 0).astype(np.int64)),
            "customer_email": pl.lit("kunde")
            + pl.Series(customer + (customer == 0) * ids).cast(pl.String())
            + pl.lit("@example.pl"),
            "customer_firstname": pick(customer, _NAMES),
            "country_id": pl.lit("PL"),
            "order_currency_code": pl.when(pl.Series(ids % 10 == 0)).then(pl.lit("EUR")).otherwise(pl.lit("PLN")),
            "base_currency_code": pl.lit("PLN"),
            "grand_total": pl.Series(100_000 + ids * 7919 % 5_000_000 * 100),
            "total_item_count": pl.lit(3),
            "created_at": self._at(writes.first),
            "updated_at": self._at(writes.numbers),
        }

    def _line_changes(self, numbers: Ints) -> RawBatch:
        drawn = self._rng.random(len(numbers))
        new = drawn < 0.96 - DELETES - REKEYS
        new[0] |= self._lines == 0
        created = np.cumsum(new) + self._lines
        ids = np.where(new, created, np.maximum(1, created - self._rng.integers(0, 20_000, len(numbers))))
        recent = np.maximum(1, self._orders - self._rng.integers(0, 3000, len(numbers)))
        self._line_order[ids[new]] = recent[new]
        self._lines = int(created[-1])
        deletes = ~new & (drawn >= 1 - DELETES)
        rekeys = ~new & ~deletes & (drawn >= 1 - DELETES - REKEYS)
        changes = self._rows["sales_order_item"].change(numbers, ids, deletes, rekeys)
        return self._topics["sales_order_item"].changes(changes, self._line)

    def _line(self, writes: Writes) -> Values:
        ids = writes.rows
        product = (ids * 31) % 1000
        quantity = (1 + ids % 3) * 10_000
        return {
            "order_id": pl.Series(self._line_order[ids]),
            "created_at": self._at(writes.first),
            "updated_at": self._at(writes.numbers),
            "product_id": pl.Series(product + 1),
            "product_type": pl.lit("simple"),
            "sku": pl.lit("SKU-") + pl.Series(product).cast(pl.String()).str.zfill(4),
            "name": pick(product, _PRODUCT_NAMES),
            "category": pick(product, _CATEGORIES),
            "qty_ordered": pl.Series(quantity),
            "qty_refunded": pl.when(pl.Series(writes.steps > 0)).then(pl.lit(10_000)).otherwise(None),
            "price": pl.Series((product + 5) * 19_900),
            "row_total_incl_tax": pl.Series((product + 5) * 19_900 * quantity // 10_000),
        }
