"""`nurt check` says which rows find no parent, and asks about keys that may mean nobody."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import Ran, run_nurt
from tests.envelopes import Topic
from tests.flows.test_topics_of_one_table import write

MAPPING = """
systems: {s: {}}
topics:
  - {match: s.customers, system: s, entity: customer, key: id, fields: {email: email}}
  - {match: s.orders, system: s, entity: order, key: id, parent: {customer: customer_id}}
  - {match: s.lines, system: s, entity: order_line, key: id, parent: {order: order_id}, fields: {sku: sku}}
  - {match: s.consents, system: s, entity: consent, key: id, parent: {customer: customer_id}, where: WHERE}
"""


TABLES = ("customers", "orders", "lines", "consents")


class Shop:
    """Topics of a small shop."""

    def __init__(self) -> None:
        self.customers = Topic({"id": "int", "email": "string"}, name="s.customers")
        self.orders = Topic({"id": "int", "customer_id": ["null", "int"]}, name="s.orders")
        self.lines = Topic({"id": "int", "order_id": "int", "sku": "string"}, name="s.lines")
        self.consents = Topic({"id": "int", "customer_id": ["null", "int"]}, name="s.consents")

    def customer(self, number: int) -> None:
        self.customers.upsert(row={"id": number, "email": f"c{number}@example.com"})

    def order(self, number: int, customer: int | None) -> None:
        self.orders.upsert(row={"id": number, "customer_id": customer})

    def line(self, number: int, order: int) -> None:
        self.lines.upsert(row={"id": number, "order_id": order, "sku": "a"})

    def consent(self, number: int, customer: int | None) -> None:
        self.consents.upsert(row={"id": number, "customer_id": customer})


class Checked:
    """What `nurt check` says of a shop."""

    def __init__(self, home: Path, redis_url: str, command: Callable[..., Ran]) -> None:
        self.home, self._command = home, command
        self.config = home / "nurt.yaml"
        self.config.write_text(
            f"mapping: mapping.yaml\ndata: data\nsecret: '{'00' * 16}'\n"
            f"state: {{url: '{redis_url}', prefix: {home.name}}}\n"
            f"input: {{archives: [{', '.join(f's.{one}/archive' for one in TABLES)}]}}\n"
        )

    def of(self, shop: Shop, *options: str, where: str = "id > 0") -> tuple[list[dict[str, Any]], bool, str]:
        """Return the tables whose rows find no parent, whether the sample was too small, and the page."""
        (self.home / "mapping.yaml").write_text(MAPPING.replace("WHERE", where))
        for topic in (shop.customers, shop.orders, shop.lines, shop.consents):
            (self.home / topic.name).mkdir(exist_ok=True)
            write(self.home / topic.name, [topic])  # an archive each, for they number schemas alike
        arguments = ("check", *options, "--config", str(self.config))
        found = json.loads(self._command(*arguments, "--json").out)
        page = " ".join(self._command(*arguments).out.split())
        return found["children"], found["sample_too_small"], page


@pytest.fixture
def checked(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    return Checked(tmp_path, redis_url, lambda *arguments: run_nurt(monkeypatch, capfd, *arguments))


def test_rows_that_name_what_is_not_there_are_counted(checked: Checked) -> None:
    shop = Shop()
    shop.customer(1)
    shop.order(7, 1)
    shop.order(8, None)
    shop.order(9, 1)
    shop.orders.delete(row={"id": 9, "customer_id": 1})
    for number, order in enumerate((7, 8, 9, 10)):
        shop.line(number, order)
    shop.line(3, 7)  # it had named order 10
    (found,), cut, page = checked.of(shop)
    assert (found["child"], found["parent"], found["rows"], found["missing"]) == ("order_line", "order", 4, 1)
    assert (found["is_sure"], cut) == (True, False)
    assert "1 of 4 order_line of s name an order that is not there: they wait for it" in page


def test_a_shop_in_order_is_told_nothing(checked: Checked) -> None:
    shop = Shop()
    for number in (0, 1):
        shop.customer(number)
        shop.order(number, number)
        shop.line(number, number)
        shop.consent(number + 1, number)
    found, cut, page = checked.of(shop)
    assert (found, cut) == ([], False)
    assert "not there" not in page and "nobody" not in page


def test_a_customer_0_who_is_not_there_is_asked_about(checked: Checked) -> None:
    shop = Shop()
    shop.customer(1)
    for number, customer in enumerate((0, 0, 1)):
        shop.order(number, customer)
    (found,), _, page = checked.of(shop)
    assert (found["child"], found["parent"], found["missing"]) == ("order", "customer", 2)
    assert "2 of them name customer '0'. If this means nobody, write" in page
    assert "parent: {customer: {sql: 'NULLIF(customer_id, 0)'}}" in page


def test_rows_that_nobody_owns_are_told(checked: Checked) -> None:
    shop = Shop()
    shop.customer(1)
    shop.consent(1, None)
    shop.consent(2, 1)
    (found,), _, page = checked.of(shop)
    assert (found["child"], found["rows"], found["nobodys"]) == ("consent", 2, 1)
    assert "1 of 2 consent of s name nobody: they have no effect" in page


def test_a_sample_that_is_too_small_tells_nothing_and_the_whole_does(checked: Checked) -> None:
    shop = Shop()
    for number in range(1, 7):
        shop.customer(number)
        shop.order(number, 7 - number)
    shop.line(1, 99)
    found, cut, page = checked.of(shop, "--sample", "3")
    assert (found, cut) == ([], True), "customers 4 to 6 may be beyond the sample"
    assert "--whole reads all" in page
    (found,), cut, _ = checked.of(shop, "--whole")
    assert (found["child"], found["missing"], cut) == ("order_line", 1, False)


def test_a_where_that_leaves_out_every_row_is_asked_about(checked: Checked) -> None:
    shop = Shop()
    shop.customer(1)
    shop.consent(1, 1)
    assert "s.consents: `where` leaves out every row" in checked.of(shop, where="id > 100")[2]
    assert "leaves out every row" not in checked.of(shop)[2]
