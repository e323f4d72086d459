"""Fold an order's rows into the order, and say what it adds to its account.

Hot path. An order without its own row adds nothing yet: lines may come first. An order that names no customer is a
guest's: its account is the order itself, and the order's email, phone and names speak as a customer row would.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from nurt.core.context import FoldContext
from nurt.core.contributions import (
    CATEGORY,
    CODE,
    DAY_US,
    LEFT_PART,
    NO_CURRENCY,
    ORDERS,
    PRODUCT,
    TO_ACCOUNT_SHARE,
    TO_ACCOUNT_SLOT,
    Said,
    bucket_rows,
    fit,
    invoice_buckets,
    nothing_said,
)
from nurt.core.ids import Ids
from nurt.core.slots import fold_slots
from nurt.core.tables import OWNER
from nurt.model.entities import ORDER_STATUSES

GUEST = "guest"
"""The entity of an account that is one guest order."""

_ACCOUNT = ("account", "system", "account_entity", "account_key")


@dataclass(frozen=True, slots=True)
class OrdersFolded:
    """Orders after a fold, and what they say to accounts.

    Attributes:
        state: ORDER_SLOTS and owner, sorted by owner; to be stored.
        said: shares, buckets and guest slots.
    """

    state: pl.DataFrame
    said: Said


def fold_orders(
    incoming: pl.DataFrame, stored: pl.DataFrame, order_ids: pl.Series, stamp: int, context: FoldContext
) -> OrdersFolded:
    """Fold contributions into orders and say each order's whole current contribution.

    Args:
        incoming: ORDER_SLOTS columns, owner and `gone`.
        stored: ORDER_SLOTS and owner, as read.
        order_ids: id of each owner.
        stamp: given to the orders' contributions.
        context: makes the ids of guests; what systems' orders mean when they name no currency or market.
    """
    slots = fold_slots(stored.filter(pl.col("part") != LEFT_PART), incoming)
    left_before = stored.filter(pl.col("part") == LEFT_PART).select(OWNER, *_ACCOUNT)
    before = _own(stored, context.ids).select(OWNER, *_ACCOUNT)
    own = _own(slots, context.ids)
    left = _left_accounts(pl.concat([left_before, before]), own, len(order_ids))
    state = slots
    if left.height:
        marks = left.with_columns(
            pl.lit(LEFT_PART, pl.Int64).alias("part"),
            pl.col("account").alias("child"),
            pl.lit(stamp, pl.Int64).alias("stamp"),
        )
        state = pl.concat([slots, fit(marks, dict(slots.schema))]).sort(OWNER, maintain_order=True)
    return OrdersFolded(state, _said(own, slots, left, order_ids, stamp, context))


def _own(slots: pl.DataFrame, ids: Ids) -> pl.DataFrame:
    """Take the orders' own rows, each with the account that it belongs to."""
    own = slots.filter(pl.col("part") == CODE["order"])
    guest = own["account"].is_null()
    if not guest.any():
        return own.with_columns(pl.lit(False).alias("is_guest"))
    own = own.with_columns(pl.concat_str("entity", "key", separator="\x1f").alias("guest_key"))
    names = own.select(pl.concat_str("system", pl.lit(GUEST), "guest_key", separator="\x1f"))[:, 0]
    return own.with_columns(
        guest.alias("is_guest"),
        own["account"].zip_with(~guest, ids.of(names)).alias("account"),
        pl.when(guest).then(pl.lit(GUEST)).otherwise("account_entity").alias("account_entity"),
        pl.when(guest).then("guest_key").otherwise("account_key").alias("account_key"),
    ).drop("guest_key")


def _left_accounts(candidates: pl.DataFrame, own: pl.DataFrame, owners: int) -> pl.DataFrame:
    if not candidates.height:
        return candidates
    now = own.select(OWNER, pl.col("account").alias("now"))
    marked = candidates.join(now, on=OWNER, how="left", maintain_order="left")
    left = marked.filter(pl.col("account").ne_missing(pl.col("now"))).drop("now")
    return left.unique(subset=[OWNER, "account"], keep="last", maintain_order=True)


def _said(
    own: pl.DataFrame,
    slots: pl.DataFrame,
    left: pl.DataFrame,
    order_ids: pl.Series,
    stamp: int,
    context: FoldContext,
) -> Said:
    own = own.with_columns(
        order_ids.gather(own[OWNER]).alias("child"),
        pl.col("account").alias("to"),
        pl.col("system").alias("account_system"),
        pl.lit(stamp, pl.Int64).alias("stamp"),
        pl.lit(False).alias("gone"),
    )
    gone = left.with_columns(
        order_ids.gather(left[OWNER]).alias("child"),
        pl.col("account").alias("to"),
        pl.col("system").alias("account_system"),
        pl.lit(stamp, pl.Int64).alias("stamp"),
        pl.lit(True).alias("gone"),
        pl.lit(CODE["order"], pl.Int64).alias("part"),
    )
    shares = pl.concat([fit(gone, TO_ACCOUNT_SHARE), fit(own, TO_ACCOUNT_SHARE)])
    guests = own.filter("is_guest")
    # an order that has an account now may have been a guest's: that guest account is among the left ones
    gone_guests = gone.filter(pl.col("account_entity") == GUEST)
    guest_slots = pl.concat([fit(gone_guests, TO_ACCOUNT_SLOT), fit(_guest_slots(guests), TO_ACCOUNT_SLOT)])
    return Said(nothing_said().to_orders, guest_slots, shares, _buckets(own, slots, context))


def _guest_slots(guests: pl.DataFrame) -> pl.DataFrame:
    return guests.with_columns(pl.lit(CODE["order"], pl.Int64).alias("part")).select(
        pl.all().exclude("kind", "name", "at")
    )


def _buckets(own: pl.DataFrame, slots: pl.DataFrame, context: FoldContext) -> pl.DataFrame:
    own = context.filled(context.filled(own, "currency", NO_CURRENCY), "market", "")
    status = pl.col("status")
    known = status.is_in(list(ORDER_STATUSES)).fill_null(False)
    own = own.with_columns(pl.when(known).then(status).otherwise(pl.lit("open")).alias("status"))
    cancelled = pl.col("status") == "cancelled"
    counted = (~cancelled).cast(pl.Int64)
    orders = own.with_columns(
        pl.lit(ORDERS, pl.Int64).alias("metric"),
        pl.col("currency").alias("k1"),
        pl.col("market").alias("k2"),
        (pl.col("placed_at") // DAY_US).alias("day"),
        counted.alias("count"),
        (pl.col("gross").fill_null(0) * counted).alias("amount"),
        cancelled.cast(pl.Int64).alias("cancelled"),
        (pl.col("status") == "returned").cast(pl.Int64).alias("returned"),
        (pl.col("status") == "open").cast(pl.Int64).alias("open"),
    )
    to = own.select(OWNER, "to", "child", "stamp", (~cancelled).alias("sells"))
    parts = [bucket_rows(orders)]
    lines = slots.filter(pl.col("part") == CODE["order_line"])
    if lines.height:
        kept = pl.col("quantity").fill_null(0) - pl.col("returned_quantity").fill_null(0)
        sold = lines.select(OWNER, "sku", "category", kept.alias("amount")).join(to, on=OWNER).filter("sells")
        for metric, name in ((PRODUCT, "sku"), (CATEGORY, "category")):
            sums = (
                sold.filter(pl.col(name).is_not_null())
                .group_by("to", "child", "stamp", pl.col(name).alias("k1"))
                .agg(pl.col("amount").sum())
            )
            parts.append(bucket_rows(sums.with_columns(pl.lit(metric, pl.Int64).alias("metric"))))
    invoices = slots.filter(pl.col("part") == CODE["invoice"])
    if invoices.height:
        parts.append(
            invoice_buckets(
                invoices.select(OWNER, "currency", "amount", "open_amount", "due_on", "status").join(to, on=OWNER)
            )
        )
    return pl.concat(parts)
