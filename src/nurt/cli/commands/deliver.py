"""`nurt deliver`: deliver profiles to a receiver, show the status, retry refusals."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from nurt.cli.frame import DEFAULT_CONFIG, AsJson, Config, refuse, stderr

FORMER = " "
"""Name of the hidden command for the former syntax: nobody types it, and its usage text stays as it was."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="A destination of delivery.yaml.", show_default=False)]
RowsMax = Annotated[int, typer.Option("--limit", "-n", help="How many rows to show.")]
FromScratch = Annotated[bool, typer.Option("--from-scratch", help="Tell everything again, while live changes go on.")]
UntilEnd = Annotated[bool, typer.Option("--until-end", help="End when everything that was there at the start is told.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings only.")]


class _Deliveries(TyperGroup):
    """Group that still takes `nurt deliver NAME --option`, the syntax before `deliver` had commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # a shell asks for completion
            return super().parse_args(ctx, args)
        first, *more = args or [""]
        known = first in self.list_commands(ctx)
        two_words = not first.startswith("-") and bool(more) and not more[0].startswith("-")  # a command, misspelt
        if not (known or two_words or first in ("-h", "--help")):
            args = [FORMER, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Deliveries,
    help=(
        "Deliver profiles to receivers, and see how that goes.\n\n"
        "Each destination is a run of its own: one that is down makes only its own lag grow."
    ),
    no_args_is_help=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("run")
def run(
    name: Name,
    from_scratch: FromScratch = False,
    until_end: UntilEnd = False,
    quiet: Quiet = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Deliver to one destination, until it is told to end.

    Ctrl-C and SIGTERM end it; killing it loses nothing, the next run repeats what was not settled.

    [bold]Examples[/bold]

    nurt deliver run crm

    nurt deliver run crm --from-scratch  [dim]# everything again, with progress[/dim]

    nurt deliver run crm --until-end --quiet  [dim]# catch up, then end: for jobs[/dim]
    """
    from nurt.cli.commands import deliveries
    from nurt.cli.opening import deployment
    from nurt.cli.watching import log_to_stderr

    with deployment(config) as settings:
        log_to_stderr(logging.WARNING if quiet else logging.INFO)
        deliveries.run(settings, name, until_end, from_scratch)


@app.command("status")
def status(as_json: AsJson = False, config: Config = DEFAULT_CONFIG) -> None:
    """Show how every delivery goes: lag, accepted, refused, throttled, last error.

    [bold]Examples[/bold]

    nurt deliver status

    nurt deliver status --json | jq '.[] | select(.lag > 1000).destination'
    """
    from nurt.cli.commands import deliveries
    from nurt.cli.opening import deployment

    with deployment(config) as settings:
        deliveries.status(settings, as_json)


@app.command("preview")
def preview(
    name: Name,
    values: Annotated[bool, typer.Option("--values", help="Show values, too. They may be personal.")] = False,
    rows_max: RowsMax = 20,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show what would be sent; send and change nothing.

    [bold]Examples[/bold]

    nurt deliver preview crm --limit 5

    nurt deliver preview crm --values --json | jq .first
    """
    from nurt.cli.commands import deliveries
    from nurt.cli.opening import deployment

    with deployment(config) as settings:
        deliveries.preview(settings, name, rows_max, values, as_json)


@app.command("check")
def check(name: Name, as_json: AsJson = False, config: Config = DEFAULT_CONFIG) -> None:
    """Compare the mapping of a destination with the receiver's own description.

    [bold]Examples[/bold]

    nurt deliver check crm  [dim]# nurt check does it for every destination[/dim]
    """
    from nurt.cli.commands import deliveries
    from nurt.cli.opening import deployment

    with deployment(config) as settings:
        deliveries.check(settings, name, as_json)


@app.command("refused")
def refused(name: Name, rows_max: RowsMax = 20, as_json: AsJson = False, config: Config = DEFAULT_CONFIG) -> None:
    """Show what the receiver refused, with its words.

    [bold]Examples[/bold]

    nurt deliver refused crm --limit 100
    """
    from nurt.cli.commands import deliveries
    from nurt.cli.opening import deployment

    with deployment(config) as settings:
        deliveries.refused(settings, name, rows_max, as_json)


@app.command("retry")
def retry(name: Name, config: Config = DEFAULT_CONFIG) -> None:
    """Give what was refused another chance, after mending the mapping or the receiver.

    [bold]Examples[/bold]

    nurt deliver refused crm; nurt deliver retry crm
    """
    from nurt.cli.commands import deliveries
    from nurt.cli.opening import deployment

    with deployment(config) as settings:
        deliveries.retry(settings, name)


@app.command("sweep")
def sweep(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Delete it; without it, it is only counted.")] = False,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Delete what lies at the receiver and was not told in the last `run --from-scratch`.

    Counts first, and changes nothing without --yes.

    [bold]Examples[/bold]

    nurt deliver sweep crm  [dim]# what lies there that no profile gives any more[/dim]

    nurt deliver sweep crm --yes
    """
    from nurt.cli.commands import deliveries
    from nurt.cli.opening import deployment

    with deployment(config) as settings:
        deliveries.sweep(settings, name, yes, as_json)


@app.command(FORMER, hidden=True)
def former(
    destination: Annotated[str, typer.Argument(metavar="NAME", show_default=False)] = "status",
    from_scratch: FromScratch = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Now `nurt deliver preview NAME`.")] = False,
    values: Annotated[bool, typer.Option("--values", help="With --dry-run: show values, too.")] = False,
    until_end: UntilEnd = False,
    check_it: Annotated[bool, typer.Option("--check", help="Now `nurt deliver check NAME`.")] = False,
    show_refused: Annotated[bool, typer.Option("--refused", help="Now `nurt deliver refused NAME`.")] = False,
    retry_it: Annotated[bool, typer.Option("--retry", help="Now `nurt deliver retry NAME`.")] = False,
    sweep_it: Annotated[bool, typer.Option("--sweep", help="Now `nurt deliver sweep NAME --yes`.")] = False,
    rows_max: RowsMax = 20,
    quiet: Quiet = False,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Do as `nurt deliver NAME` did; `nurt deliver --help` lists the commands that took its place."""
    asked = {"--refused": show_refused, "--retry": retry_it, "--sweep": sweep_it, "--check": check_it}
    chosen = [option for option, is_chosen in asked.items() if is_chosen]
    chosen += ["--dry-run"] if dry_run and not sweep_it else []
    if len(chosen) > 1:
        raise refuse(f"delivering to {destination}", f"{' and '.join(chosen)} exclude each other", "give one of them")
    (option,) = chosen or [""]
    if destination == "status":
        _warn("status")
        status(as_json, config)
    elif option == "--refused":
        _warn(f"refused {destination}")
        refused(destination, rows_max, as_json, config)
    elif option == "--retry":
        _warn(f"retry {destination}")
        retry(destination, config)
    elif option == "--sweep":
        _warn(f"sweep {destination}" + ("" if dry_run else " --yes"))
        sweep(destination, not dry_run, as_json, config)
    elif option == "--check":
        _warn(f"check {destination}")
        check(destination, as_json, config)
    elif option == "--dry-run":
        _warn(f"preview {destination}")
        preview(destination, values, rows_max, as_json, config)
    else:
        _warn(f"run {destination}")
        run(destination, from_scratch, until_end, quiet, config)


def _warn(command: str) -> None:
    """Print the new syntax of the command."""
    progress = f"write `nurt deliver {command}` and the other options as they are; this way to write it will go"
    stderr.print(Text.assemble(("nurt: ", "bold yellow"), progress), soft_wrap=True)
