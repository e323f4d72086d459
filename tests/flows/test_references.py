"""Rows that name their order by another field than its key: late, changed, empty and ambiguous values."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from nurt.app.running import run_here
from nurt.flows.profiles import profiles
from nurt.model.entity_frame import UPSERT
from nurt.profiles.references import fold
from nurt.settings import load_settings
from tests.command_line import run_nurt
from tests.envelopes import Topic
from tests.flows.book import Book, new_engine, play, wrong, wrong_crashes
from tests.flows.test_topics_of_one_table import write
from tests.oracle.sources import Stored
from tests.oracle.values import DAY_US, TODAY

DAY = TODAY * DAY_US


def refer(book: Book, key: str, number: str, amount: int = 10_000, entity: str = "order") -> None:
    """Write an invoice that names its order by number."""
    connector = book.connectors["shop"]
    fields = {"amount": amount, "due_on": TODAY - 1}
    before = connector.tables.setdefault(("invoice", "invoice"), {}).get(key)
    stored = Stored({**(before.fields if before else dict.fromkeys(_INVOICE)), **fields}, None, None)
    stored = replace(stored, parent=("order?number", entity, number))
    connector.tables["invoice", "invoice"][key] = stored
    connector.commit()
    connector._write("invoice", "invoice", key, UPSERT, stored)


_INVOICE = ("number", "currency", "amount", "open_amount", "issued_on", "due_on", "status")


def opened(book: Book) -> dict[str, int]:
    """Play a book; return how much is open, by the customer's first name, and compare with the batch."""
    history = book.history()
    engine = play(history, new_engine(history))
    assert not wrong(history, engine)
    found = {}
    for record in engine.topic.published().values():
        if record["state"] == "live":
            found[record["first_name"]["value"] if record["first_name"] else None] = sum(
                int(one["open_amount"] * 10_000) for one in record["invoices"]
            )
    return found


def two_customers() -> Book:
    book = Book()
    book.put("shop", "customer", "1", first_name="Ann")
    book.put("shop", "customer", "2", first_name="Bob")
    return book


def test_a_row_finds_its_order_by_number_whichever_comes_first() -> None:
    book = two_customers()
    refer(book, "5", "x")
    book.put("shop", "order", "1", "1", number="x")
    book.put("shop", "order", "2", "2", number="y")
    refer(book, "6", "y", 20_000)
    assert opened(book) == {"Ann": 10_000, "Bob": 20_000}


def test_a_number_that_two_orders_have_is_nobodys_until_one_is_left() -> None:
    book = two_customers()
    book.put("shop", "order", "1", "1", number="x")
    refer(book, "5", "x")
    book.put("shop", "order", "2", "2", number="x")
    assert opened(book) == {"Ann": 0, "Bob": 0}
    book.put("shop", "order", "1", "1", number="y")
    assert opened(book) == {"Ann": 0, "Bob": 10_000}


def test_a_row_goes_from_number_to_number_and_to_a_key() -> None:
    book = two_customers()
    book.put("shop", "order", "1", "1", number="x")
    book.put("shop", "order", "2", "2", number="y")
    refer(book, "5", "x")
    refer(book, "5", "y")
    assert opened(book) == {"Ann": 0, "Bob": 10_000}
    book.put("shop", "invoice", "5", "2")
    assert opened(book) == {"Ann": 0, "Bob": 10_000}
    refer(book, "5", "x")
    assert opened(book) == {"Ann": 10_000, "Bob": 0}


def test_an_orders_number_changes_and_the_order_goes() -> None:
    book = two_customers()
    book.put("shop", "order", "1", "1", number="x")
    refer(book, "5", "x")
    refer(book, "6", "y", 20_000)
    book.put("shop", "order", "1", "1", number="y")
    assert opened(book) == {"Ann": 20_000, "Bob": 0}
    book.put("shop", "order", "1", "1", number=None)
    assert opened(book) == {"Ann": 0, "Bob": 0}
    book.put("shop", "order", "1", "1", number="x")
    book.delete("shop", "order", "1")
    book.put("shop", "order", "2", "2", number="x")
    assert opened(book) == {"Ann": 0, "Bob": 10_000}


def a_life_of_numbers() -> Book:
    book = two_customers()
    refer(book, "5", "x")
    book.put("shop", "order", "1", "1", number="x", placed_at=DAY)
    book.put("shop", "order", "2", "2", number="x", placed_at=DAY)
    refer(book, "6", "y", 20_000)
    book.put("shop", "order", "1", "1", number="y")
    refer(book, "5", "y")
    book.put("shop", "order", "2", "1")
    book.rekey("shop", "order", "2", "20")
    refer(book, "6", "x", 30_000)
    book.delete("shop", "order", "1")
    book.delete("shop", "invoice", "5")
    book.put("shop", "order", "1", "2", number="x")
    book.put("shop", "order", "20", "1", number="z")
    return book


@pytest.mark.slow
def test_a_crash_at_any_write_changes_nothing() -> None:
    history = a_life_of_numbers().history(size=2)
    assert not wrong_crashes(history, lambda: new_engine(history))


def test_a_token_that_forgets_whom_it_meant_leaves_rows_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    history = a_life_of_numbers().history()
    monkeypatch.setattr(fold, "_left", lambda *_: [])
    assert wrong(history, play(history, new_engine(history)))


COLUMNS = {"id": "int", "number": "string", "placed": ["null", "int"], "customer_id": "int"}
MAPPING = """
systems: {s: {currency: PLN}}
topics:
  - {match: s.customers, system: s, entity: customer, key: id, fields: {email: email}}
  - match: s.orders
    system: s
    entity: order
    key: id
    parent: {customer: customer_id}
    fields: {number: number, placed_at: CAST(placed * 1000000 AS TIMESTAMP)}
  - match: s.bills
    system: s
    entity: invoice
    key: id
    parent: {order: {number: reference FIRST}, customer: customer_id}
    fields: {amount: amount}
"""


def deploy(home: Path, redis_url: str, first: str = "") -> Path:
    (home / "mapping.yaml").write_text(MAPPING.replace(" FIRST", first))
    config = home / "nurt.yaml"
    config.write_text(
        f"mapping: mapping.yaml\ndata: data\nsecret: '{'00' * 16}'\n"
        f"state: {{url: '{redis_url}', prefix: {home.name}}}\n"
        "input: {archives: [s.bills/archive, s.customers/archive, s.orders/archive], rows_max: 2}\n"
        "output: {duckdb: profiles.duckdb}\n"
    )
    return config


def shop() -> tuple[Topic, Topic, Topic]:
    """Return a shop whose cart was split: two orders have one reference; a bill names it, and one names nothing."""
    customers = Topic({"id": "int", "email": "string"}, name="s.customers")
    orders, columns = Topic(COLUMNS, name="s.orders"), {"id": "int", "amount": "int"}
    bills = Topic({**columns, "reference": "string", "customer_id": ["null", "int"]}, name="s.bills")
    for number in (1, 2):
        customers.upsert(row={"id": number, "email": f"c{number}@example.com"})
    bills.upsert(row={"id": 1, "amount": 10, "reference": "SPLIT", "customer_id": None})
    bills.upsert(row={"id": 2, "amount": 30, "reference": " ", "customer_id": 2})
    bills.upsert(row={"id": 3, "amount": 50, "reference": "77", "customer_id": None})
    orders.upsert(row={"id": 9, "number": "SPLIT", "placed": 100, "customer_id": 1})
    orders.upsert(row={"id": 10, "number": "SPLIT", "placed": 100, "customer_id": 2})
    orders.upsert(row={"id": 11, "number": "77", "placed": None, "customer_id": 1})
    return customers, orders, bills


def owed(config: Path, *, rebuild: bool = False) -> dict[str, float]:
    """Run, and return what each customer owes."""
    run_here(profiles, load_settings(config), rebuild=rebuild)
    with duckdb.connect(str(config.parent / "profiles.duckdb")) as file:
        rows = file.execute(
            "SELECT email, coalesce(sum(profile_invoices.open_amount), 0) FROM profiles "
            "LEFT JOIN profile_invoices USING (id) GROUP BY email"
        )
        return {email: float(amount) for email, amount in rows.fetchall()}


@pytest.mark.parametrize(
    ("first", "of_split"),
    [
        ("", 0),
        (", first: [placed_at desc, key]", 1),
        (", first: [placed_at, key desc]", 2),
        (", first: key", 1),
    ],
)
def test_bills_by_reference_go_to_their_orders(tmp_path: Path, redis_url: str, first: str, of_split: int) -> None:
    config = deploy(tmp_path, redis_url, first)
    for topic in shop():
        (tmp_path / topic.name).mkdir()
        write(tmp_path / topic.name, [topic])  # an archive each, for they number schemas alike
    expected = {"c1@example.com": 50.0, "c2@example.com": 30.0}
    if of_split:
        expected[f"c{of_split}@example.com"] += 10
    assert owed(config) == expected
    assert owed(config, rebuild=True) == expected


def test_check_says_which_references_find_nobody_and_which_find_several(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = deploy(tmp_path, redis_url)
    customers, orders, bills = shop()
    bills.upsert(row={"id": 4, "amount": 70, "reference": "NONE", "customer_id": None})
    for topic in (customers, orders, bills):
        (tmp_path / topic.name).mkdir()
        write(tmp_path / topic.name, [topic])
    found = json.loads(run_nurt(monkeypatch, capfd, "check", "--json", "--config", str(config)).out)["children"]
    assert [(one["child"], one["parent"], one["rows"], one["missing"], one["several"]) for one in found] == [
        ("invoice", "order by number", 4, 1, 1)
    ]
    said = " ".join(run_nurt(monkeypatch, capfd, "check", "--config", str(config)).out.split())
    assert "1 of 4 invoice of s name several rows: order by number" in said
    assert "1 of 4 invoice of s name an order by number that is not there" in said
    deploy(tmp_path, redis_url, ", first: key")
    found = json.loads(run_nurt(monkeypatch, capfd, "check", "--json", "--config", str(config)).out)["children"]
    assert [(one["missing"], one["several"]) for one in found] == [(1, 0)]
