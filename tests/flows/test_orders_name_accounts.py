"""An order that is published names its account exactly as the customer's profile does."""

from __future__ import annotations

from nurt.contracts.profile_reader import read_profile
from nurt.model.stock.plan import UNIT
from tests.flows.book import Book, new_engine, play
from tests.flows.test_stock_rules import plan
from tests.oracle.frames import batch_of
from tests.oracle.naming import DEPLOYMENT_IDS
from tests.oracle.stock_engine import StockEngine
from tests.oracle.values import TODAY


def test_a_customers_order_and_a_guests_name_the_accounts_of_their_profiles() -> None:
    book = Book()
    book.put("shop", "customer", "7", email="anna@x.pl")
    book.put("shop", "order", "1", "7", number="1", placed_at=0)
    book.put("shop", "order", "2", number="2", email="guest@x.pl", placed_at=0)
    for order in ("1", "2"):
        book.put("shop", "order_line", order, order, sku="A", quantity=UNIT)
    history = book.history()
    topic = play(history, new_engine(history)).topic
    profiles = [read_profile(value) for _, value in topic.newest.values() if value is not None]
    accounts = {(one["entity"], one["key"]): one["account"] for profile in profiles for one in profile["accounts"]}
    stock = StockEngine(plan())
    stock.start(1)
    stock.feed(batch_of([event for event in book.log if event.kind != "customer"], DEPLOYMENT_IDS))
    stock.drain(TODAY)
    named = {order["number"]: order["account"] for _, order in stock.orders.values() if order}
    assert named == {"1": accounts["customer", "7"], "2": accounts["guest", "order\x1f2"]}
