"""The jobs of `compare`: each produces its messages once, then runs a tree's command over them and measures it."""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import redis
from confluent_kafka.admin import AdminClient

from benchmarks import latency as steady
from benchmarks.deployment import PREFIX, write_settings
from benchmarks.load import make_topics, produce
from benchmarks.memory import every_customer
from benchmarks.small_flow import decode_offsets
from benchmarks.trees import Run, Tree, run
from nurt.model.raw import RawBatch
from nurt.simulate.bulk.envelopes import orders_load
from nurt.simulate.bulk.shop import mixed_load
from nurt.simulate.bulk.stock import STOCK_MAPPING, stock_load
from nurt.simulate.connector.schemas import SchemaBook
from tests.services.stack.redis_server import RedisServer

Figures = dict[str, float]

PARTITIONS = 8
SKUS = 100_000
SIZES = {
    "mixed": 600_000,
    "small": 3_000_000,
    "levels": 1_500_000,
    "stock": 600_000,
    "memory": 300_000,
    "latency": 1_500,
    "start": 5_000,
}
"""Changes of each job's load; of `memory`, customers, and a third as many changes."""
LATENCY_RATE = 100.0
COMMANDS = (
    *("demo", "init", "check", "run", "deliver", "source", "profile", "stock", "order", "reserve", "release"),
    *("stats", "quarantine", "simulate", "drill"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where jobs run, and the messages that all runs of one read."""

    home: Path
    scale: float
    kafka: Callable[[], AbstractContextManager[str]]
    valkey: Callable[[], AbstractContextManager[RedisServer]]
    bootstrap: str = ""
    topics: tuple[str, ...] = ()
    schemas: dict[int, Any] = field(default_factory=dict)
    messages: int = 0

    def size(self, job: str) -> int:
        """Tell how many changes a load has."""
        return max(100, int(SIZES[job] * self.scale))

    def folder(self) -> Path:
        """Make a folder for one run."""
        return Path(tempfile.mkdtemp(prefix="run-", dir=self.home))


def prepare(job: str, place: Place, bootstrap: str) -> Place:
    """Produce a job's messages, once for all runs."""
    began = time.monotonic()
    book = SchemaBook()
    load = _load(job, place.size(job), book)
    first = next(load)
    topics = {batch.topic for batch in first}
    if job == "memory":
        topics |= {batch.topic for batch in next(mixed_load(1000, SchemaBook(), customers=1000))}
    make_topics(bootstrap, sorted(topics), PARTITIONS)
    sent = produce(itertools.chain([first], load), bootstrap)
    print(f"{job}: produced {sent:,} messages in {time.monotonic() - began:.0f} s", flush=True)
    return replace(place, bootstrap=bootstrap, topics=tuple(sorted(topics)), schemas=book.schemas, messages=sent)


def _load(job: str, size: int, book: SchemaBook) -> Iterator[list[RawBatch]]:
    if job == "small":
        return orders_load(size, book, partitions=PARTITIONS)
    if job in ("levels", "stock"):
        share = 0.34 if job == "stock" else 0.0
        return stock_load(size, book, skus=SKUS, partitions=PARTITIONS, orders_share=share)
    mixed = mixed_load(max(100, size // 3) if job == "memory" else size, book, partitions=PARTITIONS)
    return itertools.chain(every_customer(size, book), mixed) if job == "memory" else mixed


def profiles(tree: Tree, place: Place, workers: int) -> Figures:
    """Run the flow of profiles from an empty state to the topics' ends, in large micro-batches."""
    return _whole(tree, place, workers, [], {"rows_max": 50_000}, PREFIX)


def memory(tree: Tree, place: Place, workers: int) -> Figures:
    """Run the flow of profiles in micro-batches of the default size."""
    return _whole(tree, place, workers, [], {}, PREFIX)


def stock(tree: Tree, place: Place, workers: int) -> Figures:
    """Run the flow of stock from an empty state to the topics' ends."""
    return _whole(tree, place, workers, ["--flow", "stock"], {"rows_max": 50_000}, f"{PREFIX}-stock", STOCK_MAPPING)


def _whole(
    tree: Tree,
    place: Place,
    workers: int,
    more: list[str],
    source: dict[str, int],
    prefix: str,
    mapping: str | None = None,
) -> Figures:
    home = place.folder()
    try:
        with place.valkey() as server:
            at = (home, place.bootstrap, server.socket_url, place.topics, place.schemas)
            settings = write_settings(*at, mapping=mapping, name=home.name, **source)
            command = tree.nurt("run", "--quiet", "--until-end", "--workers", str(workers), *more)
            client: Any = redis.Redis.from_url(server.socket_url)

            def done() -> int:
                return sum(map(int, client.hvals(f"{prefix}:counts")))

            return _measured([*command, "--config", str(settings)], tree, home, client, done, place.messages)
    finally:
        _forget(place.bootstrap, home.name)


def small(tree: Tree, place: Place, workers: int) -> Figures:
    """Run the small job of a tree."""
    home = place.folder()
    schemas = home / "schemas.json"
    schemas.write_text(json.dumps(place.schemas))
    with place.valkey() as server:
        command = tree.module("benchmarks.small_flow", "--bootstrap", place.bootstrap, "--topic", place.topics[0])
        command += ["--schemas", str(schemas), "--redis", server.socket_url, "--home", str(home)]
        client: Any = redis.Redis.from_url(server.socket_url)

        def done() -> int:
            return sum(decode_offsets(client.get("small{00}n")).values())

        return _measured(command, tree, home, client, done, place.messages)


def _measured(
    command: list[str], tree: Tree, home: Path, client: Any, done: Callable[[], int], messages: int
) -> Figures:
    before = _server_cpu_s(client)
    ended = run(command, tree.environment(), home, done)
    server_s = _server_cpu_s(client) - before
    assert done() == messages, f"{done():,} of {messages:,} messages are counted"
    assert ended.began is not None and ended.began.done < messages, "the load was done at once; take a larger --scale"
    counted = messages - ended.began.done
    return {
        "cpu_us": 1e6 * ended.cpu_s / messages,
        "later_cpu_us": 1e6 * (ended.cpu_s - ended.began.cpu_s) / counted,
        "server_cpu_us": 1e6 * server_s / messages,
        "messages_s": counted / (ended.took_s - ended.began.at_s),
        "peak_mb": ended.peak_mb,
        "rss_mb": _later(ended),
        "begin_s": ended.began.at_s,
        "begin_cpu_s": ended.began.cpu_s,
        "user_s": ended.user_s,
        "system_s": ended.system_s,
        "state_mb": client.info("memory")["used_memory"] / 2**20,
        "state_keys": float(client.dbsize()),
    }


def _later(ended: Run) -> float:
    """Tell what a process held in the second half of its run, most of the time."""
    return statistics.median(ended.rss_mb[len(ended.rss_mb) // 2 :])


def _server_cpu_s(client: Any) -> float:
    told = client.info("cpu")
    return float(told["used_cpu_user"] + told["used_cpu_sys"])


def _forget(bootstrap: str, name: str) -> None:
    """Delete what a run has published, so that the disk does not fill."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    own = [topic for topic in admin.list_topics(timeout=30).topics if topic.startswith(f"{name}.")]
    for gone in (admin.delete_topics(own) if own else {}).values():
        gone.result()


def latency(tree: Tree, place: Place, workers: int) -> Figures:
    """Run a tree at a steady load, on a broker of its own."""
    home = place.folder()
    with place.kafka() as bootstrap, place.valkey() as server:
        events = place.size("latency")
        found = steady.measure(bootstrap, server.url, home, events, LATENCY_RATE, tree, workers)
    every = found.every_ms()
    assert len(every) > 0.9 * found.sent, f"{len(every)} of {found.sent} changes were seen"
    cuts = statistics.quantiles(every, n=1000, method="inclusive")
    figures = {"p50_ms": cuts[499], "p99_ms": cuts[989], "p999_ms": cuts[998]}
    if workers == 1:  # else the work is done by processes that are not looked at
        figures |= {"cpu_us": 1e6 * found.cpu_s / found.sent, "rss_mb": found.load_mb["rss"]}
    return figures


def start(tree: Tree, place: Place, workers: int) -> Figures:
    """Run each command once: its help, and those that only look over the state of a small run."""
    home = place.folder()
    environment = tree.environment()
    figures: Figures = {}

    def timed(name: str, *arguments: str) -> None:
        ended = run(tree.nurt(*arguments), environment, home)
        figures[f"{name} s"], figures[f"{name} cpu s"] = ended.took_s, ended.cpu_s

    timed("--help", "--help")
    timed("--version", "--version")
    for command in COMMANDS:
        timed(f"{command} --help", command, "--help")
    try:
        with place.valkey() as server:
            settings = write_settings(
                home, place.bootstrap, server.socket_url, place.topics, place.schemas, name=home.name
            )
            last = ("--config", str(settings))
            timed("run", "run", "--quiet", "--until-end", *last)
            timed("check", "check", *last)
            timed("check --sample 0", "check", "--sample", "0", *last)
            timed("stats", "stats", *last)
            timed("quarantine list", "quarantine", "list", *last)
    finally:
        _forget(place.bootstrap, home.name)
    return figures


JOBS: dict[str, Callable[[Tree, Place, int], Figures]] = {
    "mixed": profiles,
    "small": small,
    "levels": stock,
    "stock": stock,
    "memory": memory,
    "latency": latency,
    "start": start,
}
