"""`nurt drill`: rehearse a flash sale before a real one."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from nurt.cli.frame import AsJson, print_json, print_table, stderr, stdout

if TYPE_CHECKING:
    from nurt.app.drill import DrillOutcome

FAILED = 1


def drill(
    attempts: Annotated[int, typer.Option(help="How many buyers ask for a piece.", min=1)] = 10_000,
    processes: Annotated[int, typer.Option(help="Shop processes that serve them at once.", min=1, max=64)] = 4,
    skus: Annotated[int, typer.Option(help="How many skus they want: the fewer, the hotter.", min=1)] = 8,
    pieces: Annotated[
        int | None, typer.Option(help="Pieces of each sku; else a quarter of what is asked for.", min=1)
    ] = None,
    lag: Annotated[float, typer.Option(help="Seconds that the ERP takes to book an order.", min=0.0)] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same buyers.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Rehearse a flash sale: two channels, one warehouse, an ERP that lags, far more buyers than pieces.

    Shops ask nurt before they accept an order; some buyers pay, some walk away, some calls are made twice. The sale
    has a Valkey of its own and touches nothing of yours. Ends with 1 when anything was oversold, lost or leaked.

    [bold]Examples[/bold]

    nurt drill

    nurt drill --attempts 100000 --processes 8 --skus 1 --lag 60  [dim]# one hot sku, an ERP a minute behind[/dim]
    """
    from nurt.adapters.redis.embedded import embedded_state
    from nurt.app.drill import run

    with tempfile.TemporaryDirectory(prefix="nurt-drill-") as folder, embedded_state(Path(folder)) as url:
        if not as_json:
            stderr.print(f"{attempts:,} buyers, {processes} shop processes; this takes some seconds more than the sale")
        outcome = run(url, attempts, processes, skus, pieces, seed, lag)
    if as_json:
        print_json({**asdict(outcome), "right": outcome.is_right})
    else:
        _print(outcome)
    if not outcome.is_right:
        raise typer.Exit(FAILED)


def _print(outcome: DrillOutcome) -> None:
    rows = [
        ("sold", outcome.accepted, ""),
        ("oversold", outcome.oversold, outcome.oversold_without_nurt),
        ("refused while a piece was left", outcome.refused_wrongly, ""),
        ("given back by checkouts, then not to be had", outcome.left, ""),
        ("held for ever", outcome.leaked, ""),
    ]
    print_table(
        f"{outcome.attempts:,} attempts, {outcome.attempts / outcome.seconds:,.0f} a second",
        ("pieces", "with nurt>", "looking at the ERP only>"),
        rows,
    )
    verdict = ("Nothing oversold, lost or leaked.", "green") if outcome.is_right else ("Not right: see above.", "red")
    stdout.print(Text(f"\n{verdict[0]}", style=f"bold {verdict[1]}"))
