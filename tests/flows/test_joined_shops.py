"""Shops and ERPs whose things lie in several rows: whole runs over tables as these systems really have them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from nurt.app.running import run_here, run_stock_here
from nurt.flows.profiles import profiles
from nurt.flows.stock import stock
from nurt.settings import load_settings
from tests.command_line import Ran, run_nurt
from tests.envelopes import Topic
from tests.flows.test_topics_of_one_table import write

LONG, TEXT = ["null", "long"], ["null", "string"]


@pytest.fixture
def nurt_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    return lambda *arguments: run_nurt(monkeypatch, capfd, *arguments)


class Shop:
    """Tables of one database, each with an archive of its own; binlog positions go on over all of them."""

    def __init__(self, home: Path, redis_url: str, mapping: str, tables: Mapping[str, Mapping[str, Any]]) -> None:
        self.home, self._redis_url = home, redis_url
        self._places = itertools.count(100, 10)
        self._topics = {name: Topic(columns, (next(iter(columns)),), "mysql", name) for name, columns in tables.items()}
        self._order = list(tables)
        (home / "mapping.yaml").write_text(mapping)

    def put(self, table: str, *rows: Sequence[Any], op: str = "c") -> None:
        """Write rows, whose values are in the order of the table's columns."""
        topic = self._topics[table]
        for row in rows:
            topic.upsert(op, row=self._named(table, row), pos=next(self._places))

    def delete(self, table: str, *rows: Sequence[Any]) -> None:
        for row in rows:
            self._topics[table].delete(row=self._named(table, row), pos=next(self._places))

    def _named(self, table: str, row: Sequence[Any]) -> dict[str, Any]:
        fields = next(one for one in self._topics[table].schemas[2]["fields"] if one["name"] == "before")
        return dict(zip((column["name"] for column in fields["type"][1]["fields"]), row, strict=True))

    def turned(self) -> Shop:
        """Let tables be read in the opposite order."""
        self._order.reverse()
        return self

    def config(self) -> str:
        for name, topic in self._topics.items():
            (self.home / name).mkdir(exist_ok=True)
            write(self.home / name, [topic])
        archives = ", ".join(f"{name}/archive" for name in self._order)
        path = self.home / "nurt.yaml"
        path.write_text(
            f"mapping: mapping.yaml\ndata: data\nsecret: '{'00' * 16}'\n"
            f"state: {{url: '{self._redis_url}', prefix: {self.home.name}, shards: 2}}\n"
            f"input: {{archives: [{archives}], rows_max: 3}}\n"
            "output: {duckdb: profiles.duckdb}\nstock: {duckdb: stock.duckdb, conflate_ms: 0}\n"
        )
        return str(path)

    def run(self, *, rebuild: bool = False) -> None:
        run_here(profiles, load_settings(Path(self.config())), rebuild=rebuild)

    def ask(self, sql: str, file: str = "profiles") -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.home / f"{file}.duckdb")) as opened:
            return opened.execute(sql).fetchall()


@pytest.fixture(params=["bases first", "sides first"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[Callable[..., Shop]]:
    def make(mapping: str, tables: Mapping[str, Mapping[str, Any]]) -> Shop:
        made = Shop(tmp_path, redis_url, mapping, tables)
        return made if request.param == "bases first" else made.turned()

    yield make


USERS = """
systems: {shop: {country: PL}}
topics:
  - match: users
    system: shop
    entity: customer
    key: ID
    with: {meta: {table: user_meta, on: user, pivot: {name: name, value: value}, first: [key]}}
    fields:
      email: user_email
      phone: meta.billing_phone
      tax_id: meta.nip
      first_name: COALESCE(meta.first_name, nick)
  - {match: meta, system: shop, entity: table, name: user_meta, key: umeta_id,
     fields: {user: user_id, name: k, value: v}}
"""
USER_TABLES = {
    "users": {"ID": "long", "user_email": TEXT, "nick": TEXT},
    "meta": {"umeta_id": "long", "user_id": LONG, "k": TEXT, "v": TEXT},
}


def test_attributes_as_rows_are_fields_of_their_customer(shop: Callable[..., Shop]) -> None:
    one = shop(USERS, USER_TABLES)
    one.put("users", (1, "anna@example.pl", "ania"), (2, "jan@example.pl", "jasiek"))
    one.put("meta", (10, 1, "billing_phone", "601 234 567"), (11, 1, "first_name", "Anna"), (12, 2, "colour", "red"))
    one.put("meta", (13, 1, "nip", "526-025-02-74"), (14, 1, "first_name", "Other"), (15, 3, "first_name", "Nobody"))
    one.run()
    asked = "SELECT email, phone, tax_id, first_name, account_count FROM profiles WHERE state = 'live' ORDER BY email"
    anna = ("anna@example.pl", "+48601234567", "PL5260250274", "Anna", 1)
    assert one.ask(asked) == [anna, ("jan@example.pl", None, None, "jasiek", 1)]
    one.delete("meta", (11, 1, "first_name", "Anna"))
    one.put("meta", (10, 2, "billing_phone", "601 234 567"), op="u")  # it moves to another user
    one.run()
    after = [
        ("anna@example.pl", None, "PL5260250274", "Other", 1),
        ("jan@example.pl", "+48601234567", None, "jasiek", 1),
    ]
    assert one.ask(asked) == after
    one.run(rebuild=True)
    assert one.ask(asked) == after


ITEMS = """
systems: {shop: {country: PL, market: PL, currency: PLN}}
topics:
  - {match: orders, system: shop, entity: order, key: id, fields: {email: billing_email, gross: total_amount}}
  - match: items
    system: shop
    entity: order_line
    key: order_item_id
    parent: {order: order_id}
    where: order_item_type = 'line_item'
    with:
      meta: {table: item_meta, on: item, pivot: {name: name, value: value}, first: [key]}
      product: {table: product, by: meta._product_id}
    fields:
      name: order_item_name
      sku: COALESCE(product.sku, CONCAT('id-', meta._product_id))
      category: product.category
      quantity: meta._qty
      gross: TRY_CAST(meta._line_total AS DECIMAL(18,4)) + TRY_CAST(meta._line_tax AS DECIMAL(18,4))
  - {match: meta, system: shop, entity: table, name: item_meta, key: meta_id,
     fields: {item: order_item_id, name: k, value: v}}
  - {match: products, system: shop, entity: table, name: product, key: product_id,
     fields: {sku: sku, category: category}}
"""
ITEM_TABLES = {
    "orders": {"id": "long", "billing_email": TEXT, "total_amount": TEXT},
    "items": {"order_item_id": "long", "order_id": LONG, "order_item_type": TEXT, "order_item_name": TEXT},
    "meta": {"meta_id": "long", "order_item_id": LONG, "k": TEXT, "v": TEXT},
    "products": {"product_id": "long", "sku": TEXT, "category": TEXT},
}


def test_a_line_is_made_of_attributes_and_of_its_product(shop: Callable[..., Shop]) -> None:
    one = shop(ITEMS, ITEM_TABLES)
    one.put("orders", (1, "anna@example.pl", "81.30"))
    one.put("items", (5, 1, "line_item", "Kawa"), (6, 1, "shipping", "Kurier"))
    one.put("meta", (50, 5, "_product_id", "502"), (51, 5, "_qty", "2"), (52, 5, "_line_total", "66.10"))
    one.put("meta", (53, 5, "_line_tax", "15.20"), (54, 6, "_line_total", "10"))
    one.run()
    asked = "SELECT sku, quantity FROM profile_products"
    assert one.ask(asked) == [("id-502", Decimal(2))]
    one.put("products", (502, "KAWA-M", "coffee"), (503, "X", "y"))  # it comes late
    one.run()
    assert one.ask(asked) == [("KAWA-M", Decimal(2))]
    assert one.ask("SELECT category, quantity FROM profile_categories") == [("coffee", Decimal(2))]
    one.put("products", (502, "KAWA-L", "coffee"), op="u")
    one.put("meta", (51, 5, "_qty", "3"), op="u")
    one.run()
    assert one.ask(asked) == [("KAWA-L", Decimal(3))]
    one.delete("products", (502, "KAWA-L", "coffee"))
    one.put("meta", (51, 5, "_qty", "many"), op="u")  # no number: null, and nothing is refused
    one.run()
    assert one.ask("SELECT sku FROM profile_products") == []
    one.run(rebuild=True)
    assert one.ask("SELECT sku FROM profile_products") == []


POSTS = """
systems: {shop: {country: PL, market: PL}}
topics:
  - match: posts
    system: shop
    entity: order
    key: ID
    where: post_type = 'shop_order'
    parent: {customer: {sql: "NULLIF(meta._customer_user, '0')"}}
    with: {meta: {table: post_meta, on: post, pivot: {name: name, value: value}, first: [key]}}
    fields:
      number: COALESCE(meta._order_number, ID)
      email: meta._billing_email
      gross: meta._order_total
      currency: meta._order_currency
  - {match: meta, system: shop, entity: table, name: post_meta, key: meta_id,
     fields: {post: post_id, name: k, value: v}}
"""
POST_TABLES = {
    "posts": {"ID": "long", "post_type": TEXT},
    "meta": {"meta_id": "long", "post_id": LONG, "k": TEXT, "v": TEXT},
}


def test_an_order_has_its_buyer_and_its_sum_from_attributes(shop: Callable[..., Shop]) -> None:
    one = shop(POSTS, POST_TABLES)
    one.put("posts", (1, "shop_order"), (2, "page"))
    one.put("meta", (10, 1, "_billing_email", "anna@example.pl"), (11, 1, "_order_total", "77.00"))
    one.put("meta", (12, 1, "_order_currency", "PLN"), (13, 1, "_customer_user", "0"), (14, 2, "_order_total", "5"))
    one.run()
    asked = "SELECT email, gross_currency, gross, order_count FROM profiles WHERE state = 'live'"
    assert one.ask(asked) == [("anna@example.pl", "PLN", Decimal("77.00"), 1)]
    one.put("meta", (13, 1, "_customer_user", "7"), op="u")  # the guest has an account now
    one.run()
    accounts = "SELECT entity, key FROM profile_accounts JOIN profiles USING (id) WHERE state = 'live'"
    assert one.ask(accounts) == [("customer", "7")]
    one.put("posts", (1, "trash"), op="u")
    one.run()
    assert one.ask("SELECT count(*) FROM profiles WHERE state = 'live' AND order_count > 0") == [(0,)]


EAV = """
systems: {shop: {country: PL}}
topics:
  - match: customers
    system: shop
    entity: customer
    key: entity_id
    with:
      a:
        table: [varchar, int]
        on: customer
        pivot: {name: name, value: value}
        only: {store: ['0', '1']}
        first: [store desc]
    fields: {email: email, phone: a.mobile, company: a.company, gender: a.gender}
  - match: varchar
    system: shop
    entity: table
    name: varchar
    key: value_id
    with: {attribute: {table: attribute, by: attribute_id}}
    fields: {customer: entity_id, name: attribute.code, value: value, store: store_id}
  - match: int
    system: shop
    entity: table
    name: int
    key: value_id
    with: {attribute: {table: attribute, by: attribute_id}}
    fields: {customer: entity_id, name: attribute.code, value: value, store: store_id}
  - {match: attributes, system: shop, entity: table, name: attribute, key: attribute_id, fields: {code: attribute_code}}
"""
EAV_TABLES = {
    "customers": {"entity_id": "long", "email": TEXT},
    "varchar": {"value_id": "long", "entity_id": LONG, "attribute_id": LONG, "store_id": LONG, "value": TEXT},
    "int": {"value_id": "long", "entity_id": LONG, "attribute_id": LONG, "store_id": LONG, "value": LONG},
    "attributes": {"attribute_id": "long", "attribute_code": TEXT},
}


def test_attributes_are_named_by_another_table_and_lie_in_several(shop: Callable[..., Shop]) -> None:
    one = shop(EAV, EAV_TABLES)
    one.put("customers", (1, "anna@example.pl"))
    one.put("varchar", (10, 1, 180, 0, "601234567"), (11, 1, 181, 0, "ACME"), (12, 1, 181, 1, "ACME PL"))
    one.put("varchar", (13, 1, 181, 2, "another store"), (14, 1, 999, 0, "nobody's"))
    one.put("int", (10, 1, 182, 0, 2))
    one.run()
    asked = "SELECT phone, company, gender FROM profiles WHERE state = 'live'"
    assert one.ask(asked) == [(None, None, None)]
    one.put("attributes", (180, "mobile"), (181, "company"), (182, "gender"))
    one.run()
    assert one.ask(asked) == [("+48601234567", "ACME PL", "2")]
    one.put("attributes", (181, "firm"), op="u")
    one.run()
    assert one.ask(asked) == [("+48601234567", None, "2")]


STOCK = """
systems: {shop: {market: PL}, erp: {}}
stock: {locations: {web: {}}, channels: {shop: {}}}
topics:
  - {match: orders, system: shop, entity: order, key: id, fields: {number: reference, gross: total}}
  - {match: details, system: shop, entity: order_line, key: id, parent: {order: id_order},
     fields: {sku: sku, quantity: quantity}}
  - match: levels
    system: erp
    entity: stock_level
    key: id
    with: {product: {table: product, by: product_id}}
    fields: {sku: product.symbol, location: "'web'", quantity: quantity}
  - {match: products, system: erp, entity: table, name: product, key: id, fields: {symbol: symbol}}
"""
STOCK_TABLES = {
    "orders": {"id": "long", "reference": TEXT, "total": TEXT},
    "details": {"id": "long", "id_order": LONG, "sku": TEXT, "quantity": LONG},
    "levels": {"id": "long", "product_id": LONG, "quantity": LONG},
    "products": {"id": "long", "symbol": TEXT},
}


def test_stock_that_names_products_by_number_is_stock_of_their_sku(shop: Callable[..., Shop]) -> None:
    one = shop(STOCK, STOCK_TABLES)
    one.put("orders", (1, "R1", "20.00"))
    one.put("details", (5, 1, "KAWA-M", 4))
    one.put("levels", (7, 501, 22))
    asked = "SELECT sku, on_hand, available, oversold FROM stock_now WHERE on_hand > 0 OR oversold > 0 ORDER BY sku"
    run_stock_here(stock, load_settings(Path(one.config())))
    one.put("products", (501, "KAWA-M"))
    run_stock_here(stock, load_settings(Path(one.config())))
    assert one.ask(asked, "stock") == [("KAWA-M", Decimal(22), Decimal(18), Decimal(0))]
    one.put("products", (501, "KAWA-L"), op="u")
    run_stock_here(stock, load_settings(Path(one.config())))
    assert one.ask(asked, "stock") == [
        ("KAWA-L", Decimal(22), Decimal(22), Decimal(0)),
        ("KAWA-M", Decimal(0), Decimal(0), Decimal(4)),
    ]


def test_check_draws_which_rows_are_put_together(shop: Callable[..., Shop], nurt_command: Callable[..., Ran]) -> None:
    one = shop(EAV, EAV_TABLES)
    one.put("customers", (1, "anna@example.pl"))
    one.put("varchar", (10, 1, 180, 0, "601234567"))
    one.put("int", (10, 1, 182, 0, 2))
    one.put("attributes", (180, "mobile"))
    ran = nurt_command("check", "--config", one.config())
    assert ran.code == 0, ran.err
    said = [" ".join(line.replace("│", " ").split()) for line in ran.out.splitlines()]
    assert any(
        line.startswith("1 varchar of shop attribute attribute of shop looked up by attribute_id") for line in said
    )
    assert any(line.startswith("2 customer of shop a varchar of shop, int of shop pivot on customer") for line in said)
