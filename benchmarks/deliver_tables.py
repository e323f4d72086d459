"""How fast whole profiles reach analytics stores, each the real one on this machine.

    python -m benchmarks.deliver_tables [--rows 20000] [--only postgres]

Two passes: all profiles are new, then all have a new revision. Batches of 5,000. ClickHouse's engine is chdb behind a
small HTTP server.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2 as httpx
from redis import Redis

from benchmarks.deliver import _cpu_s
from nurt.adapters.redis.delivery.store import DeliveryStore
from nurt.app.delivery_config import TABLE_KINDS
from nurt.delivery.journal import Message
from nurt.delivery.read.families import FAMILIES, tables_of
from nurt.delivery.run.table_deliverer import TableDeliverer, TableTarget
from nurt.model.keys import Keys
from tests.contracts.published import encode, id_of, rich
from tests.delivery.scene import mapping_of
from tests.services.stack.daemon import free_ports
from tests.services.stack.databases import running_postgres
from tests.services.stack.redis_server import running_redis

BATCH_ROWS = 5_000


@contextmanager
def options_of(kind: str, folder: Path) -> Iterator[str]:
    """Start what a store needs; yields its section."""
    if kind == "postgres":
        with running_postgres() as server:
            url = f"postgresql://{server.user}:{server.password}@127.0.0.1:{server.port}/{server.database}"
            yield f"url: '{url}'"
    elif kind == "clickhouse":
        (port,) = free_ports(1)
        command = [sys.executable, "-m", "tests.services.receivers.clickhouse_server", str(port), str(folder / "ch")]
        process = subprocess.Popen(command)
        try:
            while True:
                try:
                    httpx.get(f"http://127.0.0.1:{port}")
                    break
                except httpx.HTTPError:
                    time.sleep(0.2)
            yield f"url: 'http://127.0.0.1:{port}'"
        finally:
            process.kill()
            process.wait()
    elif kind == "delta":
        yield f"path: '{folder}/delta'"
    else:
        yield f"catalog: {{type: sql, uri: 'sqlite:///{folder}/c.db', warehouse: 'file://{folder}/ice'}}"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--only", action="append", choices=sorted(TABLE_KINDS))
    asked = parser.parse_args()
    passes = [
        (what, [Message(id_of(n).hex(), (0, at * 10**9 + n), None, encode(rich(n, at))) for n in range(asked.rows)])
        for what, at in (("new", 1), ("changed", 2))
    ]
    print("| store | what | profiles/s | CPU us a profile |\n|---|---|---|---|")
    with running_redis("valkey") as server:
        for kind in asked.only or sorted(TABLE_KINDS):
            with ExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                text = f"{{kind: {kind}, {stack.enter_context(options_of(kind, folder))}}}"
                store = DeliveryStore(Redis.from_url(server.url), Keys(uuid.uuid4().hex[:8], 16), "bench")
                store.begin()
                family = FAMILIES["profiles"]
                shelf = TableTarget(family, TABLE_KINDS[kind](mapping_of(text, name="bench"), family), tables_of)
                to = TableDeliverer({"profiles": shelf}, store, 0)
                for what, messages in passes:
                    cpu, began = _cpu_s(), time.perf_counter()
                    for at in range(0, asked.rows, BATCH_ROWS):
                        to.deliver(messages[at : at + BATCH_ROWS])
                    took = time.perf_counter() - began
                    cells = f"{asked.rows / took:,.0f} | {(_cpu_s() - cpu) / asked.rows * 1e6:,.0f}"
                    print(f"| {kind} | {what} | {cells} |", flush=True)
                to.close()


if __name__ == "__main__":
    main()
