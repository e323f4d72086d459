"""The steps of `nurt demo`: fold, show, sell, deliver, and print what to try next."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import relpath
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from nurt.adapters.analytics.duckdb_reading import ProfileTables
from nurt.app.running import run_here, run_stock_here
from nurt.cli.frame import print_table, stderr, stdout, table_of
from nurt.cli.opening import OpenState
from nurt.cli.profile_page import print_profile
from nurt.cli.stock_page import orders_of, show_stock, view_of
from nurt.cli.tables import PlainTable
from nurt.cli.watching import watching
from nurt.inspect.counters import OUTCOMES, Count, totals
from nurt.runtime.stopping import stopping_on_signals
from nurt.settings import ROWS_MAX, Settings

SOLD = "TEA-ASSAM"
ORDERS = range(100_000_011, 100_000_111)
"""Numbers of some orders of the Polish shop; no genuine order has such a number."""
DELIVERY = """\
# Who is delivered to; docs/delivery.md explains every word. This receiver: `python -m nurt.fake webhook --port {port}`
destinations:
  hook:
    preset: [webhook, webhook_orders, webhook_stock]
    url: {url}
    objects:
      order: {{parent: {{contact: contact}}}}     # the contact that the order is linked to
"""
SIMULATED, GENUINE = "simulated", "genuine"
LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class DemoInput:
    """Input of the demo."""

    simulated: int
    genuine: int
    genuine_topics: frozenset[str]

    @property
    def messages(self) -> int:
        """Count the messages."""
        return self.simulated + self.genuine

    def parted(self, counts: Sequence[Count]) -> dict[str, list[Count]]:
        """Separate the counts of genuine messages from those of simulated ones."""
        parts: dict[str, list[Count]] = {SIMULATED: [], GENUINE: []}
        for count in counts:
            parts[GENUINE if count.topic in self.genuine_topics else SIMULATED].append(count)
        return parts


def fold(settings: Settings, input_: DemoInput) -> None:
    """Run the flow of profiles, and show its progress."""
    from nurt.flows.profiles import profiles

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeElapsedColumn())
    progress = Progress(*columns, console=stderr)
    task = progress.add_task("folding them into profiles", total=input_.messages, rate="")
    with Live(progress, console=stderr, transient=True, refresh_per_second=8) as live:

        def seen(now: dict[str, int], rate: float, counts: Sequence[Count]) -> None:
            if now:
                progress.update(task, completed=now["messages"], rate=f"{rate:,.0f} a second" if rate >= 1 else "")
                live.update(Group(progress, Text(), _table(input_, counts)))

        with stopping_on_signals() as stop, watching(settings, seen, LOOK_SECONDS):
            run_here(profiles, settings, stop=stop)


def _table(input_: DemoInput, counts: Sequence[Count]) -> PlainTable:
    """Make the table of message counts, with two rows: outcomes of simulated messages, and of genuine ones."""
    rows: list[tuple[object, ...]] = []
    for name, some in input_.parted(counts).items():
        summed = totals(some)
        rows.append((f"{name} messages", *(summed[outcome] for outcome in OUTCOMES), summed["messages"]))
    summed = totals(counts)
    rows.append((Text("all", "bold"), *(summed[outcome] for outcome in OUTCOMES), summed["messages"]))
    titles = [name.replace("_", " ") + ">" for name in OUTCOMES]
    return table_of("Where every message ended", ("", *titles, "messages>"), rows)


def _why(input_: DemoInput, counts: Sequence[Count]) -> list[tuple[object, ...]]:
    """List why messages were not folded, by origin, outcome and reason."""
    reasons: dict[tuple[str, str, str], int] = {}
    for name, some in input_.parted(counts).items():
        for count in some:
            if count.reason and count.outcome != "folded":
                key = name, count.outcome.replace("_", " "), count.reason
                reasons[key] = reasons.get(key, 0) + count.messages
    return [(*key, messages) for key, messages in sorted(reasons.items(), reverse=True)]


def show(state: OpenState, folder: Path, input_: DemoInput, seconds: float) -> None:
    """Show the outcomes of messages, and one resulting customer."""
    counts = state.tally.counts()
    stdout.print()
    stdout.print(_table(input_, counts))
    stdout.print()
    print_table("Why not folded", ("", "", "reason", "messages>"), _why(input_, counts))
    messages = totals(counts)["messages"]
    assert messages == input_.messages, "every message ends in exactly one place"
    tables = ProfileTables(folder / "profiles.duckdb")
    found = tables.summary()
    stdout.print(
        f"\n[bold]{messages:,} messages of {found.accounts:,} accounts became {found.live:,} customers[/bold] "
        f"in {seconds:.1f} s; {found.redirects:,} more profiles were merged into them on the way.\n",
        markup=True,
    )
    best = [(*row[:3], f"{row[3]:,.2f}", row[4]) for row in tables.best_customers(3)]
    columns = ("currency", "customer", "orders>", "gross>", "accounts>")
    print_table("Best customers (the view best_customers of profiles.duckdb)", columns, best)
    example = tables.telling_example()
    if example is not None and (view := state.profiles.profile(example)) is not None:
        stdout.print()
        print_profile(view)


def sell(settings: Settings) -> int:
    """Run the flow of stock over the same messages, and show what can be sold of one sku; return an order to show."""
    from nurt.flows.stock import stock

    began = time.monotonic()
    with stopping_on_signals() as stop:
        run_stock_here(stock, replace(settings, rows_max=ROWS_MAX), stop=stop)
    stdout.print(
        f"\n[bold]What can be sold[/bold], from the same messages in {time.monotonic() - began:.1f} s:\n", markup=True
    )
    with view_of(settings) as opened:
        show_stock(opened, SOLD)
        telling = (number for number in ORDERS for one in orders_of(opened, str(number)) if _is_telling(one))
        return next(telling, ORDERS[0])


def _is_telling(order: Mapping[str, Any]) -> bool:
    return bool(order["documents"] and order["shipments"]) and len(order["lines"]) > 1


def deliver_all(settings: Settings) -> None:
    """Deliver customers, their orders and stock figures to a receiver on this machine."""
    from nurt.app.delivery import Delivery, run_delivery
    from nurt.app.delivery_config import destination_named
    from nurt.fake.server import running
    from nurt.fake.webhook import FakeWebhook
    from nurt.flows.deliver import deliver

    began = time.monotonic()
    with running(FakeWebhook()) as receiver, stopping_on_signals() as stop:
        text = DELIVERY.format(url=receiver.url, port=receiver.url.rpartition(":")[2])
        settings.destinations.write_text(text, encoding="utf-8")
        run_delivery(deliver, Delivery(settings, destination_named(settings, "hook"), stop, until_end=True))
        rows, calls = receiver.rows, len(receiver.calls)
    linked = sum(row.get("contact") is not None for (kind, _), row in rows.items() if kind == "order")
    counts = {name: sum(kind == name for kind, _ in rows) for name in ("contact", "order", "line", "stock")}
    seconds = time.monotonic() - began
    stdout.print(
        f"\n[bold]Delivered[/bold] to a webhook on this machine, in {calls} calls and {seconds:.1f} s: "
        f"{counts['contact']:,} contacts, {counts['order']:,} orders ({linked:,} linked to their contact) with "
        f"{counts['line']:,} lines, and {counts['stock']:,} figures of what can be sold. "
        "From here on only changes are sent.",
        markup=True,
    )


def go_on(folder: Path, order: int) -> None:
    """Print what to try next."""
    config = folder / "nurt.yaml"
    program = "nurt" if shutil.which("nurt") else relpath(sys.argv[0])
    email = ProfileTables(folder / "profiles.duckdb").some_email() or "anna@example.com"
    for command, what in (
        (f"profile {email} -c {config}", "another customer"),
        (f"stock KIT-MUG -c {config}", "what can be sold of another sku, and why"),
        (f"order {order} -c {config}", "an order across shop and ERP"),
        (f"deliver status -c {config}", "how the delivery went"),
        (f"stats --count -c {config}", "where the messages of every topic ended, what is stored"),
        (f"quarantine list -c {config}", "what could not be folded, and what to do"),
        (f"check -c {config}", "what the mapping makes of each topic"),
        ("init", "settings and a mapping for your own databases"),
    ):
        stdout.print(Text.assemble(f"  {program} {command}  ", (f"# {what}", "dim")), soft_wrap=True)
