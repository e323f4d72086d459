"""Random histories of source databases, and how their events arrive: what a stream must survive.

A history is a short list of steps, each a few small numbers that are read against what the databases hold, so that
Hypothesis can shrink it. Its events arrive with topics interleaved, some late (at their old offsets, as from
quarantine), and in micro-batches of any size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import strategies as st

from nurt.model.entities import ENTITIES
from nurt.model.entity_frame import DELETE, UNAVAILABLE_PARENT_BIT, UPSERT
from tests.oracle.final_row import FinalRow, Named, Position, System
from tests.oracle.frames import Batch, batch_of
from tests.oracle.places import Instance, highest_after, is_old_news, is_truncated, speaking
from tests.oracle.sources import TRUNCATE, Connector, Event, Parent, Source, Stored, compacted

STEPS_MAX = 60

RULES = ("verified_first", "source_priority", "newest", "most_frequent")

_PUT_KINDS = (
    *("customer",) * 6,
    *("order",) * 6,
    *("order_line",) * 4,
    *("invoice",) * 3,
    *("address", "consent", "interaction") * 2,
    *("payment", "shipment", "product", "stock_level"),
    *("payment", "refund", "refund", "refund"),
    *("table/0", "table/64"),
)
NUMBERS = ("x", "y", "Ulica Długa 1")
"""Numbers by which rows name an order; `number` of orders takes them, too."""
TOPICS = ("one", "one", "one", "parts", "renamed", "twice")
"""How many topics hold a table; see `tests.oracle.sources.Source`."""

_MISHAPS = (
    "delete",
    "delete",
    "rekey",
    "read_again",
    "redeliver",
    "echo",
    "truncate",
    "snapshot",
    "rename",
    "make_anew",
    "grow",
)
_MOODS = (
    (*("put",) * 14, *_MISHAPS),
    (*("put",) * 3, "delete", "rekey"),
    (*("put",) * 3, "truncate", "echo", "redeliver"),
    (*("put",) * 3, "delete", "truncate", "make_anew"),
    (*("put",) * 3, "delete", "read_again", "redeliver", "echo"),
    (*("put",) * 3, *_MISHAPS),
)
"""Verbs of a history: a few at a time meet more often than all of them do."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens; what the numbers mean depends on the verb and on what is there."""

    verb: str
    where: int
    what: int
    key: int
    parent: int
    noise: int

    def __repr__(self) -> str:
        return f"Step({self.verb!r}, {self.where}, {self.what}, {self.key}, {self.parent}, {self.noise})"


@dataclass(frozen=True, slots=True)
class History:
    """What happened, in the order in which it arrives, and what the databases hold at the end.

    Attributes:
        sources: by system name.
        rules: survivorship, by profile field; a field that is not here follows the default.
        arrivals: events in arrival order.
        sizes: how many events the micro-batches take, in turn, over and over.
        truth: what the databases hold at the end, by system and table.
    """

    sources: Mapping[str, Source]
    rules: Mapping[str, tuple[str, ...]]
    arrivals: tuple[Event, ...]
    sizes: tuple[int, ...]
    truth: Mapping[str, Mapping[tuple[str, str], Mapping[str, Stored]]]

    @property
    def systems(self) -> dict[str, System]:
        return {name: source.system for name, source in self.sources.items()}

    def batches(self, ids: Named, start: int = 0, sizes: tuple[int, ...] | None = None) -> list[Batch]:
        """Cut the arrivals from `start` on into micro-batches."""
        return [batch_of(events, ids) for events in self.slices(start, sizes)]

    def slices(self, start: int = 0, sizes: tuple[int, ...] | None = None) -> list[tuple[Event, ...]]:
        """Cut the arrivals from `start` on as micro-batches take them."""
        sizes = sizes or self.sizes
        result, turn = [], 0
        while start < len(self.arrivals):
            result.append(self.arrivals[start : start + sizes[turn % len(sizes)]])
            start += sizes[turn % len(sizes)]
            turn += 1
        return result

    def transcript(self) -> str:
        """Write the history for a reader, one event a line, a rule between micro-batches."""
        lines = [f"{source}" for source in self.sources.values()] + [f"rules {dict(self.rules)}"]
        for events in self.slices():
            lines.append("-" * 20)
            lines += [_line(event) for event in events]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<{len(self.arrivals)} events of {len(self.sources)} systems, see transcript()>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # Hypothesis would print every field of every event


def _line(event: Event) -> str:
    op = {0: "upsert", 1: "delete", 2: "truncate"}[event.op] + ("", " (snapshot)", " (incremental)")[event.snapshot]
    place = f"e{event.source_epoch} {event.position} p{event.partition}@{event.offset} ts={event.ts_ms}"
    says = ""
    if event.stored is not None:
        fields = {name: value for name, value in event.stored.fields.items() if value is not None}
        parent = "" if event.stored.parent is None else f" of {'/'.join(event.stored.parent[1:])}"
        extra = "" if event.stored.identifiers is None else f" identifiers={event.stored.identifiers!r}"
        says = f"{parent} {fields}{extra}"
    held = [name for bit, name in enumerate(ENTITIES[event.kind].fields) if event.held >> bit & 1]
    if event.held >> UNAVAILABLE_PARENT_BIT & 1:
        held.append("parent")
    says += f" held={held}" if held else ""
    says += f" moved to {event.moved_to}" if event.moved_to is not None else ""
    says += f" moved from {event.moved_from}" if event.moved_from is not None else ""
    says += f" and {event.twin.entity}" if event.twin is not None and event.twin.op == UPSERT else ""
    return f"#{event.number} {event.topic} {event.kind}:{event.entity} {event.key!r} {op} {place}{says}"


# -- playing steps


def play(sources: list[Source], initial: list[Step], steps: list[Step]) -> tuple[list[Event], list[Connector]]:
    """Let the steps happen; the initial ones lie before the connectors' first snapshot."""
    log: list[Event] = []
    connectors = [Connector(source, log, capturing=not initial) for source in sources]
    for step in initial:
        if step.verb in ("put", "delete", "rekey"):
            _play(step, connectors)
    for connector in connectors:
        if initial:
            connector.capturing = True
            connector.snapshot()
    for step in steps:
        _play(step, connectors)
    compacted(connectors, Random(len(log)))
    return log, connectors


def _play(step: Step, connectors: list[Connector]) -> None:
    connector = connectors[step.where % len(connectors)]
    choose = Random(step.noise)
    if step.noise % 3 == 0:
        connector.commit()
    if step.verb == "snapshot":
        if connector.may_read_again:
            connector.snapshot()
        return
    if step.verb == "make_anew":
        connector.make_anew()
        return
    if step.verb == "rename":
        connector.rename()
        return
    if step.verb == "grow":
        connector.grow()
        return
    if step.verb == "redeliver":
        connector.redeliver(step.key + step.noise % 12)
        return
    if step.verb == "echo":
        connector.echo(choose)
        return
    if step.verb == "put":
        kind = _PUT_KINDS[step.what % len(_PUT_KINDS)]
        entity, key = _entity(connector.source, kind, step.noise), _key(connector.source, kind, step.key)
        connector.put(kind, entity, key, _parent(connector.source, kind, step), choose)
        return
    tables = [(table, list(rows)) for table, rows in connector.tables.items() if rows]
    if not tables:
        return
    (kind, entity), keys = tables[step.what % len(tables)]
    key = keys[step.key % len(keys)]
    if step.verb == "delete":
        connector.delete(kind, entity, key)
    elif step.verb == "rekey":
        new_key = _key(connector.source, kind, step.parent)
        connector.rekey(kind, entity, key, new_key, cascade=step.noise % 2 == 0)
    elif step.verb == "truncate":
        connector.truncate(kind, entity, choose)
    elif step.verb == "read_again":
        connector.read_again(kind, entity)


def _entity(source: Source, kind: str, noise: int) -> str:
    names = {"customer": source.customers, "order": source.orders}.get(kind, (kind,))
    return names[noise % len(names)]


def _key(source: Source, kind: str, number: int) -> str:
    return f"pl\x1f{number}" if kind == "order" and source.partitions == 2 else str(number)


def _parent(source: Source, kind: str, step: Step) -> Parent | None:
    parents = ENTITIES[kind].parents
    if not parents or step.parent == 4:
        return None
    parent_kind = parents[step.noise // 7 % len(parents)]
    entity = _entity(source, parent_kind, step.noise // 5)
    if kind in ("invoice", "payment") and parent_kind == "order" and step.noise % 5 < 2:
        return ("order?number", entity, NUMBERS[step.parent % len(NUMBERS)])
    return (parent_kind, entity, _key(source, parent_kind, step.parent))


# -- how events arrive


def arrange(log: list[Event], order: str, seed: int, late: int) -> list[Event]:
    """Interleave partitions, each of which keeps its order, and hold a few events back.

    Args:
        log: events as they were written.
        order: `written`, `mixed`, `children_first` or `parents_first`.
        seed: of the mixing.
        late: how many events to try to hold back, which then arrive at their old offsets.
    """
    choose = Random(seed)
    partitions: dict[tuple[str, int], list[Event]] = defaultdict(list)
    for event in log:
        partitions[event.topic, event.partition].append(event)
    arrivals: list[Event] = []
    if order == "mixed":
        waiting = [list(reversed(events)) for events in partitions.values()]
        while waiting:
            chosen = choose.choice(waiting)
            arrivals += [chosen.pop() for _ in range(min(len(chosen), choose.choice([1, 1, 2, 5])))]
            waiting = [events for events in waiting if events]
    elif order == "written":
        arrivals = list(log)
    else:
        codes = {"children_first": -1, "parents_first": 1}[order]
        arrivals = sorted(log, key=lambda event: (codes * ENTITIES[event.kind].code, event.topic))
    for _ in range(late):
        if not arrivals:
            break
        at = choose.randrange(len(arrivals))
        if _may_be_late(arrivals[at], log):
            event = arrivals.pop(at)
            arrivals.insert(choose.randrange(at, len(arrivals) + 1), event)
    return arrivals


def _may_be_late(event: Event, log: list[Event]) -> bool:
    """Say whether a row loses nothing by the delay.

    A held column takes its value from the events before it. And where an event has no position, the order of its
    partition is all that there is, which Kafka keeps.
    """
    rows = {event.row}
    for other in log:  # a row whose key changed takes from the row that it was
        there = other.system, other.entity, str(other.moved_to)
        if other.moved_to is not None and event.row in (other.row, there):
            rows |= {other.row, there}
    return not any(other.held or None in other.position for other in log if other.row in rows)


# -- what is left


def final_rows(history: History, ids: Named) -> dict[str, list[FinalRow]]:
    """Return what the databases hold, each row with the place of the event that prevails in the arrivals.

    Asserts that the prevailing events say what the databases hold: the rules for places recover the truth.
    """
    heads: dict[tuple[str, ...], Event] = {}
    highest: dict[tuple[str, ...], Position | None] = {}
    floors: dict[str, list[Event]] = defaultdict(list)
    for event in (part for one in history.arrivals for part in one.parts):
        place = (event.topic, *event.row)
        if event.op == TRUNCATE:
            floors[event.topic].append(event)
        elif place not in heads:
            heads[place], highest[place] = event, None
        elif not is_old_news(event, heads[place], highest[place]):
            highest[place] = highest_after(event, heads[place], highest[place])
            heads[place] = event
    instances: dict[tuple[str, ...], list[Instance]] = defaultdict(list)
    for place, event in heads.items():
        lives = event.op != DELETE and not any(is_truncated(event, floor) for floor in floors[event.topic])
        rank = event.order.index(event.topic) + 1 if event.order else 0
        instances[event.row].append(Instance(event.topic, event, lives, rank, highest[place]))
    speakers = {row: speaking(some) for row, some in instances.items()}
    result: dict[str, list[FinalRow]] = defaultdict(list)
    for (system, kind, entity), rows in _tables(history).items():
        for key, stored in rows.items():
            speaker = speakers.pop((system, entity, key))
            event = heads[speaker.topic, system, entity, key]
            assert speaker.lives, f"lost: {_line(event)}"
            _agree(event, stored)
            result[kind].append(_final_row(event, stored, ids))
    for row, speaker in speakers.items():
        assert not speaker.lives, f"undead: {_line(heads[speaker.topic, *row])}"
    return result


def _tables(history: History) -> dict[tuple[str, str, str], Mapping[str, Stored]]:
    return {
        (system, kind, entity): rows
        for system, tables in history.truth.items()
        for (kind, entity), rows in tables.items()
    }


def _agree(event: Event, stored: Stored) -> None:
    assert event.stored is not None, f"deleted: {_line(event)}"
    names = list(ENTITIES[event.kind].fields)
    for bit, name in enumerate(names):
        if not event.held >> bit & 1:
            assert event.stored.fields[name] == stored.fields[name], f"{name} is {stored.fields[name]}: {_line(event)}"
    if not event.held >> UNAVAILABLE_PARENT_BIT & 1:
        assert event.stored.parent == stored.parent, f"parent is {stored.parent}: {_line(event)}"
    if not event.held >> len(names) & 1:
        assert event.stored.identifiers == stored.identifiers, _line(event)


def _final_row(event: Event, stored: Stored, ids: Named) -> FinalRow:
    parent: tuple[Any, Any, Any] = stored.parent or (None, None, None)
    return FinalRow(
        kind=event.kind,
        row=ids.one("\x1f".join(event.row)),
        system=event.system,
        entity=event.entity,
        key=event.key,
        fields=stored.fields,
        parent_kind=parent[0],
        parent_entity=parent[1],
        parent_key=parent[2],
        position=event.position,
        offset=event.offset,
        ts_ms=event.ts_ms,
        identifiers=stored.identifiers,
    )


# -- strategies

_where, _key_numbers, _noise = st.integers(0, 2), st.integers(1, 4), st.integers(0, 2**16)
_whats = (st.integers(0, 40), st.integers(0, 11), st.integers(0, 6))
"""Of what kind rows are: any, mostly customers and orders, or customers."""


@st.composite
def _sources(draw: st.DrawFn) -> list[Source]:
    realms = draw(st.sampled_from([("eu", "eu", "eu"), ("eu", "us", "eu")]))
    result = []
    for number in range(draw(st.integers(1, 3))):
        system = System(
            name=f"s{number}",
            realm=realms[number],
            country=draw(st.sampled_from([None, "PL", "DE"])),
            market=draw(st.sampled_from([None, "PL", "DE"])),
            currency=draw(st.sampled_from([None, "PLN", "EUR"])),
            priority=draw(st.sampled_from([10, 20])),
        )
        result.append(
            Source(
                system,
                connector=draw(st.sampled_from(["postgres", "mysql", "sqlserver", "none"])),
                partitions=draw(st.integers(1, 3)),
                customers=draw(st.sampled_from([("customer",), ("customer", "subscriber")])),
                orders=draw(st.sampled_from([("order",), ("order",), ("order", "till")])),
                incremental_without_p0=draw(st.booleans()),
                topics=draw(st.sampled_from(TOPICS)),
                twins=draw(st.booleans()),
            )
        )
    return result


@st.composite
def histories(draw: st.DrawFn, steps_max: int = STEPS_MAX) -> History:
    """Draw a history: databases, what happens to them, and how it arrives."""
    sources = draw(_sources())
    verbs, whats = st.sampled_from(draw(st.sampled_from(_MOODS))), draw(st.sampled_from(_whats))
    step = st.builds(Step, verbs, _where, whats, _key_numbers, _key_numbers, _noise)
    initial = draw(st.lists(step, max_size=8))
    fewest = draw(st.sampled_from([0, steps_max // 8, steps_max // 3, steps_max // 2]))  # lists are short unless told
    steps = draw(st.lists(step, min_size=fewest, max_size=steps_max))
    log, connectors = play(sources, initial, steps)
    order = draw(st.sampled_from(["written", "mixed", "children_first", "parents_first"]))
    arrivals = arrange(log, order, draw(st.integers(0, 2**16)), draw(st.sampled_from([0, 0, 1, 3])))
    fields = ["email", "phone", "first_name", "country"]
    chains = st.lists(st.sampled_from(RULES), min_size=1, max_size=4, unique=True).map(tuple)
    rules = draw(st.dictionaries(st.sampled_from(fields), chains, max_size=2))
    sizes = draw(st.lists(st.integers(1, 20), min_size=1, max_size=3))
    return history_of(connectors, arrivals, rules, sizes)


def history_of(
    connectors: Sequence[Connector],
    arrivals: Sequence[Event],
    rules: Mapping[str, tuple[str, ...]] | None = None,
    sizes: Sequence[int] = (1,),
) -> History:
    """Close a history: what arrives, and what the databases hold now."""
    return History(
        sources={connector.source.system.name: connector.source for connector in connectors},
        rules=rules or {},
        arrivals=tuple(arrivals),
        sizes=tuple(sizes),
        truth={connector.source.system.name: connector.truth for connector in connectors},
    )
