"""Random histories of shops, an ERP and a warehouse: what orders, books, ships and counts stock, and how it arrives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import strategies as st

from nurt.model.stock.plan import UNIT, Channel, Location, Market, StockPlan
from tests.oracle.final_row import System
from tests.oracle.histories import TOPICS, arrange, final_rows, history_of
from tests.oracle.naming import DEPLOYMENT_IDS
from tests.oracle.sources import Connector, Event, Parent, Source, compacted
from tests.oracle.stock_batch import StockRow
from tests.oracle.values import TODAY

BASE_MS = TODAY * 86_400_000
SKUS = ("A", "B", "K", "L")
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
    "wms": ("shipment", "shipment_line", "stock_level", "tracking"),
}
PARENTS = {"order_line": "order", "document_line": "document", "shipment_line": "shipment", "shipment": "order"}
PARENTS |= {"tracking": "shipment"}

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
    transcript: Callable[[], str]

    def __repr__(self) -> str:
        return f"<{len(self.arrivals)} events, see transcript()>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # Hypothesis would print every field of every event


def some_value(kind: str, name: str, choose: Random) -> Any:
    """Draw a field's value: few of them, so that they meet."""
    some = lambda *values: choose.choice(values)  # noqa: E731
    few = choose.randint(0, 4) * UNIT
    refs = ("1", "2", "3", "r1", "1,2", "2 3", "9")
    at = (BASE_MS - choose.randint(0, 40) * 1000) * 1000
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
            "sku": some(*SKUS, *SKUS, *SKUS, None),
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
            "tracking": some(None, None, "T1"),
        },
        "tracking": {"number": some(None, "T1", "T2", "T3"), "carrier": some(None, "DHL")},
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
        "kit_part": {
            "kit": some("K", "K", "L", None),
            "sku": some("A", "A", "B", "K", "L"),
            "quantity": some(None, 2 * UNIT, 0),
        },
    }[kind]
    return made.get(name)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens; what the numbers mean depends on the verb and on what is there."""

    verb: str
    system: str
    what: int
    key: int
    parent: int
    noise: int


_MISHAPS = ("delete", "delete", "rekey", "read_again", "redeliver", "echo", "truncate", "snapshot", "rename", "grow")
_MOODS = (
    ("put",),
    (*("put",) * 14, *_MISHAPS),
    (*("put",) * 4, "delete", "rekey"),
    (*("put",) * 4, "truncate", "echo", "redeliver"),
    (*("put",) * 3, *_MISHAPS),
)
"""Verbs of a history: a few at a time meet more often than all of them do."""


@st.composite
def stock_histories(draw: st.DrawFn, steps_max: int = 40) -> StockHistory:
    """Draw a history: databases, what happens to them, and how it arrives."""
    log: list[Event] = []
    connectors = {name: _connector(draw, name, log) for name in sorted(SYSTEMS)}
    verbs, noise = st.sampled_from(draw(st.sampled_from(_MOODS))), st.integers(0, 2**16)
    step = st.builds(
        Step, verbs, st.sampled_from(sorted(KINDS)), st.integers(0, 6), st.integers(0, 3), st.integers(0, 2), noise
    )
    steps = draw(st.lists(step, min_size=draw(st.sampled_from([1, 1, steps_max // 2])), max_size=steps_max))
    order = draw(st.sampled_from(["written", "mixed", "mixed", "children_first", "parents_first"]))
    late = draw(st.sampled_from([0, 0, 1, 3]))
    sizes = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
    for number, one in enumerate(steps):
        connectors[one.system].clock_ms = BASE_MS - 60_000 + number * 2_000
        _play(one, connectors[one.system])
    compacted(list(connectors.values()), Random(len(log)))
    arrivals = arrange(log, order, draw(noise), late)
    return closed(draw(st.sampled_from(PLANS)), list(connectors.values()), arrivals, sizes)


def closed(plan: StockPlan, connectors: list[Connector], arrivals: list[Event], sizes: tuple[int, ...]) -> StockHistory:
    """Close a history: what arrives, and what the databases hold now."""
    history = history_of(connectors, arrivals, sizes=sizes)
    truth = [
        StockRow(row.system, kind, row.key, dict(row.fields), row.parent_key, row.position, row.ts_ms)
        for kind, rows in final_rows(history, DEPLOYMENT_IDS).items()
        for row in rows
    ]
    return StockHistory(plan, tuple(arrivals), sizes, tuple(truth), history.transcript)


def _connector(draw: st.DrawFn, name: str, log: list[Event]) -> Connector:
    of = draw(st.sampled_from(["postgres", "mysql", "sqlserver", "none"]))
    source = Source(
        SYSTEMS[name], of, draw(st.integers(1, 2)), (), ("order",), draw(st.booleans()), draw(st.sampled_from(TOPICS))
    )
    return Connector(source, log, value_of=some_value)


def _play(step: Step, connector: Connector) -> None:
    choose = Random(step.noise)
    if step.noise % 3 == 0:
        connector.commit()
    if step.verb == "snapshot":
        if connector.may_read_again:
            connector.snapshot()
    elif step.verb == "rename":
        connector.rename()
    elif step.verb == "grow":
        connector.grow()
    elif step.verb == "redeliver":
        connector.redeliver(step.key + step.noise % 12)
    elif step.verb == "echo":
        connector.echo(choose)
    elif step.verb == "put":
        kinds = KINDS[step.system]
        kind = kinds[step.what % len(kinds)]
        connector.put(kind, kind, str(step.key), _parent(step, kind), choose)
    else:
        _play_on_a_table(step, connector, choose)


def _parent(step: Step, kind: str) -> Parent | None:
    of = PARENTS.get(kind)
    if of is None or (kind, step.system) == ("shipment", "wms"):
        return None
    return (of, of, str(step.parent))


def _play_on_a_table(step: Step, connector: Connector, choose: Random) -> None:
    tables = [(kind, list(rows)) for (kind, _), rows in connector.tables.items() if rows]
    if not tables:
        return
    kind, keys = tables[step.what % len(tables)]
    key = keys[step.key % len(keys)]
    if step.verb == "delete":
        connector.delete(kind, kind, key)
    elif step.verb == "rekey":
        connector.rekey(kind, kind, key, str(step.parent), cascade=step.noise % 2 == 0)
    elif step.verb == "truncate":
        connector.truncate(kind, kind, choose)
    elif step.verb == "read_again":
        connector.read_again(kind, kind)
