"""`nurt source`: sources that wait for a word of the operator."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from nurt.cli.frame import DEFAULT_CONFIG, AsJson, Config, page, print_json, print_table, refuse
from nurt.core.source_words import accepted_record, halts
from nurt.settings import load_settings
from nurt.wiring import open_register, read_mapping

app = typer.Typer(
    help="Say what only an operator knows of a source: that its order has started again.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("list")
def list_(as_json: AsJson = False, config: Config = DEFAULT_CONFIG) -> None:
    """List the sources that are halted, and why.

    [bold]Examples[/bold]

    nurt source list
    """
    waiting = halts(open_register(load_settings(config)).records())
    if as_json:
        print_json([asdict(notice) for notice in waiting.values()])
        return
    if not waiting:
        page.print("No source is halted.")
        return
    rows = [
        (one.source, f"{one.topic}:{one.partition}:{one.offset}", str(one.kind), one.detail) for one in waiting.values()
    ]
    print_table("Halted until `nurt source accept`", ("source", "at", "", ""), rows)


@app.command("accept")
def accept(
    source: Annotated[str, typer.Argument(help="The system, as the mapping names it.")], config: Config = DEFAULT_CONFIG
) -> None:
    """Say that a source's database was restored or failed over, so that its order starts again.

    From the first message on that stands behind what was seen, each partition of the source is in a new source
    epoch: its changes count as newer than all before, whatever their log positions are. Rows that the database lost
    stay until a snapshot; take one, if it can have lost any. Start `nurt run` again afterwards.

    [bold]Examples[/bold]

    nurt source accept shop_pl && nurt run
    """
    settings = load_settings(config)
    systems = read_mapping(settings).systems
    if source not in systems:
        raise refuse(
            f"accepting {source}", "the mapping has no such system", f"name one of {', '.join(sorted(systems))}"
        )
    register = open_register(settings)
    waiting = source in halts(register.records())
    register.append(accepted_record(source))
    was = "was halted and goes on" if waiting else "was not halted; its next fall-back is accepted"
    page.print(f"{source} {was} with the next start of `nurt run`.")
