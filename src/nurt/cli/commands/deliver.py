"""`nurt deliver`: profiles to a receiver, how that goes, and another chance for what it refused."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from nurt.cli.frame import DEFAULT_CONFIG, AsJson, Config, deployment
from nurt.cli.watching import log_to_stderr

STATUS = "status"


def deliver(
    destination: Annotated[str, typer.Argument(help="A destination of delivery.yaml, or `status`.")] = STATUS,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Tell everything again, while live changes go on.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent; send and change nothing.")
    ] = False,
    values: Annotated[
        bool, typer.Option("--values", help="With --dry-run: show values, too. They may be personal.")
    ] = False,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="End when everything that was there at the start is told.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the mapping with the receiver's own description.")
    ] = False,
    refused: Annotated[bool, typer.Option("--refused", help="Show what the receiver refused, with its words.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Give what was refused another chance.")] = False,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Delete what the last --from-scratch did not tell; with --dry-run: show it.")
    ] = False,
    rows_max: Annotated[int, typer.Option("--limit", "-n", help="How many rows to show.")] = 20,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings only.")] = False,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Deliver profiles to a receiver, and see how that goes.

    Each destination is a run of its own: one that is down makes only its own lag grow. Ctrl-C and SIGTERM end it;
    killing it loses nothing, the next run repeats what was not settled.

    [bold]Examples[/bold]

    nurt deliver crm  [dim]# until it is told to end[/dim]

    nurt deliver status  [dim]# lag, accepted, refused, throttled, last error of every destination[/dim]

    nurt deliver crm --dry-run --limit 5

    nurt deliver crm --from-scratch  [dim]# everything again, with progress[/dim]

    nurt deliver crm --sweep --dry-run  [dim]# what lies there that no profile gives any more[/dim]

    nurt deliver crm --refused; nurt deliver crm --retry  [dim]# after mending mapping or receiver[/dim]
    """
    from nurt.cli.commands import deliveries  # receivers' clients are loaded only where one is spoken to

    with deployment(config) as settings:
        if destination == STATUS:
            deliveries.status(settings, as_json)
        elif refused:
            deliveries.refused(settings, destination, rows_max, as_json)
        elif retry:
            deliveries.retry(settings, destination)
        elif sweep:
            deliveries.sweep(settings, destination, dry_run, as_json)
        elif check:
            deliveries.check(settings, destination, as_json)
        elif dry_run:
            deliveries.dry_run(settings, destination, rows_max, values, as_json)
        else:
            log_to_stderr(logging.WARNING if quiet else logging.INFO)
            deliveries.run(settings, destination, until_end, from_scratch)
