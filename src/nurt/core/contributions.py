"""What a child says to its parent: its current contribution and its stamp, never a delta.

Rows speak to orders and accounts, orders speak to accounts. `to` names the parent; `gone` takes the child away from it.
Small children (a line, an address) lie as *slots* in the parent's value. Children that may be many and only add up
(orders, invoices, interactions of an account) speak in *buckets*: rows of numbers under a key, which can be added and
taken away again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from nurt.core.context import FoldContext
from nurt.core.rows import LEFT, POSITION
from nurt.core.tables import Table
from nurt.model.entities import ENTITIES, STOCK_ORDER_FIELDS
from nurt.model.entity_frame import DELETE, POLARS_TYPES

CODE = {kind: entity.code for kind, entity in ENTITIES.items()}
HEAD_PART = 0
"""`part` of the account's own head: the system, entity and key that its id was made of."""
LEFT_PART = 100
"""`part` of a parent that was left: it is told "gone" until the telling is behind the rewind horizon."""

STAMP, ORDERS, PRODUCT, CATEGORY, INVOICE, INTERACTION, CHILDREN = 0, 1, 2, 3, 4, 5, 6
"""Metrics of a bucket: what its numbers count. STAMP marks, in a child's stored share, the stamp it was said with."""

BUCKET_KEY = ("metric", "k1", "k2", "day")
BUCKET_SUMS = ("count", "amount", "cancelled", "returned", "open")

_INT, _TEXT, _ID, _BOOL = pl.Int64(), pl.String(), pl.Binary(), pl.Boolean()

SUMS = Table(
    {"metric": _INT, "k1": _TEXT, "k2": _TEXT, "day": _INT, **dict.fromkeys(BUCKET_SUMS, _INT)},
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

_ACCOUNT = {"account_system": _TEXT, "account_entity": _TEXT, "account_key": _TEXT}

_SLOT = {"to": _ID, "child": _ID, "stamp": _INT, "part": _INT, "gone": _BOOL, "slot": _ID}
"""One slot said to a parent; `slot` is its packed row, empty when it is gone."""

TO_ORDER: dict[str, pl.DataType] = dict(_SLOT)
TO_ACCOUNT_SLOT: dict[str, pl.DataType] = {**_SLOT, "moved_to": _ID, **_ACCOUNT}
TO_ACCOUNT_SHARE: dict[str, pl.DataType] = {"to": _ID, "child": _ID, "stamp": _INT, "gone": _BOOL, **_ACCOUNT}
BUCKETS: dict[str, pl.DataType] = {"to": _ID, "child": _ID, "stamp": _INT, **SUMS.columns}


@dataclass(frozen=True, slots=True)
class Said:
    """Contributions on their way up.

    Attributes:
        to_orders: columns TO_ORDER.
        slots: columns TO_ACCOUNT_SLOT.
        shares: columns TO_ACCOUNT_SHARE, one row a child that adds up.
        buckets: columns BUCKETS, the rows of those children.
    """

    to_orders: pl.DataFrame
    slots: pl.DataFrame
    shares: pl.DataFrame
    buckets: pl.DataFrame


def fit(frame: pl.DataFrame, columns: dict[str, pl.DataType]) -> pl.DataFrame:
    """Give a frame exactly these columns; what it lacks is null."""
    held = frame.schema
    return frame.select(
        (pl.col(name) if held[name] == dtype else pl.col(name).cast(dtype))
        if name in held
        else pl.lit(None, dtype).alias(name)
        for name, dtype in columns.items()
    )


def nothing_said() -> Said:
    """Make a Said without rows."""
    return Said(
        pl.DataFrame(schema=TO_ORDER),
        pl.DataFrame(schema=TO_ACCOUNT_SLOT),
        pl.DataFrame(schema=TO_ACCOUNT_SHARE),
        pl.DataFrame(schema=BUCKETS),
    )


def join_said(many: list[Said]) -> Said:
    """Put contributions one after another, in order."""
    if len(many) == 1:
        return many[0]
    if not many:
        return nothing_said()
    return Said(
        pl.concat([said.to_orders for said in many]),
        pl.concat([said.slots for said in many]),
        pl.concat([said.shares for said in many]),
        pl.concat([said.buckets for said in many]),
    )


def said_by_rows(kind: str, state: pl.DataFrame, row_ids: pl.Series, stamp: int, context: FoldContext) -> Said:
    """Say every row's stored contribution to its parent, and "gone" to the parents it left.

    Args:
        kind: the entity kind.
        state: `row_table(kind)` and owner, as folded.
        row_ids: id of each owner.
        stamp: given to everything that is said; larger than any before.
        context: what the mapping says of systems and identifiers.
    """
    if kind not in _SPEAKS or not state.height:
        return nothing_said()
    own = kind in ("customer", "order")
    gone = (state["op"] == DELETE) if own else state["part"] == LEFT
    child = row_ids.gather(state["owner"])
    said = state.with_columns(
        child.alias("child"),
        gone.alias("gone"),
        pl.lit(CODE[kind], pl.Int64).alias("part"),
        pl.lit(stamp, pl.Int64).alias("stamp"),
        (child if own else state["parent"]).alias("to"),
        state["system"].alias("account_system"),
        state["entity" if own else "parent_entity"].alias("account_entity"),
        state["key" if own else "parent_key"].alias("account_key"),
    )
    if not own and said["parent"].null_count():
        said = said.filter(said["parent"].is_not_null())
    return _SPEAKS[kind](said, context)


def _customers(said: pl.DataFrame, context: FoldContext) -> Said:
    said = context.normalised(said, ("email", "phone", "tax_id", "loyalty_card"))
    return _only(slots=slots_of(ACCOUNT_SLOTS, said.with_columns(position_text()), TO_ACCOUNT_SLOT))


def _orders(said: pl.DataFrame, context: FoldContext) -> Said:
    """Say orders to themselves, each with its account; only a guest's order speaks of a person."""
    guest = said["parent"].is_null() & ~said["gone"]
    known = said.filter(~guest).with_columns(
        pl.col("parent").alias("account"),
        pl.col("parent_entity").alias("account_entity"),
        pl.col("parent_key").alias("account_key"),
    )
    frames = [slots_of(ORDER_SLOTS, known.drop(_PERSON), TO_ORDER)]
    if guest.any():
        guests = context.normalised(said.filter(guest), ("email", "phone")).with_columns(
            pl.lit(GUEST).alias("account_entity"),
            pl.concat_str("entity", "key", separator="\x1f").alias("account_key"),
            position_text(),
        )
        names = guests.select(pl.concat_str("system", "account_entity", "account_key", separator="\x1f"))[:, 0]
        guests = guests.with_columns(context.ids.of(names).alias("account"))
        frames.append(slots_of(ORDER_SLOTS, guests, TO_ORDER))
    return _only(to_orders=pl.concat(frames))


GUEST = "guest"
"""The entity of an account that is one guest order; its key is the order's entity and key."""
_PERSON = ("entity", "key", "email", "phone", "first_name", "last_name", "country", "ts_ms")


def _children_of_orders(said: pl.DataFrame, _context: FoldContext) -> Said:
    return _only(to_orders=slots_of(ORDER_SLOTS, said.drop("system", "entity", "key", "ts_ms"), TO_ORDER))


def _addresses_and_consents(said: pl.DataFrame, _context: FoldContext) -> Said:
    return _only(slots=slots_of(ACCOUNT_SLOTS, said.drop("entity", "key", "ts_ms"), TO_ACCOUNT_SLOT))


def _invoices(said: pl.DataFrame, context: FoldContext) -> Said:
    said = context.filled(said, "currency", NO_CURRENCY)
    up = said.filter(pl.col("parent_kind") == "order")
    beside = said.filter(pl.col("parent_kind") == "customer")
    shares = _only(shares=fit(beside, TO_ACCOUNT_SHARE), buckets=invoice_buckets(beside.filter(~pl.col("gone"))))
    return join_said([_children_of_orders(up, context), shares])


def _interactions(said: pl.DataFrame, _context: FoldContext) -> Said:
    alive = said.filter(~pl.col("gone"))
    buckets = alive.with_columns(
        pl.lit(INTERACTION, pl.Int64).alias("metric"),
        (pl.col("at") // DAY_US).alias("day"),
        pl.lit(1, pl.Int64).alias("count"),
    )
    return _only(shares=fit(said, TO_ACCOUNT_SHARE), buckets=bucket_rows(buckets))


_SPEAKS: dict[str, Callable[[pl.DataFrame, FoldContext], Said]] = {
    "customer": _customers,
    "order": _orders,
    "order_line": _children_of_orders,
    "payment": _children_of_orders,
    "shipment": _children_of_orders,
    "invoice": _invoices,
    "address": _addresses_and_consents,
    "consent": _addresses_and_consents,
    "interaction": _interactions,
}


def slots_of(table: Table, said: pl.DataFrame, columns: dict[str, pl.DataType]) -> pl.DataFrame:
    """Pack what is said into slots; who is gone says nothing more.

    Args:
        table: of the parent's value.
        said: columns of the table (those that are absent are null), `to`, `gone` and what `columns` asks for besides.
        columns: of the result.
    """
    packed = table.pack_rows(said)
    if said["gone"].any():
        packed = packed.set(said["gone"], b"")
    return fit(said.with_columns(packed.alias("slot")), columns)


DAY_US = 86_400_000_000


def position_text() -> pl.Expr:
    """Write a row's position as provenance shows it: `p0:p1:p2:p3@offset`, empty where unknown."""
    parts = [pl.col(name).cast(pl.String).fill_null("") for name in POSITION]
    return pl.concat_str([pl.concat_str(parts, separator=":"), pl.col("offset").cast(pl.String)], separator="@").alias(
        "position"
    )


def invoice_buckets(invoices: pl.DataFrame) -> pl.DataFrame:
    """Turn open invoices (columns to, child, currency, amount, open_amount, due_on, status) into buckets by due day."""
    amount = pl.coalesce("open_amount", "amount").fill_null(0)
    is_open = (amount > 0) & ~pl.col("status").is_in(["paid", "cancelled"]).fill_null(False)
    return bucket_rows(
        invoices.filter(is_open).with_columns(
            pl.lit(INVOICE, pl.Int64).alias("metric"),
            pl.col("currency").fill_null(NO_CURRENCY).alias("k1"),
            pl.col("due_on").alias("day"),
            pl.lit(1, pl.Int64).alias("count"),
            amount.alias("amount"),
        )
    )


NO_CURRENCY = "XXX"
"""What stands for a currency that neither the row nor its system names. Source: ISO 4217, "no currency"."""


def bucket_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Give a frame the columns of BUCKETS; absent sums are 0 and absent texts empty."""
    held = frame.schema
    return frame.select(
        pl.col("to"),
        pl.col("child"),
        pl.col("stamp"),
        pl.col("metric"),
        *[pl.col(name).fill_null("") if name in held else pl.lit("").alias(name) for name in ("k1", "k2")],
        pl.col("day") if "day" in held else pl.lit(None, pl.Int64).alias("day"),
        *[pl.col(name).fill_null(0) if name in held else pl.lit(0, pl.Int64).alias(name) for name in BUCKET_SUMS],
    )


def _only(
    to_orders: pl.DataFrame | None = None,
    slots: pl.DataFrame | None = None,
    shares: pl.DataFrame | None = None,
    buckets: pl.DataFrame | None = None,
) -> Said:
    return Said(
        pl.DataFrame(schema=TO_ORDER) if to_orders is None else to_orders,
        pl.DataFrame(schema=TO_ACCOUNT_SLOT) if slots is None else slots,
        pl.DataFrame(schema=TO_ACCOUNT_SHARE) if shares is None else shares,
        pl.DataFrame(schema=BUCKETS) if buckets is None else buckets,
    )
