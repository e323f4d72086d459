"""What profiles add up, as a plain loop adds it up, and written as fastavro writes it."""

from __future__ import annotations

import io
from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import fastavro
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from nurt.columnar.ids import Ids
from nurt.contracts import schemas
from nurt.contracts.profile_reader import read_profile
from nurt.normalise.context import FoldContext
from nurt.profiles.golden_record.aggregates import TOP, WINDOWS_DAYS, order_figures
from nurt.profiles.golden_record.write import Profiles
from nurt.rows.children.tables import AGGREGATES, CATEGORY, INTERACTION, INVOICE, ORDERS, PRODUCT
from nurt.state.table import OWNER
from tests.accounts import live_profiles

AS_OF = 20_000
OWNERS = 3
NUMBERS = st.integers(-3, 3)
Row = tuple[Any, ...]
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
        *[st.integers(-100_001, 100_001)] * 3,
    ),
    max_size=60,
)


SCHEMA = fastavro.parse_schema(schemas.load(schemas.PROFILE_VALUE))
PROFILES = Profiles(FoldContext(Ids(bytes(16))))


def sums_of(rows: list[Row]) -> list[bytes | None]:
    frame = pl.DataFrame(
        sorted(rows, key=lambda row: row[0]), schema={OWNER: pl.Int64(), **AGGREGATES.columns}, orient="row"
    )
    return AGGREGATES.pack(frame, OWNERS)


def profiles_of(rows: list[Row]) -> tuple[list[dict[str, Any]], list[int]]:
    """Give every owner's profile, read back, and the day that the clock changes it."""
    bodies, due = live_profiles(PROFILES, [[(None, value)] for value in sums_of(rows)], AS_OF)
    for body in bodies:
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, SCHEMA, read_profile(body))
        assert stream.getvalue() == body
    return [read_profile(body) for body in bodies], due


def money(amount: int) -> Decimal:
    return Decimal(amount).scaleb(-4)


def on(day: int | None) -> date | None:
    return None if day is None else date(1970, 1, 1) + timedelta(days=day)


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
        given_back, paid, owed = (sum(row[at] for row in some) for at in (10, 11, 12))
        found |= {"given_back": given_back, "net": gross - given_back, "paid": paid, "open_amount": owed}
        out.append(found)
    return out


def as_read(line: dict[str, Any]) -> dict[str, Any]:
    """Say an amount as money and a day as a date, as a reader of profiles does."""
    amounts = {"gross", "average", "quantity", "open_amount", "overdue_amount", "given_back", "net", "paid"}
    amounts |= {f"last_{days}_gross" for days in WINDOWS_DAYS}
    return {
        name: on(value) if name.endswith("_on") else money(value) if name in amounts and value is not None else value
        for name, value in line.items()
    }


@given(ROWS)
def test_orders_are_summed_by_currency_and_market(rows: list[Row]) -> None:
    expected = [orders_plainly(of(rows, owner, ORDERS)) for owner in range(OWNERS)]
    assert order_figures(sums_of(rows), AS_OF) == expected
    found, _ = profiles_of(rows)
    assert [profile["orders"] for profile in found] == [[as_read(line) for line in lines] for lines in expected]


@given(ROWS)
def test_the_most_bought_come_first_and_of_equals_the_first_in_the_alphabet(rows: list[Row]) -> None:
    found, _ = profiles_of(rows)
    for owner in range(OWNERS):
        for metric, lines, name in ((PRODUCT, "products", "sku"), (CATEGORY, "categories", "category")):
            totals: dict[str, int] = defaultdict(int)
            for row in of(rows, owner, metric):
                totals[row[2]] += row[6]
            order = sorted((text for text, total in totals.items() if total), key=lambda text: text.encode())
            order.sort(key=lambda text: -totals[text])
            expected = [{name: text, "quantity": money(totals[text])} for text in order[:TOP]]
            assert found[owner][lines] == expected


@given(ROWS)
def test_invoices_are_open_until_paid_and_overdue_the_day_after(rows: list[Row]) -> None:
    found, _ = profiles_of(rows)
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
                line = {"currency": currency, **dict(zip(names, (*counts, *overdue), strict=True))}
                expected.append(as_read(line))
        assert found[owner]["invoices"] == expected


@given(ROWS)
def test_the_clock_changes_a_profile_when_a_window_ends_or_an_invoice_is_due(rows: list[Row]) -> None:
    found, due = profiles_of(rows)
    for owner in range(OWNERS):
        days = [row[4] for row in of(rows, owner, INTERACTION) if row[4] is not None and row[5] > 0]
        assert found[owner]["last_interaction_on"] == on(max(days, default=None))
        ordered = [row[4] for row in of(rows, owner, ORDERS) if row[4] is not None and row[5] > 0]
        changes = [day + window for day in ordered for window in (0, *WINDOWS_DAYS)]
        changes += [row[4] + 1 for row in of(rows, owner, INVOICE) if row[4] is not None]
        assert due[owner] == min((day for day in changes if day > AS_OF), default=-1)


def test_without_rows_there_is_nothing() -> None:
    found, due = profiles_of([])
    assert due == [-1] * OWNERS
    for profile in found:
        assert not any(profile[name] for name in ("orders", "products", "categories", "invoices"))
        assert profile["last_interaction_on"] is None


def test_a_profile_of_many_sums_is_written_like_a_small_one() -> None:
    rows: list[Row] = [(0, PRODUCT, f"sku {number:05}", "", None, 0, number % 997, *[0] * 6) for number in range(5_000)]
    rows += [(0, ORDERS, f"{number:03}", "pl", AS_OF - number, 1, 7, *[0] * 6) for number in range(300)]
    found, _ = profiles_of(rows)
    order = sorted(range(5_000), key=lambda number: (-(number % 997), number))
    assert [line["sku"] for line in found[0]["products"]] == [f"sku {number:05}" for number in order[:TOP]]
    assert len(found[0]["orders"]) == 300
