"""`nurt source`: sources that wait for the operator's word."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from nurt.cli.frame import DEFAULT_CONFIG, AsJson, Config, print_json, print_table, refuse, stdout

app = typer.Typer(
    help="Say what only an operator knows of a source: that its order has started again, that rows are gone.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("list")
def list_(as_json: AsJson = False, config: Config = DEFAULT_CONFIG) -> None:
    """List the sources and topics that wait for a word, and why.

    [bold]Examples[/bold]

    nurt source list
    """
    from nurt.app.opening import open_control_log
    from nurt.cli.source_sweeps import flows_of
    from nurt.control.logs import halted_logs
    from nurt.control.source_records import halts
    from nurt.settings import load_settings

    flows = flows_of(load_settings(config))
    records = {flow: open_control_log(own).records() for flow, own in flows.items()}
    waiting = [(flow, one) for flow, some in records.items() for one in halts(some).values()]
    logs = [(flow, topic, why) for flow, some in records.items() for topic, why in halted_logs(some).items()]
    if as_json:
        of_logs = [{"flow": flow, "topic": topic, "kind": "other_log", "detail": why} for flow, topic, why in logs]
        print_json([{"flow": flow, **asdict(notice)} for flow, notice in waiting] + of_logs)
        return
    if not waiting and not logs:
        stdout.print("No source is halted.")
        return
    if logs:
        print_table("Halted until `nurt source same-log` or `another-log`", ("topic", "flow", ""), _by_topic(logs))
    if not waiting:
        return
    rows = [
        (f"{one.topic}:{one.partition}:{one.offset}", one.source, flow, str(one.kind), one.detail)
        for flow, one in waiting
    ]
    print_table("Halted until `nurt source accept`", ("at", "source", "flow", "", ""), rows)


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
    from nurt.app.opening import open_control_log
    from nurt.cli.source_sweeps import flows_of
    from nurt.control.source_records import accepted_record, halts
    from nurt.mapping.load import read_mapping
    from nurt.settings import load_settings

    settings = load_settings(config)
    systems = read_mapping(settings.mapping_files).systems
    if source not in systems:
        raise refuse(
            f"accepting {source}", "the mapping has no such system", f"name one of {', '.join(sorted(systems))}"
        )
    control_logs = {flow: open_control_log(own) for flow, own in flows_of(settings).items()}
    halted = [flow for flow, control_log in control_logs.items() if source in halts(control_log.records())]
    for control_log in control_logs.values():
        control_log.append(accepted_record(source))
    was = "was halted and goes on" if halted else "was not halted; its next fall-back is accepted"
    which = f" (flow: {', '.join(halted)})" if halted else ""
    stdout.print(f"{source} {was} with the next start of `nurt run`{which}.")


def _by_topic(logs: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    return [(topic, flow, why) for flow, topic, why in logs]


Topic = Annotated[str, typer.Argument(help="The topic that waits.")]


@app.command("same-log")
def same_log(topic: Topic, config: Config = DEFAULT_CONFIG) -> None:
    """Say that a topic's log is the one that nurt has read: it was cut, or restored from an older copy.

    What nurt has read stays. Partitions that lost messages are read again from their beginning, and positions decide
    which of their events are newer. Start `nurt run` again afterwards.

    [bold]Examples[/bold]

    nurt source same-log shop.public.customers && nurt run
    """
    from nurt.control.logs import SAME

    _say(topic, SAME, config)
    stdout.print(f"{topic} is the log that nurt has read; it goes on with the next start of `nurt run`.")


@app.command("another-log")
def another_log(topic: Topic, config: Config = DEFAULT_CONFIG) -> None:
    """Say that a topic's log is another one: the topic was made anew.

    It is read from its beginning, and its events are newer than all that nurt has read under the topic's name. Rows
    that it does not name stay; after a full snapshot `nurt source sweep` counts them. Then start `nurt run` again.

    [bold]Examples[/bold]

    nurt source another-log shop.public.customers && nurt run
    """
    from nurt.control.logs import ANOTHER

    _say(topic, ANOTHER, config)
    stdout.print(f"{topic} is another log; it is read from its beginning with the next start of `nurt run`.")


def _say(topic: str, word: str, config: Path) -> None:
    """Write down a word on a topic's log, for every flow: each reads it, though it may not wait yet."""
    from nurt.app.opening import open_control_log
    from nurt.cli.source_sweeps import flows_of
    from nurt.control.logs import halted_logs, log_word_record
    from nurt.settings import load_settings

    control_logs = [open_control_log(own) for own in flows_of(load_settings(config)).values()]
    waiting = {one for control_log in control_logs for one in halted_logs(control_log.records())}
    if topic not in waiting:
        raise refuse(
            f"taking your word on {topic}",
            "its log does not wait for one",
            f"name one of {', '.join(sorted(waiting))}" if waiting else "no topic waits",
        )
    for control_log in control_logs:
        control_log.append(log_word_record(topic, word))


@app.command("sweep")
def sweep(
    source: Annotated[
        str | None, typer.Argument(help="Only this system, as the mapping names it.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete them; without it they are only counted.")] = False,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Delete rows that the newest full snapshot did not see: they went while no connector told.

    Counts first, and changes nothing without --yes. A table is swept when its snapshot is complete: when streamed
    changes came behind it. With --yes the word is written down, and carried out by the next start of `nurt run`, some
    rows an epoch, as if each had been deleted; a restart goes on with it. Rows newer than the snapshot stay.

    [bold]Examples[/bold]

    nurt source sweep  [dim]# how many rows of which tables would go[/dim]

    nurt source sweep shop_pl --yes  [dim]# then start nurt run again[/dim]
    """
    from nurt.app.opening import open_control_log
    from nurt.cli.opening import deployment
    from nurt.cli.source_sweeps import counted, flows_of, sweeps_of
    from nurt.rows.sweeps import sweep_record

    with deployment(config) as settings:
        flows = flows_of(settings)
        sweeps = {flow: sweeps_of(own, source, flow) for flow, own in flows.items()}
        found = [counted(flows[flow], one, flow) for flow, some in sweeps.items() for one in some]
        for flow, some in sweeps.items():
            if yes and some:
                open_control_log(flows[flow]).append(sweep_record(some))
    if as_json:
        print_json({"ordered": bool(yes and found), "tables": [asdict(one) for one in found]})
        return
    if not found:
        stdout.print("Nothing to sweep: no table had a full snapshot, complete by now, behind changes of before.")
        return
    rows = [(one.topic, one.table, one.flow, one.go, one.stay, one.unreached or "") for one in found]
    print_table(
        "Rows that the newest snapshot did not see", ("topic", "table", "flow", "go>", "stay>", "not reached>"), rows
    )
    if any(one.unreached for one in found):
        stdout.print("Rows of partitions that a snapshot wrote nothing to stay: nobody can tell whether they are gone.")
    stdout.print("They go with the next start of `nurt run`." if yes else "Nothing is changed; --yes lets them go.")
