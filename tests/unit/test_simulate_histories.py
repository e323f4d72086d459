"""Claims about random histories: their order, what a reader can rebuild, and that no trouble is missing."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest

from nurt.simulate.connector.columns import UNAVAILABLE
from nurt.simulate.connector.messages import Message, batches_of
from nurt.simulate.connector.schemas import SchemaBook
from nurt.testing.histories.history import History, arrivals, final_rows, messages, tables_of, topic_of
from nurt.testing.histories.random import Wildness, random_history
from tests.replay import Reader, assert_same_rows, position, replay

SEEDS = range(60)


def test_positions_grow_in_commit_order_per_connector() -> None:
    for seed in SEEDS:
        _assert_positions_grow(random_history(seed, 60, Wildness(strays=False)))


def _assert_positions_grow(history: History) -> None:
    history = replace(history, steps=tuple(step for step in history.steps if step.kind != "redeliver"))
    book = SchemaBook()
    last: dict[str, tuple[int, ...]] = {}
    sent = messages(history, book)
    reader = Reader(book)
    for message in sent:
        value = reader(message.value)
        if value is None or "op" not in value:
            continue
        system = value["source"]["name"]
        if value["op"] == "r" and value["source"]["snapshot"] != "incremental":
            last.pop(system, None)  # a new order begins
            continue
        assert position(value) >= last.get(system, (-1,)), (message.topic, value["source"])
        last[system] = position(value)


@pytest.mark.parametrize(
    "wildness", [Wildness(truncates=False), Wildness(snapshots_again=False)], ids=["snapshots", "truncates"]
)
def test_messages_replayed_in_commit_order_or_as_they_arrive_give_the_final_rows(wildness: Wildness) -> None:
    for seed in SEEDS:
        history, book = random_history(seed, 60, wildness), SchemaBook()
        sent, final = messages(history, book), final_rows(history)
        assert_same_rows(replay(sent, book), final)
        assert_same_rows(replay(arrivals(sent, seed), book), final)


def test_arrivals_keep_the_order_within_a_partition_and_lose_nothing() -> None:
    book = SchemaBook()
    sent = messages(random_history(3, 80), book)
    arrived = arrivals(sent, 5, doubles=0.0)
    assert arrived != sent

    def by_partition(log: list[Message]) -> dict[tuple[str, int], list[Message]]:
        queues: dict[tuple[str, int], list[Message]] = defaultdict(list)
        for message in log:
            queues[message.topic, message.partition].append(message)
        return queues

    assert by_partition(arrived) == by_partition(sent)


def test_a_seed_draws_the_same_bytes_every_time() -> None:
    logs = [messages(random_history(11, 60), SchemaBook()) for _ in range(2)]
    assert logs[0] == logs[1]
    assert messages(random_history(12, 60), SchemaBook()) != logs[0]


def test_histories_hold_every_kind_of_trouble() -> None:
    seen: set[str] = set()
    for seed in range(60):
        history = random_history(seed, 60)
        for step in history.steps:
            seen.add(step.kind)
            seen.update(operation.kind for operation in step.operations)
            for operation in step.operations:
                table = tables_of(step.system)[operation.table]
                if operation.kind == "update" and set(table.key) & set(operation.values):
                    seen.add("re-key")
                if operation.values.get("customer_id", 1) is None:
                    seen.add("guest")
        book = SchemaBook()
        read = None
        for message in messages(history, book) if seed < 20 else []:
            read = read or Reader(book)
            value = read(message.value)
            if value and UNAVAILABLE in (value.get("after") or {}).values():
                seen.add("unsaid")
    kinds = {"load", "snapshot", "begin", "commit", "incremental", "redeliver", "stray", "heartbeat", "alter"}
    assert kinds | {"insert", "update", "delete", "truncate", "re-key", "guest", "unsaid"} <= seen


def test_batches_number_offsets_within_their_partition() -> None:
    sent = messages(random_history(4, 40), SchemaBook())
    batches = batches_of(sent, 50)
    assert sum(map(len, batches)) == len(sent)
    offsets: dict[tuple[str, int], list[int]] = defaultdict(list)
    for batch in batches:
        for partition, offset in zip(batch.partitions, batch.offsets, strict=True):
            offsets[batch.topic, partition].append(offset)
    assert all(found == list(range(len(found))) for found in offsets.values())


def test_topics_are_the_demos() -> None:
    expected = {topic_of(system, table) for system in ("shop_pl", "shop_de", "erp") for table in tables_of(system)}
    assert set(final_rows(random_history(1, 1))) == expected
