"""Measure the flow of stock against a plain loop that only sums quantities per sku: real Kafka, real Valkey, in turn.

Contestants: `plain` (confluent-kafka, fastavro, a dict of quantity by sku), `stock` (the flow: positions, joins,
promises of three routes over four warehouses, read model, state in Valkey, crash-safe). Jobs: `levels` (stock levels
alone, 100,000 skus by Zipf, so that some are hot) and `mixed` (a third of the events are orders and lines; 1% are
deletions, 0.9% re-keys). Rates count messages, tombstones included. Then the
delay from an event's production to its promise in Redis, at low load, and Redis bytes per sku.

Run: python -m benchmarks.stock [--events N] [--rounds N] [--skip-delay]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.deployment import running_valkey
from benchmarks.load import make_topics, produce
from benchmarks.throughput import timed
from nurt.simulate.bulk.stock import STOCK_MAPPING, stock_load
from nurt.simulate.connector.schemas import SchemaBook
from tests.services.stack.kafka import running_kafka

PARTITIONS = 8
SKUS = 100_000
JOBS = {"levels": 0.0, "mixed": 0.34}


def plain(bootstrap: str, topics: list[str], schemas: dict[int, Any], events: int) -> float:
    """Sum quantities by sku; returns the seconds from the first message to the last."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "plain-loop",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "queued.min.messages": 500_000,
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for topic in topics for number in range(PARTITIONS)])
    parsed = {number: fastavro.parse_schema(schema) for number, schema in schemas.items()}
    sums: dict[str, Any] = {}
    seen, began = 0, 0.0
    while seen < events:
        messages = consumer.consume(10_000, 1.0)
        if messages and not began:
            began = time.perf_counter()
        for message in messages:
            value = message.value()
            seen += 1
            if value is None:
                continue
            body = io.BytesIO(value)
            body.seek(5)
            row = fastavro.schemaless_reader(body, parsed[int.from_bytes(value[1:5], "big")])["after"]
            if row is not None and "quantity" in row:
                sums[row["sku"]] = sums.get(row["sku"], 0) + row["quantity"]
    seconds = time.perf_counter() - began
    consumer.close()
    return seconds


def settings_of(place: dict[str, str], load: dict[str, Any], url: str, stop_at_end: bool) -> Any:
    """Describe a deployment of its own."""
    from nurt.adapters.kafka.settings import KafkaSettings
    from nurt.settings import KafkaInput, Settings

    home = Path(tempfile.mkdtemp(prefix="nurt-stock-", dir=place["home"]))
    (home / "data" / "stock" / "schemas").mkdir(parents=True)
    schemas = {str(number): schema for number, schema in load["schemas"].items()}
    (home / "data" / "stock" / "schemas" / "schemas.json").write_text(json.dumps(schemas))
    (home / "mapping.yaml").write_text(STOCK_MAPPING.replace("load\\.", "[a-z]+\\."), encoding="utf-8")
    name = home.name
    return Settings(
        mapping=home / "mapping.yaml",
        data=home / "data",
        redis_url=url,
        kafka=KafkaSettings(place["bootstrap"]),
        kafka_input=KafkaInput(tuple(load["topics"]), name, stop_at_end=stop_at_end),
        control_topic=f"control.{name}",
        rows_max=int(place["rows_max"]),
    )


def contest(name: str, job: str, place: dict[str, str]) -> dict[str, float]:
    """Run one contestant in this process; `events` of the result are messages."""
    load = pickle.loads((Path(place["home"]) / "loads.pickle").read_bytes())[job]
    events = load["messages"]
    if name == "plain":
        seconds = plain(place["bootstrap"], load["topics"], load["schemas"], events)
        return {"events": events, "seconds": seconds, "rss_mb": _rss_mb()}
    from redis import Redis

    from nurt.app.running import run_stock_here
    from nurt.flows.stock import stock

    with running_valkey() as server:
        client: Any = Redis.from_url(server.url)
        empty = client.info("memory")["used_memory"]
        seconds = timed(lambda: run_stock_here(stock, settings_of(place, load, server.socket_url, stop_at_end=True)))
        used = client.info("memory")["used_memory"] - empty
        skus = sum(1 for _ in client.scan_iter(match="*{r:default}q*", count=10_000))
        levels = {}
        for kind in (b"k", b"d", b"q", b"b", b"v"):
            levels[kind.decode()] = sum(1 for _ in client.scan_iter(match=b"*{r:default}" + kind + b"*", count=10_000))
    rows = load["rows"]
    return {
        "events": events, "seconds": seconds, "rss_mb": _rss_mb(), "redis_mb": used / 2**20, "skus": skus,
        "bytes_per_sku": used / max(1, skus), "bytes_per_sku_and_location": used / max(1, rows), **levels,
    }  # fmt: skip


def delay(place: dict[str, str], seconds_s: float = 20.0) -> dict[str, float]:
    """Measure from an event's production to its promise in Redis, 20 events a second."""
    from redis import Redis

    from nurt.app.running import run_stock_here
    from nurt.columnar.ids import Ids
    from nurt.flows.stock import stock
    from nurt.settings import stock_settings

    book = SchemaBook()
    first = next(stock_load(2000, book, skus=500, partitions=PARTITIONS, chunk_rows=2000))
    load = {"schemas": book.schemas, "topics": [first[0].topic.replace("load.", "delay.")]}
    producer = Producer({"bootstrap.servers": place["bootstrap"], "linger.ms": 0})
    make_topics(place["bootstrap"], load["topics"], PARTITIONS)
    with running_valkey() as server:
        settings = settings_of(place, load, server.socket_url, stop_at_end=False)
        ids, stop = Ids(stock_settings(settings).ids_secret()), threading.Event()
        flow = threading.Thread(target=run_stock_here, args=(stock, settings), kwargs={"stop": stop})
        flow.start()
        client: Any = Redis.from_url(server.socket_url)
        took = []
        began, batch = time.perf_counter(), first[0]
        names = [f"SKU-{int(sku)}" for sku in _skus_of(batch, book)]
        for at in range(len(batch)):
            if time.perf_counter() - began > seconds_s + 5:
                break
            key = b"nurt-stock{r:default}q" + ids.one("sku\x1f" + names[at])
            before = client.get(key)
            sent = time.perf_counter()
            producer.produce(load["topics"][0], batch.values[at], batch.keys[at], batch.partitions[at])
            producer.poll(0)
            while client.get(key) == before and time.perf_counter() - sent < 2:
                time.sleep(0.0005)
            done = time.perf_counter()
            if done - began > 5 and done - sent < 2:  # compiled and warm; one that changed nothing is no sample
                took.append((done - sent) * 1000)
            time.sleep(max(0.0, 0.05 - (done - sent)))
        stop.set()
        flow.join()
    took.sort()
    return {"samples": len(took), "p50_ms": took[len(took) // 2], "p99_ms": took[int(len(took) * 0.99)]}


def _skus_of(batch: Any, book: SchemaBook) -> list[str]:
    found = []
    for value in batch.values:
        schema = fastavro.parse_schema(book.schemas[int.from_bytes(value[1:5], "big")])
        found.append(fastavro.schemaless_reader(io.BytesIO(value[5:]), schema)["after"]["sku"].removeprefix("SKU-"))
    return found


def _rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def prepare(bootstrap: str, home: Path, events: int, jobs: list[str]) -> None:
    """Produce the loads, each once."""
    loads = {}
    for job in jobs:
        book, rows, sent = SchemaBook(), set(), 0
        renamed = []
        for batches in stock_load(events, book, skus=SKUS, partitions=PARTITIONS, orders_share=JOBS[job]):
            rows.update(batches[0].keys)
            for batch in batches:
                object.__setattr__(batch, "topic", batch.topic.replace("load.", f"{job}."))
            if not renamed:
                renamed = [batch.topic for batch in batches]
                make_topics(bootstrap, renamed, PARTITIONS)
            sent += produce(iter([batches]), bootstrap)
        loads[job] = {"schemas": book.schemas, "topics": renamed, "rows": len(rows), "messages": sent}
        print(f"produced {sent:,} messages of {job}: {len(rows):,} rows of stock", flush=True)
    (home / "loads.pickle").write_bytes(pickle.dumps(loads))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rows-max", type=int, default=50_000)
    parser.add_argument("--jobs", nargs="*", choices=list(JOBS), default=list(JOBS))
    parser.add_argument("--skip-delay", action="store_true")
    parser.add_argument("--contest", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.contest:
        print("RESULT " + json.dumps(contest(*chosen.contest, json.loads(chosen.place))))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with running_kafka() as bootstrap, tempfile.TemporaryDirectory(prefix="nurt-bench-") as name:
        place = {"bootstrap": bootstrap, "home": name, "rows_max": str(chosen.rows_max)}
        prepare(bootstrap, Path(name), chosen.events, chosen.jobs)
        for job in chosen.jobs:
            rates: dict[str, list[float]] = {"plain": [], "stock": []}
            for number in range(chosen.rounds):
                for one in rates:
                    command = [sys.executable, "-m", "benchmarks.stock", "--contest", one, job]
                    command += ["--place", json.dumps(place)]
                    ended = subprocess.run(command, capture_output=True, text=True, check=False)
                    said = [line for line in ended.stdout.splitlines() if line.startswith("RESULT ")]
                    if not said:
                        print(f"{one}: failed\n{ended.stderr[-3000:]}")
                        continue
                    result = json.loads(said[0].removeprefix("RESULT "))
                    rates[one].append(result["events"] / result["seconds"])
                    rest = {k: v for k, v in result.items() if k not in ("events", "seconds")}
                    more = ", ".join(f"{key} {value:,.0f}" for key, value in rest.items())
                    print(f"{job} round {number + 1} {one:6s} {rates[one][-1]:10,.0f} messages/s  {more}", flush=True)
            if all(rates.values()):
                ratio = statistics.median(a / b for a, b in zip(rates["stock"], rates["plain"], strict=True))
                print(f"{job}: {ratio:.2f} x the plain loop")
        if not chosen.skip_delay:
            print("delay:", {key: round(value, 1) for key, value in delay(place).items()})


if __name__ == "__main__":
    main()
