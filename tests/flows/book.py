"""Histories written by hand, for the laws of docs/laws.md, and workers with a rule switched off.

Each rule has a test that plays the history which breaks without it, once with the rule (the batch oracle agrees) and
once without (the oracle must disagree): a rule that nothing would miss is not tested.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol, TypeVar

from nurt.contracts import schemas
from nurt.model.entities import ENTITIES
from nurt.model.entity_frame import FULL_SNAPSHOT, UPSERT
from nurt.model.keys import Keys
from nurt.model.state_write import StateWrite
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.profiles.worker import Worker
from nurt.rows.sweeps import Sweep, SweptTable
from tests.oracle.agreement import differences
from tests.oracle.batch import expected_profiles
from tests.oracle.deployment import Killed
from tests.oracle.engine import Engine
from tests.oracle.final_row import System
from tests.oracle.frames import batch_of
from tests.oracle.histories import History, final_rows
from tests.oracle.naming import DEPLOYMENT_IDS as IDS
from tests.oracle.sources import Connector, Event, Parent, Source, Stored
from tests.oracle.values import DAY_US, TODAY
from tests.oracle.writings import normalise_as_meant

SHOP = System("shop", realm="eu", currency="PLN", priority=10)
BOOKS = System("books", realm="eu", currency="EUR", priority=20)
ENTITY_OF_PARENT = dict.fromkeys(("order_line", "payment", "refund", "shipment"), "order")

WorkerOf = Callable[[Store, Keys, FoldContext], Worker]
EngineT = TypeVar("EngineT", bound=Engine)


class Arriving(Protocol):
    """A history, of profiles or of stock, as far as playing goes."""

    @property
    def arrivals(self) -> Sequence[Event]: ...

    @property
    def sizes(self) -> Sequence[int]: ...


class Book:
    """Writes down what applications do, as their connectors say it."""

    def __init__(self) -> None:
        self.log: list[Event] = []
        self.sources = {
            "shop": Source(SHOP, "postgres", 1, ("customer",), ("order",), False),
            "books": Source(BOOKS, "mysql", 2, ("customer",), ("order",), False),
        }
        self.connectors = {name: Connector(source, self.log) for name, source in self.sources.items()}

    def put(
        self, system: str, kind: str, key: str, parent: str | None = None, /, known: str | None = None, **fields: Any
    ) -> Event:
        """Insert or update a row in a transaction of its own; fields that are not named stay, other things do not.

        Args:
            parent: its key; of another kind than usual: `kind key`.
            known: identifiers, as `kind value` pairs with a comma between.
        """
        connector = self.connectors[system]
        rows = connector.tables.setdefault((kind, kind), {})
        before = rows[key].fields if key in rows else dict.fromkeys(ENTITIES[kind].fields)
        of = ENTITY_OF_PARENT.get(kind, "customer")
        if parent is not None and " " in parent:
            of, parent = parent.split()
        link: Parent | None = None if parent is None else (of, of, parent)
        pairs = None if known is None else "\x1e".join(one.replace(" ", "\x1f", 1) for one in known.split(","))
        rows[key] = Stored({**before, **fields}, pairs, link)
        connector.commit()
        connector._write(kind, kind, key, UPSERT, rows[key])
        return self.log[-1]

    def delete(self, system: str, kind: str, key: str) -> None:
        self.connectors[system].commit()
        self.connectors[system].delete(kind, kind, key)

    def rekey(self, system: str, kind: str, key: str, new_key: str) -> None:
        self.connectors[system].commit()
        self.connectors[system].rekey(kind, kind, key, new_key, cascade=True)

    def truncate(self, system: str, kind: str) -> None:
        self.connectors[system].truncate(kind, kind, Random(1))

    def snapshot(self, system: str) -> None:
        self.connectors[system].snapshot()

    def history(self, size: int = 1, arrivals: Sequence[Event] | None = None) -> History:
        truth = {
            name: {table: dict(rows) for table, rows in connector.tables.items()}
            for name, connector in self.connectors.items()
        }
        return History(self.sources, {}, tuple(arrivals or self.log), (size,), truth)


def a_hard_life() -> Book:
    """Write down everything that is hard, once."""
    book, day = Book(), TODAY * DAY_US
    book.put("shop", "order", "9", gross=10_000, email="ann@example.com", placed_at=day)  # a guest's
    book.put("shop", "customer", "1", email="ann@example.com", first_name="Ann")
    book.put("books", "customer", "7", email="Ann@Example.com", tax_id="PL5260250274", first_name="Anna")
    book.put("books", "customer", "8", email="bob@example.com", first_name="Bob")
    book.put("shop", "order", "1", "1", gross=50_000, placed_at=day - 29 * DAY_US)
    book.put("shop", "order_line", "1", "1", sku="A", quantity=20_000)
    book.put("shop", "order", "9", "1")  # no guest's any more
    book.put("books", "customer", "8", tax_id="PL5260250274")  # joins Ann
    book.put("shop", "order_line", "1", "9")  # moves to another order
    book.put("books", "order", "3", "7", gross=30_000)
    book.put("books", "order", "3", "8")  # moves to another account
    book.put("books", "customer", "8", tax_id=None)  # leaves Ann again
    book.put("books", "invoice", "5", "8", amount=990_000, due_on=TODAY + 2)
    book.rekey("books", "customer", "8", "80")
    book.put("shop", "consent", "2", "1", purpose="newsletter", granted=True, at=day)
    book.put("shop", "customer", "2", phone="+48601000001")
    book.delete("shop", "customer", "1")
    book.delete("shop", "order", "9")
    book.put("shop", "customer", "2", email="ann@example.com")
    book.delete("books", "order", "3")
    return book


# -- playing


def new_engine(history: History, store_of: Callable[[Store], Store] = lambda store: store, **named: Any) -> Engine:
    """Make a deployment whose stores are wrapped, perhaps in broken ones."""

    def worker_of(store: Store, keys: Keys, context: FoldContext) -> Worker:
        return Worker(store_of(store), keys, context, schemas.load(schemas.PROFILE_VALUE))

    return Engine(history.systems, history.rules, IDS.ids, TODAY, named.pop("worker_of", worker_of), **named)


def play(history: Arriving, engine: EngineT, crash_at: int | None = None, commit_every: int = 2) -> EngineT:
    """Feed everything; die instead of one write, and start again with one worker more from the last commit."""
    workers = 1
    at = engine.start(workers)
    if crash_at is not None:
        engine.crash_after_writes(crash_at)
    batches = 0
    while at < len(history.arrivals):
        try:
            events = history.arrivals[at : at + history.sizes[0]]
            engine.feed_until(batch_of(events, IDS), at + len(events))
            at += len(events)
            batches += 1
            if batches % commit_every == 0 or at == len(history.arrivals):
                engine.commit()
        except Killed:
            engine.kill()
            workers += 1
            at = engine.start(workers)
    return engine


def play_rest(history: Arriving, engine: Engine, at: int) -> None:
    """Feed what is left, undisturbed."""
    while at < len(history.arrivals):
        events = history.arrivals[at : at + history.sizes[0]]
        engine.feed_until(batch_of(events, IDS), at + len(events))
        at += len(events)


def go_on(engine: Engine, epochs: int, crash_at: int | None = None) -> bool:
    """Start again, commit epochs and drain; where an ordered crash comes, start and commit again. Says if it came."""
    try:
        engine.start(2)
        if crash_at is not None:
            engine.crash_after_writes(crash_at)
        for _ in range(epochs):
            engine.commit()
        engine.drain(TODAY)
    except Killed:
        engine.kill()
        engine.start(3)
        for _ in range(epochs):
            engine.commit()
        return True
    return False


def sweeps_of(log: Sequence[Event]) -> list[Sweep]:
    """List the sweeps that an operator may order after the full snapshots of a log."""
    fences: dict[SweptTable, dict[int, int]] = {}
    for event in log:
        if event.snapshot == FULL_SNAPSHOT:
            table = SweptTable(event.kind, event.system, event.entity, event.topic)
            fences.setdefault(table, {})[event.partition] = event.source_epoch
    return [Sweep(table, 0, some) for table, some in fences.items()]


def wrong(history: History, engine: Engine, as_of: int = TODAY) -> list[str]:
    """Say where the end differs from the batch oracle."""
    rows = final_rows(history, IDS)
    expected = expected_profiles(rows, history.systems, history.rules, as_of, IDS, normalise_as_meant)
    try:
        published = engine.drain(as_of)
    except Killed:  # the crash that was ordered comes only now
        engine.kill()
        play_rest(history, engine, engine.start(2))
        published = engine.drain(as_of)
    return differences(expected, published)


def wrong_crashes(
    history: History, make: Callable[[], Engine], first_only: bool = False, commit_every: int = 2
) -> dict[int, list[str]]:
    """Crash at every write in turn; say after which the end is wrong."""
    writes = play(history, new_engine(history), commit_every=commit_every).writes
    found = {}
    for crash_at in range(writes):
        if differing := wrong(history, play(history, make(), crash_at, commit_every)):
            found[crash_at] = differing
            if first_only:
                break
    return found


class Wrapped:
    """A store that is another one but for what a test changes."""

    def __init__(self, store: Store) -> None:
        self.inner = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def write(self, change: StateWrite) -> None:
        self.inner.write(self.changed(change.flatten()))

    def changed(self, change: StateWrite) -> StateWrite:
        return change


def kind_of(key: bytes) -> bytes:
    """Name the kind of a key: what comes after its place."""
    return key[key.index(b"}") + 1 :][:1]
