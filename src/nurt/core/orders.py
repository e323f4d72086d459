"""Fold an order's rows into the order, and say what it adds to its account.

Hot path. An order without its own row adds nothing yet: lines may come first. An order that names no customer is a
guest's: its account is the order itself, and the order's email, phone and names speak as a customer row would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from nurt.core.context import FoldContext
from nurt.core.contributions import (
    ACCOUNT_SLOTS,
    CATEGORY,
    CODE,
    DAY_US,
    GUEST,
    LEFT_PART,
    NO_CURRENCY,
    ORDER_SLOTS,
    ORDERS,
    PRODUCT,
    TO_ACCOUNT_SHARE,
    TO_ACCOUNT_SLOT,
    Said,
    bucket_rows,
    fit,
    invoice_buckets,
    nothing_said,
    slots_of,
)
from nurt.core.slots import fold_slots
from nurt.core.tables import OWNER
from nurt.model.entities import ENTITIES, ORDER_STATUSES

_ACCOUNT = ("account", "system", "account_entity", "account_key")
_READ = (
    *("part", *_ACCOUNT, "currency", "market", "gross", "status", "placed_at"),
    *("sku", "category", "quantity", "returned_quantity", "amount", "open_amount", "due_on"),
)
"""What an order's contribution is made of."""


@dataclass(frozen=True, slots=True)
class OrdersFolded:
    """Orders after a fold, and what they say to accounts.

    Attributes:
        values: by owner, to be stored; None: nothing is left of it.
        said: shares, buckets and guests' slots.
    """

    values: list[bytes | None]
    said: Said


def fold_orders(
    incoming: pl.DataFrame, stored: Sequence[bytes | None], order_ids: pl.Series, stamp: int, context: FoldContext
) -> OrdersFolded:
    """Fold contributions into orders and say each order's whole current contribution.

    Args:
        incoming: TO_ORDER columns and owner.
        stored: values of ORDER_SLOTS, by owner, as read.
        order_ids: id of each owner.
        stamp: given to the orders' contributions.
        context: what systems' orders mean when they name no currency or market.
    """
    values = fold_slots(ORDER_SLOTS, stored, incoming, drop=LEFT_PART).values
    rows = ORDER_SLOTS.unpack(values, _READ)
    own = rows.filter(pl.col("part") == CODE["order"])
    before = ORDER_SLOTS.unpack(stored, ("part", *_ACCOUNT))
    before = before.filter(pl.col("part").is_in([CODE["order"], LEFT_PART]))
    left = _left_accounts(before, own)
    _note_left(values, left, stamp)
    own = own.with_columns(
        order_ids.gather(own[OWNER]).alias("child"),
        own["account"].alias("to"),
        own["system"].alias("account_system"),
        pl.lit(stamp, pl.Int64).alias("stamp"),
        pl.lit(False).alias("gone"),
    )
    gone = left.with_columns(
        order_ids.gather(left[OWNER]).alias("child"),
        left["account"].alias("to"),
        left["system"].alias("account_system"),
        pl.lit(stamp, pl.Int64).alias("stamp"),
        pl.lit(True).alias("gone"),
        pl.lit(CODE["order"], pl.Int64).alias("part"),
        pl.lit(b"").alias("slot"),
    )
    shares = fit(own, TO_ACCOUNT_SHARE)
    slots = _guests(own, values)
    if gone.height:
        shares = pl.concat([fit(gone, TO_ACCOUNT_SHARE), shares])
        slots = pl.concat([fit(gone, TO_ACCOUNT_SLOT), slots])
    said = Said(nothing_said().to_orders, slots, shares, _buckets(own, rows, context))
    return OrdersFolded(values, said)


def _left_accounts(before: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    """List the accounts at which orders were and are no longer, as often as it takes until nobody needs to hear it."""
    if not before.height:
        return before
    now = own.select(OWNER, pl.col("account").alias("now"))
    marked = before.join(now, on=OWNER, how="left", maintain_order="left")
    left = marked.filter(pl.col("account").ne_missing(pl.col("now"))).drop("now")
    return left.unique(subset=[OWNER, "account"], keep="last", maintain_order=True)


def _note_left(values: list[bytes | None], left: pl.DataFrame, stamp: int) -> None:
    """Store the accounts that were left with their orders; few orders ever leave one."""
    if not left.height:
        return
    marks = left.with_columns(
        pl.lit(LEFT_PART, pl.Int64).alias("part"),
        pl.col("account").alias("child"),
        pl.lit(stamp, pl.Int64).alias("stamp"),
    )
    for owner, mark in enumerate(ORDER_SLOTS.pack(marks.sort(OWNER, maintain_order=True), len(values))):
        if mark is not None:
            held = values[owner]
            values[owner] = mark if held is None else held + mark[1:]  # without a second version byte


def _guests(own: pl.DataFrame, values: Sequence[bytes | None]) -> pl.DataFrame:
    """Make the slots with which guests' orders speak as customers."""
    guests = own.filter(pl.col("account_entity") == GUEST)
    if not guests.height:
        return nothing_said().slots
    whole = ORDER_SLOTS.unpack([values[owner] for owner in guests[OWNER]])
    whole = whole.filter(pl.col("part") == CODE["order"])
    said = guests.select("to", "child", "stamp", "gone", "account_system", "account_entity", "account_key")
    speaks = whole.select("part", "system", "entity", "key", "position", "ts_ms", *_SPOKEN)
    return slots_of(ACCOUNT_SLOTS, pl.concat([said, speaks], how="horizontal_extend"), TO_ACCOUNT_SLOT)


_SPOKEN = tuple(name for name in ENTITIES["order"].fields if name in ACCOUNT_SLOTS.columns)
"""What a guest's order says of the person."""


def _buckets(own: pl.DataFrame, rows: pl.DataFrame, context: FoldContext) -> pl.DataFrame:
    own = context.filled(context.filled(own, "currency", NO_CURRENCY), "market", "")
    status = pl.col("status")
    cancelled = (status == "cancelled").fill_null(False)
    counted = (~cancelled).cast(pl.Int64)
    is_open = (status == "open") | ~status.is_in(list(ORDER_STATUSES))
    orders = own.with_columns(
        pl.lit(ORDERS, pl.Int64).alias("metric"),
        pl.col("currency").alias("k1"),
        pl.col("market").alias("k2"),
        (pl.col("placed_at") // DAY_US).alias("day"),
        counted.alias("count"),
        (pl.col("gross").fill_null(0) * counted).alias("amount"),
        cancelled.cast(pl.Int64).alias("cancelled"),
        (status == "returned").fill_null(False).cast(pl.Int64).alias("returned"),
        is_open.fill_null(True).cast(pl.Int64).alias("open"),
    )
    parts = [bucket_rows(orders)]
    to = own.select(OWNER, "to", "child", "stamp", (~cancelled).alias("sells"))
    lines = rows.filter(pl.col("part") == CODE["order_line"])
    if lines.height:
        kept = pl.col("quantity").fill_null(0) - pl.col("returned_quantity").fill_null(0)
        sold = lines.select(OWNER, "sku", "category", kept.alias("amount")).join(to, on=OWNER).filter("sells")
        for metric, name in ((PRODUCT, "sku"), (CATEGORY, "category")):
            if sold[name].null_count() < sold.height:
                # several lines of one product are added up where the account's sums are
                named = sold.filter(pl.col(name).is_not_null())
                parts.append(
                    bucket_rows(named.with_columns(pl.col(name).alias("k1"), pl.lit(metric, pl.Int64).alias("metric")))
                )
    invoices = rows.filter(pl.col("part") == CODE["invoice"])
    if invoices.height:
        bills = invoices.select(OWNER, "currency", "amount", "open_amount", "due_on", "status")
        parts.append(invoice_buckets(bills.join(to, on=OWNER)))
    return pl.concat(parts)
