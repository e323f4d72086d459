"""Positions are compared per row and within a source epoch, and what was forgotten at the source stays forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from nurt.model.entities import BY_CODE
from nurt.model.entity_frame import DELETE
from nurt.model.state_write import StateWrite
from nurt.ports.store import Store
from nurt.rows.layouts import ROW_TABLES
from tests.flows.book import Book, Wrapped, kind_of, new_engine, play, wrong
from tests.oracle.histories import History
from tests.oracle.sources import Event

Misread = Callable[[Event], Event]


def read_without(misread: Misread, history: History) -> History:
    """Let the engine see events that lack what a rule needs; the oracle keeps the true ones."""
    return replace(history, arrivals=tuple(misread(event) for event in history.arrivals))


def disagreement(history: History, misread: Misread) -> list[str]:
    return wrong(history, play(read_without(misread, history), new_engine(history)))


def by_offset_alone(event: Event) -> Event:
    return replace(event, position=(None, None, None, None))


def by_lsn_alone(event: Event) -> Event:
    return replace(event, position=(0, *event.position[1:]))  # type: ignore[arg-type]


def without_source_epochs(event: Event) -> Event:
    return replace(event, source_epoch=0)


def a_redelivery() -> History:
    """A connector that was killed writes an older event again, at a new offset."""
    book = Book()
    old = book.put("shop", "customer", "1", first_name="Old")
    book.put("shop", "customer", "1", first_name="New")
    book.connectors["shop"]._append(old)
    return book.history()


def a_long_transaction() -> History:
    """A transaction writes a row early and commits late; a snapshot has read the row's old value in between."""
    book = Book()
    first = book.put("shop", "customer", "1", first_name="Old")
    connector = book.connectors["shop"]
    lsn = first.position[1]
    assert lsn is not None
    late = book.put("shop", "customer", "1", first_name="New")
    book.log.pop()
    connector._append(replace(first, position=(lsn + 200, lsn + 200, 0, 0), snapshot=2))
    connector._append(replace(late, position=(lsn + 300, lsn + 100, 0, 0)))
    return book.history()


def a_new_snapshot() -> History:
    """After a failover the source's order starts again."""
    book = Book()
    for number in range(6):
        book.put("books", "customer", "1", first_name=f"Old {number}")
    connector = book.connectors["books"]
    rows = connector.tables["customer", "customer"]
    rows["1"] = replace(rows["1"], fields={**rows["1"].fields, "first_name": "New"})
    connector._statement = (0, 0)
    book.snapshot("books")
    return book.history()


@pytest.mark.parametrize(
    ("history", "misread"),
    [
        (a_redelivery(), by_offset_alone),
        (a_long_transaction(), by_lsn_alone),
        (a_new_snapshot(), without_source_epochs),
    ],
    ids=["redelivery", "long_transaction", "new_snapshot"],
)
def test_the_newest_event_of_a_row_is_the_sources_newest(history: History, misread: Misread) -> None:
    assert not wrong(history, play(history, new_engine(history)))
    assert disagreement(history, misread)


class ForgetsDeletes(Wrapped):
    """Keeps no tombstones."""

    def changed(self, change: StateWrite) -> StateWrite:
        for key, value in list(change.put.items()):
            if kind_of(key) == b"r":
                rows = ROW_TABLES[BY_CODE[key[key.index(b"}") + 2]].kind].unpack([value])
                if DELETE in rows["op"].to_list():
                    del change.put[key]
                    change.drop.append(key)
        return change


class ForgetsFloors(Wrapped):
    """Applies a truncate and forgets it."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.stages = 0

    def changed(self, change: StateWrite) -> StateWrite:
        change.watermarks = {}
        return change


def test_a_redelivered_upsert_does_not_undo_a_delete() -> None:
    book = Book()
    old = book.put("shop", "customer", "1", first_name="Ann")
    book.delete("shop", "customer", "1")
    book.connectors["shop"]._append(old)
    history = book.history()
    assert not wrong(history, play(history, new_engine(history)))
    assert wrong(history, play(history, new_engine(history, ForgetsDeletes)))


def after_a_truncate() -> History:
    """Events from before a truncate come after it: late ones of another partition, of a row that nobody knows."""
    book = Book()
    early = [book.put("books", "customer", str(key), first_name="Ann") for key in range(6)]
    book.truncate("books", "customer")
    truncate = book.log[-1]
    late = [event for event in early if event.partition != truncate.partition]
    assert late
    arrivals: Sequence[Event] = [event for event in book.log if event not in late]
    return book.history(arrivals=[*arrivals, *late])


def test_a_truncate_holds_for_rows_that_come_after_it() -> None:
    history = after_a_truncate()
    assert not wrong(history, play(history, new_engine(history)))
    restarted = play(history, new_engine(history))
    assert any(restarted.memory.watermarks.values())
    # a run keeps its floors in memory: the one after it needs them stored
    cut = replace(history, arrivals=history.arrivals[:-2])
    for store_of, agrees in ((Wrapped, True), (ForgetsFloors, False)):
        engine = play(cut, new_engine(history, store_of))
        engine.kill()
        play(history, engine)
        assert (not wrong(history, engine)) is agrees


def test_every_truncate_of_a_table_stays_in_force() -> None:
    """A later truncate whose first part is unknown (a restarted connector's) cannot stand for the one before."""
    book = Book()
    connector = book.connectors["shop"]
    old = book.put("shop", "customer", "1", first_name="Ann")
    book.truncate("shop", "customer")
    book.log[-1] = replace(book.log[-1], position=(None, book.log[-1].position[1], 0, 0))
    book.put("shop", "customer", "2", first_name="Bob")
    book.truncate("shop", "customer")
    connector._append(old)
    history = book.history()
    assert not wrong(history, play(history, new_engine(history)))


def test_a_row_may_come_again_after_a_truncate() -> None:
    """Its tombstone keeps the partition of the row, else events of a snapshot's rows cannot be told from older ones."""
    book = Book()
    connector = book.connectors["shop"]
    book.put("shop", "customer", "1", first_name="Ann")
    book.log[-1] = replace(book.log[-1], position=(None, 110, 0, 0))  # read by a snapshot
    book.truncate("shop", "customer")
    connector._lsn += 100
    book.put("shop", "customer", "1", first_name="Ann again")
    book.log[-1] = replace(book.log[-1], position=(connector._lsn + 50, 60, 0, 0))  # of a long transaction
    history = book.history()
    assert not wrong(history, play(history, new_engine(history)))
