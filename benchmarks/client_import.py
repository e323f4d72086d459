"""Measure what the shop's client adds to a process that imports redis-py and orjson anyway.

Each measurement is a process of its own, with and without the client in turn.

Run: python benchmarks/client_import.py [--rounds N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "client" / "src"
CLIENT = "from nurt_client import AsyncStock, Line, Stock"
CHILD = """
import sys, time
sys.path.insert(0, {sources!r})
began, began_cpu = time.perf_counter(), time.process_time()
import redis, orjson
{more}
seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
with open("/proc/self/smaps_rollup") as file:
    sizes = {{line.split(":")[0]: int(line.split()[1]) for line in file if line.endswith("kB\\n")}}
print(seconds, cpu, sizes["Rss"] / 1024, (sizes["Private_Dirty"] + sizes["Private_Clean"]) / 1024)
"""


def measure(more: str) -> list[float]:
    """Import in a new process; returns seconds, seconds of the processor, MB resident and MB of its own."""
    code = CHILD.format(sources=str(SOURCES), more=more)
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args().rounds
    cases = {"redis, orjson": "", "and nurt_client": CLIENT}
    for more in cases.values():
        measure(more)  # compiles, and fills the page cache
    found: dict[str, list[list[float]]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, more in cases.items():
            found[name].append(measure(more))
    print(f"Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}, medians of {rounds} processes each")
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}
    before, after = medians.values()
    medians["added"] = [one - other for one, other in zip(after, before, strict=True)]
    for name, (seconds, cpu, resident, own) in medians.items():
        print(f"{name:15} {seconds * 1000:7.1f} ms, {cpu * 1000:7.1f} ms CPU, {resident:6.1f} MB, {own:6.1f} its own")


if __name__ == "__main__":
    main()
