"""How what a child says lies in its parent: the tables of orders and accounts, and the codes in them.

Rows speak to orders and accounts, orders speak to accounts (see `said.py`). Small children (a line, an address) lie as
*slots* in the parent's value. Children that may be many and only add up (orders, invoices, interactions of an account)
speak in *buckets*: rows of numbers under a key, which can be added and taken away again.
"""

from __future__ import annotations

import polars as pl

from nurt.core.tables import Table
from nurt.model.entities import ENTITIES, STOCK_ORDER_FIELDS
from nurt.model.entity_frame import POLARS_TYPES

CODE = {kind: entity.code for kind, entity in ENTITIES.items()}
HEAD_PART = 0
"""`part` of the account's own head: the system, entity and key that its id was made of."""
LEFT_PART = 100
"""`part` of a parent that was left: it is told "gone" until the telling is behind the rewind horizon."""

STAMP, ORDERS, PRODUCT, CATEGORY, INVOICE, INTERACTION, CHILDREN = 0, 1, 2, 3, 4, 5, 6
"""Metrics of a bucket: what its numbers count. STAMP marks, in a child's stored share, the stamp it was said with."""

BUCKET_SUMS = ("count", "amount", "cancelled", "returned", "open")

_INT, _TEXT, _ID, _BOOL = pl.Int64(), pl.String(), pl.Binary(), pl.Boolean()

SUMS = Table(
    {"metric": _INT, "k1": _TEXT, "k2": _TEXT, "day": _INT, **dict.fromkeys(BUCKET_SUMS, _INT)}, zero=BUCKET_SUMS
)
"""An account's sums, and one child's stored share in them."""


def _fields(*kinds: str) -> dict[str, pl.DataType]:
    return {name: POLARS_TYPES[dtype] for kind in kinds for name, dtype in ENTITIES[kind].fields.items()}


_PROVENANCE: dict[str, pl.DataType] = {"system": _TEXT, "entity": _TEXT, "key": _TEXT, "position": _TEXT, "ts_ms": _INT}

ORDER_SLOTS = Table(
    {
        "part": _INT,
        "child": _ID,
        "stamp": _INT,
        **_PROVENANCE,
        "account": _ID,
        "account_entity": _TEXT,
        "account_key": _TEXT,
        **{name: dtype for name, dtype in _fields("order").items() if name not in STOCK_ORDER_FIELDS},
        **{name: POLARS_TYPES[ENTITIES["order_line"].fields[name]] for name in ("sku", "category", "quantity")},
        "returned_quantity": _INT,
        "amount": _INT,
        "open_amount": _INT,
        "due_on": _INT,
        "tracking": _TEXT,
        "shipped_at": _INT,
        "delivered_at": _INT,
        "paid_at": _INT,
    }
)
"""An order's value: its own row, its lines, payments, invoices and shipments, and accounts that it left."""

ACCOUNT_SLOTS = Table(
    {
        "part": _INT,
        "child": _ID,
        "stamp": _INT,
        **_PROVENANCE,
        **_fields("customer"),
        "identifiers": _TEXT,
        "kind": _TEXT,
        "name": _TEXT,
        "street": _TEXT,
        "city": _TEXT,
        "region": _TEXT,
        "postcode": _TEXT,
        "purpose": _TEXT,
        "granted": _BOOL,
        "channel": _TEXT,
        "at": _INT,
    }
)
"""An account's value: its head, its customer row or guest order, its addresses and consents."""

GUEST = "guest"
"""The entity of an account that is one guest order; its key is the order's entity and key."""

DAY_US = 86_400_000_000

NO_CURRENCY = "XXX"
"""What stands for a currency that neither the row nor its system names. Source: ISO 4217, "no currency"."""
