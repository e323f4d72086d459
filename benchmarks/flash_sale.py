"""Measure the oversell drill (`nurt drill`, `src/nurt/app/drill.py`) on a Valkey of its own.

Run: python -m benchmarks.flash_sale [--attempts N] [--processes N]
"""

from __future__ import annotations

import argparse
import json
import os

from benchmarks.deployment import running_valkey
from nurt.app.drill import DrillOutcome, run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--attempts", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=4)
    chosen = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, valkey on a unix socket")
    with running_valkey() as server:
        outcome = run(server.socket_url, chosen.attempts, chosen.processes)
    print(json.dumps({name: getattr(outcome, name) for name in DrillOutcome.__slots__}, indent=1))
    print(f"{outcome.attempts / outcome.seconds:,.0f} attempts a second")


if __name__ == "__main__":
    main()
