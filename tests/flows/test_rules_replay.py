"""Values are said again on replay, names after the write, and what was left is remembered until it is told."""

from __future__ import annotations

from typing import Any

import pytest

from nurt.contracts import schemas
from nurt.model.entities import BY_CODE
from nurt.model.keys import Keys
from nurt.model.state_write import StateWrite
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.profiles.worker import Worker
from nurt.rows.children.contributions import empty_contribution_set
from nurt.rows.children.tables import LEFT_PART, ORDER_RECORDS
from nurt.rows.layouts import LEFT, ROW_TABLES
from nurt.state.table import OWNER, Table
from tests.flows.book import Book, Wrapped, kind_of, new_engine, play, wrong, wrong_crashes
from tests.oracle.histories import History
from tests.oracle.values import DAY_US, TODAY


def an_order(size: int = 3) -> History:
    book = Book()
    book.put("shop", "customer", "1", email="ann@example.com")
    book.put("shop", "order", "1", "1", gross=50_000, placed_at=TODAY * DAY_US)
    book.put("shop", "order_line", "1", "1", sku="A", quantity=20_000)
    return book.history(size)


def moves() -> History:
    book = Book()
    for customer in ("1", "2"):
        book.put("shop", "customer", customer)
        book.put("shop", "order", customer, customer, gross=50_000)
    book.put("shop", "order_line", "1", "1", sku="A", quantity=20_000)
    book.put("shop", "order_line", "1", "2")
    book.put("shop", "order", "2", "1")
    book.put("shop", "address", "5", "1", city="x")
    book.put("shop", "address", "5", "2")
    return book.history(size=3)


class NotesChanges(Wrapped):
    """Notes whether the last write changed any row."""

    changed_rows = False

    def changed(self, change: StateWrite) -> StateWrite:
        rows = [key for key in change.put if kind_of(key) == b"r"]
        before = self.inner.read(rows) if rows else []
        self.changed_rows = any(change.put[key] != held for key, held in zip(rows, before, strict=True))
        return change


def silent_on_replay(store: Store, keys: Keys, context: FoldContext) -> Worker:
    """Make a worker that suppresses emissions where it suppresses writes."""
    noting = NotesChanges(store)
    worker = Worker(noting, keys, context, schemas.load(schemas.PROFILE_VALUE))
    fold = worker.rows.fold

    def fold_silently(batches: Any) -> Any:
        said = fold(batches)
        return said if noting.changed_rows else empty_contribution_set()

    worker.rows.fold = fold_silently  # type: ignore[method-assign]
    return worker


def test_a_replay_says_again_what_the_crash_swallowed() -> None:
    history = an_order()
    assert not wrong_crashes(history, lambda: new_engine(history))
    assert wrong_crashes(history, lambda: new_engine(history, worker_of=silent_on_replay), first_only=True)


class ForgetsLeft(Wrapped):
    """Tells the parent that was left, but does not remember it."""

    def changed(self, change: StateWrite) -> StateWrite:
        for key, value in change.put.items():
            if kind_of(key) == b"r":
                table = ROW_TABLES[BY_CODE[key[key.index(b"}") + 2]].kind]
                change.put[key] = _without(table, value, LEFT)
            elif kind_of(key) == b"o":
                change.put[key] = _without(ORDER_RECORDS, value, LEFT_PART)
        return change


def _without(table: Table, value: bytes, part: int) -> bytes:
    rows = table.unpack([value])
    (packed,) = table.pack(rows.filter(rows["part"] != part).sort(OWNER, maintain_order=True), 1)
    return packed or b""


def test_a_parent_that_was_left_is_remembered_until_it_has_been_told() -> None:
    history = moves()
    assert not wrong_crashes(history, lambda: new_engine(history))
    assert wrong_crashes(history, lambda: new_engine(history, ForgetsLeft), first_only=True)


class WritesLater(Wrapped):
    """Writes accounts after whoever reads them has been touched."""

    held: StateWrite | None = None

    def write(self, change: StateWrite) -> None:
        if self.held is not None:
            held, self.held = self.held, None
            self.inner.write(held)
        if any(kind_of(key) in (b"a", b"s") for key in change.flatten().put):
            self.held = change
        else:
            self.inner.write(change)


def test_a_profile_is_touched_after_the_write_that_changes_it() -> None:
    history = an_order(size=1)
    assert not wrong(history, play(history, new_engine(history)))
    assert wrong(history, play(history, new_engine(history, WritesLater)))


class AddsDeltas(Wrapped):
    """Keeps no shares of children, so that a child that speaks again is counted again."""

    def changed(self, change: StateWrite) -> StateWrite:
        change.put = {key: value for key, value in change.put.items() if kind_of(key) != b"c"}
        return change


@pytest.mark.parametrize("history", [an_order(), moves()])
def test_a_child_says_its_whole_contribution_and_never_a_delta(history: History) -> None:
    assert wrong_crashes(history, lambda: new_engine(history, AddsDeltas), first_only=True)
