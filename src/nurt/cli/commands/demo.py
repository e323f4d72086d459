"""`nurt demo`: from two shops and an ERP to live customer profiles, on this machine alone."""

from __future__ import annotations

import logging
import shutil
import time
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from nurt.cli.frame import refuse, stdout

DAYS = 60
SETTINGS = """\
# Made by `nurt demo`; running it again makes this folder anew.
mapping: [mapping.yaml, corpus.yaml]
data: data
state: {url: embedded}
input:
  archives: [archive, corpus/postgres, corpus/mariadb, corpus/postgres_outbox_router, corpus/sqlserver_synthetic]
  rows_max: 1000                       # small steps, to be seen; leave it out for speed
output: {duckdb: profiles.duckdb}
stock: {duckdb: stock.duckdb}
"""
MADE = (
    *("archive", "corpus", "data", "nurt.yaml", "mapping.yaml", "corpus.yaml", "delivery.yaml"),
    *("stock.duckdb", "stock.duckdb.wal", "profiles.duckdb", "profiles.duckdb.wal"),
)


def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where everything goes; made anew each time.")] = Path(
        "demo-out"
    ),
    customers: Annotated[int, typer.Option(help="How many people live there.", min=10)] = 350,
    seed: Annotated[int, typer.Option(help="The same seed gives the same people.")] = 1,
) -> None:
    """See it work: invents two web shops and an ERP, folds their change streams, shows one customer.

    Genuine change events of PostgreSQL, MariaDB and SQL Server tables are played beside them.

    Needs nothing beside itself: it runs its own Valkey and reads recorded messages instead of Kafka.

    [bold]Examples[/bold]

    nurt demo

    nurt demo --customers 5000
    """
    from nurt.cli import demo_steps
    from nurt.cli.commands.simulate import day_bar
    from nurt.cli.opening import deployment, state_of
    from nurt.cli.watching import log_to_stderr
    from nurt.simulate.connector.corpus import copy_corpus
    from nurt.simulate.connector.targets import simulate_to_archive

    log_to_stderr(logging.WARNING)
    _clear(folder)
    began = time.monotonic()
    with day_bar(f"{customers:,} people live {DAYS} days in two shops and an ERP") as progress:
        today = datetime.now(UTC).date()
        done = simulate_to_archive(folder / "archive", seed, customers, DAYS, progress, last_day=today)
    recorded = copy_corpus(folder / "corpus")
    (folder / "nurt.yaml").write_text(SETTINGS)
    for name, preset in (("mapping.yaml", "demo.yaml"), ("corpus.yaml", "corpus.yaml")):
        text = (files("nurt") / "presets" / preset).read_text(encoding="utf-8")
        (folder / name).write_text(text, encoding="utf-8")
    input_ = demo_steps.DemoInput(
        done.total, sum(one.messages for one in recorded), frozenset().union(*(one.topics for one in recorded))
    )
    stdout.print(
        f"{done.total:,} simulated change messages of {len(done.messages)} topics lie in {folder / 'archive'}, and "
        f"{input_.genuine:,} genuine ones of {len(input_.genuine_topics)} topics, as Debezium wrote them,\n"
        f"in {folder / 'corpus'}: rows of PostgreSQL, MariaDB and SQL Server, with everything awkward"
    )
    with deployment(folder / "nurt.yaml") as settings:
        folding = time.monotonic()
        demo_steps.fold(settings, input_)
        seconds = time.monotonic() - folding
        with state_of(settings) as state:
            demo_steps.show(state, folder, input_, seconds)
        order = demo_steps.sell(settings)
        demo_steps.deliver_all(settings)
    stdout.print(f"\n[dim]{time.monotonic() - began:.0f} s in all. Go on with:[/dim]", markup=True)
    demo_steps.go_on(folder, order)


def _clear(folder: Path) -> None:
    """Remove an earlier demo; a folder with anything else in it stays."""
    if not folder.exists():
        return
    strange = sorted(path.name for path in folder.iterdir() if path.name not in MADE)
    if strange:
        raise refuse(f"making {folder} anew", f"it holds {strange[0]}, which no demo made", "choose another --folder")
    for name in MADE:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
