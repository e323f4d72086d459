"""Measure what a worker holds in memory while a million customers come into being, and change.

`nurt run` in a process of its own reads a customer row for each of them, then the mixed load over them; its memory is
read from outside: in all (rss), its own pages (own), pages of files that processes share (shared), and the peak.

Run: python -m benchmarks.memory [--customers N] [--events N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import redis

from benchmarks.deployment import PREFIX, Running, running_nurt, running_valkey, wait_for_keys
from benchmarks.load import make_topics, produce
from nurt.model.raw import RawBatch
from nurt.simulate.bulk.envelopes import CHUNK_ROWS, Topic
from nurt.simulate.bulk.shop import mixed_load
from nurt.simulate.company.tables import SHOP_TABLES
from nurt.simulate.connector.schemas import SchemaBook
from tests.services.stack.kafka import running_kafka

PARTITIONS = 8
_AT = "2025-11-30T12:00:00Z"


def every_customer(customers: int, book: SchemaBook) -> Iterator[list[RawBatch]]:
    """Write one row for each customer, as snapshots do."""
    table = next(table for table in SHOP_TABLES if table.name == "customer_entity")
    topic = Topic("mariadb", "shop_pl", "magento", table, book, PARTITIONS, 1)
    for first in range(1, customers + 1, CHUNK_ROWS):
        ids = np.arange(first, min(first + CHUNK_ROWS, customers + 1), dtype=np.int64)
        number = pl.lit(pl.Series(ids).cast(pl.String()))
        values: dict[str, Any] = {
            "entity_id": pl.Series(ids),
            "email": pl.lit("kunde") + number + pl.lit("@example.pl"),
            "created_at": pl.lit(_AT),
            "updated_at": pl.lit(_AT),
            "firstname": pl.lit("Anna"),
            "lastname": pl.lit("Nowak"),
            "country_id": pl.lit("PL"),
        }
        yield [topic.batch(ids, values, np.zeros(len(ids), dtype=np.bool_))]


def watch(nurt: Running, client: Any, what: str, until_count: int) -> Iterator[str]:
    """Sample until so many messages are counted; say what was held."""
    sizes, began, cpu = [], time.monotonic(), nurt.cpu_s()
    before = counted(client)
    while counted(client) < until_count:
        assert nurt.process.poll() is None, "nurt has ended; see its log"
        sizes.append(nurt.rss_mb())
        time.sleep(0.5)
    took, done = time.monotonic() - began, counted(client) - before
    for name in ("rss", "own", "shared"):
        some = [size[name] for size in sizes] or [0.0]
        yield f"  {what:10s} {name:7s} median {statistics.median(some):5.0f}  highest {max(some):5.0f} MB"
    yield f"  {what:10s} {done:,} events in {took:.0f} s, {done / took:,.0f}/s, {nurt.cpu_s() - cpu:.0f} CPU s"


def counted(client: Any) -> int:
    """Tell how many messages have ended somewhere."""
    return sum(int(number) for number in client.hvals(f"{PREFIX}:counts"))


def measure(bootstrap: str, url: str, home: Path, customers: int, events: int) -> Iterator[str]:
    """Run a deployment over its load, step by step."""
    book = SchemaBook()
    client: Any = redis.Redis.from_url(url)
    load = mixed_load(events, book, customers=customers, partitions=PARTITIONS)
    first = next(load)
    topics = [batch.topic for batch in first]
    make_topics(bootstrap, topics, PARTITIONS)
    sent = produce(every_customer(customers, book), bootstrap)
    with running_nurt(home, bootstrap, url, topics, book.schemas) as nurt:
        wait_for_keys(client)
        yield from watch(nurt, client, "customers", sent)
        told: Any = client.info("memory")
        yield f"  Redis: {told['used_memory'] / sent:,.0f} bytes, {client.dbsize() / sent:.1f} keys a customer"
        sent += produce(iter([first]), bootstrap) + produce(load, bootstrap)
        yield from watch(nurt, client, "mixed", sent)
        time.sleep(20.0)
        yield "  idle       " + ", ".join(f"{name} {size:.0f}" for name, size in nurt.rss_mb().items()) + " MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    chosen = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with (
        running_kafka() as bootstrap,
        running_valkey() as server,
        tempfile.TemporaryDirectory(prefix="nurt-memory-") as name,
    ):
        for line in measure(bootstrap, server.url, Path(name), chosen.customers, chosen.events):
            print(line, flush=True)


if __name__ == "__main__":
    main()
