"""A deployment to measure from outside: `nurt run` in a process of its own, on a real Kafka and Valkey."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.trees import HERE, Tree, cpu_s
from tests.services.stack.redis_server import RedisServer, running_redis

PREFIX = "n"
DEMO = HERE.path / "src" / "nurt" / "presets" / "demo.yaml"


@dataclass(frozen=True)
class Running:
    """A worker that runs."""

    process: subprocess.Popen[bytes]

    def rss_mb(self) -> dict[str, float]:
        """Say what it holds in memory: in all, its own pages, and pages of files that processes share."""
        told = Path(f"/proc/{self.process.pid}/status").read_text()
        names = {"rss": "VmRSS", "own": "RssAnon", "shared": "RssFile", "peak": "VmHWM"}
        return {name: int(told.split(f"{key}:")[1].split()[0]) / 1024 for name, key in names.items()}

    def cpu_s(self) -> float:
        """Say how much time it took from the processor."""
        return cpu_s(self.process.pid)


@contextlib.contextmanager
def running_valkey() -> Iterator[RedisServer]:
    """Run Valkey as distributions build it, with jemalloc; that of the wheel has none, and is 1.7 times slower.

    Without jemalloc (Debian: libjemalloc2) it runs as it is, and says so.
    """
    allocator = find_library("jemalloc")
    if allocator is None:
        print("Valkey runs without jemalloc, so slower than a distribution's; install libjemalloc2", flush=True)
    with running_redis(kind="valkey", preload=allocator) as server:
        yield server


def write_settings(
    home: Path,
    bootstrap: str,
    redis_url: str,
    topics: Sequence[str],
    schemas: Mapping[int, Any],
    *,
    mapping: str | None = None,
    name: str = "bench",
    **source: int,
) -> Path:
    """Describe a deployment in a folder; the demo's mapping, where none is given.

    Args:
        name: of the consumer group and, with an ending, of the output's topics.
        source: further keys of the settings' `input`.
    """
    for folder in (home / "data" / "schemas", home / "data" / "stock" / "schemas"):
        folder.mkdir(parents=True, exist_ok=True)
        held = {str(number): schema for number, schema in schemas.items()}
        (folder / "schemas.json").write_text(json.dumps(held))
    (home / "mapping.yaml").write_text(mapping or DEMO.read_text(encoding="utf-8"), encoding="utf-8")
    settings = {
        "mapping": "mapping.yaml",
        "data": "data",
        "secret": "0123456789abcdef" * 2,  # so that every run makes the same ids
        "state": {"url": redis_url, "prefix": PREFIX},
        "kafka": {"bootstrap": bootstrap},
        "input": {"topics": list(topics), "group": name, **source},
        "output": {"topic": f"{name}.profiles", "control_topic": f"{name}.control"},
    }
    (home / "nurt.yaml").write_text(json.dumps(settings))  # JSON is YAML
    return home / "nurt.yaml"


@contextlib.contextmanager
def running_nurt(
    home: Path,
    bootstrap: str,
    redis_url: str,
    topics: Sequence[str],
    schemas: Mapping[int, Any],
    tree: Tree = HERE,
    workers: int = 1,
) -> Iterator[Running]:
    """Run a tree's `nurt run` with the demo's mapping over these topics."""
    settings = write_settings(home, bootstrap, redis_url, topics, schemas)
    command = tree.nurt("run", "--quiet", "--workers", str(workers), "--config", str(settings))
    with (home / "log").open("wb") as said:
        process = subprocess.Popen(command, env=tree.environment(), cwd=home, stdout=said, stderr=subprocess.STDOUT)
    try:
        yield Running(process)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_keys(client: Any, at_least: int = 1, seconds_max: float = 120.0) -> None:
    """Wait until the state holds so many keys."""
    deadline = time.monotonic() + seconds_max
    while client.dbsize() < at_least:
        assert time.monotonic() < deadline, "nurt has written nothing; see its log"
        time.sleep(0.05)
