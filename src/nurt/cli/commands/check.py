"""`nurt check`: does every configured service answer, and can its rows be translated?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from nurt.cli.frame import DEFAULT_CONFIG, AsJson, Config, print_json, print_table, shown, stderr, stdout
from nurt.errors import ConfigurationError
from nurt.model.entities import PROFILE_KINDS, STOCK_KINDS

if TYPE_CHECKING:
    from nurt.cli.belonging import Belonging
    from nurt.cli.opening import OpenState
    from nurt.cli.sampling import TopicSample
    from nurt.mapping.joins.graph import Edge
    from nurt.mapping.load import Mapping
    from nurt.settings import Settings


def check(
    rows_max: Annotated[
        int, typer.Option("--sample", help="How many messages of each topic to try; 0: only look at names.", min=0)
    ] = 500,
    whole: Annotated[bool, typer.Option("--whole", help="Try all messages, however long it takes.")] = False,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Try the settings and the mapping on real messages; changes nothing and commits nothing.

    Reads the settings and the mapping, asks the state, the topics and the registry, then translates some messages of
    every topic and says what would become of them. Exit code 1: some would go to quarantine.

    [bold]Examples[/bold]

    nurt check

    nurt check --sample 0  [dim]# names only: which topics match which entry of the mapping[/dim]

    nurt check --whole  [dim]# all messages: which rows name an order or a customer that is not there[/dim]

    nurt check --json | jq '.topics[] | select(.refused > 0)'
    """
    from nurt.cli.opening import opened_state
    from nurt.cli.sampling import shared_tables
    from nurt.mapping.joins.graph import edges, unused_tables
    from nurt.mapping.load import read_mapping

    with opened_state(config) as state:
        mapping = read_mapping(state.settings.mapping_files)
        facts = _facts(state, mapping)
        found, belonging = _sampled(state.settings, mapping, None if whole else rows_max)
        misfits = _misfits(state.settings)
        open_ = _open(state.settings)
    unused = _unused(mapping, found)
    shared = [asdict(one) for one in shared_tables(mapping, found)]
    joins, idle = edges(mapping), unused_tables(mapping)
    if as_json:
        topics = [asdict(one) for one in found]
        notes = {
            "entries_without_topic": unused,
            "tables_of_several_topics": shared,
            "children": [asdict(one) for one in belonging.children],
            "sample_too_small": belonging.is_cut,
        }
        notes |= {"joins": [asdict(one) for one in joins], "tables_that_nobody_uses": idle}
        print_json({**facts, "topics": topics, **notes, "destinations": misfits, "open": open_})
    else:
        _print(facts, found, unused)
        _print_joins(joins, idle)
        for one in shared:
            _print_shared(one)
        _print_children(belonging)
        for text in open_:
            stdout.print(Text.assemble(("\nopen ", "yellow"), shown(text)))
        for name, complaints in misfits.items():
            fits = "fits the receiver's own description"
            stdout.print(f"\ndestination {name}: {'; '.join(complaints) if complaints else fits}")
    if any(one.refused for one in found) or any(misfits.values()):
        raise typer.Exit(1)


def _open(settings: Settings) -> list[str]:
    """List links in plain text, and folders that others may read."""
    from nurt.app.delivery_config import read_destinations
    from nurt.app.guards.exposure import open_folders, plain_links, plain_links_of

    mappings = read_destinations(settings).values() if settings.destinations.exists() else ()
    links = [*plain_links(settings), *(link for mapping in mappings for link in plain_links_of(mapping))]
    return [*map(str, links), *open_folders(settings)]


def _misfits(settings: Settings) -> dict[str, list[str]]:
    """Compare destinations with their receivers, where there are credentials."""
    if not settings.destinations.exists():
        return {}
    from nurt.app.delivery_config import read_destinations
    from nurt.app.delivery_tools import verify

    found = {}
    for name, mapping in read_destinations(settings).items():
        try:
            found[name] = verify(settings, mapping)
        except ConfigurationError as missing:
            found[name] = [str(missing)]
    return found


def _facts(state: OpenState, mapping: Mapping) -> dict[str, Any]:
    figures = state.tally.figures()
    settings = state.settings
    newest = max(figures.heads.values(), default=None)
    was = f"run {newest.run} was here" if newest else "empty"
    waiting = _waiting(settings) if newest else []
    return {
        **({"waits for a word": "; ".join(waiting)} if waiting else {}),
        "mapping": f"{len(mapping.systems)} systems, {len(mapping.topics)} entries for topics",
        "state": f"answers; {was}, prefix {settings.prefix}, {settings.shards} shards",
        "input": f"Kafka at {settings.kafka.bootstrap}" if settings.kafka_input and settings.kafka else "archives",
        "registry": "Confluent's protocol" if settings.registry_url else "folders",
    }


def _waiting(settings: Settings) -> list[str]:
    """List what is halted until an operator's word."""
    from nurt.app.opening import open_control_log
    from nurt.control.logs import halted_logs
    from nurt.control.source_records import halts

    records = open_control_log(settings).records()
    sources = [f"source {one} (`nurt source accept`)" for one in halts(records)]
    return sources + [f"topic {one} (`nurt source list`)" for one in halted_logs(records)]


def _sampled(settings: Settings, mapping: Mapping, rows_max: int | None) -> tuple[list[TopicSample], Belonging]:
    """Try messages of each topic, at most `rows_max`; None: all."""
    from rich.status import Status

    from nurt.app.opening import fold_context, open_registry
    from nurt.cli.belonging import NamedParents
    from nurt.cli.sampling import Samples, Trial
    from nurt.columnar.ids import Ids
    from nurt.mapping.joins.compile import numbered, numbers_for
    from nurt.mapping.joins.numbers import Numbers
    from nurt.translate.translator import Translator

    ids = Ids(settings.ids_secret())
    stored = numbered(mapping, numbers_for(mapping, Numbers()))  # any numbers do: nothing is kept
    translator, context = Translator(stored, open_registry(settings), ids), fold_context(mapping, ids)
    samples, parents = Samples(settings, rows_max), NamedParents(mapping.referred(), ids)
    trials: dict[str, Trial] = {}
    with Status("listing topics", console=stderr) as status:
        for topic, batch in samples:
            status.update(shown(f"trying {topic}"))
            trial = trials.setdefault(topic, Trial(mapping, topic))
            if batch is not None:
                done = translator.translate(batch)
                trial.add(batch, done, context)
                parents.add(done)
        belonging = parents.judged(mapping, samples.cut)
    found = [trial.sample() for _, trial in sorted(trials.items())]
    if not found:
        raise ConfigurationError(
            "checking the input: no topic is there (expected those of `input`); check the names and the connectors"
        )
    return found, belonging


def _unused(mapping: Mapping, found: list[TopicSample]) -> list[str]:
    """List entries of the mapping without a topic."""
    used = {(one.file_name, one.line) for one in found}
    for kinds in (PROFILE_KINDS, STOCK_KINDS):  # each flow reads a topic by the first entry of its own kinds
        narrow = mapping.narrowed(kinds)
        entries = [narrow.for_topic(one.topic) for one in found]
        used |= {(item.file_name, item.line) for entry in entries if entry is not None for item in entry.items}
    return [
        f"{rule.mapping.file_name}:{rule.line}: {rule.mapping.pattern}"
        for rule in mapping.topics
        if used.isdisjoint((item.file_name, item.line) for item in rule.mapping.items)
    ]


def _print_joins(joins: list[Edge], idle: list[str]) -> None:
    """Show which rows are put together, level by level."""
    if joins:
        stdout.print()
        rows = [(one.level, one.entry, one.name, one.tables, one.how) for one in joins]
        print_table("Rows that are put together", ("level>", "entry", "name", "rows of", ""), rows)
    for one in joins:
        if one.any_of_several and "pivot" not in one.how:
            what = f"\n{one.entry}, {one.name}: of several rows the one with the smallest key counts; "
            stdout.print(Text.assemble((what, "yellow"), "say which by `first:`"))
    for table in idle:
        stdout.print(Text.assemble(("\nnobody uses the table ", "yellow"), shown(table)))


def _print_shared(one: dict[str, Any]) -> None:
    """Say of a table that several topics hold what happens, and ask where nothing compares them."""
    if one["compared"]:
        what = "a row lives while one of them holds it, and the newer position speaks for it"
        asked = "If one takes the place of the others, say so by `order:` in the mapping's entry."
    else:
        what = "their positions cannot be compared"
        asked = "Which one is right where two hold a row? Say it by `order:` in the mapping's entry."
    topics = ", ".join(one["topics"])
    stdout.print(
        Text.assemble((f"\n{len(one['topics'])} topics hold {one['table']}: ", "yellow"), f"{topics}: {what}. {asked}")
    )


def _print_children(belonging: Belonging) -> None:
    """Say which rows name what is not there, and which nobody owns."""
    for one in belonging.children:
        who = f"\n{one.nobodys or one.missing:,} of {one.rows:,} {one.child} of {one.system} "
        if one.nobodys:
            stdout.print(Text.assemble((f"{who}name nobody: ", "yellow"), "they have no effect"))
            continue
        if one.several:
            what = f"\n{one.several:,} of {one.rows:,} {one.child} of {one.system} name several rows: {one.parent}"
            stdout.print(Text.assemble((what, "yellow"), "; nobody's, unless `first` in the mapping says whose"))
        if not one.missing:
            continue
        sure = "" if one.is_sure else " (in the sample; --whole reads all)"
        what = f"{who}name {one.article} {one.parent} that is not there"
        stdout.print(Text.assemble((what, "yellow"), f"{sure}: they wait for it"))
        for zero in one.zeros:
            stdout.print(
                shown(
                    f"  {zero.rows:,} of them name {one.parent} {zero.key!r}. If this means nobody, write "
                    f"parent: {{{one.parent}: {zero.remedy}}}"
                )
            )
    if belonging.is_cut and not belonging.children:
        stdout.print(
            shown("\nThe sample is too small to tell whether rows find what they belong to; --whole reads all.", "dim")
        )


def _print(facts: dict[str, Any], found: list[TopicSample], unused: list[str]) -> None:
    print_table("", ("", ""), [(Text(name, "dim"), text) for name, text in facts.items()])
    stdout.print()
    rows = [
        (
            *(one.topic, one.becomes, one.messages, one.rows or "", one.left_out or ""),
            *(one.not_ours or "", one.refused or "", one.why),
        )
        for one in found
    ]
    titles = ("topic", "", "tried>", "rows>", "left out>", "not ours>", "refused>", "")
    print_table("What messages would become", titles, rows)
    for one in found:
        for entity, left_out in one.left_out_of.items():
            what = f"\n{one.topic}: `where` of {entity} leaves out {left_out:,} of {one.rows:,} rows"
            stdout.print(shown(what, "yellow" if left_out == one.rows else ""))
        if one.rows and one.left_out == one.rows:
            what = f"\n{one.topic}: `where` leaves out every row; "
            stdout.print(Text.assemble((what, "yellow"), "is a word in it misspelt?"))
        if one.absent:
            what = f"\n{one.topic}: `where` leaves out rows that lack column {', '.join(one.absent)}; "
            stdout.print(Text.assemble((what, "yellow"), "read the table again, or let `where` keep rows without it"))
    unread = [(one.topic, field, rows) for one in found for field, rows in one.unread.items()]
    if unread:
        stdout.print()
        print_table("Texts that are no identifier: nobody's", ("topic", "field", "rows>"), unread)
    for entry in unused:
        stdout.print(Text.assemble(("\nno topic matches ", "yellow"), shown(entry)))
    refused = sum(one.refused for one in found)
    if refused:
        stdout.print(f"\n[red]{refused:,} of the messages tried would go to quarantine[/red]", markup=True)
    else:
        stdout.print("\n[green]Everything that was tried is understood.[/green]", markup=True)
