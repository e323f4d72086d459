"""Messages of stock and orders become the tables that their contracts say, whichever version wrote them."""

from __future__ import annotations

from typing import Any

import pytest

from nurt.contracts import schemas
from nurt.delivery.journal import Message
from nurt.delivery.read.contracts import BundledSchemas
from nurt.delivery.read.families import FAMILIES, ContractTables
from nurt.delivery.table_family import TableBatch
from nurt.errors import NurtError
from tests.contracts.published_stock import rich_figure, rich_order, written


def _plain(value: Any) -> Any:
    return value.replace(tzinfo=None) if hasattr(value, "tzinfo") else value


def _batch(of: str, records: dict[str, dict[str, Any]], gone: list[tuple[str, int]]) -> TableBatch:
    said = [Message(id_, (0, 1), None, written(of, record), of) for id_, record in records.items()]
    return ContractTables(of, None)(said, gone)


@pytest.mark.parametrize(("of", "make"), [("stock", rich_figure), ("orders", rich_order)])
def test_every_field_of_the_contract_is_a_column(of: str, make: Any) -> None:
    records = {f"{number:032x}": make(number, number + 3) for number in range(30)}
    batch, family = _batch(of, records, [("f" * 32, 4)]), FAMILIES[of]
    assert len(batch) == 31 and batch.erased_rows().rows() == [("f" * 32, 4)]
    main = [{**record, "id": id_} for id_, record in records.items()]
    columns = family.tables[of]
    assert [dict(row) for row in batch.flat[of].iter_rows(named=True)] == [
        {name: _plain(record[name]) for name in columns} for record in main
    ]
    assert batch.flat[of].schema == columns
    for name, table in family.lists().items():
        assert batch.flat[table].schema == family.tables[table]
        assert list(batch.flat[table].iter_rows(named=True)) == [
            {"id": record["id"], "revision": record["revision"], **{key: _plain(one[key]) for key in one}}
            for record in main
            for one in record[name]
        ]


def test_a_batch_of_tombstones_only_has_tables_without_rows() -> None:
    for of, family in FAMILIES.items():
        if of != "profiles":
            batch = _batch(of, {}, [("a" * 32, 1)])
            assert {name: frame.schema for name, frame in batch.flat.items()} == family.tables
            assert not batch.nested.height and len(batch) == 1


def test_what_an_earlier_version_wrote_lacks_what_came_later() -> None:
    order = rich_order(1, 2)
    old, new = (written("orders", order, number, f"nurt.orders-value.v{number}") for number in (1, 2))
    said = [Message(f"{at:032x}", (0, at), None, body, "orders") for at, body in enumerate((old, new))]
    batch = ContractTables("orders", BundledSchemas("nurt.orders"))(said, [])
    assert batch.flat["orders"]["account"].to_list() == [None, order["account"]]
    assert batch.flat["orders"]["stage"].to_list() == [order["stage"]] * 2


def test_a_body_of_something_else_says_which_contract_it_is_not() -> None:
    with pytest.raises(NurtError, match=r"nurt\.orders-value"):
        ContractTables("orders", None)([Message("a" * 32, (0, 1), None, b"\x00" * 5 + b"\xff" * 9, "orders")], [])


def test_profiles_figures_and_orders_all_have_the_realm_that_tells_them_from_who_was_erased() -> None:
    assert all("realm" in family.tables[name] for name, family in FAMILIES.items())
    contracts = (schemas.PROFILE_VALUE, "nurt.stock-value.v1", "nurt.orders-value.v2")
    for fields in (schemas.load(one)["fields"] for one in contracts):
        assert next(field["type"] for field in fields if field["name"] == "realm") == "string"
