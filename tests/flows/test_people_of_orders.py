"""Addresses, consents and interactions of orders go where the order's account is, and of a guest's they identify."""

from __future__ import annotations

from typing import Any

import pytest

from nurt.profiles import orders
from nurt.profiles.people import of_orders
from nurt.rows.children.tables import ADDRESS, AGGREGATES
from tests.flows.book import Book, kind_of, new_engine, play, wrong, wrong_crashes
from tests.flows.test_people_without_account import profile_with
from tests.oracle.values import DAY_US, TODAY

NOW = TODAY * DAY_US
HOME: dict[str, Any] = {"street": "Długa 1", "city": "Gdańsk", "country": "PL"}
PHONE = "+48601000001"


def parcels() -> Book:
    """Write down orders with addresses that come before and after them, move, change and go."""
    book = Book()
    book.put("shop", "customer", "1", email="ann@example.com")
    book.put("shop", "address", "7", "order 10", **HOME, phone=PHONE, known=f"phone {PHONE}")  # before its order
    book.put("shop", "order", "10", "1", gross=10_000, placed_at=NOW)
    book.put("shop", "address", "8", "order 11", **HOME, phone=PHONE)
    book.put("shop", "order", "11", "1", gross=20_000, placed_at=NOW)
    book.put("shop", "address", "9", "1", **HOME, phone=PHONE)  # the customer's own is equal
    book.put("shop", "order", "12", gross=1_000, placed_at=NOW)  # a guest's, without e-mail
    book.put("shop", "address", "1", "order 12", kind="billing", city="Sopot", known="email bob@example.com")
    book.put("shop", "address", "2", "order 12", kind="shipping", city="Hel", known="email cyd@example.com")
    book.put("books", "customer", "5", email="bob@example.com", first_name="Bob")
    book.put("books", "customer", "6", email="cyd@example.com", first_name="Cyd")
    book.put("shop", "consent", "1", "order 12", purpose="newsletter", granted=True, at=NOW)
    book.put("shop", "consent", "2", "order 12", purpose="newsletter", granted=False, at=NOW - DAY_US)
    book.put("shop", "consent", "3", "order 10", purpose="profiling", granted=None)
    book.put("shop", "interaction", "1", "order 12", kind="call", at=NOW, known="phone +48601000009")
    book.put("shop", "order", "10")  # a guest's now, so its phone identifies
    book.put("shop", "address", "7", "order 10", kind="billing", **HOME, phone=PHONE, known=f"phone {PHONE}")
    book.put("shop", "order", "11", "1", status="cancelled")
    book.put("shop", "address", "8", "1", **HOME)  # goes from the order to the customer
    book.put("shop", "consent", "2", "order 11", purpose="newsletter", granted=False, at=NOW)
    return book


def test_an_orders_addresses_and_consents_are_its_accounts() -> None:
    book = parcels()
    history = book.history()
    engine = play(history, new_engine(history))
    assert not wrong(history, engine)
    ann = profile_with(engine, "email", "ann@example.com")
    assert [(one["purpose"], one["granted"]) for one in ann["consents"]] == [("newsletter", False)]
    bob = profile_with(engine, "email", "bob@example.com")
    assert [one["city"] for one in bob["addresses"]] == ["Sopot", "Hel"]
    assert len(bob["accounts"]) == 2 and {"kind": "email", "value": "cyd@example.com"} not in bob["identifiers"]
    assert bob["last_interaction_on"] is not None


@pytest.mark.parametrize("size", [1, 4, 50])
def test_they_move_with_the_order(size: int) -> None:
    history = parcels().history(size=size)
    assert not wrong(history, play(history, new_engine(history)))


@pytest.mark.slow
def test_a_crash_at_any_write_changes_nothing_of_it() -> None:
    history = parcels().history(size=3)
    assert not wrong_crashes(history, lambda: new_engine(history))


def addresses_of_ann(orders_count: int, own: int = 0) -> list[dict[str, Any]]:
    book = Book()
    book.put("shop", "customer", "1", email="ann@example.com")
    for number in range(orders_count):
        book.put("shop", "order", f"{number}", "1", gross=1, placed_at=NOW)
        book.put("shop", "address", f"{number}", f"order {number}", **HOME)
    for number in range(own):
        book.put("shop", "address", f"own{number}", "1", **HOME)
    history = book.history(size=100)
    engine = play(history, new_engine(history))
    assert not wrong(history, engine)
    return list(profile_with(engine, "email", "ann@example.com")["addresses"])


def test_equal_addresses_are_one_with_a_count() -> None:
    (of_orders_alone,) = addresses_of_ann(3)
    assert (of_orders_alone["count"], of_orders_alone["row"]) == (3, "")
    (own,) = addresses_of_ann(2, own=2)
    assert own["count"] == 4
    assert len(own["row"]) == 32


def test_the_equal_addresses_of_many_orders_are_one_row_of_the_state() -> None:
    book = Book()
    for number in range(60):
        book.put("shop", "order", f"{number}", "1", gross=1, placed_at=NOW)
        book.put("shop", "address", f"{number}", f"order {number}", **HOME)
    history = book.history(size=50)
    engine = play(history, new_engine(history))
    values = [value for key, value in engine.memory.values.items() if kind_of(key) == b"s"]
    frame = AGGREGATES.unpack(values, ("metric", "count"))
    assert frame["count"].filter(frame["metric"] == ADDRESS).to_list() == [60]


def test_a_profile_lists_a_hundred_addresses() -> None:
    book = Book()
    book.put("shop", "customer", "1", email="ann@example.com")
    book.put("shop", "order", "1", "1", gross=1, placed_at=NOW)
    for number in range(130):
        book.put("shop", "address", f"{number}", "order 1" if number % 2 else "1", street=f"Długa {number}")
    history = book.history(size=200)
    engine = play(history, new_engine(history))
    assert not wrong(history, engine)
    found = profile_with(engine, "email", "ann@example.com")["addresses"]
    assert (len(found), sum(bool(one["row"]) for one in found)) == (100, 65)


def _identifies_by_any_address(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(of_orders, "BILLING", "shipping")


def _identifies_nobody(patch: pytest.MonkeyPatch) -> None:
    def nothing(people: Any, guests: Any) -> Any:
        return of_orders.identifiers_of_guests(people, guests & False)

    patch.setattr(orders, "identifiers_of_guests", nothing)


def _tells_accounts_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(orders, "add_people", lambda partials, *_: partials)


@pytest.mark.parametrize("switch", [_identifies_by_any_address, _identifies_nobody, _tells_accounts_nothing])
def test_without_a_rule_it_goes_wrong(switch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    history = parcels().history(size=2)
    switch(monkeypatch)
    assert wrong(history, play(history, new_engine(history)))
