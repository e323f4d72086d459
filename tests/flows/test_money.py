"""What was given back, what is net, what was paid and what is still to be paid: of orders, and beside them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from nurt.contracts.profile_reader import read_profile
from tests.flows.book import Book, new_engine, play, wrong, wrong_crashes
from tests.oracle.histories import History
from tests.oracle.values import DAY_US, TODAY

UNIT = 10_000
MONEY = ("gross", "given_back", "net", "paid", "open_amount")


def a_shop(**order: Any) -> Book:
    """Begin with a customer and an order of 200.00 PLN."""
    book = Book()
    book.put("shop", "customer", "1", email="anna@example.com")
    book.put("shop", "order", "1", "1", **{"gross": 200 * UNIT, "placed_at": TODAY * DAY_US, **order})
    return book


def lines_of(book: Book) -> dict[tuple[str, str], tuple[int, ...]]:
    """Return the money of the only profile by currency and market; the oracle must agree with all of it."""
    history = book.history()
    engine = play(history, new_engine(history))
    assert not wrong(history, engine)
    (profile,) = (read_profile(value) for _, value in engine.topic.newest.values() if value is not None)
    found = {(line["currency"], line["market"]): line for line in profile["orders"]}
    for line in found.values():
        assert all(line[name] == line[name].to_integral_value() for name in MONEY if isinstance(line[name], Decimal))
    return {place: tuple(int(line[name]) for name in MONEY) for place, line in found.items()}


def test_a_credit_memo_gives_back_a_part_of_its_order() -> None:
    book = a_shop()
    book.put("shop", "refund", "1", "1", amount=150 * UNIT, number="CM-1")
    assert lines_of(book) == {("PLN", ""): (200, 150, 50, 0, 50)}


@pytest.mark.parametrize("amounts", [(50, 30), (-50, -30), (50, -30)])
def test_refunds_give_back_whatever_sign_their_system_writes(amounts: tuple[int, ...]) -> None:
    book = a_shop()
    for key, amount in enumerate(amounts):
        book.put("shop", "refund", str(key), "1", amount=amount * UNIT, currency="PLN")
    assert lines_of(book) == {("PLN", ""): (200, 80, 120, 0, 120)}


def test_what_is_paid_in_part_leaves_the_rest_open_and_too_much_leaves_nothing() -> None:
    book = a_shop()
    book.put("shop", "payment", "1", "1", amount=60 * UNIT, status="done")
    assert lines_of(book) == {("PLN", ""): (200, 0, 200, 60, 140)}
    book.put("shop", "payment", "2", "1", amount=160 * UNIT)
    assert lines_of(book) == {("PLN", ""): (200, 0, 200, 220, 0)}


def test_too_much_paid_for_one_order_does_not_pay_for_another() -> None:
    book = a_shop()
    book.put("shop", "order", "2", "1", gross=100 * UNIT)
    book.put("shop", "payment", "1", "1", amount=300 * UNIT)
    assert lines_of(book) == {("PLN", ""): (300, 0, 300, 300, 100)}


@pytest.mark.parametrize("status", ["failed", "cancelled", "pending"])
def test_money_that_did_not_move_is_neither_paid_nor_given_back(status: str) -> None:
    book = a_shop()
    book.put("shop", "payment", "1", "1", amount=60 * UNIT, status=status)
    book.put("shop", "refund", "1", "1", amount=20 * UNIT, status=status)
    book.put("shop", "refund", "2", amount=0)
    assert lines_of(book) == {("PLN", ""): (200, 0, 200, 0, 200)}
    for kind in ("payment", "refund"):
        book.put("shop", kind, "1", "1", status="done")
    assert lines_of(book) == {("PLN", ""): (200, 20, 180, 60, 120)}


@pytest.mark.parametrize("status", ["failed", "pending", "paid"])
def test_a_status_of_payments_says_nothing_of_an_order(status: str) -> None:
    book = a_shop(status=status)
    book.put("shop", "refund", "1", "1", amount=20 * UNIT)
    assert lines_of(book) == {("PLN", ""): (200, 20, 180, 0, 180)}


def test_an_order_that_came_back_gives_back_only_what_a_refund_says() -> None:
    assert lines_of(a_shop(status="returned")) == {("PLN", ""): (200, 0, 200, 0, 200)}


def test_a_cancelled_order_sold_nothing_so_nothing_of_it_counts() -> None:
    book = a_shop(status="cancelled")
    book.put("shop", "payment", "1", "1", amount=200 * UNIT)
    book.put("shop", "refund", "1", "1", amount=200 * UNIT)
    book.put("shop", "refund", "2", "1", amount=20 * UNIT, currency="EUR")
    assert lines_of(book) == {("PLN", ""): (0, 0, 0, 0, 0)}
    book.put("shop", "order", "1", "1", status="open")
    assert lines_of(book) == {("PLN", ""): (200, 200, 0, 200, 0), ("EUR", ""): (0, 20, -20, 0, 0)}


def test_a_refund_in_another_currency_has_a_line_of_its_own_in_the_orders_market() -> None:
    book = a_shop(market="a market with a long name, longer than sixteen bytes")
    for key in range(9):
        book.put("shop", "refund", str(key), "1", amount=3 * UNIT, currency="EUR")
    market = "a market with a long name, longer than sixteen bytes"
    assert lines_of(book) == {("PLN", market): (200, 0, 200, 0, 200), ("EUR", market): (0, 27, -27, 0, 0)}


def test_a_refund_beside_orders_is_in_the_line_of_its_system() -> None:
    book = a_shop()
    connector = book.connectors["shop"]
    connector.set_row("refund", "refund", "9", ("customer", "customer", "1"), amount=-70 * UNIT)
    connector.set_row("refund", "refund", "8", ("customer", "customer", "1"), amount=5 * UNIT, status="pending")
    assert lines_of(book) == {("PLN", ""): (200, 70, 130, 0, 200)}


def test_a_negative_invoice_gives_nothing_back() -> None:
    book = a_shop()
    connector = book.connectors["shop"]
    connector.set_row("invoice", "invoice", "1", ("order", "order", "1"), amount=-150 * UNIT)
    assert lines_of(book) == {("PLN", ""): (200, 0, 200, 0, 200)}


def a_history_of_money() -> History:
    """Write refunds and payments before their order, move them, change them, take them away."""
    book = Book()
    book.put("shop", "refund", "1", "1", amount=50 * UNIT)
    book.put("shop", "payment", "1", "1", amount=100 * UNIT, status="pending")
    book.put("shop", "customer", "1", email="anna@example.com")
    book.put("shop", "order", "1", "1", gross=200 * UNIT)
    book.put("shop", "order", "2", "1", gross=90 * UNIT)
    book.put("shop", "payment", "1", "1", status="done")
    book.put("shop", "refund", "1", "2")
    book.put("shop", "refund", "2", "2", amount=-10 * UNIT, currency="EUR")
    book.connectors["shop"].set_row("refund", "refund", "1", ("customer", "customer", "1"), amount=40 * UNIT)
    book.delete("shop", "payment", "1")
    book.delete("shop", "refund", "2")
    book.put("shop", "order", "2", status="cancelled")
    return book.history()


def test_money_is_exact_after_a_crash_at_any_write() -> None:
    history = a_history_of_money()
    assert not wrong(history, play(history, new_engine(history)))
    assert not wrong_crashes(history, lambda: new_engine(history))
