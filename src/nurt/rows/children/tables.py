"""How a child's contribution lies in its parent: the tables of orders and accounts, and their codes.

Rows contribute to orders and accounts, orders contribute to accounts (see `contributions.py`). Small children (a line,
an address) lie as *child records* in the parent's value. Children that may be many and only add up (orders, invoices,
interactions of an account) contribute *windows*: rows of numbers under a key, which can be added and taken away again.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from nurt.model.entities import ENTITIES, STOCK_ORDER_FIELDS
from nurt.model.entity_frame import POLARS_TYPES
from nurt.state.table import Table

CODE = {kind: entity.code for kind, entity in ENTITIES.items()}
HEAD_PART = 0
"""`part` of the account's head record: the system, entity and key behind the account's id."""
LEFT_PART = 100
"""`part` of a parent that the child left: it gets "gone" until that contribution is behind the rewind horizon."""

BEARER_PART = 101
"""`part` of a row at a token that the row bears: others name it by the value."""

STAMP, ORDERS, PRODUCT, CATEGORY, INVOICE, INTERACTION, CHILDREN = 0, 1, 2, 3, 4, 5, 6
ADDRESS, CONSENT = 8, 9
"""Metrics of a window: what its numbers count. STAMP marks the stamp of a child's stored partial aggregate."""

AGGREGATE_COLUMNS = ("count", "amount", "cancelled", "returned", "open", "given_back", "paid", "owed")

AGGREGATES = Table.stored("sums", dict.fromkeys(AGGREGATE_COLUMNS, pl.Int64()))
"""An account's aggregates, and one child's stored partial aggregate."""


def _fields(kind: str, names: Iterable[str]) -> dict[str, pl.DataType]:
    return {name: POLARS_TYPES[ENTITIES[kind].fields[name]] for name in names}


ORDER_RECORDS = Table.stored(
    "order_slots",
    _fields("order", [name for name in ENTITIES["order"].fields if name not in STOCK_ORDER_FIELDS])
    | _fields("order_line", ("sku", "category", "quantity", "returned_quantity"))
    | _fields("invoice", ("amount", "open_amount", "due_on"))
    | _fields("shipment", ("tracking", "shipped_at", "delivered_at"))
    | _fields("payment", ("amount", "paid_at"))
    | _fields("address", ENTITIES["address"].fields)
    | _fields("consent", ENTITIES["consent"].fields)
    | {"identifiers": pl.String()},
)
"""An order's value: its own row, its lines, payments, refunds, invoices and shipments, its addresses, consents and
interactions, and accounts that it left."""

ACCOUNT_RECORDS = Table.stored(
    "account_slots",
    _fields("customer", ENTITIES["customer"].fields)
    | _fields("address", ENTITIES["address"].fields)
    | _fields("consent", ENTITIES["consent"].fields),
)
"""An account's value: its head record, its customer row or guest order, its addresses and consents."""

REFERENCES = Table.stored("references", {"rank": pl.String(), "body": pl.String()})
"""What meets at a token: rows that bear its value, rows that name it with their whole contribution, former bearers."""

GUEST = "guest"
"""The entity of an account that is one row, of an order or of another; its key is the row's entity and key."""

DAY_US = 86_400_000_000

NO_CURRENCY = "XXX"
"""The code for a currency that neither the row nor its system names. Source: ISO 4217, "no currency"."""
