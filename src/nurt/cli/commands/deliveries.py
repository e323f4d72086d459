"""What `nurt deliver` does: run, status, refusals, a preview, a check, a sweep."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from nurt.app import delivery_tools
from nurt.app.delivery import Delivery, open_store, run_delivery
from nurt.app.delivery_config import destination_named, kinds_of, read_destinations
from nurt.app.delivery_tools import retry_refusals, verify
from nurt.app.guards.exposure import warn_of_exposure
from nurt.cli.frame import print_json, print_table, refuse, stderr, stdout
from nurt.model.delivery import Write
from nurt.runtime.stopping import stopping_on_signals
from nurt.settings import Settings

STALE_S = 10


def run(settings: Settings, name: str, until_end: bool, from_scratch: bool) -> None:
    """Run a delivery."""
    from nurt.flows.deliver import deliver as layout

    mapping = destination_named(settings, name)
    warn_of_exposure(settings, mapping)
    with stopping_on_signals() as stop:
        delivery = Delivery(settings, mapping, stop, until_end=until_end, from_scratch=from_scratch)
        if delivery.start.backfilling and stderr.is_terminal:
            columns = (TextColumn("telling everything again"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
            with Progress(*columns, console=stderr) as progress:
                task = progress.add_task("", total=None)

                def seen(status: dict[str, Any]) -> None:
                    total, left = int(status.get("backfill_total", 0)), int(status.get("backfill_left", 0))
                    progress.update(task, total=total or None, completed=total - left)

                run_delivery(layout, delivery, seen)
        else:
            run_delivery(layout, delivery, _logging_backfill())
    if until_end and (parked := open_store(settings, name).counts()["parked"]):
        stdout.print(
            f"{parked:,} rows wait for another try; the next run makes it (`nurt deliver status` tells the reason)"
        )


def _logging_backfill() -> Any:
    log = logging.getLogger("nurt.deliver")
    began, last_logged = time.monotonic(), [0.0]

    def seen(status: dict[str, Any]) -> None:
        total, left = int(status.get("backfill_total", 0)), int(status.get("backfill_left", 0))
        if left and time.monotonic() - last_logged[0] > 30:
            last_logged[0] = time.monotonic()
            done = total - left
            rate = done / max(1e-9, time.monotonic() - began)
            rest = f"about {left / rate:,.0f} s left" if rate else "no estimate yet"
            log.info("telling everything again: %d of %d messages, %s", done, total, rest)

    return seen


def retry(settings: Settings, name: str) -> None:
    """Retry refusals."""
    mapping = destination_named(settings, name)
    number, what = retry_refusals(settings, mapping), " and ".join(kinds_of(mapping))
    stdout.print(f"{number:,} {what} are tried again by the delivery that runs, or by the next one")


def sweep(settings: Settings, name: str, delete: bool, as_json: bool) -> None:
    """Count, or delete, what the last back-fill did not deliver."""
    found = delivery_tools.sweep(settings, destination_named(settings, name), not delete)
    if as_json:
        print_json({"subjects": found.subjects, "rows": found.rows, "dry_run": not delete})
        return
    if not found.subjects:
        stdout.print(f"{name}: everything there was told in the last back-fill; nothing is left over")
        return
    what = "are deleted by the delivery that runs, or by the next one" if delete else "would be deleted"
    stdout.print(f"{found.subjects:,} that no message told in the last back-fill; their rows {what}")
    print_table("", ("object", "rows>"), list(found.rows.items()))
    if not delete:
        stdout.print(f"Nothing is changed; `nurt deliver sweep {name} --yes` deletes them.")


def status(settings: Settings, as_json: bool) -> None:
    """Show the status of every delivery."""
    found = []
    for name in read_destinations(settings):
        store = open_store(settings, name)
        found.append({"destination": name, **_plain(store.status()), **store.counts()})
    if as_json:
        print_json(found)
        return
    columns = ("destination", "state", "lag>", "accepted>", "refused>", "gone>", "held>", "parked>", "throttled>")
    rows = []
    for one in found:
        names = ("lag", "accepted", "refused", "gone", "in_quarantine", "parked", "throttled")
        rows.append((one["destination"], _state(one), *(one.get(name, 0) for name in names)))
    print_table("Deliveries", columns, rows)
    for one in found:
        if one.get("last_error"):
            at = datetime.fromtimestamp(int(one["last_error_at"]), UTC).strftime("%Y-%m-%d %H:%M:%S")
            stdout.print(f"{one['destination']}: last error {one['last_error']} at {at} UTC")
        if one.get("in_quarantine"):
            stdout.print(f"{one['destination']}: `nurt deliver refused {one['destination']}` shows what was refused")


def _state(one: dict[str, Any]) -> str:
    state = str(one.get("state", "never ran"))
    is_stale = state not in ("stopped", "never ran") and time.time() - int(one.get("at", one.get("since", 0))) > STALE_S
    left, total = int(one.get("backfill_left", 0)), int(one.get("backfill_total", 0))
    filling = f", back-fill {100 * (total - left) // total}%" if left and total and not is_stale else ""
    return f"{state}{filling}{' (was; it no longer runs)' if is_stale else ''}"


def _plain(status: dict[str, str]) -> dict[str, Any]:
    return {name: int(value) if value.isdigit() else value for name, value in status.items()}


def refused(settings: Settings, name: str, rows_max: int, as_json: bool) -> None:
    """Show what a receiver refused."""
    destination_named(settings, name)
    refusals = open_store(settings, name).refusals(rows_max)
    if as_json:
        print_json([asdict(one) for one in refusals])
        return
    if not refusals:
        stdout.print(f"{name}: nothing that it refused is held")
        return
    rows = [(one.subject, one.object, one.op, one.code, one.words[:200]) for one in refusals]
    print_table(f"Refused by {name}", ("profile", "object", "", "code", "the receiver's words"), rows)
    stdout.print("\nMend the mapping or the receiver, then `nurt deliver retry " + name + "`.")


def check(settings: Settings, name: str, as_json: bool) -> None:
    """Compare a mapping with the receiver's description."""
    mapping = destination_named(settings, name)
    complaints = verify(settings, mapping)
    if as_json:
        print_json(complaints)
    for one in () if as_json else complaints:
        stdout.print(one)
    if complaints:
        raise refuse(f"checking {name}", f"{len(complaints)} things do not fit the receiver", "correct delivery.yaml")
    if not as_json:
        stdout.print(f"{name}: the mapping fits the receiver's description")


def preview(settings: Settings, name: str, rows_max: int, values: bool, as_json: bool) -> None:
    """Show what would be sent."""
    writes, messages, failed = delivery_tools.preview(settings, destination_named(settings, name))
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
    stdout.print(f"{messages:,} messages wait; {len(writes):,} rows would be sent, {failed:,} could not be mapped")
    if by_kind:
        print_table("", ("object", "", "rows>"), [(object_, op, rows) for (object_, op), rows in by_kind.items()])
    _print_writes(writes[:rows_max], values)


def _print_writes(writes: Sequence[Write], values: bool) -> None:
    rows = []
    for write in writes:
        fields = ", ".join(f"{name}={value!r}" if values else name for name, value in write.fields.items())
        rows.append((write.subject, write.object, str(write.op), fields))
    if rows:
        stdout.print()
        print_table("The first of them", ("profile", "object", "", "fields"), rows)


def _shown(write: Write, values: bool) -> dict[str, Any]:
    fields: Any = {name: str(value) for name, value in write.fields.items()} if values else list(write.fields)
    return {"profile": write.subject, "object": write.object, "op": str(write.op), "fields": fields}
