"""A deployment to measure from outside: `nurt run` in a process of its own, on a real Kafka and Valkey."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services.stack.redis_server import RedisServer, running_redis

PREFIX = "n"
DEMO = Path("src/nurt/presets/demo.yaml")


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
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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


@contextlib.contextmanager
def running_nurt(
    home: Path,
    bootstrap: str,
    redis_url: str,
    topics: Sequence[str],
    schemas: Mapping[int, Any],
    **source: int,
) -> Iterator[Running]:
    """Run the demo's mapping over these topics; `source` are further keys of the settings' `input`."""
    (home / "data" / "schemas").mkdir(parents=True, exist_ok=True)
    held = {str(number): schema for number, schema in schemas.items()}
    (home / "data" / "schemas" / "schemas.json").write_text(json.dumps(held))
    (home / "mapping.yaml").write_text(DEMO.read_text(encoding="utf-8"), encoding="utf-8")
    settings = {
        "mapping": "mapping.yaml",
        "data": "data",
        "state": {"url": redis_url, "prefix": PREFIX},
        "kafka": {"bootstrap": bootstrap},
        "input": {"topics": list(topics), "group": "bench", **source},
        "output": {"topic": "bench.profiles", "control_topic": "bench.control"},
    }
    (home / "nurt.yaml").write_text(json.dumps(settings))  # JSON is YAML
    nurt = "from nurt.cli import main; main()"  # the command, also where it is not on the PATH
    command = [sys.executable, "-c", nurt, "run", "--quiet", "--config", str(home / "nurt.yaml")]
    process = subprocess.Popen(command, stdout=(home / "log").open("wb"), stderr=subprocess.STDOUT)
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
