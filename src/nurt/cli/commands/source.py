"""`nurt source`: sources that wait for a word of the operator."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
import typer

from nurt.adapters.redis.client import open_redis
from nurt.app.opening import open_register
from nurt.cli.frame import DEFAULT_CONFIG, AsJson, Config, deployment, page, print_json, print_table, refuse
from nurt.columnar.text_codes import codes_of
from nurt.control.source_records import accepted_record, halts
from nurt.inspect.row_scan import stored_rows
from nurt.mapping.load import read_mapping
from nurt.model.entities import STOCK_KINDS
from nurt.model.entity_frame import DELETE
from nurt.model.keys import Keys
from nurt.rows.layouts import OP, PART, ROW, ROW_LAYOUTS
from nurt.rows.sweeps import Sweep, Table, possible_sweeps, sweep_record
from nurt.settings import Settings, load_settings, stock_settings

app = typer.Typer(
    help="Say what only an operator knows of a source: that its order has started again, that rows are gone.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _flows(settings: Settings) -> dict[str, Settings]:
    """Return every flow that reads this deployment's sources, each with a register of its own."""
    flows = {"profiles": settings}
    if read_mapping(settings.mapping_files).stock is not None:
        flows["stock"] = stock_settings(settings)
    return flows


@app.command("list")
def list_(as_json: AsJson = False, config: Config = DEFAULT_CONFIG) -> None:
    """List the sources that are halted, and why.

    [bold]Examples[/bold]

    nurt source list
    """
    flows = _flows(load_settings(config))
    waiting = [(flow, one) for flow, own in flows.items() for one in halts(open_register(own).records()).values()]
    if as_json:
        print_json([{"flow": flow, **asdict(notice)} for flow, notice in waiting])
        return
    if not waiting:
        page.print("No source is halted.")
        return
    rows = [
        (one.source, flow, f"{one.topic}:{one.partition}:{one.offset}", str(one.kind), one.detail)
        for flow, one in waiting
    ]
    print_table("Halted until `nurt source accept`", ("source", "flow", "at", "", ""), rows)


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
    systems = read_mapping(settings.mapping_files).systems
    if source not in systems:
        raise refuse(
            f"accepting {source}", "the mapping has no such system", f"name one of {', '.join(sorted(systems))}"
        )
    registers = {flow: open_register(own) for flow, own in _flows(settings).items()}
    halted = [flow for flow, register in registers.items() if source in halts(register.records())]
    for register in registers.values():
        register.append(accepted_record(source))
    was = "was halted and goes on" if halted else "was not halted; its next fall-back is accepted"
    which = f" (flow: {', '.join(halted)})" if halted else ""
    page.print(f"{source} {was} with the next start of `nurt run`{which}.")


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep would do to one table.

    Attributes:
        go: rows that the snapshot did not see.
        stay: rows that it saw, or that came later.
        unreached: rows of partitions that it wrote nothing to; nobody can tell whether they are gone, so they stay.
    """

    flow: str
    topic: str
    table: str
    go: int
    stay: int
    unreached: int


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
    with deployment(config) as settings:
        flows = _flows(settings)
        sweeps = {flow: _possible(own, source, flow) for flow, own in flows.items()}
        found = [_counted(flows[flow], one, flow) for flow, some in sweeps.items() for one in some]
        for flow, some in sweeps.items():
            if yes and some:
                open_register(flows[flow]).append(sweep_record(some))
    if as_json:
        print_json({"ordered": bool(yes and found), "tables": [asdict(one) for one in found]})
        return
    if not found:
        page.print("Nothing to sweep: no table had a full snapshot, complete by now, behind changes of before.")
        return
    rows = [(one.table, one.flow, one.topic, one.go, one.stay, one.unreached or "") for one in found]
    print_table(
        "Rows that the newest snapshot did not see", ("", "flow", "topic", "go>", "stay>", "not reached>"), rows
    )
    if any(one.unreached for one in found):
        page.print("Rows of partitions that a snapshot wrote nothing to stay: nobody can tell whether they are gone.")
    page.print("They go with the next start of `nurt run`." if yes else "Nothing is changed; --yes lets them go.")


def _possible(settings: Settings, source: str | None, flow: str) -> list[Sweep]:
    mapping = read_mapping(settings.mapping_files)
    if flow == "stock":
        mapping = mapping.narrowed(STOCK_KINDS)
    if source is not None and source not in mapping.systems:
        raise refuse(
            f"sweeping {source}", "the mapping has no such system", f"name one of {', '.join(mapping.systems)}"
        )

    def table_of(topic: str) -> Table | None:
        entry = mapping.for_topic(topic)
        return None if entry is None else Table(entry.kind, entry.system.name, entry.name, topic)

    records = open_register(settings).records()
    topics = {record["topic"] for _, record in records if record["kind"] == "source_epoch"}
    tables = Counter((one.kind, one.system, one.entity) for one in map(table_of, topics) if one is not None)
    found = [one for one in possible_sweeps(records, table_of) if source in (None, one.table.system)]
    for one in found:
        if (many := tables[one.table.kind, one.table.system, one.table.entity]) > 1:
            name = f"{one.table.system}/{one.table.entity}"
            raise refuse(f"sweeping {name}", f"{many} topics hold it", "give each a `name:` of its own in the mapping")
    return found


def _counted(settings: Settings, sweep: Sweep, flow: str) -> Swept:
    client, table = open_redis(settings.redis_url), sweep.table
    layout = ROW_LAYOUTS[table.kind]
    go = stay = unreached = 0
    for rows in stored_rows(client, Keys(settings.prefix, settings.shards), table.kind):
        every = np.arange(len(rows))
        alive = (rows.numbers[:, PART] == ROW) & (rows.numbers[:, OP] != DELETE)
        for name, wanted in (("system", table.system), ("entity", table.entity)):
            alive &= codes_of(rows.text(layout.place(name), every), [wanted]) == 0
        taken = sweep.takes(rows)
        reached = np.isin(rows.numbers[:, layout.place("partition")], list(sweep.fences))
        go += int((alive & taken).sum())
        stay += int((alive & ~taken).sum())
        unreached += int((alive & ~reached).sum())
    client.close()
    return Swept(flow, table.topic, f"{table.system}/{table.entity}", go, stay, unreached)
