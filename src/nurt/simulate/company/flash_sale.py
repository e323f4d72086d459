"""A flash sale: two channels, one warehouse, far more buyers than pieces, and an ERP that books minutes later.

Demand is drawn from a seed, so the same sale can run against any way to decide which buyer gets a piece.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

MAPPING = """\
systems:
  web: {market: PL}
  app: {market: PL}
  erp: {}

stock:
  locations: {MAIN: {}}
  channels: {web: {markets: [PL]}, app: {markets: [PL]}}
  markets: {PL: {}}
  grace_s: 2

topics:
  - match: '(?P<shop>web|app)\\.orders'
    system: '{shop}'
    entity: order
    key: id
    fields: {number: number, status: status, placed_at: at}
  - match: '(?P<shop>web|app)\\.lines'
    system: '{shop}'
    entity: order_line
    key: id
    parent: {order: order_id}
    fields: {sku: sku, quantity: qty}
  - match: 'erp\\.documents'
    system: erp
    entity: document
    key: id
    fields: {number: id, order_ref: order_number, order_system: shop, booked_at: at}
  - match: 'erp\\.lines'
    system: erp
    entity: document_line
    key: id
    parent: {document: document_id}
    fields: {sku: sku, quantity: qty}
  - match: 'erp\\.stock'
    system: erp
    entity: stock_level
    key: sku
    fields: {sku: sku, location: place, quantity: qty}
"""
"""Mapping of the sale's tables."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """Checkout of a buyer: the buyer pays, or cancels and releases the reservation, or just closes the browser."""

    order: str
    channel: str
    sku: str
    pays: bool
    releases: bool
    asks_twice: bool


def skus(count: int) -> list[str]:
    """Return the skus on sale."""
    return [f"HOT-{number}" for number in range(count)]


def buyers(seed: int, process: int, attempts: int, count: int) -> Iterator[Checkout]:
    """Draw the buyers of one process: most want the same few skus."""
    rng = random.Random(f"{seed}/{process}")
    names = skus(count)
    for number in range(attempts):
        pays = rng.random() < 0.9
        yield Checkout(
            f"{process}-{number}",
            rng.choice(("web", "app")),
            names[min(int(rng.expovariate(0.4)), count - 1)],
            pays,
            not pays and rng.random() < 0.5,
            rng.random() < 0.1,
        )
