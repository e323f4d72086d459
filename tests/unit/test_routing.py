"""Every id has one owner, and what is said reaches it: by our arithmetic, and by Bytewax's exchange."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from typing import Any

import bytewax.operators as op
import numpy as np
import polars as pl
import pytest
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import TestingSource, cluster_main
from hypothesis import given
from hypothesis import strategies as st

from nurt.columnar.ids import Ids
from nurt.model.entity_frame import EntityFrame, Translated, Truncated, entity_columns
from nurt.model.keys import Keys, realm_worker
from nurt.model.refusal import Reason, Refused
from nurt.rows.children.contributions import Contributions, ContributionSet, no_ids, no_texts
from nurt.runtime.routing import WorkerRoutes, siphash13

IDS = Ids(bytes(16))
SHARDS = 16
some_ids = st.lists(st.binary(min_size=16, max_size=16), max_size=40)


@given(st.binary(max_size=40))
def test_the_hash_is_a_64_bit_number(message: bytes) -> None:
    assert 0 <= siphash13(message) < 1 << 64


def test_the_hash_is_python_s_own_under_a_zero_key() -> None:
    """CPython 3.11 hashes bytes with SipHash-1-3; PYTHONHASHSEED=0 makes its key zero."""
    messages = [bytes(range(length)) for length in range(1, 40)]
    script = f"print([hash(message) % (1 << 64) for message in {messages!r}])"
    out = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONHASHSEED": "0"}, capture_output=True, check=True, text=True
    )
    assert [siphash13(message) for message in messages] == eval(out.stdout)


class _Echo(StatefulBatchLogic[Any, Any, None]):
    def on_batch(self, values: list[Any]) -> tuple[list[Any], bool]:
        return values, False

    def snapshot(self) -> None:
        return None


class _WhereItLands(DynamicSink[Any]):
    def __init__(self, landed: list[tuple[int, Any]]) -> None:
        self._landed = landed

    def build(self, step_id: str, worker_index: int, worker_count: int) -> StatelessSinkPartition[Any]:
        landed = self._landed

        class Part(StatelessSinkPartition[Any]):
            def write_batch(self, items: list[Any]) -> None:
                landed.extend((worker_index, item) for _, item in items)

        return Part()


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 7, 16])
def test_a_workers_key_lands_on_that_worker_in_bytewax(workers: int) -> None:
    routes = WorkerRoutes(SHARDS, workers)
    landed: list[tuple[int, Any]] = []
    flow = Dataflow("landing")
    parcels = op.input("parcels", flow, TestingSource(list(range(workers)) * 2))
    keyed = op.map("address", parcels, lambda worker: (routes.keys[worker], worker))
    stage = op.stateful_batch("stage", keyed, lambda _: _Echo())
    op.output("out", stage, _WhereItLands(landed))
    cluster_main(flow, [], 0, worker_count_per_proc=workers, epoch_interval=timedelta(0))
    assert sorted(landed) == [(worker, worker) for worker in range(workers) for _ in range(2)]


@pytest.mark.parametrize("workers", [1, 2, 3, 5, 16])
def test_every_place_has_one_owner_who_is_that_of_its_ids(workers: int) -> None:
    routes, keys, realms = WorkerRoutes(SHARDS, workers), Keys("t", SHARDS), ("eu", "us", "apac")
    places = [routes.places(worker, realms, keys) for worker in range(workers)]
    assert sorted(place for some in places for place in some) == sorted(
        [*map(keys.shard_place, range(SHARDS)), *map(keys.realm_place, realms)]
    )
    for first in range(256):
        one = bytes([first]) + bytes(15)
        assert keys.place_of(one) in places[routes.of_id(one)]
        assert keys.place_of(one) == keys.shard_place(one[0] % SHARDS)
    for realm in realms:
        assert keys.realm_place(realm) in places[routes.of_realm(realm)]
        assert routes.of_realm(realm) == realm_worker(realm, workers)


@given(some_ids, st.integers(1, 4), st.integers(0, 3))
def test_rows_reach_their_owners_in_order_and_once(ids: list[bytes], workers: int, home: int) -> None:
    home %= workers
    routes = WorkerRoutes(SHARDS, workers)
    frame = pl.DataFrame(
        {"row": ids, "offset": range(len(ids))}, schema_overrides={"row": pl.Binary, "offset": pl.Int64}
    )
    blank = pl.DataFrame(schema=entity_columns("order"))
    whole = pl.concat([blank, frame], how="diagonal")
    truncated = Truncated("order", "shop", "order", 0, (1, 1, 0, 0), "t", 0, 9)
    refused = Refused("t", 0, 1, 0, None, b"", None, Reason.BAD_AVRO, "")
    contributions = Translated(
        [EntityFrame("order", whole)], [truncated], [refused], {("t", "not_ours", "heartbeat"): 3}
    )
    split = dict(routes.split_translated(contributions, home))
    assert set(split) == set(range(workers)), "a truncate is for everybody"
    for worker, mine in split.items():
        expected = [(one, at) for at, one in enumerate(ids) if routes.of_id(one) == worker]
        found = [pair for part in mine.entities for pair in part.frame.select("row", "offset").iter_rows()]
        assert found == expected
        assert mine.truncated == [truncated]
        assert mine.refused == ([refused] if worker == home else [])
        assert mine.not_ours == (contributions.not_ours if worker == home else {})


@given(some_ids, st.integers(1, 4))
def test_what_is_said_reaches_the_owner_of_the_parent_in_order(ids: list[bytes], workers: int) -> None:
    routes, rows = WorkerRoutes(SHARDS, workers), len(ids)
    zeros, none = np.zeros(rows, dtype=np.int64), no_texts(rows)
    to = np.frombuffer(b"".join(ids), dtype=np.uint64).reshape(-1, 2)
    one = Contributions(to, to, np.arange(rows), zeros, zeros == 1, none, none, none, none, no_ids(rows))
    split = routes.split_said(ContributionSet(one, one, one))
    for worker, contributions in split:
        expected = [(one, at) for at, one in enumerate(ids) if routes.of_id(one) == worker]
        for some in (contributions.to_orders, contributions.records, contributions.partials):
            found = [(name.tobytes(), stamp) for name, stamp in zip(some.to, some.stamp.tolist(), strict=True)]
            assert found == expected
    assert sum(len(contributions.records) for _, contributions in split) == rows


@given(some_ids, st.integers(1, 4))
def test_touches_reach_the_owner_of_the_profile(ids: list[bytes], workers: int) -> None:
    routes = WorkerRoutes(SHARDS, workers)
    split = dict(routes.split_dirty_keys([("eu", one) for one in ids]))
    for worker in range(workers):
        assert split.get(worker, []) == [("eu", one) for one in ids if routes.of_id(one) == worker]
