"""`nurt deliver`: profiles to a receiver, how that goes, and another chance for what it refused."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from nurt.cli.frame import DEFAULT_CONFIG, AsJson, Config, aside, deployment, page, print_json, print_table, refuse
from nurt.cli.watching import log_to_stderr
from nurt.delivering import Delivery, destination_named, open_store, read_destinations, run_delivery
from nurt.delivering_ways import preview, refusals_again
from nurt.model.delivery import Write
from nurt.running import stopping_on_signals
from nurt.settings import Settings

STATUS = "status"
STALE_S = 10


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

    nurt deliver crm --refused; nurt deliver crm --retry  [dim]# after mending mapping or receiver[/dim]
    """
    with deployment(config) as settings:
        if destination == STATUS:
            _status(settings, as_json)
        elif refused:
            _refused(settings, destination, rows_max, as_json)
        elif retry:
            number = refusals_again(settings, destination_named(settings, destination))
            page.print(f"{number:,} profiles are tried again by the delivery that runs, or by the next one")
        elif check:
            _check(settings, destination, as_json)
        elif dry_run:
            _dry_run(settings, destination, rows_max, values, as_json)
        else:
            log_to_stderr(logging.WARNING if quiet else logging.INFO)
            _run(settings, destination, until_end, from_scratch)


def _run(settings: Settings, name: str, until_end: bool, from_scratch: bool) -> None:
    from flows.deliver import deliver as layout

    mapping = destination_named(settings, name)
    with stopping_on_signals() as stop:
        delivery = Delivery(settings, mapping, stop, until_end=until_end, from_scratch=from_scratch)
        if delivery.start.backfilling and aside.is_terminal:
            columns = (TextColumn("telling everything again"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
            with Progress(*columns, console=aside) as progress:
                task = progress.add_task("", total=None)

                def seen(status: dict[str, Any]) -> None:
                    total, left = int(status.get("backfill_total", 0)), int(status.get("backfill_left", 0))
                    progress.update(task, total=total or None, completed=total - left)

                run_delivery(layout, delivery, seen)
        else:
            run_delivery(layout, delivery, _logging_backfill())


def _logging_backfill() -> Any:
    log = logging.getLogger("nurt.deliver")
    began, told = time.monotonic(), [0.0]

    def seen(status: dict[str, Any]) -> None:
        total, left = int(status.get("backfill_total", 0)), int(status.get("backfill_left", 0))
        if left and time.monotonic() - told[0] > 30:
            told[0] = time.monotonic()
            done = total - left
            rate = done / max(1e-9, time.monotonic() - began)
            rest = f"about {left / rate:,.0f} s left" if rate else "no estimate yet"
            log.info("telling everything again: %d of %d messages, %s", done, total, rest)

    return seen


def _status(settings: Settings, as_json: bool) -> None:
    found = []
    for name in read_destinations(settings):
        store = open_store(settings, name)
        found.append({"destination": name, **_plain(store.status()), **store.counts()})
    if as_json:
        print_json(found)
        return
    columns = (
        "destination",
        "state",
        "lag>",
        "accepted>",
        "refused>",
        "in quarantine>",
        "parked>",
        "throttled>",
        "calls>",
    )
    rows = []
    for one in found:
        names = ("lag", "accepted", "refused", "in_quarantine", "parked", "throttled", "calls")
        rows.append((one["destination"], _state(one), *(one.get(name, 0) for name in names)))
    print_table("Deliveries", columns, rows)
    for one in found:
        if one.get("last_error"):
            at = datetime.fromtimestamp(int(one["last_error_at"]), UTC).strftime("%Y-%m-%d %H:%M:%S")
            page.print(f"{one['destination']}: last error {one['last_error']} at {at} UTC", markup=False)
        if one.get("in_quarantine"):
            page.print(f"{one['destination']}: `nurt deliver {one['destination']} --refused` shows what was refused")


def _state(one: dict[str, Any]) -> str:
    state = str(one.get("state", "never ran"))
    is_stale = state not in ("stopped", "never ran") and time.time() - int(one.get("at", one.get("since", 0))) > STALE_S
    left, total = int(one.get("backfill_left", 0)), int(one.get("backfill_total", 0))
    filling = f", back-fill {100 * (total - left) // total}%" if left and total and not is_stale else ""
    return f"{state}{filling}{' (was; it no longer runs)' if is_stale else ''}"


def _plain(status: dict[str, str]) -> dict[str, Any]:
    return {name: int(value) if value.isdigit() else value for name, value in status.items()}


def _refused(settings: Settings, name: str, rows_max: int, as_json: bool) -> None:
    destination_named(settings, name)
    refusals = open_store(settings, name).refusals(rows_max)
    if as_json:
        print_json([asdict(one) for one in refusals])
        return
    rows = [(one.subject, one.object, one.op, one.code, one.words[:200]) for one in refusals]
    print_table(f"Refused by {name}", ("profile", "object", "", "code", "the receiver's words"), rows)
    if refusals:
        page.print("\nMend the mapping or the receiver, then `nurt deliver " + name + " --retry`.")


def _check(settings: Settings, name: str, as_json: bool) -> None:
    mapping = destination_named(settings, name)
    from nurt.delivering_ways import verify

    complaints = verify(settings, mapping)
    if as_json:
        print_json(complaints)
    for one in () if as_json else complaints:
        page.print(one, markup=False)
    if complaints:
        raise refuse(f"checking {name}", f"{len(complaints)} things do not fit the receiver", "correct delivery.yaml")
    if not as_json:
        page.print(f"{name}: the mapping fits the receiver's description")


def _dry_run(settings: Settings, name: str, rows_max: int, values: bool, as_json: bool) -> None:
    writes, messages, failed = preview(settings, destination_named(settings, name))
    by_kind: dict[tuple[str, str], int] = {}
    for write in writes:
        by_kind[write.object, str(write.op)] = by_kind.get((write.object, str(write.op)), 0) + 1
    if as_json:
        print_json(
            {
                "messages": messages,
                "unmapped": failed,
                "writes": [{"object": object_, "op": op, "rows": rows} for (object_, op), rows in by_kind.items()],
                "first": [_shown(write, values) for write in writes[:rows_max]],
            }
        )
        return
    page.print(f"{messages:,} messages wait; {len(writes):,} rows would be sent, {failed:,} could not be mapped")
    print_table("", ("object", "", "rows>"), [(object_, op, rows) for (object_, op), rows in by_kind.items()])
    _print_writes(writes[:rows_max], values)


def _print_writes(writes: Sequence[Write], values: bool) -> None:
    rows = []
    for write in writes:
        fields = ", ".join(f"{name}={value!r}" if values else name for name, value in write.fields.items())
        rows.append((write.subject, write.object, str(write.op), fields))
    if rows:
        page.print()
        print_table("The first of them", ("profile", "object", "", "fields"), rows)


def _shown(write: Write, values: bool) -> dict[str, Any]:
    fields: Any = {name: str(value) for name, value in write.fields.items()} if values else list(write.fields)
    return {"profile": write.subject, "object": write.object, "op": str(write.op), "fields": fields}
