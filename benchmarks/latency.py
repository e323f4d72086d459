"""Measure how long a change takes from Kafka to the profile in Redis, at low load, over real services.

Customers, addresses, orders of guests and order lines are produced one at a time, at a steady pace; each carries a mark
that its profile shows (a name, a street, an e-mail, a sku). Valkey tells of every profile that is written, and the mark
in it says which changes it holds: the time from `produce` to that notice is a change's latency. Nothing else is
measured: Debezium and the database come before.

Run: python -m benchmarks.latency [--events N] [--rate EVENTS_A_SECOND]
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import redis
from confluent_kafka import Producer

from benchmarks.deployment import PREFIX, running_nurt, running_valkey, wait_for_keys
from benchmarks.load import make_topics
from benchmarks.trees import HERE, Tree
from nurt.model.raw import RawBatch
from nurt.simulate.bulk.envelopes import Topic
from nurt.simulate.company.tables import SHOP_TABLES
from nurt.simulate.connector.schemas import SchemaBook
from tests.services.stack.kafka import running_kafka

KINDS = ("customer_entity", "customer_address_entity", "sales_order", "sales_order_item")
PARTITIONS = 2
BEHIND = 40  # how many rounds a child comes after its parent
MARK = re.compile(rb"mark(\d+)z")
_TABLES = {table.name: table for table in SHOP_TABLES}
_AT = "2026-01-05T10:00:00Z"


def changes(events: int, book: SchemaBook) -> list[tuple[str, bytes, bytes, int, int]]:
    """Write events in turn of their kind: topic, key, value, partition, mark."""
    rounds = events // len(KINDS) + 1
    numbers = np.arange(1, rounds + 1, dtype=np.int64)
    parents = np.maximum(1, numbers - BEHIND)
    columns = {
        "customer_entity": {"firstname": pl.lit("Anna"), "lastname": _marked(0, rounds)},
        "customer_address_entity": {"parent_id": pl.Series(parents), "street": _marked(1, rounds)},
        "sales_order": {
            "increment_id": pl.Series(numbers).cast(pl.String()),
            "state": pl.lit("new"),
            "status": pl.lit("new"),
            "customer_email": _marked(2, rounds) + pl.lit("@example.pl"),
            "order_currency_code": pl.lit("PLN"),
            "base_currency_code": pl.lit("PLN"),
            "grand_total": pl.Series(numbers * 10_000),
        },
        "sales_order_item": {
            "order_id": pl.Series(parents),
            "sku": _marked(3, rounds),
            "name": pl.lit("tea"),
            "qty_ordered": pl.lit(10_000),
            "row_total_incl_tax": pl.Series(numbers * 10_000),
        },
    }
    batches = [_written(name, columns[name], numbers, book) for name in KINDS]
    turns = zip(*(zip(batch.keys, batch.values, batch.partitions, strict=True) for batch in batches), strict=True)
    flat = [(batches[kind].topic, *of_one) for turn in turns for kind, of_one in enumerate(turn)]
    return [
        (topic, key or b"", value or b"", int(partition), mark)
        for mark, (topic, key, value, partition) in enumerate(flat[:events])
    ]


def _marked(kind: int, rounds: int) -> pl.Expr:
    marks = np.arange(rounds, dtype=np.int64) * len(KINDS) + kind
    return pl.lit("mark") + pl.lit(pl.Series(marks).cast(pl.String())) + pl.lit("z")


def _written(name: str, values: dict[str, Any], numbers: np.ndarray[Any, Any], book: SchemaBook) -> RawBatch:
    table = _TABLES[name]
    times = {
        column: pl.lit(_AT) for column in ("created_at", "updated_at") if column in {c.name for c in table.columns}
    }
    topic = Topic("mariadb", "shop_pl", "magento", table, book, PARTITIONS, 1_000)
    own = {table.key[0]: pl.Series(numbers), **times, **values}
    return topic.batch(numbers, own, np.zeros(len(numbers), dtype=np.bool_))


class Watch(threading.Thread):
    """Hears of every profile that is written, and notes when each mark was first seen."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.seen: dict[int, float] = {}
        self._client = redis.Redis.from_url(url)
        self._client.config_set("notify-keyspace-events", "K$")
        self._told = self._client.pubsub()
        self._told.psubscribe(f"__keyspace@0__:{PREFIX}{{*}}f*")
        self._told.get_message(timeout=1.0)

    def _heard(self) -> dict[str, Any] | None:
        try:
            return self._told.get_message(timeout=1.0) or {}
        except redis.ConnectionError:  # the server has ended
            return None

    def run(self) -> None:
        start = len(b"__keyspace@0__:")
        for message in iter(self._heard, None):
            now = time.perf_counter()
            if not message or message["type"] != "pmessage":
                continue
            body: Any = self._client.get(message["channel"][start:])
            for mark in MARK.findall(body or b""):
                self.seen.setdefault(int(mark), now)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run at a steady load showed.

    Attributes:
        took_ms: how long each change took that was seen, by kind.
        sent: how many changes there were, seen or not.
        rest_mb: what the worker held before, and `load_mb` at the end.
    """

    took_ms: dict[str, list[float]]
    sent: int
    rest_mb: dict[str, float]
    load_mb: dict[str, float]
    cpu_s: float
    seconds: float

    def every_ms(self) -> list[float]:
        """Return how long each change took, sorted."""
        return sorted(took for some in self.took_ms.values() for took in some)


def measure(
    bootstrap: str, redis_url: str, home: Path, events: int, rate: float, tree: Tree = HERE, workers: int = 1
) -> Measured:
    """Run a deployment and produce at a steady pace."""
    book = SchemaBook()
    warm = 8 * BEHIND
    made = changes(events + warm, book)
    topics = sorted({topic for topic, *_ in made})
    make_topics(bootstrap, topics, PARTITIONS)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    watch = Watch(redis_url)
    watch.start()
    sent: dict[int, float] = {}
    with running_nurt(home, bootstrap, redis_url, topics, book.schemas, tree, workers) as nurt:
        wait_for_keys(watch._client)
        for topic, key, value, partition, _ in made[:warm]:
            producer.produce(topic, value, key, partition)
        producer.flush()
        known = -1
        while known < len(watch.seen) or known < warm // 2:  # the first parent has more children than its profile shows
            assert nurt.process.poll() is None, (home / "log").read_text()
            known = len(watch.seen)
            time.sleep(3.0)
        rest_mb, cpu = nurt.rss_mb(), nurt.cpu_s()
        began = time.perf_counter()
        for number, (topic, key, value, partition, mark) in enumerate(made[warm:]):
            pause = began + number / rate - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            sent[mark] = time.perf_counter()
            producer.produce(topic, value, key, partition)
            producer.poll(0)
        producer.flush()
        took = time.perf_counter() - began
        time.sleep(2.0)
        load_mb, cpu = nurt.rss_mb(), nurt.cpu_s() - cpu
    by_kind: dict[str, list[float]] = {name: [] for name in KINDS}
    for mark, at in sent.items():
        if mark in watch.seen:
            by_kind[KINDS[mark % len(KINDS)]].append(1e3 * (watch.seen[mark] - at))
    return Measured(by_kind, len(sent), rest_mb, load_mb, cpu, took)


def told(found: Measured, rate: float) -> Iterator[str]:
    """Say what a run showed."""
    yield f"at rest: {_shown(found.rest_mb)} MB"
    yield f"{rate:.0f} events/s for {found.seconds:.0f} s: {_shown(found.load_mb)} MB, {found.cpu_s:.1f} CPU s"
    every = found.every_ms()
    yield f"{len(every)} of {found.sent} changes seen in a profile"
    for name, took in found.took_ms.items():
        yield f"  {name:24s} {_percentiles(took)}"
    yield f"  {'all':24s} {_percentiles(every)}"


def _percentiles(found: list[float]) -> str:
    if len(found) < 2:
        return "too few"
    cuts = statistics.quantiles(found, n=1000, method="inclusive")
    return f"p50 {cuts[499]:6.1f}  p90 {cuts[899]:6.1f}  p99 {cuts[989]:6.1f}  p99.9 {cuts[998]:6.1f}  ms"


def _shown(sizes: dict[str, float]) -> str:
    return ", ".join(f"{name} {size:.0f}" for name, size in sizes.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=3_000)
    parser.add_argument("--rate", type=float, default=100.0)
    chosen = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with (
        running_kafka() as bootstrap,
        running_valkey() as server,
        tempfile.TemporaryDirectory(prefix="nurt-latency-") as name,
    ):
        for line in told(measure(bootstrap, server.url, Path(name), chosen.events, chosen.rate), chosen.rate):
            print(line, flush=True)
        log = (Path(name) / "log").read_text()
        if log.strip():
            print(log[-2000:], file=sys.stderr)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
