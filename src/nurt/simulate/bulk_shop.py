"""Bulk changes of the demo's shop: customers, addresses, orders and their lines."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from nurt.model.raw import RawBatch
from nurt.model.types import Bools, Int64s
from nurt.simulate.bulk import CHUNK_ROWS, DAYS, START_S, Topic, Zipf, iso_texts, pick
from nurt.simulate.goods import PRODUCTS
from nurt.simulate.schemas import SchemaBook
from nurt.simulate.tables import SHOP_TABLES

_NAMES = ("Anna", "Jan", "Łucja", "Paweł", "Zofia", "Tomasz", "Ewa")
_SURNAMES = ("Nowak", "Wójcik", "Mazur", "Żak", "Pawlak", "Gołąb")
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
    5% of them are returned later. One order in twenty is a guest's; every twentieth customer shares a phone.
    """
    job = _Mixed(events, book, customers, partitions, seed)
    for first in range(0, events, chunk_rows):
        yield job.chunk(first, min(chunk_rows, events - first))


class _Mixed:
    def __init__(self, events: int, book: SchemaBook, customers: int, partitions: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._zipf = Zipf(customers, 1.05)
        self._step_us = DAYS * 86_400_000_000 // events
        self._topics = {
            name: Topic("mariadb", "shop_pl", "magento", _TABLES[name], book, partitions, self._step_us)
            for name in ("customer_entity", "customer_address_entity", "sales_order", "sales_order_item")
        }
        self._seen = {
            name: np.zeros(customers + 1, dtype=np.bool_) for name in ("customer_entity", "customer_address_entity")
        }
        self._orders = 0
        self._order_customer = np.zeros(events + 1, dtype=np.int64)
        self._order_at_s = np.zeros(events + 1, dtype=np.int64)
        self._order_state = np.zeros(events + 1, dtype=np.int8)
        self._lines = 0
        self._line_order = np.zeros(events + 1, dtype=np.int64)

    def chunk(self, first: int, rows: int) -> list[RawBatch]:
        """Write the events from the `first` on, each batch in the order of the load."""
        kinds = self._rng.choice(4, rows, p=(0.1, 0.1, 0.3, 0.5))
        numbers = [np.flatnonzero(kinds == kind) + first for kind in range(4)]
        makers = (self._customers, self._addresses, self._order_changes, self._line_changes)
        return [make(chosen) for make, chosen in zip(makers, numbers, strict=True) if len(chosen)]

    def _seconds(self, numbers: Int64s) -> Int64s:
        return START_S + numbers * self._step_us // 1_000_000

    def _first_times(self, table: str, ids: Int64s) -> Bools:
        first = np.zeros(len(ids), dtype=np.bool_)
        first[np.unique(ids, return_index=True)[1]] = True
        updated = self._seen[table][ids] | ~first
        self._seen[table][ids] = True
        return updated

    def _customers(self, numbers: Int64s) -> RawBatch:
        ids = self._zipf.draw(self._rng, len(numbers))
        updated = self._first_times("customer_entity", ids)
        now = iso_texts(self._seconds(numbers))
        phone = 500_000_000 + np.where(ids % 20 == 0, ids - 1, ids)
        after = {
            "entity_id": pl.Series(ids),
            "website_id": pl.lit(1),
            "email": pl.lit("kunde") + pl.Series(ids).cast(pl.String()) + pl.lit("@example.pl"),
            "created_at": pl.lit("2025-11-30T12:00:00Z"),
            "updated_at": now,
            "firstname": pick(ids, _NAMES),
            "lastname": pick(ids // 7, _SURNAMES),
            "telephone": pl.lit("+48") + pl.Series(phone).cast(pl.String()),
            "language": pl.lit("pl"),
            "country_id": pl.lit("PL"),
        }
        return self._topics["customer_entity"].batch(numbers, after, updated, {"updated_at": after["created_at"]})

    def _addresses(self, numbers: Int64s) -> RawBatch:
        ids = self._zipf.draw(self._rng, len(numbers))
        updated = self._first_times("customer_address_entity", ids)
        house = pl.Series(numbers % 190 + 1).cast(pl.String())
        after = {
            "entity_id": pl.Series(ids),
            "parent_id": pl.Series(ids),
            "created_at": pl.lit("2025-11-30T12:00:00Z"),
            "updated_at": iso_texts(self._seconds(numbers)),
            "kind": pl.lit("billing"),
            "firstname": pick(ids, _NAMES),
            "lastname": pick(ids // 7, _SURNAMES),
            "street": pick(ids, ("Długa ", "Wodna ", "Polna ", "Krótka ")) + house,
            "city": pick(ids, ("Gdańsk", "Kraków", "Łódź")),
            "postcode": pl.lit("80-001"),
            "country_id": pl.lit("PL"),
        }
        before = {"street": pl.lit("Stara Droga 1")}
        return self._topics["customer_address_entity"].batch(numbers, after, updated, before)

    def _order_changes(self, numbers: Int64s) -> RawBatch:
        new = self._rng.random(len(numbers)) < 0.6
        new[0] |= self._orders == 0
        created = np.cumsum(new) + self._orders  # how many there are at each event
        recent = np.maximum(1, created - self._rng.integers(0, 5000, len(numbers)))
        ids = np.where(new, created, recent)
        fresh = ids[new]
        guests = self._rng.random(len(fresh)) < 0.05
        self._order_customer[fresh] = np.where(guests, 0, self._zipf.draw(self._rng, len(fresh)))
        self._order_at_s[fresh] = self._seconds(numbers[new])
        self._orders = int(created[-1])
        old_state, state = self._next_states(ids, new)
        customer = self._order_customer[ids]
        placed = iso_texts(self._order_at_s[ids])
        at = iso_texts(self._seconds(numbers))
        gross = 100_000 + ids * 7919 % 5_000_000 * 100
        names = ("new", "processing", "complete", "canceled", "closed")
        after = {
            "entity_id": pl.Series(ids),
            "increment_id": pl.Series(100_000_000 + ids).cast(pl.String()),
            "state": pick(state, names),
            "status": pick(state, names),
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
            "grand_total": pl.Series(gross),
            "total_item_count": pl.lit(3),
            "created_at": placed,
            "updated_at": at,
        }
        before = {"state": pick(old_state, names), "status": pick(old_state, names), "updated_at": placed}
        return self._topics["sales_order"].batch(numbers, after, ~new, before)

    def _next_states(self, ids: Int64s, new: Bools) -> tuple[Int64s, Int64s]:
        """Move orders on: new, processing, complete (or cancelled, 1 in 16), returned; return states before and after.

        An order that changes several times in one chunk takes one step at each.
        """
        order = np.argsort(ids, kind="stable")
        ranked = ids[order]
        starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        place = np.arange(len(ids)) - np.repeat(starts, np.diff(np.r_[starts, len(ids)]))
        steps = np.empty(len(ids), dtype=np.int64)
        steps[order] = place
        count = self._order_state[ids] + steps  # how many events of this order came before
        np.maximum.at(self._order_state, ids, (count + 1).astype(np.int8).clip(0, 100))
        cancelled = ids % 16 == 0
        paths = np.array([[0, 1, 2, 4, 4], [0, 1, 3, 3, 3]], dtype=np.int64)
        path = paths[cancelled.astype(np.int64)]
        rows = np.arange(len(ids))
        return path[rows, np.clip(count - 1, 0, 4)], path[rows, np.clip(count, 0, 4)]

    def _line_changes(self, numbers: Int64s) -> RawBatch:
        new = self._rng.random(len(numbers)) < 0.95
        new[0] |= self._lines == 0
        created = np.cumsum(new) + self._lines
        ids = np.where(new, created, np.maximum(1, created - self._rng.integers(0, 20_000, len(numbers))))
        recent = np.maximum(1, self._orders - self._rng.integers(0, 3000, len(numbers)))
        self._line_order[ids[new]] = recent[new]
        self._lines = int(created[-1])
        product = (ids * 31) % 1000
        quantity = (1 + ids % 3) * 10_000
        at = iso_texts(self._seconds(numbers))
        after = {
            "item_id": pl.Series(ids),
            "order_id": pl.Series(self._line_order[ids]),
            "created_at": at,
            "updated_at": at,
            "product_id": pl.Series(product + 1),
            "product_type": pl.lit("simple"),
            "sku": pl.lit("SKU-") + pl.Series(product).cast(pl.String()).str.zfill(4),
            "name": pick(product, tuple(thing.name for thing in PRODUCTS)),
            "category": pick(product, tuple(thing.category for thing in PRODUCTS)),
            "qty_ordered": pl.Series(quantity),
            "qty_refunded": pl.when(pl.Series(~new)).then(pl.lit(10_000)).otherwise(None),
            "price": pl.Series((product + 5) * 19_900),
            "row_total_incl_tax": pl.Series((product + 5) * 19_900 * quantity // 10_000),
        }
        return self._topics["sales_order_item"].batch(numbers, after, ~new, {"qty_refunded": pl.lit(None, pl.Int64())})
