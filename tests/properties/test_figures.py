"""What profiles add up, from sums in arrays, as a plain loop adds it up."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from nurt.core.arrow_columns import Rows
from nurt.core.contributions import CATEGORY, INTERACTION, INVOICE, ORDERS, PRODUCT, SUMS
from nurt.core.figures import (
    TOP,
    WINDOWS_DAYS,
    Sums,
    find_last_interaction,
    list_most_bought,
    next_change,
    order_figures,
    sum_invoices,
    sum_orders,
)
from nurt.core.tables import OWNER

AS_OF = 20_000
OWNERS = 3
NUMBERS = st.integers(-3, 3)
Row = tuple[int, int, str, str, int | None, int, int, int, int, int]
ROWS = st.lists(
    st.tuples(
        st.integers(0, OWNERS - 1),
        st.sampled_from([ORDERS, PRODUCT, CATEGORY, INVOICE, INTERACTION]),
        st.sampled_from(["EUR", "PLN", "", "ż"]) | st.integers(0, 30).map(str),
        st.sampled_from(["", "pl"]),
        st.none() | st.integers(AS_OF - 400, AS_OF + 5) | st.sampled_from([AS_OF - day for day in WINDOWS_DAYS]),
        NUMBERS,
        st.integers(-100_001, 100_001),
        NUMBERS,
        NUMBERS,
        NUMBERS,
    ),
    max_size=60,
)


def sums_of(rows: list[Row]) -> tuple[Sums, pl.DataFrame]:
    rows = sorted(rows, key=lambda row: row[0])
    frame = pl.DataFrame(rows, schema={OWNER: pl.Int64(), **SUMS.columns}, orient="row")
    values = SUMS.pack(frame, OWNERS)
    raw = SUMS.unpack_raw(values)
    return Sums(Rows(SUMS, raw), raw.owner, OWNERS), frame


def of(rows: list[Row], owner: int, metric: int) -> list[Row]:
    return [row for row in rows if row[:2] == (owner, metric)]


def average(gross: int, count: int) -> int | None:
    if count <= 0:
        return None
    whole, rest = divmod(gross, count)
    return whole + (2 * rest > count or (2 * rest == count and whole % 2 == 1))


def orders_plainly(rows: list[Row]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row[2], row[3]].append(row)
    out = []
    for (currency, market), some in sorted(groups.items()):
        count, gross = sum(row[5] for row in some), sum(row[6] for row in some)
        days = [row[4] for row in some if row[4] is not None and row[5] > 0]
        found: dict[str, Any] = {"currency": currency, "market": market, "count": count, "gross": gross}
        found |= {"average": average(gross, count), "first_on": min(days, default=None)}
        found |= {"last_on": max(days, default=None)}
        found |= {name: sum(row[7 + at] for row in some) for at, name in enumerate(("cancelled", "returned", "open"))}
        for window in WINDOWS_DAYS:
            inside = [row for row in some if row[4] is not None and AS_OF - window < row[4] <= AS_OF]
            found[f"last_{window}_count"] = sum(row[5] for row in inside)
            found[f"last_{window}_gross"] = sum(row[6] for row in inside)
        out.append(found)
    return out


@given(ROWS)
def test_orders_are_summed_by_currency_and_market(rows: list[Row]) -> None:
    sums, frame = sums_of(rows)
    expected = [orders_plainly(of(rows, owner, ORDERS)) for owner in range(OWNERS)]
    assert [items or [] for items in sum_orders(sums, AS_OF).to_pylist()] == expected
    shown = [{OWNER: owner, **row} for owner, some in enumerate(expected) for row in some]
    assert order_figures(frame, AS_OF).to_dicts() == shown


@given(ROWS)
def test_the_most_bought_come_first_and_of_equals_the_first_in_the_alphabet(rows: list[Row]) -> None:
    sums, _ = sums_of(rows)
    found = list_most_bought(sums, PRODUCT, "sku").to_pylist()
    for owner in range(OWNERS):
        totals: dict[str, int] = defaultdict(int)
        for row in of(rows, owner, PRODUCT):
            totals[row[2]] += row[6]
        order = sorted((sku for sku, total in totals.items() if total), key=lambda sku: (-totals[sku], sku.encode()))
        assert (found[owner] or []) == [{"sku": sku, "quantity": totals[sku]} for sku in order[:TOP]]


@given(ROWS)
def test_invoices_are_open_until_paid_and_overdue_the_day_after(rows: list[Row]) -> None:
    sums, _ = sums_of(rows)
    found = sum_invoices(sums, AS_OF).to_pylist()
    for owner in range(OWNERS):
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in of(rows, owner, INVOICE):
            groups[row[2]].append(row)
        expected = []
        for currency, some in sorted(groups.items()):
            late = [row for row in some if row[4] is not None and row[4] < AS_OF]
            counts = sum(row[5] for row in some), sum(row[6] for row in some)
            overdue = sum(row[5] for row in late), sum(row[6] for row in late)
            names = ("open_count", "open_amount", "overdue_count", "overdue_amount")
            if counts[0]:
                expected.append({"currency": currency, **dict(zip(names, (*counts, *overdue), strict=True))})
        assert (found[owner] or []) == expected


@given(ROWS)
def test_the_clock_changes_a_profile_when_a_window_ends_or_an_invoice_is_due(rows: list[Row]) -> None:
    sums, _ = sums_of(rows)
    last, due = find_last_interaction(sums).to_pylist(), next_change(sums, AS_OF)
    for owner in range(OWNERS):
        days = [row[4] for row in of(rows, owner, INTERACTION) if row[4] is not None and row[5] > 0]
        assert last[owner] == max(days, default=None)
        ordered = [row[4] for row in of(rows, owner, ORDERS) if row[4] is not None and row[5] > 0]
        changes = [day + window for day in ordered for window in (0, *WINDOWS_DAYS)]
        changes += [row[4] + 1 for row in of(rows, owner, INVOICE) if row[4] is not None]
        assert due[owner] == min((day for day in changes if day > AS_OF), default=-1)


def test_without_rows_there_is_nothing() -> None:
    sums, frame = sums_of([])
    assert next_change(sums, AS_OF).tolist() == [-1] * OWNERS
    assert order_figures(frame, AS_OF).height == 0
    for column in (sum_orders(sums, AS_OF), list_most_bought(sums, CATEGORY, "category"), find_last_interaction(sums)):
        assert column.to_pylist() == [None] * OWNERS
    assert np.array_equal(sums.of(ORDERS), [])
