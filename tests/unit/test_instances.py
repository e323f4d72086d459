"""A row has one instance for each topic of its table, all in one stored value; old state is taken on."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from nurt.columnar.values import Values
from nurt.mapping.patterns import meets_several
from nurt.model.entity_frame import DELETE, UPSERT, topic_code
from nurt.rows.fold import RowsFolded, fold_rows
from nurt.rows.layouts import LEFT, OTHER, ROW, ROW_TABLES, TOPIC_AT
from nurt.rows.topic_order import TopicOrder
from tests.oracle.newest_event import Place
from tests.unit.test_rows import KIND, events_of

OLD, NEW = topic_code("old", 1), topic_code("new", 1)
A, B = b"a" * 16, b"b" * 16


class Row:
    """One row's stored value."""

    def __init__(self) -> None:
        self.value: bytes | None = None
        self.order = TopicOrder()

    def fold(self, topic: int | None, lsn: int, op: int = UPSERT, sku: str = "A", parent: bytes = A) -> RowsFolded:
        event = (0, Place(1, (lsn, lsn, 0, 0), 0, lsn), op, None if op == DELETE else sku, parent, 0)
        incoming = events_of([event])
        if topic is not None:
            bit, place = TOPIC_AT[KIND]
            incoming.rows.bits[:] |= np.uint64(1 << bit)
            incoming.rows.numbers[:, place] = topic
        folded = fold_rows(KIND, incoming, Values.of([self.value]), self.order)
        self.value = folded.values().one(0) if folded.changed[0] else self.value
        return folded

    def rows(self, part: int) -> list[dict[str, Any]]:
        return ROW_TABLES[KIND].unpack([self.value]).filter(pl.col("part") == part).to_dicts()

    @property
    def sku(self) -> str | None:
        (row,) = self.rows(ROW)
        return row["sku"]


def test_the_newer_instance_speaks_and_the_other_one_is_kept() -> None:
    row = Row()
    row.fold(NEW, 200, sku="new")
    folded = row.fold(OLD, 100, sku="old")
    assert row.sku == "new"
    assert [(one["sku"], one["topic"]) for one in row.rows(OTHER)] == [("old", OLD)]
    assert folded.accepted.tolist() == [True], "it is the newest of its topic"
    assert folded.changed.tolist() == [True]
    row.fold(NEW, 300, DELETE)
    assert row.sku == "old", "it lives on"


def test_the_parent_of_an_instance_that_speaks_no_more_is_left() -> None:
    row = Row()
    row.fold(OLD, 100, parent=A)
    row.fold(NEW, 200, parent=B)
    assert [one["parent"] for one in row.rows(LEFT)] == [A]
    row.fold(NEW, 300, DELETE)
    assert [one["parent"] for one in row.rows(LEFT)] == [B]
    assert [one["parent"] for one in row.rows(ROW)] == [A]


def test_what_was_stored_without_a_topic_belongs_to_the_first_that_tells_of_the_row() -> None:
    row = Row()
    row.fold(None, 100, sku="before")
    assert not row.fold(NEW, 50, sku="older").accepted.any(), "positions compare them"
    assert row.sku == "before"
    row.fold(NEW, 200, sku="newer")
    assert (row.sku, row.rows(OTHER)) == ("newer", [])
    row.fold(NEW, 300, DELETE)
    assert [one["op"] for one in row.rows(ROW)] == [DELETE], "nothing of before lives on"


def test_an_order_of_topics_lets_a_delete_of_the_later_one_count() -> None:
    row = Row()
    row.order.learn([("old", "new")], ["old", "new"])
    row.fold(OLD, 100)
    row.fold(NEW, 50)
    row.fold(NEW, 60, DELETE)
    assert [one["op"] for one in row.rows(ROW)] == [DELETE]


def test_only_patterns_that_can_meet_several_topics_of_one_table_note_them() -> None:
    assert not meets_several(r"shop\.public\.customers", "shop")
    assert not meets_several(r"(?P<shop>shop_[a-z]{2})\.magento\.customer", "{shop}")
    assert meets_several(r"(?P<shop>shop_[a-z]{2})\.magento\.customer", "shop")
    assert meets_several(r"shop(2026)?\.public\.customers", "shop")
    assert meets_several(r"shop\.orders_p[0-9]+", "shop")
    assert meets_several(r"shop.public.customers", "shop"), "a dot is any letter"
