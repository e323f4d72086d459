"""Rows that are made of several: a crash at any write changes nothing of what is published in the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest

from nurt.assemble import dependents, stage
from tests.flows.book import play
from tests.oracle.deployment import Killed, Published
from tests.oracle.engine import Engine
from tests.oracle.final_row import System
from tests.oracle.histories import History, history_of
from tests.oracle.joins_histories import put
from tests.oracle.sources import Connector, Source
from tests.oracle.values import TODAY
from tests.properties.test_joins_equal_batch import engine, judge


def a_life_of_tables() -> History:
    """Write down what is hard: sides before bases, other orders and customers, changed products, late names."""
    log: list[Any] = []
    shop = Connector(Source(System("s0", country="PL"), "mysql", 1, ("customer",), ("order",), False), log)
    write = _writer(shop)
    write("order_meta", "1", order="1", name="_total", value="12.50")
    write("order_line", "1", **{"#order": "1", "#product": "1"}, quantity=10_000)
    write("order_line", "2", **{"#order": "1", "#product": "1"}, quantity=20_000)
    write("order", "1", status="complete", **{"#customer": "1", "#number": "A1"})
    write("customer", "1", email="ann@example.com", first_name="Ann")
    write("customer", "2", email="carl@example.com", first_name="Carl")
    write("eav", "1", customer="1", attribute="1", value="PL5260250274")
    write("address", "1", order="1", type="billing", email="bob@example.com", phone="+48601000001", rank="9")
    write("address", "2", order="1", type="bill", email="ann@example.com", phone=None, rank="10")
    write("product_row", "1", sku="A", category="x")
    write("order_meta", "2", order="1", name="_customer_user", value="2")
    write("attribute", "1", code="company")
    write("order_meta", "1", order="2", name="_total", value="12.50")
    write("product_row", "1", sku="B", category="x")
    write("order", "2", status=None, **{"#customer": "1", "#number": "A2"})
    write("attribute", "1", code="tax_id")
    shop.delete("table/2", "address", "2")
    shop.delete("table/0", "order_meta", "2")
    write("product_row", "1", sku="B", category="y")
    shop.rekey("table/1", "order", "1", "3", cascade=False)
    write("eav", "1", customer="2", attribute="1", value="PL5260250274")
    shop.delete("table/6", "product_row", "1")
    return history_of([shop], log, sizes=(3,))


def _writer(shop: Connector):  # type: ignore[no-untyped-def]
    def write(table: str, key: str, /, **fields: Any) -> None:
        shop.commit()
        put(shop, table, key, Random(1), **fields)

    return write


@contextmanager
def small_portions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a portion be one chunk, and a chunk one row."""
    with monkeypatch.context() as patch:
        patch.setattr(dependents, "DEPENDENTS_A_CHUNK", 1)
        patch.setattr(stage, "DEPENDENTS_A_CHUNK", 1)
        patch.setattr(stage, "FAN_OUT_ROWS", 1)
        yield


@pytest.mark.slow
def test_a_crash_at_any_write_of_joined_rows_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    history = a_life_of_tables()
    with small_portions(monkeypatch):
        whole = play(history, engine(history))
        assert not judge(history, whole.drain(TODAY), TODAY)
        assert whole.writes >= 40
        for crash_at in range(whole.writes):
            broken = play(history, engine(history), crash_at)
            assert not judge(history, _drained(broken), TODAY), f"died instead of write {crash_at}"


def _drained(stream: Engine) -> Published:
    """Finish, even where the crash that was ordered comes only now."""
    try:
        return stream.drain(TODAY)
    except Killed:
        stream.kill()
        stream.start(2)
        stream.commit()
        return stream.drain(TODAY)


def test_a_life_of_tables_ends_as_the_oracle_says(monkeypatch: pytest.MonkeyPatch) -> None:
    history = a_life_of_tables()
    with small_portions(monkeypatch):
        found = play(history, engine(history)).drain(TODAY)
    assert not judge(history, found, TODAY)
    products = {one["sku"] for record in found.values() if record["state"] == "live" for one in record["products"]}
    assert products <= {None}, "the product is gone, and its lines know"
