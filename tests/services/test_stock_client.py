"""A shop's own calls against a real server: what can be sold, reservations, and what comes of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from nurt.drilling import Sale, settings_of
from nurt.errors import ConfigurationError
from nurt.model.stock_plan import UNIT
from nurt.stock import Line, Stock
from tests.services.stack.redis_server import RedisServer


@pytest.fixture
def sale(start_redis: Callable[..., RedisServer], tmp_path: Path) -> tuple[Sale, Stock]:
    """Ten pieces of A and four of B, and K, a kit of two A and one B."""
    settings = settings_of(start_redis("valkey").socket_url, tmp_path)
    sale = Sale(settings)
    sale.feed("stock_level", [level("A", 10), level("B", 4)])
    sale.feed("kit_part", [part("1", "A", 2), part("2", "B", 1)])
    sale.tick()
    return sale, Stock.open(settings)


def level(sku: str, pieces: int) -> dict[str, object]:
    return {"system": "erp", "key": sku, "sku": sku, "location": "MAIN", "quantity": pieces * UNIT}


def part(key: str, sku: str, pieces: int) -> dict[str, object]:
    return {"system": "erp", "key": key, "kit": "K", "sku": sku, "quantity": pieces * UNIT}


def test_a_basket_is_answered_at_once_with_kits_and_reservations(sale: tuple[Sale, Stock]) -> None:
    _, shop = sale
    assert shop.available(["A", "B", "K", "none"], "web", "PL") == {"A": 10, "B": 4, "K": 4, "none": 0}
    assert shop.reserve("1", [Line("1", "K", 2)], "web", "PL")
    assert shop.available(["A", "B", "K"], "app", "PL") == {"A": 6, "B": 2, "K": 2}
    assert shop.release("1", "web")
    assert not shop.release("1", "web"), "it holds nothing any more"
    assert shop.available(["A"], "app", "PL") == {"A": 10}


def test_a_kit_of_kits_is_reserved_by_its_last_parts(sale: tuple[Sale, Stock]) -> None:
    flow, shop = sale
    flow.feed("kit_part", [{**part("3", "K", 2), "kit": "L"}])
    flow.tick()
    assert shop.available(["L"], "web", "PL") == {"L": 2}
    assert shop.reserve("1", [Line("1", "L", 1)], "web", "PL")
    assert shop.available(["A", "B", "L"], "web", "PL") == {"A": 6, "B": 2, "L": 1}
    flow.feed("kit_part", [{**part("4", "L", 1), "kit": "K"}])  # now each contains the other
    flow.tick()
    assert shop.available(["K", "L"], "web", "PL") == {"K": 0, "L": 0}


def test_an_order_is_held_whole_or_not_at_all_and_asked_twice_once(sale: tuple[Sale, Stock]) -> None:
    _, shop = sale
    refused = shop.reserve("1", [Line("1", "A", 3), Line("2", "B", 5)], "web", "PL")
    assert (refused.status, refused.sku, refused.available) == ("refused", "B", Decimal(4))
    assert not refused
    for _ in range(2):
        assert shop.reserve("1", [Line("1", "A", 3)], "web", "PL").status == "accepted"
    assert shop.available(["A"], "web", "PL") == {"A": 7}
    assert shop.reserve("1", [Line("1", "A", 4)], "web", "PL").status == "differs"


def test_a_reservation_becomes_the_orders_own(sale: tuple[Sale, Stock]) -> None:
    flow, shop = sale
    assert shop.reserve("1", [Line("1", "A", 3)], "web", "PL")
    now_us = time.time_ns() // 1000
    flow.feed("order", [{"system": "web", "key": "1", "number": "1", "status": "open", "placed_at": now_us}])
    flow.feed("order_line", [{"system": "web", "key": "1", "parent": "1", "sku": "A", "quantity": 3 * UNIT}])
    flow.tick()
    assert shop.available(["A"], "web", "PL") == {"A": 7}
    assert flow.held()[0] == 0
    flow.feed("order", [{"system": "web", "key": "2", "number": "2", "status": "open", "placed_at": now_us}])
    assert shop.reserve("2", [Line("1", "A", 3)], "web", "PL").status == "known", "its rows hold by themselves"


def test_what_cannot_be_asked_is_said_in_words(sale: tuple[Sale, Stock]) -> None:
    flow, shop = sale
    assert shop.reserve("1", [Line("1", "A", 1)], "till", "PL").status == "unknown route"
    with pytest.raises(ConfigurationError, match="no such channel and market"):
        shop.available(["A"], "till", "PL")
    with pytest.raises(ConfigurationError, match="leave it out"):
        shop.reserve("1", [Line("1", "A", 0)], "web", "PL")
    flow.client.delete(flow.place + b"o")  # as when the flow has not caught up
    assert shop.reserve("1", [Line("1", "A", 1)], "web", "PL").status == "closed"
