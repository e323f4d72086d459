"""`nurt stats`: the outcome of every message, and what is stored."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.status import Status
from rich.text import Text

from nurt.cli.frame import (
    DEFAULT_CONFIG,
    AsJson,
    Config,
    Flow,
    print_json,
    print_table,
    refuse,
    stderr,
    stdout,
)

if TYPE_CHECKING:
    from nurt.cli.opening import OpenState
    from nurt.inspect.counters import Count, StoreFigures
    from nurt.inspect.waiting import Unmet, Waiting


def stats(
    count: Annotated[
        bool, typer.Option("--count", help="Count profiles, accounts, rows ... too; walks over all keys.")
    ] = False,
    waiting: Annotated[
        bool,
        typer.Option("--waiting", help="List what waits for an order or customer that never came; walks over all."),
    ] = False,
    as_json: AsJson = False,
    flow: Flow = "profiles",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show where every message ended, and what is stored.

    Every message that was read ends in exactly one place: folded in, old news (a repeat, or late), not ours (a
    heartbeat, a tombstone, a table without mapping), or in quarantine. The columns add up to the messages read:
    what is read again after a crash does not count again; a rebuild begins to count anew. Rows that the mapping's
    `where` leaves out are folded, as deletes, and counted once more below.

    [bold]Examples[/bold]

    nurt stats  [dim]# by topic, outcome and reason[/dim]

    nurt stats --count  [dim]# and how many profiles, accounts, orders ... there are[/dim]

    nurt stats --waiting  [dim]# and which rows wait for an order or a customer that is not there, by age[/dim]

    nurt stats --json | jq .totals.quarantined
    """
    from nurt.cli.opening import opened_state

    if waiting and flow != "profiles":
        raise refuse(
            f"listing what waits in the flow {flow!r}", "only the flow of profiles is known", "leave out --flow"
        )
    with opened_state(config, flow) as state:
        counts = state.tally.counts()
        figures = state.tally.figures()
        kinds = _kinds(state) if count else None
        unmet = _unmet(state) if waiting else None
    if as_json:
        plain = _plain(counts, figures, kinds)
        print_json(plain if unmet is None else {**plain, "waiting": [[asdict(one) for one in some] for some in unmet]})
        return
    print_counts(counts)
    _print_figures(figures, kinds)
    if unmet is not None:
        print_waiting(*unmet)


def _kinds(state: OpenState) -> dict[str, int]:
    with Status("counting keys", console=stderr) as status:
        found = state.tally.kinds(lambda seen: status.update(f"counting keys: {seen:,}"))
    titles = {f"rows_{kind}": f"rows of {title}" for kind, title in state.tables.items()}
    return {titles.get(kind, kind): number for kind, number in found.items()}


def _unmet(state: OpenState) -> tuple[list[Waiting], list[Unmet]]:
    with Status("looking for what waits", console=stderr) as status:

        def tell(seen: int) -> None:
            status.update(f"looking for what waits: {seen:,}")

        return state.waiting.children(int(time.time() * 1000), tell), state.waiting.accounts(tell)


def print_waiting(children: Sequence[Waiting], accounts: Sequence[Unmet]) -> None:
    """Print what waits: children of orders that are not there, by age; accounts that rows name and that never came."""
    from nurt.inspect.waiting import AGES

    stdout.print()
    if not children and not accounts:
        stdout.print("Nothing waits: every order and customer that a row names is there.")
    if children:
        rows = [(one.system, one.entity, one.parent, *one.ages, ", ".join(one.examples)) for one in children]
        titles = ("system", "of", "waits for", *(f"{age}>" for age in AGES), "for example")
        print_table("Rows that wait for their order", titles, rows)
    if accounts:
        stdout.print()
        rows_of = [(one.system, one.entity, one.accounts, ", ".join(one.examples)) for one in accounts]
        title = "Customers that rows name, and whose own row is not there"
        print_table(title, ("system", "entity", "accounts>", "for example"), rows_of)


def _plain(counts: Sequence[Count], figures: StoreFigures, kinds: dict[str, int] | None) -> dict[str, Any]:
    from nurt.inspect.counters import totals

    plain = {"counts": [asdict(count) for count in counts], "totals": totals(counts), "state": asdict(figures)}
    return plain if kinds is None else {**plain, "stored": kinds}


_INSTANCES = {
    "undecided": "a row lived in two topics of its table, and no position compares them: say `order:` in the mapping",
    "outlived": "a row was deleted in one topic of its table, and an older event of another still holds it: say "
    "`order:` in the mapping if one topic takes the place of the other",
}


def print_counts(counts: Sequence[Count]) -> None:
    """Print the message counts: a row a topic, a column an outcome, and the sums; then the reasons."""
    from nurt.inspect.counters import (
        INSTANCES,
        LEFT_OUT,
        MISSING,
        NOBODY,
        OUTCOMES,
        REQUEUED,
        UNREAD,
        UNTOLD,
        WAITING,
        totals,
    )

    waiting = [(*count.reason.split(" of "), count.messages) for count in counts if count.outcome == WAITING]
    counts = [count for count in counts if count.outcome != WAITING]

    cells: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for count in counts:
        cells[count.topic][count.outcome] += count.messages
    rows: list[tuple[object, ...]] = []
    for topic, by_outcome in sorted(cells.items()):
        rows.append((topic, *(by_outcome[name] or "" for name in OUTCOMES), sum(by_outcome[name] for name in OUTCOMES)))
    summed = totals(counts)
    rows.append((Text("all", "bold"), *(summed[name] for name in OUTCOMES), summed["messages"]))
    titles = [name.replace("_", " ") + ">" for name in OUTCOMES]
    print_table("Where every message ended", ("topic", *titles, "messages>"), rows)
    reasons: dict[tuple[str, str], int] = defaultdict(int)
    for count in counts:
        if count.reason and count.outcome not in (MISSING, LEFT_OUT, INSTANCES, UNTOLD, UNREAD, NOBODY):
            reasons[count.outcome, count.reason] += count.messages
    if reasons:
        stdout.print()
        listed = [
            (outcome.replace("_", " "), reason, messages) for (outcome, reason), messages in sorted(reasons.items())
        ]
        print_table("Why not folded", ("", "reason", "messages>"), listed)
    left_out = [(count.topic, count.reason, count.messages) for count in counts if count.outcome == LEFT_OUT]
    if left_out:
        stdout.print()
        print_table("Left out by the mapping (they are folded, as deletes)", ("topic", "", "messages>"), left_out)
    if summed.get(UNREAD):
        stdout.print()
        unread = [(count.topic, count.reason, count.messages) for count in counts if count.outcome == UNREAD]
        print_table("Folded, but nobody's: texts that are no identifier", ("topic", "field", "rows>"), unread)
    if summed.get(NOBODY):
        stdout.print()
        nobodys = [(count.topic, count.reason, count.messages) for count in counts if count.outcome == NOBODY]
        print_table("Folded, but nobody's: the parent is null", ("topic", "entity", "rows>"), nobodys)
    if waiting:
        stdout.print()
        print_table("Wait for what they belong to (`nurt stats --waiting` says for what)", ("", "of", "rows>"), waiting)
    if summed.get(MISSING):
        stdout.print(
            f"\n{summed[MISSING]:,} times a row came without a large value that nobody knows (the log names the rows): "
            "set REPLICA IDENTITY FULL on these tables, then update the rows."
        )
    if summed.get(UNTOLD):
        topics = ", ".join(sorted({one.topic for one in counts if one.outcome == UNTOLD}))
        stdout.print(
            f"\n{summed[UNTOLD]:,} messages without position met a row of another partition, and nothing tells which "
            f"is newer ({topics}): read these tables again by a snapshot, or keep deletes on the topic longer."
        )
    for topic, reason, messages in [
        (one.topic, one.reason, one.messages) for one in counts if one.outcome == INSTANCES
    ]:
        stdout.print(f"\n{messages:,} times {_INSTANCES[reason]} ({topic}).", markup=False)
    if summed.get(REQUEUED):
        stdout.print(f"\n{summed[REQUEUED]:,} messages of the quarantined were requeued; they count again above.")


def _print_figures(figures: StoreFigures, kinds: dict[str, int] | None) -> None:
    stdout.print()
    newest = max(figures.heads.values(), default=None)
    where = f"run {newest.run}, epoch {newest.epoch:,}" if newest else "no run yet"
    rows: list[tuple[str, object]] = [
        ("state", f"{where}; {len(figures.heads)} places"),
        ("in quarantine", figures.quarantined),
        ("profiles that the clock will change", figures.due),
        ("profiles to say again at the next start", figures.owed),
        ("memory of the server", f"{figures.memory_bytes / 1e6:,.1f} MB in {figures.keys:,} keys"),
    ]
    rows += [(kind.replace("_", " "), number) for kind, number in (kinds or {}).items()]
    print_table("State", ("", ">"), rows)
