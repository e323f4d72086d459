"""What rows say: each kind to its parent, in the parent's own encoding."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from nurt.columnar.ids import Ids
from nurt.columnar.texts import Texts
from nurt.columnar.values import no_values
from nurt.model.entity_frame import DELETE, UPSERT, entity_columns
from nurt.normalise.context import FoldContext
from nurt.profiles.from_rows import contributions_of_rows
from nurt.rows.children.contributions import Contributions, ContributionSet
from nurt.rows.children.tables import (
    ACCOUNT_RECORDS,
    AGGREGATE_COLUMNS,
    AGGREGATES,
    CHILDREN,
    CODE,
    INTERACTION,
    INVOICE,
    ORDER_RECORDS,
    ORDERS,
)
from nurt.rows.fold import fold_rows
from nurt.rows.layouts import ROW_LAYOUTS
from nurt.rows.read_frames import read_frames
from nurt.state.table import Table

IDS = Ids(b"s" * 16)
CONTEXT = FoldContext(IDS, country={"shop": "PL"}, market={"shop": "north"}, currency={"shop": "PLN"})
ROW, PARENT, OTHER = b"r" * 16, b"p" * 16, b"q" * 16
STAMP = 77
NOTHING = dict.fromkeys(AGGREGATE_COLUMNS, 0)


def event(offset: int = 1, op: int = UPSERT, **fields: Any) -> dict[str, Any]:
    given = {"row": ROW, "system": "shop", "entity": "rows", "key": "7", "op": op, "source_epoch": 0, "p0": 5}
    return {**given, "partition": 0, "offset": offset, "ts_ms": 9, "unavailable": 0, **fields}


def child_of(parent: bytes, kind: str = "order", **fields: Any) -> dict[str, Any]:
    return {"parent": parent, "parent_kind": kind, "parent_entity": f"{kind}s", "parent_key": "42", **fields}


def emit(kind: str, *events: dict[str, Any]) -> ContributionSet:
    """Fold events of one row, and let it speak."""
    incoming = read_frames(ROW_LAYOUTS[kind], [pl.DataFrame(events, schema=entity_columns(kind))])
    folded = fold_rows(kind, incoming.of(np.zeros(len(events), dtype=np.int64)), no_values(1))
    return contributions_of_rows(kind, folded, incoming.ids[:1], STAMP, CONTEXT)


def rows_of(table: Table, body: bytes) -> list[dict[str, Any]]:
    frame = table.unpack([b"\x01" + body]).drop("owner") if body else table.empty().drop("owner")
    return [{name: value for name, value in row.items() if value is not None} for row in frame.to_dicts()]


def ids_of(contributions: Contributions) -> list[tuple[bytes, bytes]]:
    return list(zip(*(_cut(words) for words in (contributions.to, contributions.child)), strict=True))


def _cut(words: Any) -> list[bytes]:
    return [one.tobytes() for one in words]


def names_of(contributions: Contributions) -> list[tuple[bytes, ...]]:
    return list(
        zip(*(texts.plain() for texts in (contributions.system, contributions.entity, contributions.key)), strict=True)
    )


def only(texts: Texts) -> bytes:
    (one,) = texts.plain()
    return one


def test_a_line_says_its_fields_to_its_order_and_not_who_it_is() -> None:
    contributions = emit("order_line", event(**child_of(PARENT), sku="A", quantity=20_000, name="left out"))
    assert ids_of(contributions.to_orders) == [(PARENT, ROW)]
    assert rows_of(ORDER_RECORDS, only(contributions.to_orders.body)) == [
        {"part": CODE["order_line"], "child": ROW, "stamp": STAMP, "sku": "A", "quantity": 20_000}
    ]
    assert names_of(contributions.to_orders) == [(b"", b"", b"")]
    assert not len(contributions.records) and not len(contributions.partials)


def test_a_line_that_changed_its_order_says_gone_to_the_one_it_left() -> None:
    contributions = emit("order_line", event(1, **child_of(PARENT), sku="A"), event(2, **child_of(OTHER), sku="B"))
    assert ids_of(contributions.to_orders) == [(OTHER, ROW), (PARENT, ROW)]
    assert contributions.to_orders.gone.tolist() == [False, True]
    assert [bool(body) for body in contributions.to_orders.body.plain()] == [True, False]


def test_a_deleted_line_says_gone_to_its_order_though_the_delete_carries_only_the_key() -> None:
    contributions = emit("order_line", event(1, **child_of(PARENT), sku="A"), event(2, DELETE))
    assert ids_of(contributions.to_orders) == [(PARENT, ROW)]
    assert contributions.to_orders.gone.tolist() == [True]


def test_an_address_that_left_its_customer_tells_no_names_of_it_but_the_system() -> None:
    contributions = emit(
        "address",
        event(1, **child_of(PARENT, "customer"), city="Łódź"),
        event(2, **child_of(OTHER, "customer"), city="Łódź"),
    )
    assert names_of(contributions.records) == [(b"shop", b"customers", b"42"), (b"shop", b"", b"")]
    assert rows_of(ACCOUNT_RECORDS, contributions.records.body.plain()[0])[0]["city"] == "Łódź"


def test_a_customer_says_normalised_identifiers_and_its_provenance() -> None:
    contributions = emit(
        "customer", event(email=" Ann@Example.COM ", phone="601 234 567", tax_id="nothing", first_name="Ann")
    )
    (slot,) = rows_of(ACCOUNT_RECORDS, only(contributions.records.body))
    assert slot == {
        "part": CODE["customer"], "child": ROW, "stamp": STAMP, "system": "shop", "entity": "rows", "key": "7",
        "position": "5:::@1", "ts_ms": 9, "email": "ann@example.com", "phone": "+48601234567", "first_name": "Ann",
    }  # fmt: skip


def test_a_customer_whose_key_changed_says_gone_and_where_it_moved() -> None:
    contributions = emit("customer", event(1, email="ann@example.com"), event(2, DELETE, moved_to=OTHER))
    assert contributions.records.gone.tolist() == [True]
    assert _cut(contributions.records.moved_to) == [OTHER]
    assert only(contributions.records.body) == b""
    assert names_of(contributions.records) == [(b"shop", b"rows", b"7")]


def test_an_order_of_a_known_customer_says_nothing_of_the_person() -> None:
    contributions = emit("order", event(**child_of(PARENT, "customer"), email="ann@example.com", gross=10_000))
    (slot,) = rows_of(ORDER_RECORDS, only(contributions.to_orders.body))
    assert slot == {
        "part": CODE["order"], "child": ROW, "stamp": STAMP, "system": "shop", "account": PARENT,
        "account_entity": "customers", "account_key": "42", "gross": 10_000,
    }  # fmt: skip


def test_a_guests_order_is_an_account_of_its_own_and_speaks_of_the_person() -> None:
    contributions = emit("order", event(email="Ann@example.com", phone="601234567", number="1"))
    (slot,) = rows_of(ORDER_RECORDS, only(contributions.to_orders.body))
    assert slot["account"] == IDS.one("shop\x1fguest\x1frows\x1f7")
    assert (slot["account_entity"], slot["account_key"]) == ("guest", "rows\x1f7")
    assert (slot["email"], slot["phone"], slot["position"]) == ("ann@example.com", "+48601234567", "5:::@1")


def test_a_deleted_order_says_gone_to_itself_and_is_no_guest() -> None:
    contributions = emit("order", event(1), event(2, DELETE))
    assert contributions.to_orders.gone.tolist() == [True]
    assert only(contributions.to_orders.body) == b""


def test_an_open_invoice_beside_orders_is_a_bucket_of_its_due_day_and_currency() -> None:
    beside = child_of(PARENT, "customer")
    contributions = emit("invoice", event(**beside, amount=50, open_amount=30, due_on=20_000, status="sent"))
    assert rows_of(AGGREGATES, only(contributions.partials.body)) == [
        {**NOTHING, "metric": CHILDREN, "count": 1},
        {**NOTHING, "metric": INVOICE, "count": 1, "amount": 30, "k1": "PLN", "day": 20_000},
    ]
    for closed in ({"amount": 50, "status": "paid"}, {"amount": 50, "open_amount": 0}, {}):
        assert len(rows_of(AGGREGATES, only(emit("invoice", event(**beside, **closed)).partials.body))) == 1


def test_an_invoice_of_an_order_says_its_own_currency_to_it() -> None:
    for currency, expected in (("EUR", "EUR"), (None, "PLN")):
        contributions = emit("invoice", event(**child_of(PARENT), amount=50, currency=currency))
        assert rows_of(ORDER_RECORDS, only(contributions.to_orders.body))[0]["currency"] == expected
        assert not len(contributions.partials)


def test_a_refund_of_an_order_tells_it_how_much_and_leaves_its_currency_to_it() -> None:
    for currency in ("EUR", None):
        contributions = emit("refund", event(**child_of(PARENT), amount=-50, currency=currency, number="left out"))
        slot = {"part": CODE["refund"], "child": ROW, "stamp": STAMP, "amount": -50}
        expected = slot if currency is None else {**slot, "currency": currency}
        assert rows_of(ORDER_RECORDS, only(contributions.to_orders.body)) == [expected]
        assert not len(contributions.partials)


def test_a_refund_beside_orders_gives_back_in_the_currency_and_market_of_its_system() -> None:
    beside = child_of(PARENT, "customer")
    for amount, status in ((50, None), (-50, "done")):
        contributions = emit("refund", event(**beside, amount=amount, status=status))
        assert rows_of(AGGREGATES, only(contributions.partials.body)) == [
            {**NOTHING, "metric": CHILDREN, "count": 1},
            {**NOTHING, "metric": ORDERS, "k1": "PLN", "k2": "north", "given_back": 50},
        ]
    for nothing in ({"amount": 50, "status": "pending"}, {"amount": 0}, {}):
        assert len(rows_of(AGGREGATES, only(emit("refund", event(**beside, **nothing)).partials.body))) == 1


def test_a_refund_that_left_its_customer_says_gone() -> None:
    left = event(1, **child_of(PARENT, "customer"), amount=50), event(2, **child_of(OTHER, "customer"), amount=50)
    partials = emit("refund", *left).partials
    assert [len(body) > 0 for body in partials.body.plain()] == [not gone for gone in partials.gone.tolist()]
    assert sorted(partials.gone.tolist()) == [False, True]


def test_an_interaction_is_counted_on_its_day_also_before_1970() -> None:
    for at, day in ((86_400_000_000 * 3 + 5, 3), (-1, -1), (None, None)):
        contributions = emit("interaction", event(**child_of(PARENT, "customer"), kind="visit", at=at))
        bucket = rows_of(AGGREGATES, only(contributions.partials.body))[1]
        assert (bucket["metric"], bucket["count"], bucket.get("day")) == (INTERACTION, 1, day)


def test_products_and_what_only_stock_reads_say_nothing_to_profiles() -> None:
    for kind in ("product", "stock_level", "document"):
        contributions = emit(kind, event())
        assert not len(contributions.to_orders) + len(contributions.records) + len(contributions.partials)
