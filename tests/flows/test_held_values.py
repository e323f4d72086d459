"""A key change keeps what the old row knew, whichever row comes first, and whatever crashes in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from nurt.model.entities import ENTITIES
from nurt.model.entity_frame import UNAVAILABLE_PARENT_BIT
from nurt.rows.counting import MISSING
from nurt.rows.unsaid import notes as stored_notes
from nurt.rows.unsaid.held_values import HeldValues
from tests.flows.book import Book, kind_of, new_engine, play, wrong, wrong_crashes
from tests.oracle.engine import Engine
from tests.oracle.histories import History
from tests.oracle.sources import Event, Stored


def unsaid(event: Event, *names: str) -> Event:
    """Let an event not say some columns: their large values did not change."""
    fields = list(ENTITIES[event.kind].fields)
    assert event.stored is not None
    held = sum(1 << (UNAVAILABLE_PARENT_BIT if name == "parent" else fields.index(name)) for name in names)
    kept = {name: None if name in names else value for name, value in event.stored.fields.items()}
    stored = Stored(kept, event.stored.identifiers, None if "parent" in names else event.stored.parent)
    return replace(event, stored=stored, held=held)


def a_key_changes(new_first: bool) -> History:
    """Two customers share an e-mail; the keys of one and of an order change, without their large values."""
    book = Book()
    book.put("shop", "customer", "1", email="ann@example.com", first_name="Ann", phone="+48601000001")
    book.put("books", "customer", "7", email="ann@example.com")
    book.put("shop", "order", "1", "1", gross=10_000, number="A1", email="ann@example.com")
    book.put("shop", "customer", "1", company="Ann's")
    book.rekey("shop", "customer", "1", "2")
    book.rekey("shop", "order", "1", "5")
    book.put("shop", "customer", "2", phone="+48601000002")
    events = list(book.log)
    made = {("customer", "2"): ("first_name", "email", "company"), ("order", "5"): ("number", "parent")}
    for at, event in enumerate(events):
        if event.stored is not None and (event.kind, event.key) in made:
            events[at] = unsaid(event, *made[event.kind, event.key])
    if new_first:  # other partitions, which a reader may read before
        events.sort(key=lambda event: (event.key not in ("2", "5"), event.number))
    return book.history(arrivals=events)


@pytest.mark.parametrize("new_first", [False, True])
def test_the_new_row_has_what_the_old_one_knew_whatever_crashes(new_first: bool) -> None:
    history = a_key_changes(new_first)
    engine = play(history, new_engine(history))
    assert wrong(history, engine) == []
    assert wrong_crashes(history, lambda: new_engine(history)) == {}


@pytest.mark.parametrize("new_first", [False, True])
def test_without_notes_the_new_row_lacks_it(new_first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    history = a_key_changes(new_first)
    monkeypatch.setattr(HeldValues, "note", lambda *_: np.zeros(len(_[4]), dtype=np.int64))
    assert wrong(history, play(history, new_engine(history))) != []


@pytest.mark.parametrize("new_first", [False, True])
def test_nothing_is_held_once_the_new_row_has_it(new_first: bool) -> None:
    history = a_key_changes(new_first)
    engine = play(history, new_engine(history))
    engine.drain(0)
    notes = {key: value for key, value in engine.memory.values.items() if kind_of(key) == stored_notes.KIND}
    assert set(notes.values()) <= {b""}
    assert lacking(engine) == 0


def test_a_value_that_was_said_meanwhile_is_not_taken_from_the_old_row() -> None:
    book = Book()
    book.put("shop", "customer", "1", email="ann@example.com", first_name="Ann")
    book.rekey("shop", "customer", "1", "2")
    book.put("shop", "customer", "2", first_name="Anna")
    events = [unsaid(event, "first_name") if event.moved_from else event for event in book.log]
    for order in (events, [*events[2:], *events[:2]]):
        history = book.history(arrivals=order)
        engine = play(history, new_engine(history))
        assert wrong(history, engine) == []
        assert lacking(engine) == 0


def test_a_former_change_between_the_same_keys_is_not_taken_for_this_one() -> None:
    book = Book()
    book.put("shop", "customer", "1", first_name="Ann", email="ann@example.com")
    book.rekey("shop", "customer", "1", "2")
    book.delete("shop", "customer", "2")
    book.put("shop", "customer", "1", first_name="Bob", email="bob@example.com")
    book.rekey("shop", "customer", "1", "2")
    events = [unsaid(event, "first_name", "email") if event.moved_from else event for event in book.log]
    new = [event for event in events if event.key == "2"]
    old = [event for event in events if event.key == "1"]
    for order in (events, [*new, *old], [*old, *new], [*old[:2], *new, *old[2:]]):
        history = book.history(arrivals=order)
        assert wrong(history, play(history, new_engine(history))) == []


def test_what_the_old_row_did_not_know_is_counted_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    book = Book()
    book.put("shop", "customer", "1", email="ann@example.com", first_name="Ann")
    book.rekey("shop", "customer", "1", "2")
    events = [unsaid(event, "first_name") if event.moved_from else event for event in book.log]
    for order in (events[1:], [events[2], events[1]]):  # the row of the old key never came
        history = book.history(arrivals=order)
        engine = play(history, new_engine(history))
        engine.drain(0)
        assert lacking(engine) == 1
    said = [record.getMessage() for record in caplog.records if "REPLICA IDENTITY FULL" in record.getMessage()]
    assert all("has no first_name" in one and "Ann" not in one for one in said)
    assert len(said) == 2


def test_a_shard_keeps_no_more_notes_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_notes, "HELD_MAX", 0)
    history = a_key_changes(new_first=True)
    engine = play(history, new_engine(history))
    engine.drain(0)
    assert lacking(engine) >= 2


def lacking(engine: Engine) -> int:
    places: Sequence[tuple[str, str, str]] = [place for place in engine.memory.counts if place[1] == MISSING]
    return sum(engine.memory.counts[place] for place in places)
