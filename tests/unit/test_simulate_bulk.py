"""Claims about loads by the million: they are what connectors write, only faster."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from nurt.core.mapping import load_mapping
from nurt.model.raw import RawBatch
from nurt.simulate.bulk import ORDERS_MAPPING, orders_load
from nurt.simulate.bulk_shop import mixed_load
from nurt.simulate.messages import partition_of
from nurt.simulate.schemas import SchemaBook
from tests.replay import Reader, position

JOBS = {"mixed": mixed_load, "orders": orders_load}


def make(job: str, events: int = 12_000) -> tuple[list[RawBatch], SchemaBook]:
    book = SchemaBook()
    return [batch for chunk in JOBS[job](events, book, customers=500, chunk_rows=5000) for batch in chunk], book


@pytest.mark.parametrize("job", sorted(JOBS))
def test_a_load_reads_as_a_connectors_stream(job: str) -> None:
    batches, book = make(job)
    read = Reader(book)
    rows: dict[Any, Any] = {}
    positions: dict[Any, Any] = {}
    offsets: Counter[tuple[str, int]] = Counter()
    for batch in batches:
        for key, value, partition, offset in zip(
            batch.keys, batch.values, batch.partitions, batch.offsets, strict=True
        ):
            assert partition == partition_of(key, 8)
            assert offset == offsets[batch.topic, partition]
            offsets[batch.topic, partition] += 1
            change, key_record = read(value), read(key)
            assert change is not None and key_record is not None
            row = (batch.topic, *key_record.values())
            assert position(change) > positions.get(row, ())
            positions[row] = position(change)
            assert change["op"] == ("u" if row in rows else "c"), row
            if batch.topic.endswith("sales_order") and change["op"] == "u":
                same = ("state", "status", "customer_id", "grand_total", "created_at")
                assert {name: change["before"][name] for name in same} == {name: rows[row][name] for name in same}
            rows[row] = change["after"]
    assert sum(offsets.values()) == 12_000


def test_the_mixed_load_is_mixed_as_it_says() -> None:
    batches, book = make("mixed")
    counts: Counter[str] = Counter()
    for batch in batches:
        counts[batch.topic.rpartition(".")[2]] += len(batch)
    shares = {"customer_entity": 0.1, "customer_address_entity": 0.1, "sales_order": 0.3, "sales_order_item": 0.5}
    assert {table: pytest.approx(count / 12_000, abs=0.02) for table, count in counts.items()} == shares
    customers: Counter[int] = Counter()
    read = Reader(book)
    for batch in batches:
        if batch.topic.endswith("sales_order"):
            for value in batch.values:
                change = read(value)
                assert change is not None
                customers[change["after"]["customer_id"]] += 1
    assert len(customers) > 300 and customers.most_common(2)[1][1] > 10 * customers.total() / 500, "no Zipf"


@pytest.mark.parametrize("job", sorted(JOBS))
def test_a_load_is_the_same_every_time(job: str) -> None:
    assert make(job, 5000)[0] == make(job, 5000)[0]


def test_the_orders_envelope_has_35_fields_in_about_190_bytes() -> None:
    batches, book = make("orders", 5000)
    change = Reader(book)(batches[0].values[0])
    assert change is not None
    assert len(change) + len(change["source"]) + len(change["after"]) == 36  # `before`, always null, is one of them
    assert sum(len(value or b"") for value in batches[0].values) / 5000 == pytest.approx(190, abs=10)


def test_the_orders_mapping_maps_the_orders_topic() -> None:
    topic = load_mapping(ORDERS_MAPPING, "orders.yaml").for_topic("load.public.orders")
    assert topic is not None
