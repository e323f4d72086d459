"""The plain loop's small job out of nurt's own parts: {orders, total, last} by customer, in Bytewax, state in Redis.

    topics --decode--> customer, amount, time --one routing key a worker--> fold --> Redis

The source, the decoder, the routing and the fenced store are the product's; what is ours is the fold on fixed-width
numbers. Counting is no idempotent fold, so the partitions' next offsets lie in the same atomic write as the counts:
after a crash reading goes on exactly where the state stands, and nothing is counted twice or lost.

Run: python -m benchmarks.small_flow --bootstrap HOST:PORT --topic NAME --schemas FILE --redis URL --home FOLDER
It reads to where the topic ended when it started.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import numba
import numpy as np
import numpy.typing as npt
import orjson
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.run import cli_main
from redis import Redis

from nurt.adapters.clock import SystemClock
from nurt.adapters.files.control_log import FileControlLog
from nurt.adapters.kafka.log import KafkaLog
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.adapters.redis.store import RedisStore, claim
from nurt.avro import compile_reader
from nurt.debezium.wire import split_wire
from nurt.model.keys import Keys
from nurt.model.log import Offsets
from nurt.model.raw import RawBatch
from nurt.model.state_write import StateWrite
from nurt.model.tick import Tick
from nurt.ports.log import MessageLog
from nurt.runtime.routing import WorkerRoutes
from nurt.runtime.source import Reading, TopicSource

Int64s = npt.NDArray[np.int64]
PATHS = ("after.customer_id", "after.gross", "after.placed_at")
STATE_BYTES = 24  # orders, total, last: int64 each
COUNTS, OFFSETS = b"k", b"n"
"""Kinds of keys: a customer's counts, by id; a worker's next offsets."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What some messages of one topic say, and where its partitions go on behind them."""

    topic: str
    partition: Int64s
    offset: Int64s
    customer: Int64s
    total: Int64s
    last: Int64s
    after: dict[int, int]  # partition -> next offset

    def of(self, worker: int, workers: int) -> Orders:
        """Choose what is a worker's; it hears of every partition, so that its offsets are never behind."""
        if workers == 1:
            return self
        mine = self.customer % workers == worker
        columns = (self.partition, self.offset, self.customer, self.total, self.last)
        return Orders(self.topic, *(column[mine] for column in columns), self.after)


class Decode:
    """Reads messages with the projection decoder, one program a schema."""

    def __init__(self, schemas: dict[int, Any]) -> None:
        self._readers = {number: compile_reader(schema, PATHS) for number, schema in schemas.items()}

    def __call__(self, batch: RawBatch) -> Orders:
        wire = split_wire(batch.values)
        n = len(batch)
        partition, offset = np.array(batch.partitions), np.array(batch.offsets)
        customer, total, last = (np.zeros(n, dtype=np.int64) for _ in range(3))
        whole = np.zeros(n, dtype=np.bool_)
        for schema_id, rows in wire.by_schema():
            if schema_id not in self._readers:
                continue  # tombstones, and what is not ours
            read = self._readers[schema_id].read_joined(wire.joined, rows)
            id_, gross, placed = (read.columns[path] for path in PATHS)
            customer[rows], last[rows] = id_.numbers(), placed.numbers()
            amounts = np.zeros(len(rows), dtype=np.int64)
            _read_amounts(*gross.texts(), amounts)
            total[rows] = amounts
            known = id_.known()
            whole[rows] = (read.bad == 0) if known is None else (read.bad == 0) & known
        after = np.zeros(int(partition.max()) + 1, dtype=np.int64)
        np.maximum.at(after, partition, offset + 1)
        columns = (partition, offset, customer, total, last)
        if not whole.all():
            columns = tuple(column[whole] for column in columns)
        return Orders(batch.topic, *columns, {int(p): int(after[p]) for p in np.flatnonzero(after)})


class Fold(StatefulBatchLogic[Orders, None, None]):
    """One worker's customers: reads, adds and writes them with its offsets, all or nothing."""

    def __init__(self, store: RedisStore, place: bytes) -> None:
        self._store, self._place = store, place
        (held,) = store.read([place + OFFSETS])
        self._next = decode_offsets(held)

    def on_batch(self, values: list[Orders]) -> tuple[list[None], bool]:
        """Add what is new of some micro-batches."""
        customer, total, last = (np.concatenate([getattr(one, name) for one in values]) for name in _ADDED)
        if (fresh := np.concatenate([self._is_fresh(one) for one in values])).all():
            fresh = None
        else:
            customer, total, last = customer[fresh], total[fresh], last[fresh]
        for one in values:
            for partition, after in one.after.items():
                place = (one.topic, partition)
                self._next[place] = max(after, self._next.get(place, 0))
        ids, which = np.unique(customer, return_inverse=True)
        keys = _keys(self._place, ids)
        held = [value or _NOTHING for value in self._store.read(keys)]
        counts = np.frombuffer(b"".join(held), dtype=np.int64).reshape(-1, 3).copy()
        _add(which, total, last, counts)
        written = counts.tobytes()
        added = [written[at : at + STATE_BYTES] for at in range(0, len(written), STATE_BYTES)]
        put = dict(zip(keys, added, strict=True))
        put[self._place + OFFSETS] = encode_offsets(self._next)
        self._store.write(StateWrite(put=put))
        return [], False

    def _is_fresh(self, orders: Orders) -> npt.NDArray[np.bool_]:
        """Say which are not counted yet: what a crash left unread of one worker may be counted by another."""
        counted = np.zeros(max(orders.after, default=0) + 1, dtype=np.int64)
        for partition in orders.after:
            counted[partition] = self._next.get((orders.topic, partition), 0)
        return orders.offset >= counted[orders.partition]

    def on_eof(self) -> tuple[list[None], bool]:
        """Wait for the last write."""
        self._store.settle()
        return [], False

    def snapshot(self) -> None:
        """Keep nothing: the store has it. An epoch that is done is written."""
        self._store.settle()


class Nothing(DynamicSink[None], StatelessSinkPartition[None]):
    """Ends the flow: the plain loop publishes nothing either."""

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Nothing:
        """Give itself."""
        return self

    def write_batch(self, items: list[None]) -> None:
        """Take nothing."""


def small(
    source: TopicSource, decode: Callable[[RawBatch], Orders], routes: WorkerRoutes, fold: Callable[[], Fold]
) -> Dataflow:
    """Lay out the flow."""

    def addressed(item: list[RawBatch] | Tick) -> Iterator[tuple[str, Orders]]:
        if isinstance(item, Tick):
            return
        for orders in map(decode, item):
            for worker, key in enumerate(routes.keys):
                yield key, orders.of(worker, routes.workers)

    flow = Dataflow("small")
    messages = op.input("topics", flow, source)
    orders = op.flat_map("decode", messages, addressed)
    folded = op.stateful_batch("fold", orders, lambda _resumed: fold())
    op.output("done", op.map("unkey", folded, lambda keyed: keyed[1]), Nothing())
    return flow


@dataclass(frozen=True, slots=True)
class Place:
    """Where the job runs: services, schemas, and a folder for its register."""

    bootstrap: str
    topic: str
    schemas: dict[int, Any]
    redis_url: str
    home: Path
    group: str = "small"
    prefix: str = "small"
    rows_max: int = 50_000
    epoch_ms: int = 100


def run(place: Place) -> None:
    """Run the job in this process, from where its state stands to where the topic ends now."""
    register = FileControlLog(place.home / "runs.jsonl")
    number = register.append({"kind": "start"})
    keys, routes = Keys(place.prefix, 1), WorkerRoutes(1, 1)
    (shard,) = routes.places(0, (), keys)
    client = Redis.from_url(place.redis_url, protocol=2)
    claim(client, number, [shard])
    held: Any = client.get(shard + OFFSETS)
    store = RedisStore(client, keys, number, [shard])
    kafka = KafkaSettings(place.bootstrap)

    def open_log(index: int) -> MessageLog:
        return KafkaLog(kafka, [place.topic], place.group, worker=index, stop_at_end=True)

    reading = Reading(
        *(number, 1, place.rows_max, open_log, decode_offsets(held) or None, {}, 0, register),
        *(SystemClock().today, lambda: False),
    )
    flow = small(TopicSource(reading), Decode(place.schemas), routes, lambda: Fold(store, shard))
    cli_main(flow, epoch_interval=timedelta(milliseconds=place.epoch_ms))
    store.close()


def read_counts(client: Any, prefix: str = "small") -> dict[int, tuple[int, int, int]]:
    """Read every customer's counts, for those who check them."""
    start = Keys(prefix, 1).shard_place(0) + COUNTS
    names = list(client.scan_iter(match=start + b"*", count=10_000))
    values = client.mget(names) if names else []
    counts = np.frombuffer(b"".join(values), dtype=np.int64).reshape(-1, 3).tolist()
    return {int.from_bytes(name[len(start) :], "little"): tuple(of) for name, of in zip(names, counts, strict=True)}


def encode_offsets(offsets: Offsets) -> bytes:
    """Write next offsets as stored."""
    return orjson.dumps([[topic, partition, at] for (topic, partition), at in offsets.items()])


def decode_offsets(value: bytes | None) -> Offsets:
    """Read next offsets as stored."""
    return {} if value is None else {(topic, partition): at for topic, partition, at in orjson.loads(value)}


_ADDED = ("customer", "total", "last")
_NOTHING = bytes(STATE_BYTES)


def _keys(place: bytes, ids: Int64s) -> list[bytes]:
    start = np.frombuffer(place + COUNTS, dtype=np.uint8)
    whole = np.empty((len(ids), len(start) + 8), dtype=np.uint8)
    whole[:, : len(start)] = start
    whole[:, len(start) :] = ids.view(np.uint8).reshape(-1, 8)
    body, width = whole.tobytes(), whole.shape[1]
    return [body[at : at + width] for at in range(0, len(body), width)]


@numba.njit(nogil=True, cache=True)
def _add(which, total, last, counts):  # type: ignore[no-untyped-def]
    for row in range(len(which)):
        found = counts[which[row]]
        found[0] += 1
        found[1] += total[row]
        found[2] = max(found[2], last[row])


@numba.njit(nogil=True, cache=True)
def _read_amounts(offsets, body, amounts):  # type: ignore[no-untyped-def]
    """Read big-endian numbers of at most 8 bytes."""
    for row in range(len(amounts)):
        number = np.int64(0)
        for at in range(offsets[row], offsets[row + 1]):
            number = np.int64(np.int8(body[at])) if at == offsets[row] else (number << 8) | np.int64(body[at])
        amounts[row] = number


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("bootstrap", "topic", "redis"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--schemas", type=Path, required=True, help="JSON: schema id -> Avro schema")
    parser.add_argument("--home", type=Path, required=True, help="folder of the register")
    parser.add_argument("--rows-max", type=int, default=50_000)
    chosen = parser.parse_args()
    schemas = {int(number): schema for number, schema in json.loads(chosen.schemas.read_text()).items()}
    run(Place(chosen.bootstrap, chosen.topic, schemas, chosen.redis, chosen.home, rows_max=chosen.rows_max))


if __name__ == "__main__":
    main()
