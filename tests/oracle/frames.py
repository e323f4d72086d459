"""Put events into the frames that a translator would make of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from nurt.model.entities import IDENTIFIED_KINDS
from nurt.model.entity_frame import UPSERT, EntityFrame, Truncated, entity_columns, topic_code
from tests.oracle.final_row import Named
from tests.oracle.sources import TRUNCATE, Event

Batch = list[EntityFrame | Truncated]


def batch_of(events: Iterable[Event], ids: Named) -> Batch:
    """Make one frame a topic and entity, in the order of their first events, and the truncates behind them."""
    by_table: dict[tuple[str, str], list[Event]] = {}
    truncates: list[EntityFrame | Truncated] = []
    for event in (part for one in events for part in one.parts):
        if event.op == TRUNCATE:
            truncates.append(_truncated(event))
        else:
            by_table.setdefault((event.topic, event.entity), []).append(event)
    return [*(frame_of(of_table, ids) for of_table in by_table.values()), *truncates]


def frame_of(events: list[Event], ids: Named) -> EntityFrame:
    """Make a frame of events of one entity kind, in arrival order."""
    kind = events[0].kind
    return EntityFrame(
        kind,
        pl.DataFrame([_columns(event, ids) for event in events], schema=entity_columns(kind)),
        events[0].topic,
        order=events[0].order,
        partitions=events[0].partitions,
        counts=not events[0].table,
    )


def _columns(event: Event, ids: Named) -> dict[str, Any]:
    p0, p1, p2, p3 = event.position
    row: dict[str, Any] = {
        "row": ids.one("\x1f".join(event.row)),
        "system": event.system,
        "entity": event.entity,
        "key": event.key,
        "op": event.op,
        "snapshot": event.snapshot,
        "source_epoch": event.source_epoch,
        **{"p0": p0, "p1": p1, "p2": p2, "p3": p3},
        "partition": event.partition,
        "offset": event.offset,
        "ts_ms": event.ts_ms,
        "unavailable": event.held,
        "topic": _code(event) or None,
    }
    if event.moved_to is not None:
        row["moved_to"] = ids.one(f"{event.system}\x1f{event.entity}\x1f{event.moved_to}")
    if event.moved_from is not None:
        row["moved_from"] = ids.one(f"{event.system}\x1f{event.entity}\x1f{event.moved_from}")
    if event.op == UPSERT:
        assert event.stored is not None
        row |= event.stored.fields
        if event.kind in IDENTIFIED_KINDS:
            row["identifiers"] = event.stored.identifiers
        if event.stored.parent is not None:
            parent_kind, entity, key = event.stored.parent
            named_by = parent_kind.partition("?")[1:]
            row |= {
                "parent_kind": parent_kind,
                "parent": ids.one(f"{event.system}\x1f{entity}{''.join(named_by)}\x1f{key}"),
                "parent_entity": entity,
                "parent_key": key,
            }
    return row


def _truncated(event: Event) -> Truncated:
    return Truncated(
        event.kind,
        event.system,
        event.entity,
        event.source_epoch,
        event.position,
        event.topic,
        event.partition,
        event.offset,
        _code(event),
        event.order,
    )


def _code(event: Event) -> int:
    return 0 if event.topics == "one" else topic_code(event.topic, SERVER)


SERVER = 1
"""Number of the server of all events: only those of one row are compared."""
