"""`nurt demo`: from two shops and an ERP to live customer profiles, on this machine alone."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from datetime import UTC, datetime
from importlib.resources import files
from os.path import relpath
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from nurt.adapters.duckdb_reading import ProfileTables
from nurt.adapters.read_figures import totals
from nurt.cli.frame import State, aside, deployment, page, print_table, refuse, state_of
from nurt.cli.profile_page import print_profile
from nurt.cli.simulate import day_bar
from nurt.cli.stats import print_counts
from nurt.cli.watching import log_to_stderr, watching
from nurt.running import run_here, stopping_on_signals
from nurt.settings import Settings
from nurt.simulate.targets import simulate_to_archive

DAYS = 60
SETTINGS = """\
# Made by `nurt demo`; running it again makes this folder anew.
mapping: mapping.yaml
data: data
state: {url: embedded}
input: {archives: [archive]}
output: {duckdb: profiles.duckdb}
"""
MADE = ("archive", "data", "nurt.yaml", "mapping.yaml", "profiles.duckdb", "profiles.duckdb.wal")


def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where everything goes; made anew each time.")] = Path(
        "demo-out"
    ),
    customers: Annotated[int, typer.Option(help="How many people live there.", min=10)] = 350,
    seed: Annotated[int, typer.Option(help="The same seed gives the same people.")] = 1,
) -> None:
    """See it work: invents two web shops and an ERP, folds their change streams, shows one customer.

    Needs nothing beside itself: it runs its own Valkey and reads recorded messages instead of Kafka.

    [bold]Examples[/bold]

    nurt demo

    nurt demo --customers 5000
    """
    log_to_stderr(logging.WARNING)
    _clear(folder)
    began = time.monotonic()
    with day_bar(f"{customers:,} people live {DAYS} days in two shops and an ERP") as told:
        today = datetime.now(UTC).date()
        done = simulate_to_archive(folder / "archive", seed, customers, DAYS, told, last_day=today)
    (folder / "nurt.yaml").write_text(SETTINGS)
    mapping = (files("nurt") / "presets" / "demo.yaml").read_text(encoding="utf-8")
    (folder / "mapping.yaml").write_text(mapping, encoding="utf-8")
    page.print(f"{done.total:,} change messages of {len(done.messages)} topics lie in {folder / 'archive'}")
    with deployment(folder / "nurt.yaml") as settings:
        folding = time.monotonic()
        _run(settings, done.total)
        seconds = time.monotonic() - folding
        with state_of(settings) as state:
            _show(state, folder, done.total, seconds)
    page.print(f"\n[dim]{time.monotonic() - began:.0f} s in all. Go on with:[/dim]")
    _go_on(folder)


def _clear(folder: Path) -> None:
    """Remove an earlier demo; a folder with anything else in it is left alone."""
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


def _run(settings: Settings, messages: int) -> None:
    from flows.profiles import profiles

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeElapsedColumn())
    with Progress(*columns, console=aside, transient=True) as progress:
        task = progress.add_task("folding them into profiles", total=messages, rate="")

        def seen(now: dict[str, int], rate: float) -> None:
            if now:
                progress.update(task, completed=now["messages"], rate=f"{rate:,.0f} a second" if rate >= 1 else "")

        with stopping_on_signals() as stop, watching(settings, seen):
            run_here(profiles, settings, stop=stop)


def _show(state: State, folder: Path, messages: int, seconds: float) -> None:
    counts = state.tally.counts()
    page.print()
    print_counts(counts)
    assert totals(counts)["messages"] == messages, "every message ends in exactly one place"
    tables = ProfileTables(folder / "profiles.duckdb")
    found = tables.summary()
    page.print(
        f"\n[bold]{messages:,} messages of {found.accounts:,} accounts became {found.live:,} customers[/bold] "
        f"in {seconds:.1f} s; {found.redirects:,} more profiles were merged into them on the way.\n"
    )
    best = [(*row[:3], f"{row[3]:,.2f}", row[4]) for row in tables.best_customers(3)]
    columns = ("currency", "customer", "orders>", "gross>", "accounts>")
    print_table("Best customers (the view best_customers of profiles.duckdb)", columns, best)
    example = tables.telling_example()
    if example is not None and (view := state.profiles.profile(example)) is not None:
        page.print()
        print_profile(view)


def _go_on(folder: Path) -> None:
    config = folder / "nurt.yaml"
    program = "nurt" if shutil.which("nurt") else relpath(sys.argv[0])
    email = ProfileTables(folder / "profiles.duckdb").some_email() or "anna@example.com"
    for command, what in (
        (f"profile {email} -c {config}", "another customer"),
        (f"stats --count -c {config}", "where every message ended, what is stored"),
        (f"check -c {config}", "what the mapping makes of each topic"),
        ("init", "settings and a mapping for your own databases"),
    ):
        page.print(Text.assemble(f"  {program} {command}  ", (f"# {what}", "dim")), soft_wrap=True)
