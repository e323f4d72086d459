"""What a profile adds up: orders by currency and market, products, categories, invoices, the last interaction.

Hot path. Accounts keep day buckets and never change with time; windows are computed here for an explicit day `as_of`.
"""

from __future__ import annotations

import polars as pl

from nurt.core.contributions import CATEGORY, INTERACTION, INVOICE, ORDERS, PRODUCT
from nurt.core.tables import OWNER

WINDOWS_DAYS = (30, 90, 365)
TOP = 10
"""How many products and categories a profile shows."""


def order_figures(sums: pl.DataFrame, as_of: int) -> pl.DataFrame:
    """Sum orders by (owner, currency, market); one row each, in that order.

    A day d lies in a window of n days when as_of - n < d <= as_of.
    """
    days = sums.filter(pl.col("metric") == ORDERS)
    counted = pl.col("count") > 0
    windows = []
    for window in WINDOWS_DAYS:
        inside = (pl.col("day") > as_of - window) & (pl.col("day") <= as_of)
        windows += [
            pl.col("count").filter(inside).sum().alias(f"last_{window}_count"),
            pl.col("amount").filter(inside).sum().alias(f"last_{window}_gross"),
        ]
    figures = days.group_by(OWNER, pl.col("k1").alias("currency"), pl.col("k2").alias("market")).agg(
        pl.col("count").sum(),
        pl.col("amount").sum().alias("gross"),
        pl.col("day").filter(counted).min().alias("first_on"),
        pl.col("day").filter(counted).max().alias("last_on"),
        pl.col("cancelled").sum(),
        pl.col("returned").sum(),
        pl.col("open").sum(),
        *windows,
    )
    return figures.with_columns(_average()).sort(OWNER, "currency", "market")


def _average() -> pl.Expr:
    """Divide gross by count exactly, half to even."""
    count = pl.when(pl.col("count") > 0).then(pl.col("count"))
    whole, twice = pl.col("gross") // count, 2 * (pl.col("gross") % count)
    up = (twice > count) | ((twice == count) & (whole % 2 != 0))
    return (whole + up.cast(pl.Int64)).alias("average")


def most_bought(sums: pl.DataFrame, metric: int, name: str) -> pl.DataFrame:
    """List the owner's largest quantities, largest first, of equals the first in the alphabet; at most TOP each."""
    assert metric in (PRODUCT, CATEGORY)
    totals = (
        sums.filter(pl.col("metric") == metric)
        .group_by(OWNER, pl.col("k1").alias(name))
        .agg(pl.col("amount").sum().alias("quantity"))
        .filter(pl.col("quantity") != 0)
        .sort([OWNER, "quantity", name], descending=[False, True, False])
    )
    return totals.group_by(OWNER, maintain_order=True).head(TOP)


def invoice_figures(sums: pl.DataFrame, as_of: int) -> pl.DataFrame:
    """Sum open and overdue invoices by (owner, currency); overdue: due before `as_of`."""
    late = (pl.col("day") < as_of).fill_null(False)
    return (
        sums.filter(pl.col("metric") == INVOICE)
        .group_by(OWNER, pl.col("k1").alias("currency"))
        .agg(
            pl.col("count").sum().alias("open_count"),
            pl.col("amount").sum().alias("open_amount"),
            pl.col("count").filter(late).sum().alias("overdue_count"),
            pl.col("amount").filter(late).sum().alias("overdue_amount"),
        )
        .filter(pl.col("open_count") != 0)
        .sort(OWNER, "currency")
    )


def last_interaction(sums: pl.DataFrame) -> pl.DataFrame:
    """Find the last day with an interaction, by owner."""
    return (
        sums.filter((pl.col("metric") == INTERACTION) & (pl.col("count") > 0))
        .group_by(OWNER)
        .agg(pl.col("day").max().alias("last_interaction_on"))
    )


def next_change(sums: pl.DataFrame, as_of: int) -> pl.DataFrame:
    """Find the next day on which an owner's figures change by the clock alone; owners without one are left out."""
    day = pl.col("day")
    orders = sums.filter(((pl.col("metric") == ORDERS) & (pl.col("count") > 0)) & day.is_not_null())
    due = sums.filter((pl.col("metric") == INVOICE) & day.is_not_null())
    days = [orders.select(OWNER, day), *[orders.select(OWNER, day + window) for window in WINDOWS_DAYS]]
    days.append(due.select(OWNER, day + 1))
    return pl.concat(days).filter(day > as_of).group_by(OWNER).agg(day.min().alias("due"))
