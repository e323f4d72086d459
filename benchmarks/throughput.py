"""Measure nurt against a plain loop and a per-record pipeline: real Kafka, real Valkey, contestants in turn.

Contestants:
  plain   confluent-kafka, fastavro and a dict: {orders, total, last} by customer, nothing kept
  small   that job out of nurt's parts in Bytewax, state in Valkey, exact after a crash (benchmarks/small_flow.py)
  orders  that load through nurt's whole flow: rows, orders, accounts, identity, profiles, topic
  mixed   customers, addresses, orders and lines through nurt's whole flow
  record  a per-record pipeline on the mixed load, JSON documents in Valkey

Every round runs each once, in a process of its own, over the same topics. A rate counts messages, tombstones included,
from the first one to the end of the run; ratios are of medians. CPU is in seconds, RSS in MB: what it was most of the
time, and its peak.

Run: python -m benchmarks.throughput [--events N] [--rounds N] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import redis

from benchmarks.deployment import running_valkey
from benchmarks.load import make_topics, produce
from benchmarks.peers import per_record, plain_loop
from nurt.simulate.bulk.envelopes import ORDERS_MAPPING, orders_load
from nurt.simulate.bulk.shop import mixed_load
from nurt.simulate.connector.schemas import SchemaBook
from tests.services.stack.kafka import running_kafka

PARTITIONS = 8
CONTESTANTS = ("plain", "small", "orders", "mixed", "record")
SLOW_EVENTS = 30_000
"""How many messages the per-record pipeline is given: it would need hours for all."""


def contest(name: str, place: dict[str, str]) -> dict[str, float]:
    """Run one contestant in this process; `events` of the result are messages."""
    loads = pickle.loads((Path(place["home"]) / "loads.pickle").read_bytes())
    orders, mixed = loads["orders"], loads["mixed"]
    events = (mixed if name in ("mixed", "record") else orders)["messages"]
    with Meter() as meter:
        if name == "plain":
            seconds = plain_loop.run(place["bootstrap"], orders["topics"][0], orders["schemas"], events, PARTITIONS)
            return {"events": events, "seconds": seconds, **meter.read()}
        with running_valkey() as server:
            if name == "record":
                events = min(events, SLOW_EVENTS)
                topics = dict.fromkeys(mixed["topics"], PARTITIONS)
                seconds = per_record.run(place["bootstrap"], topics, mixed["schemas"], events, server.url)
            elif name == "small":
                seconds = small(place, orders, server.socket_url)
            else:
                seconds = whole(name, place, orders if name == "orders" else mixed, server.socket_url)
            worker = meter.read()
            return {"events": events, "seconds": seconds, **worker, **state_of(server.url)}


def small(place: dict[str, str], load: dict[str, Any], redis_url: str) -> float:
    """Run the small job out of nurt's parts."""
    from benchmarks import small_flow

    home = Path(tempfile.mkdtemp(prefix="small-", dir=place["home"]))
    group = f"small-{os.getpid()}"
    job = small_flow.Place(
        place["bootstrap"], load["topics"][0], load["schemas"], redis_url, home, group, rows_max=int(place["rows_max"])
    )
    return timed(lambda: small_flow.run(job))


def whole(name: str, place: dict[str, str], load: dict[str, Any], redis_url: str) -> float:
    """Run nurt's real flow over a load, from an empty state, until the topics' ends."""
    from nurt.adapters.kafka.settings import KafkaSettings
    from nurt.app.running import run_here
    from nurt.flows.profiles import profiles
    from nurt.settings import KafkaInput, Settings

    home = Path(tempfile.mkdtemp(prefix=f"nurt-{name}-", dir=place["home"]))
    (home / "data" / "schemas").mkdir(parents=True)
    schemas = {str(number): schema for number, schema in load["schemas"].items()}
    (home / "data" / "schemas" / "schemas.json").write_text(json.dumps(schemas))
    mapping = home / "mapping.yaml"
    demo = Path("src/nurt/presets/demo.yaml").read_text(encoding="utf-8")
    mapping.write_text(ORDERS_MAPPING if name == "orders" else demo, encoding="utf-8")
    settings = Settings(
        mapping=mapping,
        data=home / "data",
        redis_url=redis_url,
        prefix="n",
        kafka=KafkaSettings(place["bootstrap"], json.loads(place["options"])),
        kafka_input=KafkaInput(tuple(load["topics"]), f"bench-{os.getpid()}", stop_at_end=True),
        topic=f"bench.profiles.{os.getpid()}",
        control_topic=f"bench.control.{os.getpid()}",
        rows_max=int(place["rows_max"]),
        workers=int(place["workers"]),
    )
    return timed(lambda: run_here(profiles, settings))


def timed(run: Callable[[], None]) -> float:
    """Run nurt; count from the first message that it polled, as the plain loop does."""
    from nurt.adapters.kafka.log import KafkaLog

    first: list[float] = []
    poll = KafkaLog.poll

    def noted(log: KafkaLog, rows_max: int) -> list[Any]:
        batches = poll(log, rows_max)
        if batches and not first:
            first.append(time.perf_counter())
        return batches

    KafkaLog.poll = noted  # type: ignore[method-assign]
    run()
    return time.perf_counter() - first[0]


def state_of(redis_url: str) -> dict[str, float]:
    """Say what the state weighs, and how much of the server's time it took."""
    client = redis.Redis.from_url(redis_url)
    told: Any = client.info()
    keys: Any = client.dbsize()
    customers = sum(1 for _ in client.scan_iter(match="n{??}f*", count=50_000)) or None
    if customers is None:
        customers = sum(1 for _ in client.scan_iter(match="small{??}k*", count=50_000)) or 1
    return {
        "server_cpu": told["used_cpu_user"] + told["used_cpu_sys"],
        "state_mb": told["used_memory"] / 2**20,
        "customers": customers,
        "bytes_each": told["used_memory"] / customers,
        "keys_each": keys / customers,
    }


class Meter:
    """Samples this process while a contestant runs."""

    def __enter__(self) -> Self:
        self._sizes_mb: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _sample(self) -> None:
        page_mb = resource.getpagesize() / 2**20
        while not self._ended.wait(0.2):
            self._sizes_mb.append(int(Path("/proc/self/statm").read_text().split()[1]) * page_mb)

    def read(self) -> dict[str, float]:
        """Give CPU seconds, and memory in the second half of the run and at its peak."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        later = self._sizes_mb[len(self._sizes_mb) // 2 :] or [0.0]
        return {
            "cpu": usage.ru_utime + usage.ru_stime,
            "rss": statistics.median(later),
            "rss_peak": int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024,
        }


LOADS = {"orders": (orders_load, {"plain", "small", "orders"}), "mixed": (mixed_load, {"mixed", "record"})}
"""Load -> what makes it, and the contestants that read it."""


def prepare(bootstrap: str, home: Path, events: int, contestants: Sequence[str]) -> None:
    """Produce the loads that are read, each once."""
    loads: dict[str, Any] = {"orders": {}, "mixed": {}}
    for name, (make, readers) in LOADS.items():
        if readers.isdisjoint(contestants):
            continue
        book = SchemaBook()
        job = make(events, book, partitions=PARTITIONS)
        first = next(job)
        topics = [batch.topic for batch in first]
        make_topics(bootstrap, topics, PARTITIONS)
        sent = produce(iter([first]), bootstrap) + produce(job, bootstrap)
        loads[name] = {"schemas": book.schemas, "topics": topics, "messages": sent}
        print(f"produced {sent:,} messages of {name}", flush=True)
    if "record" in contestants:
        make_topics(bootstrap, [per_record.TOPIC], PARTITIONS)
    (home / "loads.pickle").write_bytes(pickle.dumps(loads))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=3_000_000, help="changes of rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows-max", type=int, default=100_000)
    parser.add_argument(
        "--workers", type=int, default=2, help="threads of nurt's one process: one folds while another waits for Redis"
    )
    parser.add_argument(
        "--kafka-option", action="append", default=[], metavar="NAME=VALUE", help="of `orders`, `mixed`"
    )
    parser.add_argument("--only", nargs="*", choices=CONTESTANTS, default=CONTESTANTS)
    parser.add_argument("--contest", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.contest:
        print("RESULT " + json.dumps(contest(chosen.contest, json.loads(chosen.place))))
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with running_kafka() as bootstrap, tempfile.TemporaryDirectory(prefix="nurt-bench-") as name:
        options = json.dumps(dict(option.split("=", 1) for option in chosen.kafka_option))
        place = json.dumps(
            {
                "bootstrap": bootstrap,
                "home": name,
                "rows_max": str(chosen.rows_max),
                "workers": str(chosen.workers),
                "options": options,
            }
        )
        prepare(bootstrap, Path(name), chosen.events, chosen.only)
        rates: dict[str, list[float]] = {one: [] for one in chosen.only}
        for number in range(chosen.rounds):
            for one in chosen.only:
                command = [sys.executable, "-m", "benchmarks.throughput", "--contest", one, "--place", place]
                ended = subprocess.run(command, capture_output=True, text=True, check=False)
                said = [line for line in ended.stdout.splitlines() if line.startswith("RESULT ")]
                if not said:
                    print(f"{one}: failed\n{ended.stderr[-2000:]}")
                    continue
                result = json.loads(said[0].removeprefix("RESULT "))
                rates[one].append(result["events"] / result["seconds"])
                more = ", ".join(
                    f"{key} {value:,.1f}" for key, value in result.items() if key not in ("events", "seconds")
                )
                print(f"round {number + 1} {one:7s} {rates[one][-1]:10,.0f} messages/s  {more}", flush=True)
    print()
    for one, some in rates.items():
        if some:
            ratio = statistics.median(some) / statistics.median(rates["plain"]) if rates.get("plain") else float("nan")
            print(f"{one:7s} median {statistics.median(some):10,.0f} messages/s   {ratio:5.2f} x plain")


if __name__ == "__main__":
    main()
