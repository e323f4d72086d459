"""What a profile adds up: orders by currency and market, products, categories, invoices, the last interaction.

Hot path. Accounts keep day buckets and never change with time; windows are computed here for an explicit day `as_of`.
Every function takes sums of which some rows belong to each owner, and gives one column of the published schema.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from nurt.core.arrow_columns import Column, Rows, list_column, null_column, number_column, struct_column
from nurt.core.contributions import CATEGORY, INTERACTION, INVOICE, ORDERS, PRODUCT, SUMS
from nurt.core.packing import Bools, Int64s
from nurt.core.tables import OWNER
from nurt.core.text_groups import Groups, group_texts

WINDOWS_DAYS = (30, 90, 365)
TOP = 10
"""How many products and categories a profile shows."""

_NEVER, _LONG_AGO = np.iinfo(np.int64).max, np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums of accounts, and whose they are.

    Attributes:
        rows: of SUMS.
        owner: by row.
        owners: how many there are.
    """

    rows: Rows
    owner: Int64s
    owners: int

    def of(self, metric: int) -> Int64s:
        """Find the rows of a metric."""
        return np.flatnonzero(self.rows.number("metric") == metric)

    def grouped(self, found: Int64s, by: str, then: str | None = None) -> Groups:
        """Group rows by owner and texts."""
        second = None if then is None else self.rows.texts(then).take(found)
        return group_texts(self.owner[found], self.rows.texts(by).take(found), second)


def order_figures(sums: pl.DataFrame, as_of: int) -> pl.DataFrame:
    """Sum orders by (owner, currency, market); one row each, in that order. For a look at some accounts.

    Args:
        sums: SUMS and owner.
        as_of: the day that windows end with.
    """
    owners = int(sums[OWNER].max() or 0) + 1 if sums.height else 0  # type: ignore[arg-type]
    column = sum_orders(Sums(Rows(SUMS, SUMS.raw(sums)), sums[OWNER].to_numpy(), owners), as_of)
    lists = pl.DataFrame({OWNER: np.arange(owners), "orders": pl.Series(column)})
    if lists["orders"].dtype == pl.Null:
        return pl.DataFrame(schema={OWNER: pl.Int64()})
    return lists.explode("orders", empty_as_null=False).unnest("orders")


def sum_orders(sums: Sums, as_of: int) -> Column:
    """Sum orders by (currency, market), in that order.

    A day d lies in a window of n days when as_of - n < d <= as_of.
    """
    found = sums.of(ORDERS)
    if not len(found):
        return null_column(sums.owners)
    groups = sums.grouped(found, "k1", "k2")
    first = found[groups.rows()]
    count, amount, day = (sums.rows.number(name)[found] for name in ("count", "amount", "day"))
    known = sums.rows.present("day")[found]
    counted = known & (count > 0)
    first_on = groups.smallest(np.where(counted, day, _NEVER))
    last_on = groups.largest(np.where(counted, day, _LONG_AGO))
    orders, gross = groups.total(count), groups.total(amount)
    fields = {
        "currency": sums.rows.texts("k1").take(first).column(),
        "market": sums.rows.texts("k2").take(first).column(),
        "count": number_column(orders),
        "gross": number_column(gross),
        "average": number_column(_average(gross, orders), orders > 0),
        "first_on": number_column(first_on, first_on != _NEVER),
        "last_on": number_column(last_on, last_on != _LONG_AGO),
    }
    for name in ("cancelled", "returned", "open"):
        fields[name] = number_column(groups.total(sums.rows.number(name)[found]))
    for window in WINDOWS_DAYS:
        inside = known & (day > as_of - window) & (day <= as_of)
        fields[f"last_{window}_count"] = number_column(groups.total(count * inside))
        fields[f"last_{window}_gross"] = number_column(groups.total(amount * inside))
    return list_column(groups.owner, sums.owners, struct_column(fields))


def _average(gross: Int64s, count: Int64s) -> Int64s:
    """Divide gross by count exactly, half to even; anything where the count is not positive."""
    divisor = np.maximum(count, 1)
    whole, twice = gross // divisor, 2 * (gross % divisor)
    up = (twice > divisor) | ((twice == divisor) & (whole % 2 != 0))
    average: Int64s = whole + up
    return average


def list_most_bought(sums: Sums, metric: int, name: str) -> Column:
    """List the owner's largest quantities, largest first, of equals the first in the alphabet; at most TOP each."""
    assert metric in (PRODUCT, CATEGORY)
    found = sums.of(metric)
    if not len(found):
        return null_column(sums.owners)
    groups = sums.grouped(found, "k1")
    quantity = groups.total(sums.rows.number("amount")[found])
    order = np.lexsort((-quantity, groups.owner))  # groups are in the alphabet's order, and equals stay in it
    order = order[quantity[order] != 0]
    owner = groups.owner[order]
    order = order[np.arange(len(owner)) - np.searchsorted(owner, owner) < TOP]
    if not len(order):
        return null_column(sums.owners)
    texts = sums.rows.texts("k1").take(found[groups.rows()[order]])
    fields = {name: texts.column(), "quantity": number_column(quantity[order])}
    return list_column(groups.owner[order], sums.owners, struct_column(fields))


def sum_invoices(sums: Sums, as_of: int) -> Column:
    """Sum open and overdue invoices by currency; overdue: due before `as_of`."""
    found = sums.of(INVOICE)
    if not len(found):
        return null_column(sums.owners)
    groups = sums.grouped(found, "k1")
    count, amount = (sums.rows.number(name)[found] for name in ("count", "amount"))
    late = sums.rows.present("day")[found] & (sums.rows.number("day")[found] < as_of)
    open_count = groups.total(count)
    some = open_count != 0
    if not some.any():
        return null_column(sums.owners)
    fields = {
        "currency": sums.rows.texts("k1").take(found[groups.rows()[some]]).column(),
        "open_count": number_column(open_count[some]),
        "open_amount": number_column(groups.total(amount)[some]),
        "overdue_count": number_column(groups.total(count * late)[some]),
        "overdue_amount": number_column(groups.total(amount * late)[some]),
    }
    return list_column(groups.owner[some], sums.owners, struct_column(fields))


def find_last_interaction(sums: Sums) -> Column:
    """Find the last day with an interaction."""
    found = sums.of(INTERACTION)
    found = found[(sums.rows.number("count")[found] > 0) & sums.rows.present("day")[found]]
    if not len(found):
        return null_column(sums.owners)
    last = np.full(sums.owners, _LONG_AGO, dtype=np.int64)
    np.maximum.at(last, sums.owner[found], sums.rows.number("day")[found])
    return number_column(last, last != _LONG_AGO)


def next_change(sums: Sums, as_of: int) -> Int64s:
    """Find, by owner, the next day on which its figures change by the clock alone; -1: none."""
    metric, day, known = sums.rows.number("metric"), sums.rows.number("day"), sums.rows.present("day")
    due = np.full(sums.owners, _NEVER, dtype=np.int64)

    def note(rows: Bools, after_days: int) -> None:
        rows = rows & (day + after_days > as_of)
        np.minimum.at(due, sums.owner[rows], day[rows] + after_days)

    orders = known & (metric == ORDERS) & (sums.rows.number("count") > 0)
    for window in (0, *WINDOWS_DAYS):
        note(orders, window)
    note(known & (metric == INVOICE), 1)
    return np.where(due == _NEVER, -1, due)
