"""Rows that the mapping's `where` leaves out are counted as such, once, and an absent column is named."""

from __future__ import annotations

import pytest

from nurt.control.source_epochs import SourceEpochs
from nurt.inspect.counters import LEFT_OUT, OUTCOMES, Count, totals
from nurt.model.entity_frame import DELETE, LEFT_OUT_ABSENT, UPSERT
from nurt.model.entity_frame import LEFT_OUT as LEFT_OUT_OP
from nurt.model.keys import Keys
from nurt.normalise.context import FoldContext
from nurt.profiles.from_rows import ProfileEmitter
from nurt.rows.stage import RowEmitter, RowsStage
from nurt.runtime.routing import WorkerRoutes
from nurt.stock.from_rows import StockEmitter
from nurt.testing.memory_store import Memory, MemoryStore
from tests.envelopes import IDS, Topic, entry

KEYS = Keys("t", 4)
CONTEXT = FoldContext(IDS, {"s": "eu"}, {"s": 1}, {}, {}, {}, {})
MAPPING = entry("order", number="name") + "    where: active\n    optional: [active]\n"
WITHOUT = "where, without column active"


def a_table_that_gets_a_column() -> Topic:
    """Envelopes of the table as it was, flattened rows of the table with the column `active`."""
    topic = Topic({"id": "int", "name": "string"}, added=({"name": "active", "type": ["null", "boolean"]},))
    topic.upsert(row={"id": 1, "name": "a"})
    for number, active in enumerate([True, False, None, False], 2):
        topic.flattened({"id": number, "name": "b"}, active=active)
    topic.delete({"id": 5, "name": "b"})
    return topic


def counts(topic: Topic, emitter: RowEmitter, memory: Memory, runs: int, workers: int = 2) -> Memory:
    memory.claim(runs, [KEYS.shard_place(shard) for shard in range(4)])
    routes = WorkerRoutes(4, workers)
    stages = [
        RowsStage(MemoryStore(memory, runs, routes.places(one, (), KEYS)), KEYS, emitter) for one in range(workers)
    ]
    translated = topic.translator(MAPPING, epochs=SourceEpochs()).translate(topic.batch)
    for worker, part in routes.split_translated(translated, 0):
        stages[worker].fold([part])
    return memory


def test_the_translator_says_what_where_left_out_and_what_the_table_lacked() -> None:
    topic = a_table_that_gets_a_column()
    (found,) = topic.translator(MAPPING).translate(topic.batch).entities
    assert found.frame["op"].to_list() == [LEFT_OUT_ABSENT, UPSERT, LEFT_OUT_OP, LEFT_OUT_OP, LEFT_OUT_OP, DELETE]
    assert found.absent == ("active",)


@pytest.mark.parametrize("emitter", [ProfileEmitter(CONTEXT), StockEmitter(CONTEXT)], ids=["profiles", "stock"])
def test_what_where_leaves_out_is_counted_beside_what_is_folded_and_once(emitter: RowEmitter) -> None:
    topic, memory = a_table_that_gets_a_column(), Memory()
    for run in (1, 2):
        counts(topic, emitter, memory, run)
        assert memory.counts == {
            ("s.t", "folded", ""): 6,
            ("s.t", LEFT_OUT, "where"): 3,
            ("s.t", LEFT_OUT, WITHOUT): 1,
        }
    summed = totals([Count(*place, messages) for place, messages in memory.counts.items()])
    assert LEFT_OUT not in OUTCOMES
    assert (summed["messages"], summed[LEFT_OUT]) == (6, 4)


def test_a_table_that_has_the_column_lacks_nothing() -> None:
    topic = Topic({"id": "int", "name": "string", "active": "boolean"})
    topic.upsert(row={"id": 1, "name": "a", "active": True})
    topic.upsert(row={"id": 2, "name": "a", "active": False})
    (found,) = topic.translator(MAPPING).translate(topic.batch).entities
    assert (found.frame["op"].to_list(), found.absent) == ([UPSERT, LEFT_OUT_OP], ())
