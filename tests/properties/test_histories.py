"""Random histories and plans are hard enough: each trouble that a rule of nurt is for happens in some of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from nurt.control.generations import generation_of
from nurt.model.entity_frame import DELETE, UNAVAILABLE_PARENT_BIT
from tests.oracle.histories import History, histories
from tests.oracle.mishaps import Crash, Days, Feed, Plan, Restart, Restore, Save, plans
from tests.oracle.newest_event import Newest, Place, newest
from tests.oracle.places import is_truncated
from tests.oracle.sources import TRUNCATE, Event

EXAMPLES = 3_000
IDENTIFYING = ("email", "phone", "tax_id")

OF_HISTORIES = {
    "an older event arrives later",
    "an older event has the higher offset",
    "an event without a position follows one with a position",
    "a part of a position is null where a smaller number would be wrong",
    "a column is not said and keeps a value",
    "a parent is not said and stays",
    "an event from before a truncate arrives after it",
    "a row comes again after a truncate",
    "a deleted row comes again",
    "a child moves to another parent",
    "an order moves to another customer",
    "a guest's order becomes a customer's",
    "a customer loses what it shared with another",
    "a key changes",
    "a key changes, and a column is not said",
    "a row of a new key comes before its old row is gone",
    "an event is delivered twice",
    "a source's order starts again",
    "a topic is made anew",
}
OF_PLANS = {
    "a crash amid writing",
    "a restart with other workers",
    "a store that comes back older, after a commit that it does not know",
    "days that pass",
}


def _troubles(history: History) -> Iterator[str]:
    rows: dict[tuple[str, str, str], Newest] = {}
    truncates: dict[tuple[str, str, str], list[Place]] = defaultdict(list)
    written: dict[tuple[object, ...], int] = {}
    for event in history.arrivals:
        place = Place(event.source_epoch, event.position, event.partition, event.offset)
        table = (event.system, event.kind, event.entity)
        same = (event.row, event.op, event.position, event.ts_ms)
        if written.setdefault(same, event.number) != event.number and None not in event.position:
            yield "an event is delivered twice"
        if event.op == TRUNCATE:
            truncates[table].append(place)
            continue
        for truncate in truncates[table]:
            older = is_truncated(place, truncate)
            yield "an event from before a truncate arrives after it" if older else "a row comes again after a truncate"
        before = rows.get(event.row)
        after = newest(before, place, _said(event), _held(event))
        if before is not None:
            yield from _of_places(before.place, place, after is None)
        if after is None:
            continue
        if event.moved_to is not None:
            yield "a key changes"
        if event.moved_from is not None and event.held:
            yield "a key changes, and a column is not said"
            old = rows.get((event.system, event.entity, event.moved_from))
            if old is None or old.columns["op"] != DELETE:
                yield "a row of a new key comes before its old row is gone"
        if before is not None:
            yield from _of_rows(event, before, after)
            if event.kind == "customer":
                yield from _parted(event.row, before, after, rows)
        rows[event.row] = after


def _said(event: Event) -> dict[str, object]:
    gone = event.stored is None or event.op == DELETE
    return {"op": event.op} | ({} if gone else {**event.stored.fields, "parent": event.stored.parent})


def _held(event: Event) -> list[str]:
    fields = [] if event.stored is None else list(event.stored.fields)
    parent = ["parent"] if event.held >> UNAVAILABLE_PARENT_BIT & 1 else []
    return [name for bit, name in enumerate(fields) if event.held >> bit & 1] + parent


def _of_places(before: Place, place: Place, is_old: bool) -> Iterator[str]:
    if is_old:
        yield "an older event arrives later"
        if place.partition == before.partition and place.offset > before.offset:
            yield "an older event has the higher offset"
    if None in place.position and None not in before.position:
        yield "an event without a position follows one with a position"
    if place.partition == before.partition and place.source_epoch > before.source_epoch:
        yield "a source's order starts again"
    if generation_of(place.source_epoch) > generation_of(before.source_epoch):
        yield "a topic is made anew"
    smallest = [
        (one.source_epoch, *(-1 if part is None else part for part in one.position), one.offset)
        for one in (place, before)
    ]
    if (smallest[0] < smallest[1]) != is_old:
        yield "a part of a position is null where a smaller number would be wrong"


def _of_rows(event: Event, before: Newest, after: Newest) -> Iterator[str]:
    if before.columns["op"] == DELETE and after.columns["op"] != DELETE:
        yield "a deleted row comes again"
    held = _held(event)
    if "parent" in held and after.columns["parent"] is not None:
        yield "a parent is not said and stays"
    if any(after.columns[name] is not None for name in held if name != "parent"):
        yield "a column is not said and keeps a value"
    was, now = before.columns.get("parent"), after.columns.get("parent")
    if was != now and now is not None:
        if was is not None:
            yield "an order moves to another customer" if event.kind == "order" else "a child moves to another parent"
        elif event.kind == "order" and before.columns["op"] != DELETE:
            yield "a guest's order becomes a customer's"


def _parted(
    row: tuple[str, str, str], before: Newest, after: Newest, rows: dict[tuple[str, str, str], Newest]
) -> Iterator[str]:
    for name in IDENTIFYING:
        value = before.columns.get(name)
        if value is not None and after.columns.get(name) != value:
            others = (other for key, other in rows.items() if key != row)
            if any(other.columns.get(name) == value for other in others):
                yield "a customer loses what it shared with another"


def _mishaps(plan: Plan) -> Iterator[str]:
    for step in plan:
        if isinstance(step, Crash) and step.writes > 0:
            yield "a crash amid writing"
        elif isinstance(step, Restart):
            yield "a restart with other workers"
        elif isinstance(step, Days):
            yield "days that pass"
    kinds = [type(step) for step in plan if not isinstance(step, (Feed, Days)) or getattr(step, "commit", False)]
    if any(
        kinds[at] is Save and Feed in kinds[at:till]
        for till, kind in enumerate(kinds)
        if kind is Restore
        for at in range(till)
    ):
        yield "a store that comes back older, after a commit that it does not know"


class Seen(Exception):
    """Every trouble has happened."""


@pytest.mark.slow
def test_histories_and_plans_hold_every_trouble() -> None:
    missing = OF_HISTORIES | OF_PLANS

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(histories(), plans())
    def look(history: History, plan: Plan) -> None:
        missing.difference_update(_troubles(history), _mishaps(plan))
        if not missing:
            raise Seen

    with suppress(Seen):
        look()
    assert not missing
