"""`nurt simulate`: invented change streams to try things on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from nurt.cli.frame import DEFAULT_CONFIG, AsJson, Config, print_json, print_table, refuse, stderr, stdout

if TYPE_CHECKING:
    from nurt.simulate.company.shop import Simulated

Told = Callable[[int, int], None]


def simulate(
    to: Annotated[
        str, typer.Option("--to", help="A new folder for an archive, or [bold]kafka[/bold]: that of --config.")
    ],
    customers: Annotated[int, typer.Option(help="How many people live there.", min=1)] = 300,
    days: Annotated[int, typer.Option(help="How many days, the last one today.", min=1)] = 60,
    seed: Annotated[int, typer.Option(help="The same seed gives the same people and days.")] = 1,
    partitions: Annotated[int, typer.Option(help="Partitions of each topic.", min=1)] = 4,
    pace: Annotated[
        float | None, typer.Option(help="Simulated hours a second; else as fast as it goes.", min=0.001)
    ] = None,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Let two web shops and an ERP live for some days, and write what Debezium would say of it.

    The people are invented; the bytes have the shape of a real connector's (Avro, Confluent's wire format).

    [bold]Examples[/bold]

    nurt simulate --to /tmp/shops --customers 1000  [dim]# an archive, to be named under input.archives[/dim]

    nurt simulate --to kafka --pace 1  [dim]# topics that live: an hour a second[/dim]
    """
    from nurt.app.opening import open_registry
    from nurt.settings import load_settings
    from nurt.simulate.connector.targets import simulate_to_archive, simulate_to_kafka

    today = datetime.now(UTC).date()
    with day_bar("simulating days") as progress:
        if to == "kafka":
            settings = load_settings(config)
            if settings.kafka is None:
                raise refuse(f"simulating to Kafka with {config}", "it names no Kafka", "add `kafka: {bootstrap: ...}`")
            wait = None if pace is None else _pacing(pace)
            done = simulate_to_kafka(
                settings.kafka,
                open_registry(settings),
                seed,
                customers,
                days,
                progress,
                last_day=today,
                partitions=partitions,
                wait=wait,
            )
        else:
            done = simulate_to_archive(Path(to), seed, customers, days, progress, last_day=today, partitions=partitions)
    if as_json:
        print_json({"total": done.total, "messages": dict(done.messages), "deeds": dict(done.deeds)})
    else:
        _print(done, to)


def _print(done: Simulated, to: str) -> None:
    print_table("Messages", ("topic", "messages>"), sorted(done.messages.items()))
    stdout.print()
    print_table("What people did", ("", "times>"), sorted(done.deeds.items()))
    stdout.print(f"\n{done.total:,} messages in {to}")


@contextmanager
def day_bar(title: str) -> Iterator[Told]:
    """Show a bar of days on stderr; yield a function to call with (days done, days)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _pacing(hours_a_second: float) -> Callable[[int], None]:
    """Delay each event to its moment: real time since the first event, times the pace."""
    began: list[tuple[float, int]] = []

    def wait(at_us: int) -> None:
        if not began:
            began.append((time.monotonic(), at_us))
        start_s, start_us = began[0]
        ahead_s = (at_us - start_us) / 3_600e6 / hours_a_second - (time.monotonic() - start_s)
        if ahead_s > 0:
            time.sleep(ahead_s)

    return wait
