"""A shop whose orders, lines and customers are rows of several tables, from its messages to its profiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from nurt.app.running import run_here
from nurt.flows.profiles import profiles
from nurt.settings import load_settings
from tests.envelopes import Topic
from tests.flows.test_topics_of_one_table import write

COLUMNS = {"id": "int", **{name: ["null", "string"] for name in "abc"}}
MAPPING = """
systems:
  shop: {country: PL}
topics:
  - {match: shop.usermeta, system: shop, entity: table, name: usermeta, key: id, fields: {user: a, name: b, value: c}}
  - {match: shop.postmeta, system: shop, entity: table, name: postmeta, key: id, fields: {post: a, name: b, value: c}}
  - {match: shop.itemmeta, system: shop, entity: table, name: itemmeta, key: id, fields: {item: a, name: b, value: c}}
  - {match: shop.products, system: shop, entity: table, name: goods, key: id, fields: {sku: a}}
  - match: shop.users
    system: shop
    entity: customer
    key: id
    with:
      meta: {table: usermeta, on: user, pivot: {name: name, value: value}}
    fields: {email: a, phone: meta.billing_phone}
  - match: shop.posts
    system: shop
    entity: order
    key: id
    where: a = 'shop_order'
    with:
      meta: {table: postmeta, on: post, pivot: {name: name, value: value}}
    parent: {customer: meta._customer_user}
    fields: {number: id, gross: meta._order_total, currency: meta._order_currency, email: meta._billing_email}
  - match: shop.items
    system: shop
    entity: order_line
    key: id
    parent: {order: a}
    with:
      meta: {table: itemmeta, on: item, pivot: {name: name, value: value}}
      product: {table: goods, by: meta._product_id}
    fields: {name: b, sku: product.sku, quantity: meta._qty, gross: meta._line_total}
"""
TABLES = ("usermeta", "postmeta", "itemmeta", "products", "users", "posts", "items")


class Shop:
    """Topics of one database."""

    def __init__(self, home: Path, redis_url: str) -> None:
        self.home = home
        self.topics = {name: Topic(COLUMNS, kind="mysql", name=f"shop.{name}") for name in TABLES}
        self._pos = 100
        (home / "mapping.yaml").write_text(MAPPING)
        (home / "nurt.yaml").write_text(
            f"mapping: mapping.yaml\ndata: data\nsecret: '{'00' * 16}'\n"
            f"state: {{url: '{redis_url}', prefix: {home.name}, shards: 2}}\n"
            "input: {archives: [archive], rows_max: 3}\noutput: {duckdb: profiles.duckdb}\n"
        )

    def put(self, table: str, number: int, a: Any = None, b: Any = None, c: Any = None) -> None:
        """Insert or update a row."""
        self._pos += 10
        self.topics[table].upsert(row={"id": number, "a": a, "b": b, "c": c}, pos=self._pos)

    def delete(self, table: str, number: int) -> None:
        """Delete a row."""
        self._pos += 10
        self.topics[table].delete(row={"id": number, "a": None, "b": None, "c": None}, pos=self._pos)

    def run(self) -> None:
        """Read what was written since the last run."""
        write(self.home, list(self.topics.values()))
        run_here(profiles, load_settings(self.home / "nurt.yaml"))

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Query the profiles."""
        with duckdb.connect(str(self.home / "profiles.duckdb")) as file:
            return file.execute(query).fetchall()


def test_what_a_shop_keeps_in_rows_of_meta_is_part_of_profiles(tmp_path: Path, redis_url: str) -> None:
    shop = Shop(tmp_path, redis_url)
    shop.put("usermeta", 1, "7", "billing_phone", "601000001")
    shop.put("usermeta", 2, "7", "nickname", "ania")
    shop.put("users", 7, "anna@example.com")
    shop.put("posts", 20, "shop_order")
    shop.put("posts", 21, "page")
    shop.put("postmeta", 1, "20", "_order_total", "77.00")
    shop.put("postmeta", 2, "20", "_order_currency", "PLN")
    shop.put("postmeta", 3, "20", "_customer_user", "7")
    shop.put("postmeta", 4, "21", "_order_total", "5")
    shop.put("items", 30, "20", "Mug")
    shop.put("itemmeta", 1, "30", "_product_id", "502")
    shop.put("itemmeta", 2, "30", "_qty", "2")
    shop.put("itemmeta", 3, "30", "_line_total", "77.00")
    shop.put("products", 502, "MUG-1")
    shop.run()
    columns = "profiles.email, phone, currency, CAST(profile_orders.gross AS VARCHAR)"
    orders = f"SELECT {columns} FROM profiles JOIN profile_orders USING (id)"
    assert shop.ask(orders) == [("anna@example.com", "+48601000001", "PLN", "77.0000")]
    products = "SELECT sku, CAST(quantity AS VARCHAR) FROM profile_products"
    assert shop.ask(products) == [("MUG-1", "2.0000")]

    shop.put("products", 502, "MUG-2")  # another table's row, long after the line
    shop.put("postmeta", 1, "20", "_order_total", "80.5")
    shop.delete("usermeta", 1)
    shop.put("users", 8, "bea@example.com")
    shop.put("postmeta", 3, "20", "_customer_user", "8")  # the order was another customer's
    shop.run()
    assert shop.ask(orders) == [("bea@example.com", None, "PLN", "80.5000")]
    assert shop.ask(products) == [("MUG-2", "2.0000")]
    assert shop.ask("SELECT email, phone FROM profiles ORDER BY email")[0] == ("anna@example.com", None)
