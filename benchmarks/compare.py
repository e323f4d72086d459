"""Compare two trees of this repository: old, old again and new in turn, over the same messages in the same broker.

Each tree runs in processes of its own with its own `.venv`, and only through what stays: `nurt`, its settings, its
mapping, and the command line of `benchmarks.small_flow`. Loads are made once, by the tree whose harness this is. Old
against old says how much of a difference is the machine's; each round begins with another of the three.

Jobs:
  mixed    customers, addresses, orders and lines through the flow of profiles, `nurt run --until-end`
  small    the small job (benchmarks/small_flow.py), one worker always
  levels   stock levels through the flow of stock
  stock    levels, orders and lines, deletions and re-keys among them, through the flow of stock
  memory   customers that come into being, then the mixed load, in micro-batches as the settings' default has them
  latency  a change's way from Kafka to the profile, at a steady load (benchmarks/latency.py)
  start    how long each command takes to help, to check, to look, and to run over a few messages

CPU a message is that of the whole process; `later_cpu_us` and the rate count from the first message that the state
counts to the end of the process, and `begin` is what came before. The server's CPU stands apart.

Run: python -m benchmarks.compare --old PATH --new PATH [--rounds N] [--only JOB ...] [--workers 1 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.compare_jobs import JOBS, SIZES, Figures, Place, prepare
from benchmarks.compare_report import report
from benchmarks.deployment import running_valkey
from benchmarks.trees import HERE, Tree
from tests.services.stack.kafka import running_kafka

ONE_WORKER = ("small", "start")


def turns(rounds: int) -> Iterator[tuple[int, str]]:
    """Say whose turn it is: every round has all three, each begins one further."""
    names = ("old", "again", "new")
    for number in range(rounds):
        for place in range(3):
            yield number, names[(number + place) % 3]


def play(job: str, workers: int, trees: dict[str, Tree], rounds: int, place: Place) -> dict[str, list[Figures]]:
    """Run a job of all trees in turn; before that of each once, so that its loops are compiled and files are cached."""
    found: dict[str, list[Figures]] = {name: [] for name in trees}
    for name in ("old", "new"):
        began = time.monotonic()
        JOBS[job](trees[name], place, workers)
        print(f"{job} x{workers} {name} has warmed up in {time.monotonic() - began:.0f} s", flush=True)
    for number, name in turns(rounds):
        figures = JOBS[job](trees[name], place, workers)
        found[name].append(figures)
        shown = ", ".join(f"{key} {value:,.4g}" for key, value in list(figures.items())[:8])
        print(f"{job} x{workers} round {number + 1} {name:5s} {shown}", flush=True)
    return found


def main() -> None:
    """Play all jobs and print what they showed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--old", type=Path, required=True, help="checkout with a .venv")
    parser.add_argument("--new", type=Path, default=HERE.path, help="checkout with a .venv; this one")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", choices=list(JOBS), default=list(JOBS), metavar="JOB")
    parser.add_argument("--workers", nargs="*", type=int, default=[1])
    parser.add_argument("--scale", type=float, default=1.0, help=f"of the loads' sizes {SIZES}")
    parser.add_argument("--json", type=Path, default=Path("compare.json"), help="all figures, after every job")
    chosen = parser.parse_args()
    old, new = Tree(chosen.old.resolve()), Tree(chosen.new.resolve())
    trees = {"old": old, "again": old, "new": new}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}, load {os.getloadavg()[0]:.1f}; old {old.path}, new {new.path}", flush=True)
    results: dict[str, dict[str, list[Figures]]] = {}
    loads = []
    for job in chosen.only:
        with ExitStack() as stack:
            place = Place(
                Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nurt-compare-"))),
                chosen.scale,
                lambda: running_kafka("1g"),
                running_valkey,
            )
            if job != "latency":  # which has a broker of its own for every run
                place = prepare(job, place, stack.enter_context(place.kafka()))
            for workers in [1] if job in ONE_WORKER else chosen.workers:
                loads.append(os.getloadavg()[0])
                results[f"{job} x{workers}"] = play(job, workers, trees, chosen.rounds, place)
                about = {"machine": machine, "loads": loads, "scale": chosen.scale, "rounds": chosen.rounds}
                chosen.json.write_text(json.dumps({**about, "figures": results}, indent=1))
    lines, seen = report(results)
    chosen.json.write_text(json.dumps({**about, "figures": results, "summary": seen}, indent=1))
    print("\n".join(["", *lines]))
    print(f"load at each job's begin: {', '.join(f'{load:.1f}' for load in loads)}; all figures: {chosen.json}")
    sys.exit(0)


if __name__ == "__main__":
    main()
