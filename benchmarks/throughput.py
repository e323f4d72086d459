"""Measure nurt against a plain loop and a per-record pipeline: real Kafka, real Valkey, contestants in turn.

Contestants: `plain` (the plain loop on its small job), `small` (that load through nurt's flow), `mixed` (customers,
addresses, orders and lines through nurt's flow: CDC to profile topic, identity on, state in Valkey, crash-safe) and
`record` (a per-record pipeline on the mixed load). Every round runs each once, in a process of its own, over the same
topics. Rates are events a second from the start of reading to the end; ratios to `plain` are per round.

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
import time
from pathlib import Path

from benchmarks.load import make_topics, produce
from benchmarks.peers import per_record, plain_loop
from nurt.simulate.bulk import ORDERS_MAPPING, orders_load
from nurt.simulate.bulk_shop import mixed_load
from nurt.simulate.schemas import SchemaBook
from tests.services.stack.kafka import running_kafka
from tests.services.stack.redis_server import running_redis

PARTITIONS = 8
CONTESTANTS = ("plain", "small", "mixed", "record")
SLOW_EVENTS = 30_000
"""How many events the per-record pipeline is given: it would need hours for all."""


def contest(name: str, place: dict[str, str], events: int) -> dict[str, float]:
    """Run one contestant in this process."""
    home = Path(place["home"])
    loads = pickle.loads((home / "loads.pickle").read_bytes())
    if name == "plain":
        topic, schemas = "load.public.orders", loads["orders"]["schemas"]
        seconds = plain_loop.run(place["bootstrap"], topic, schemas, events, PARTITIONS)
    elif name == "record":
        events = min(events, SLOW_EVENTS)
        topics = dict.fromkeys(loads["mixed"]["topics"], PARTITIONS)
        with running_redis(kind="valkey") as server:
            seconds = per_record.run(place["bootstrap"], topics, loads["mixed"]["schemas"], events, server.url)
    else:
        return nurt(name, place, loads["orders" if name == "small" else "mixed"], events)
    return {"events": events, "seconds": seconds, "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def nurt(name: str, place: dict[str, str], load: dict[str, object], events: int) -> dict[str, float]:
    """Run nurt's real flow over the load, from an empty state, until the topics' ends."""
    from redis import Redis

    from flows.profiles import profiles
    from nurt.adapters.kafka_settings import KafkaSettings
    from nurt.adapters.registry import FolderRegistry
    from nurt.running import run_here
    from nurt.settings import KafkaInput, Settings

    home = Path(tempfile.mkdtemp(prefix=f"nurt-{name}-", dir=place["home"]))
    (home / "data" / "schemas").mkdir(parents=True)
    schemas = {str(number): schema for number, schema in load["schemas"].items()}  # type: ignore[attr-defined]
    (home / "data" / "schemas" / "schemas.json").write_text(json.dumps(schemas))
    mapping = home / "mapping.yaml"
    demo = Path("src/nurt/presets/demo.yaml").read_text(encoding="utf-8")
    mapping.write_text(ORDERS_MAPPING if name == "small" else demo, encoding="utf-8")
    FolderRegistry(home / "data" / "schemas")
    with running_redis(kind="valkey") as server:
        settings = Settings(
            mapping=mapping,
            data=home / "data",
            redis_url=server.url,
            prefix=f"bench{os.getpid()}",
            kafka=KafkaSettings(place["bootstrap"]),
            kafka_input=KafkaInput(tuple(load["topics"]), f"bench-{os.getpid()}", stop_at_end=True),  # type: ignore
            topic=f"bench.profiles.{os.getpid()}",
            control_topic=f"bench.control.{os.getpid()}",
            rows_max=int(place["rows_max"]),
        )
        began = time.perf_counter()
        run_here(profiles, settings)
        seconds = time.perf_counter() - began
        client = Redis.from_url(server.url)
        memory = client.info("memory")["used_memory"]  # type: ignore[index]
        keys = client.dbsize()
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"events": events, "seconds": seconds, "rss_mb": rss_mb, "state_mb": memory / 2**20, "keys": keys}  # type: ignore


def prepare(bootstrap: str, home: Path, events: int) -> None:
    """Produce both loads, each once."""
    loads = {}
    for name, make in (("orders", orders_load), ("mixed", mixed_load)):
        book = SchemaBook()
        job = make(events, book, partitions=PARTITIONS)
        first = next(job)
        topics = [batch.topic for batch in first]
        make_topics(bootstrap, topics, PARTITIONS)
        sent = produce(iter([first]), bootstrap) + produce(job, bootstrap)
        loads[name] = {"schemas": book.schemas, "topics": topics}
        print(f"produced {sent:,} events of {name}", flush=True)
    (home / "loads.pickle").write_bytes(pickle.dumps(loads))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows-max", type=int, default=50_000)
    parser.add_argument("--only", nargs="*", choices=CONTESTANTS, default=CONTESTANTS)
    parser.add_argument("--contest", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.contest:
        print("RESULT " + json.dumps(contest(chosen.contest, json.loads(chosen.place), chosen.events)))
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with running_kafka() as bootstrap, tempfile.TemporaryDirectory(prefix="nurt-bench-") as name:
        place = json.dumps({"bootstrap": bootstrap, "home": name, "rows_max": str(chosen.rows_max)})
        prepare(bootstrap, Path(name), chosen.events)
        rates: dict[str, list[float]] = {one: [] for one in chosen.only}
        for number in range(chosen.rounds):
            for one in chosen.only:
                command = [sys.executable, "-m", "benchmarks.throughput", "--contest", one, "--place", place]
                ended = subprocess.run(
                    [*command, "--events", str(chosen.events)], capture_output=True, text=True, check=False
                )
                said = [line for line in ended.stdout.splitlines() if line.startswith("RESULT ")]
                if not said:
                    print(f"{one}: failed\n{ended.stderr[-2000:]}")
                    continue
                result = json.loads(said[0].removeprefix("RESULT "))
                rates[one].append(result["events"] / result["seconds"])
                more = ", ".join(
                    f"{key} {value:,.0f}" for key, value in result.items() if key not in ("events", "seconds")
                )
                print(f"round {number + 1} {one:7s} {rates[one][-1]:10,.0f} events/s  {more}", flush=True)
    print()
    for one, some in rates.items():
        if some:
            ratio = statistics.median(some) / statistics.median(rates["plain"]) if rates.get("plain") else float("nan")
            print(f"{one:7s} median {statistics.median(some):10,.0f} events/s   {ratio:5.2f} x plain")


if __name__ == "__main__":
    main()
