"""What waits for an order or a customer that never came is found, by table and age, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from nurt.adapters.redis.client import Redis
from nurt.cli.commands.stats import print_waiting
from nurt.inspect.counters import NOBODY, WAITING
from nurt.inspect.waiting import AGES, EXAMPLES_MAX, WaitingReader
from tests.flows.book import Book, new_engine, play
from tests.oracle.engine import Engine
from tests.oracle.values import DAY_US, TODAY

NOW_MS = TODAY * DAY_US // 1000
HOUR_MS = 3_600_000


class Client:
    """The two commands of Redis that the reader needs, over an engine's memory."""

    def __init__(self, engine: Engine) -> None:
        self._values = engine.memory.values

    def scan_iter(self, match: bytes, count: int) -> Iterator[bytes]:
        assert count and match.endswith(b"*")
        yield from [key for key in self._values if key.startswith(match[:-1])]

    def mget(self, keys: list[bytes]) -> list[Any]:
        return [self._values.get(key) for key in keys]


def reader_of(book: Book) -> WaitingReader:
    history = book.history(size=3)
    engine = play(history, new_engine(history))
    return WaitingReader(cast(Redis, Client(engine)), engine.keys)


def a_shop_that_lacks_orders() -> Book:
    book = Book()
    book.put("shop", "customer", "1", email="ann@example.com")
    book.put("shop", "order", "1", "1", gross=1)
    book.put("shop", "order_line", "1", "1", sku="A")  # its order is there
    for number in range(5):
        book.put("shop", "order_line", f"1{number}", f"9{number}", sku="A")
    book.put("shop", "payment", "1", "90", amount=1)
    book.put("shop", "order_line", "14", "1")  # found its order
    book.put("shop", "order_line", "13", "93")
    book.delete("shop", "order_line", "13")
    book.put("books", "order", "2", "77")  # of a customer that never came
    book.put("books", "order", "3")  # a guest's
    return book


def test_children_wait_by_table_and_age() -> None:
    reader = reader_of(a_shop_that_lacks_orders())
    lines, payments = reader.children(NOW_MS + 2 * HOUR_MS)
    assert (lines.system, lines.entity, lines.parent, lines.rows) == ("shop", "order_line", "order", 3)
    assert sorted(lines.examples) == ["90", "91", "92"] and len(lines.examples) == EXAMPLES_MAX
    assert (payments.entity, payments.ages) == ("payment", [0, 1, 0, 0])
    assert reader.children(NOW_MS + 30 * 24 * HOUR_MS)[0].ages == [0, 0, 0, 3]
    assert AGES[1] == "under a day"


def test_customers_that_never_came_are_named_and_guests_are_not() -> None:
    (unmet,) = reader_of(a_shop_that_lacks_orders()).accounts()
    assert (unmet.system, unmet.entity, unmet.accounts, unmet.examples) == ("books", "customer", 1, ["77"])


def test_where_all_is_there_nothing_waits(capfd: Any) -> None:
    book = Book()
    book.put("shop", "order_line", "1", "1", sku="A")
    book.put("shop", "order", "1", "1", gross=1)
    book.put("shop", "customer", "1", email="ann@example.com")
    reader = reader_of(book)
    children, accounts = reader.children(NOW_MS), reader.accounts()
    assert (children, accounts) == ([], [])
    print_waiting(children, accounts)
    assert "Nothing waits" in capfd.readouterr().out


def test_what_waits_is_printed(capfd: Any) -> None:
    reader = reader_of(a_shop_that_lacks_orders())
    print_waiting(reader.children(NOW_MS), reader.accounts())
    printed = capfd.readouterr().out
    assert "order_line" in printed and "77" in printed


def test_rows_of_nobody_are_counted_once() -> None:
    book = Book()
    book.put("shop", "address", "1", city="Gdynia")
    book.put("shop", "consent", "1", purpose="newsletter")
    book.put("shop", "consent", "2", known="email ann@example.com", purpose="newsletter")  # stands for somebody
    book.put("shop", "order_line", "1", sku="A")
    book.put("shop", "order_line", "2", "7", sku="A")
    book.put("shop", "order", "1", gross=1)  # a guest's
    book.put("shop", "shipment", "1")  # may be without an order
    book.delete("shop", "order_line", "1")
    history = book.history(size=2)
    engine = play(history, new_engine(history), crash_at=3)
    nobodys = {reason: rows for (_, outcome, reason), rows in engine.memory.counts.items() if outcome == NOBODY}
    assert nobodys == {"address": 1, "consent": 1, "order_line": 1}


def test_what_waits_is_counted_as_it_lies_in_the_state() -> None:
    history = a_shop_that_lacks_orders().history(size=3)
    engine = play(history, new_engine(history))
    waiting = {reason: rows for (_, outcome, reason), rows in engine.memory.counts.items() if outcome == WAITING}
    reader = WaitingReader(cast(Redis, Client(engine)), engine.keys)
    assert {reason: rows for reason, rows in waiting.items() if rows} == reader.counts()
    assert reader.counts() == {"order_line of order": 3, "payment of order": 1}


def test_without_the_rule_a_base_is_missing() -> None:
    """State that was written before rows were counted gives up more than was ever counted."""
    book = Book()
    book.put("shop", "order_line", "1", "1", sku="A")
    engine = play(history := book.history(), new_engine(history))
    engine.memory.counts.clear()
    book.put("shop", "order", "1", gross=1)
    engine = play(book.history(), engine)
    assert engine.memory.counts["", WAITING, "order_line of order"] == -1
