"""Claims about loads by the million: they are what connectors write, only faster."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.load import produce
from nurt.mapping.load import load_mapping
from nurt.model.raw import RawBatch
from nurt.simulate.bulk.envelopes import ORDERS_MAPPING, orders_load
from nurt.simulate.bulk.shop import mixed_load
from nurt.simulate.bulk.stock import stock_load
from nurt.simulate.connector.messages import partition_of
from nurt.simulate.connector.schemas import SchemaBook
from tests.replay import Reader, position

Load = Callable[..., Iterator[list[RawBatch]]]
JOBS: dict[str, Load] = {
    "mixed": partial(mixed_load, customers=500),
    "orders": partial(orders_load, customers=500),
    "levels": partial(stock_load, skus=100),
    "stock": partial(stock_load, skus=100, orders_share=0.34),
}
DELETING = ("mixed", "stock")


def make(job: str, events: int = 12_000, partitions: int = 8) -> tuple[list[RawBatch], SchemaBook]:
    book = SchemaBook()
    chunks = JOBS[job](events, book, partitions=partitions, chunk_rows=5000)
    return [batch for chunk in chunks for batch in chunk], book


def changes(batches: list[RawBatch], book: SchemaBook) -> Iterator[tuple[str, dict[str, Any], Any, dict[str, bytes]]]:
    """Read messages in order: topic, key, change or None, headers."""
    read = Reader(book)
    for batch in batches:
        for key, value, headers in zip(batch.keys, batch.values, batch.headers, strict=True):
            key_record = read(key)
            assert key_record is not None
            yield batch.topic, key_record, read(value), {name: held or b"" for name, held in headers or []}


@pytest.mark.parametrize("job", sorted(JOBS))
def test_every_message_has_its_keys_partition_and_the_next_offset(job: str) -> None:
    batches, _ = make(job)
    offsets: Counter[tuple[str, int]] = Counter()
    for batch in batches:
        for key, partition, offset in zip(batch.keys, batch.partitions, batch.offsets, strict=True):
            assert partition == partition_of(key, 8)
            assert offset == offsets[batch.topic, partition]
            offsets[batch.topic, partition] += 1
    assert len({partition for _, partition in offsets}) == 8


@pytest.mark.parametrize("job", sorted(JOBS))
def test_a_load_reads_as_a_connectors_stream(job: str) -> None:
    """Each row is created, updated, deleted or re-keyed in this order of the source, `before` is what it was."""
    rows: dict[Any, Any] = {}
    positions: dict[Any, Any] = {}
    deleted: Any = None
    for topic, key, change, _ in changes(*make(job)):
        row = (topic, *key.values())
        if change is None:
            assert deleted == row, "a tombstone follows its deletion"
            deleted = None
            continue
        assert deleted is None, "a tombstone follows each deletion"
        assert position(change) > positions.get(row, ())
        positions[row] = position(change)
        was = rows.pop(row, None)
        if change["op"] == "d":
            deleted = row
        else:
            assert change["op"] == ("c" if was is None else "u")
            rows[row] = change["after"]
            assert {name: change["after"][name] for name in key} == key
        assert (change["after"] is None) == (change["op"] == "d")
        if change["source"]["connector"] == "mariadb":
            assert change["before"] == was
        elif change["op"] == "d":
            assert was is not None and change["before"] == filler(was, key)
        else:
            assert change["before"] is None
    assert deleted is None


def filler(row: dict[str, Any], key: dict[str, Any]) -> dict[str, Any]:
    """What PostgreSQL's default replica identity leaves of a row: NOT NULL columns are zero or empty."""
    needed = {"sku": "", "warehouse": "", "number": "", "status": "", "order_id": 0, "quantity": 0}
    return {**{name: needed.get(name) for name in row}, **key}


@pytest.mark.parametrize("job", DELETING)
def test_deletions_and_re_keys_have_the_shares_that_the_load_says(job: str) -> None:
    events = 60_000
    deletions: Counter[str] = Counter()
    rekeys: Counter[str] = Counter()
    of_tables: Counter[str] = Counter()
    messages = 0
    for topic, _, change, headers in changes(*make(job, events)):
        table = topic.rpartition(".")[2]
        messages += 1
        if change is None:
            continue
        rekeyed = "__debezium.newkey" in headers
        rekeys[table] += rekeyed
        deletions[table] += change["op"] == "d" and not rekeyed
        of_tables[table] += "__debezium.oldkey" not in headers
    assert of_tables.total() == events
    assert messages == events + deletions.total() + 2 * rekeys.total()
    assert deletions.total() / events == pytest.approx(0.01, abs=0.0015)
    assert rekeys.total() / events == pytest.approx({"mixed": 0.006, "stock": 0.009}[job], abs=0.0015)
    assert {table: deletions[table] / count for table, count in of_tables.items()} == {
        table: pytest.approx(0.01, abs=0.004) for table in of_tables
    }
    rekeyed_tables = {"mixed": {"customer_address_entity", "sales_order_item"}, "stock": {"stock", "order_lines"}}[job]
    assert {table for table, count in rekeys.items() if count} == rekeyed_tables


@pytest.mark.parametrize("job", DELETING)
def test_the_halves_of_a_re_key_name_each_other_at_one_position(job: str) -> None:
    half: tuple[Any, ...] | None = None
    seen = 0
    for _, key, change, headers in changes(*make(job)):
        if "__debezium.newkey" in headers and change is not None:
            half = (key, json.loads(headers["__debezium.newkey"]), position(change))
            assert change["op"] == "d"
        elif "__debezium.newkey" in headers:
            assert half is not None and half[0] == key, "the tombstone has the header, too"
        elif half is not None:
            assert change["op"] == "c"
            assert half == (json.loads(headers["__debezium.oldkey"]), key, position(change))
            half, seen = None, seen + 1
    assert seen > 50


@pytest.mark.parametrize("job", ["levels", "orders"])
def test_the_other_loads_have_neither_deletions_nor_re_keys(job: str) -> None:
    batches, _ = make(job)
    assert sum(len(batch) for batch in batches) == 12_000
    assert not any(any(batch.headers) or None in batch.values for batch in batches)


def test_rows_lie_on_the_broker_where_the_load_says() -> None:
    batches, _ = make("mixed", partitions=4)  # as many as a topic of the simulated broker has
    expected: dict[tuple[str, int], list[Any]] = {}
    for batch in batches:
        for row, partition in enumerate(batch.partitions):
            message = (batch.keys[row], batch.values[row], batch.headers[row])
            expected.setdefault((batch.topic, int(partition)), []).append(message)
    broker = Producer({"bootstrap.servers": "simulated", "test.mock.num.brokers": 1, "log_level": 0})
    (address,) = (f"{one.host}:{one.port}" for one in broker.list_topics(timeout=10).brokers.values())
    sent = produce(iter([batches]), address)
    reader = Consumer({"bootstrap.servers": address, "group.id": "test", "log_level": 0})
    reader.assign([TopicPartition(*place, 0) for place in expected])
    found: dict[tuple[str, int], list[Any]] = {place: [] for place in expected}
    deadline = time.monotonic() + 60
    while sum(map(len, found.values())) < sent:
        assert time.monotonic() < deadline, "messages are lacking"
        for read in reader.consume(1000, 0.1):
            assert read.error() is None
            found[read.topic(), read.partition()].append((read.key(), read.value(), read.headers()))
    reader.close()
    assert found == expected
    assert len(broker) == 0  # it lives until here


def test_the_mixed_load_is_mixed_as_it_says() -> None:
    batches, book = make("mixed")
    counts: Counter[str] = Counter()
    customers: Counter[int] = Counter()
    for topic, _, change, headers in changes(batches, book):
        if change is not None:
            counts[topic.rpartition(".")[2]] += "__debezium.oldkey" not in headers
            if topic.endswith("sales_order") and change["after"]:
                customers[change["after"]["customer_id"]] += 1
    shares = {"customer_entity": 0.1, "customer_address_entity": 0.1, "sales_order": 0.3, "sales_order_item": 0.5}
    assert {table: pytest.approx(count / 12_000, abs=0.02) for table, count in counts.items()} == shares
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
