"""Random histories of shops, an ERP and a warehouse: what orders, books, ships and counts stock, and how it arrives."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from hypothesis import strategies as st

from nurt.model.entities import ENTITIES
from nurt.model.entity_frame import DELETE, STREAMED, UPSERT
from nurt.model.stock_plan import UNIT, Channel, Location, Market, StockPlan
from tests.oracle.final_row import System
from tests.oracle.sources import Event, Stored
from tests.oracle.stock_batch import StockRow
from tests.oracle.values import TODAY

BASE_MS = TODAY * 86_400_000
SKUS = ("A", "B", "K")
PLACES = ("N", "S", "X")
"""Locations of rows; X is none that the plan knows."""

SYSTEMS = {
    "pl": System("pl", market="PL", priority=20),
    "de": System("de", market="DE", priority=20),
    "erp": System("erp", priority=10),
    "wms": System("wms", priority=15),
}

KINDS = {
    "pl": ("order", "order_line", "order_line", "shipment"),
    "de": ("order", "order_line"),
    "erp": ("document", "document_line", "document_line", "stock_level", "stock_level", "supply", "kit_part"),
    "wms": ("shipment", "shipment_line", "stock_level"),
}
PARENTS = {"order_line": "order", "document_line": "document", "shipment_line": "shipment", "shipment": "order"}

PLANS = [
    StockPlan(
        {"N": Location("N", buffer=UNIT), "S": Location("S")},
        {
            "pl": Channel("pl", ("N", "S"), ("PL", "DE"), inbound_days=2),
            "de": Channel("de", ("N", "S"), ("DE",), buffer=UNIT, inbound_days=5),
        },
        {"PL": Market("PL"), "DE": Market("DE", ("S",), buffer=UNIT)},
        reduced_by=reduced_by,
        grace_s=30,
        reservation_s=reservation_s,
        stuck_s=15,
        low=2 * UNIT,
    )
    for reduced_by in ("booking", "shipment")
    for reservation_s in (None, 40)
]


@dataclass(frozen=True, slots=True)
class StockHistory:
    """What happened, in the order in which it arrives, and what the databases hold at the end."""

    plan: StockPlan
    arrivals: tuple[Event, ...]
    sizes: tuple[int, ...]
    truth: tuple[StockRow, ...]

    def transcript(self) -> str:
        return "\n".join(
            f"{event.system}/{event.kind} {event.key} op={event.op} {event.position} ts={event.ts_ms - BASE_MS} "
            + (
                ""
                if event.stored is None
                else f"parent={event.stored.parent and event.stored.parent[2]} "
                + str({k: v for k, v in event.stored.fields.items() if v is not None})
            )
            for event in self.arrivals
        )


def _fields(kind: str, random: Random, noise: int) -> dict[str, Any]:
    """Draw a row's fields: few values, so that they meet."""
    pick = random.choice
    some = lambda *values: pick(values)  # noqa: E731
    few = random.randint(0, 4) * UNIT
    refs = ("1", "2", "3", "r1", "1,2", "2 3", "9")
    at = (BASE_MS - random.randint(0, 40) * 1000) * 1000
    made: dict[str, Any] = {
        "order": {
            "number": some("1", "2", "3", None),
            "reference": some(None, "r1", "2"),
            "match_key": some(None, "m1", "m2"),
            "sales_channel": some(None, None, "de", "other"),
            "market": some(None, None, "PL", "DE", "FR"),
            "status": some("open", "open", "open", None, "cancelled", "complete", "returned"),
            "placed_at": some(at, at, None),
        },
        "order_line": {
            "sku": some(*SKUS, None) if noise % 5 == 0 else some(*SKUS),
            "quantity": few,
            "cancelled_quantity": some(None, None, UNIT),
            "returned_quantity": some(None, None, UNIT),
            "pack_size": some(None, None, 2 * UNIT),
            "location": some(None, None, None, "N", "X"),
        },
        "document": {
            "number": some("d1", "d2", "1"),
            "order_ref": some(None, *refs),
            "order_system": some(None, None, None, "pl", "de"),
            "match_key": some(None, "m1"),
            "status": some(None, "booked", "cancelled", "shipped"),
            "booked_at": some(None, at),
            "location": some(None, None, "N", "S"),
        },
        "document_line": {
            "sku": some(*SKUS),
            "quantity": some(few, few, -UNIT),
            "pack_size": some(None, None, 2 * UNIT),
            "location": some(None, None, "S"),
            "order_ref": some(None, None, "1", "3"),
        },
        "shipment": {
            "status": some("shipped", "delivered", "packed", None),
            "order_ref": some(None, *refs),
            "document_ref": some(None, None, "d1", "d1;d2"),
            "order_system": some(None, None, "pl"),
            "location": some(None, "N"),
            "shipped_at": some(None, at),
        },
        "shipment_line": {"sku": some(*SKUS), "quantity": few, "pack_size": None},
        "stock_level": {
            "sku": some(*SKUS, "A", "B"),
            "location": some(*PLACES, "N", "S"),
            "quantity": some(few, 10 * UNIT, -UNIT, 6 * UNIT),
            "reserved_quantity": some(None, None, UNIT),
            "pack_size": some(None, None, 2 * UNIT),
        },
        "supply": {
            "sku": some(*SKUS),
            "location": some(*PLACES),
            "quantity": few,
            "received_quantity": some(None, UNIT),
            "expected_on": some(None, TODAY - 1, TODAY, TODAY + 2, TODAY + 4, TODAY + 9),
            "status": some(None, "open", "cancelled"),
        },
        "kit_part": {"kit": some("K", "K", None), "sku": some("A", "B"), "quantity": some(None, 2 * UNIT, 0)},
    }[kind]
    return {name: made.get(name) for name in ENTITIES[kind].fields}


@st.composite
def stock_histories(draw: st.DrawFn, steps_max: int = 40) -> StockHistory:
    plan = draw(st.sampled_from(PLANS))
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(sorted(KINDS)),
                st.integers(0, 6),
                st.integers(0, 3),
                st.integers(0, 2),
                st.integers(0, 10**6),
            ),
            min_size=1,
            max_size=steps_max,
        )
    )
    return made_history(
        plan, steps, draw(st.integers(0, 10**6)), tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
    )


def made_history(
    plan: StockPlan, steps: list[tuple[str, int, int, int, int]], seed: int, sizes: tuple[int, ...]
) -> StockHistory:
    """Play steps (system, kind, key, parent, noise) against databases, and let their events arrive by chance."""
    truth: dict[tuple[str, str, str], StockRow] = {}
    written: list[Event] = []
    clocks: dict[str, int] = defaultdict(int)
    offsets: dict[str, int] = defaultdict(int)
    for number, (system, which, key_number, parent_number, noise) in enumerate(steps):
        kind = KINDS[system][which % len(KINDS[system])]
        key, random = str(key_number), Random(noise)
        clocks[system] += random.choice((0, 1, 1))
        # a transaction's events share their commit; some connectors tell no place
        position = (clocks[system], number, 0, 0) if noise % 11 else (None, number, 0, 0)
        position = (
            position
            if all(e.position[0] is not None or e.system != system for e in written)
            else ((None, number, 0, 0) if noise % 11 == 0 else (clocks[system], number, 0, 0))
        )
        ts_ms = BASE_MS - 60_000 + number * 2_000
        row = (system, kind, key)
        topic = f"{system}.{kind}"
        deletes = row in truth and noise % 6 == 0
        stored = None
        if not deletes:
            parent_kind = PARENTS.get(kind)
            parent = (
                (parent_kind, parent_kind, str(parent_number))
                if parent_kind and (kind, system) != ("shipment", "wms")
                else None
            )
            stored = Stored(_fields(kind, random, noise), None, parent)
            truth[row] = StockRow(system, kind, key, stored.fields, parent and parent[2], position, ts_ms)
        else:
            del truth[row]
        written.append(
            Event(
                number,
                system,
                kind,
                kind,
                key,
                DELETE if deletes else UPSERT,
                STREAMED,
                0,
                position,
                0,
                offsets[topic],
                ts_ms,
                stored,
            )
        )
        offsets[topic] += 1
    return StockHistory(plan, tuple(_arrivals(written, Random(seed))), sizes, tuple(truth.values()))


def _arrivals(written: list[Event], random: Random) -> list[Event]:
    """Interleave topics, repeat some stretches, and bring some events again late."""
    topics: dict[str, list[Event]] = defaultdict(list)
    for event in written:
        topics[event.topic].append(event)
    arrived: list[Event] = []
    while topics:
        topic = random.choice(sorted(topics))
        arrived.append(topics[topic].pop(0))
        if not topics[topic]:
            del topics[topic]
        if random.random() < 0.15:
            again = random.randrange(len(arrived))
            arrived += [replace(event) for event in arrived[again : again + random.randint(1, 3)]]
    return arrived
