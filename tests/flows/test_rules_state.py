"""Heads, checkpoints and the day: what keeps a zombie out, notices state that came back older, and lets time pass.

That a zombie publishes nothing after its successor began is claimed where a real broker is: see
`tests/contracts/test_profile_sink_kafka.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from nurt.control.launch import decide
from nurt.errors import Fenced
from nurt.model.fence import FencingToken
from nurt.model.state_write import StateWrite
from nurt.testing.memory_store import MemoryStore
from tests.flows.book import IDS, Book, Wrapped, new_engine, play, wrong
from tests.oracle.engine import Engine
from tests.oracle.frames import batch_of
from tests.oracle.histories import History
from tests.oracle.values import DAY_US, TODAY


def a_few_orders() -> History:
    book = Book()
    book.put("shop", "customer", "1", email="ann@example.com")
    for number in range(1, 5):
        book.put("shop", "order", str(number), "1", gross=10_000 * number, placed_at=TODAY * DAY_US)
    book.put("shop", "order", "1", "1", gross=990_000)
    book.put("shop", "order", "5", "1", gross=10_000)
    book.put("shop", "customer", "1", first_name="Ann")
    return book.history(size=2)


# -- run and head


class Paused(Wrapped):
    """Stops before one of its writes, as a process that the machine forgot, until somebody else has worked."""

    def __init__(self, store: Any, turns: Iterator[None]) -> None:
        super().__init__(store)
        self._turns = turns

    def changed(self, change: StateWrite) -> StateWrite:
        next(self._turns, None)
        return change


def overtaken(history: History, pause_at: int) -> Engine:
    """Let a run stop at a write; another one takes over, does everything, and then the first goes on."""
    successor = new_engine(history)

    def turns() -> Iterator[None]:
        for _ in range(pause_at):
            yield
        successor.memory, successor.topic = zombie.memory, zombie.topic
        successor.records, successor.committed = zombie.records, zombie.committed
        play(history, successor)
        yield

    pausing = turns()
    zombie = new_engine(history, lambda store: Paused(store, pausing))
    at = zombie.start(1)
    with suppress(Fenced):
        for _ in range(3):
            events = history.arrivals[at : at + 2]
            zombie.feed_until(batch_of(events, IDS), at + 2)
            at += 2
    return successor


PAUSES = range(2, 12)


def test_a_run_that_was_overtaken_writes_nothing_more() -> None:
    history = a_few_orders()
    for pause_at in PAUSES:
        successor = overtaken(history, pause_at)
        assert not wrong(history, successor, TODAY + 1), f"paused before write {pause_at}"


def test_without_heads_an_overtaken_run_spoils_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryStore, "_check", lambda _: None)
    history = a_few_orders()
    assert any(wrong(history, overtaken(history, pause_at), TODAY + 40) for pause_at in PAUSES)


# -- checkpoint and rewind


def gone_back(history: History) -> Engine:
    """Work, save the store, work on and commit; then the store comes back as saved."""
    engine = new_engine(history)
    at = engine.start(1)
    saved = engine.save()
    for number in range(3):
        events = history.arrivals[at : at + 2]
        engine.feed_until(batch_of(events, IDS), at + 2)
        at += 2
        engine.commit()
        if number == 0:
            saved = engine.save()
    engine.kill()
    engine.restore(saved)
    return engine


def test_state_that_came_back_older_is_caught_up_with() -> None:
    history = a_few_orders()
    engine = gone_back(history)
    assert engine.start(2) < len(history.arrivals)
    assert not wrong(history, play(history, engine))


def test_state_that_came_back_older_stays_wrong_when_commits_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    def trusting(records: Any, commits: Any, heads: dict[str, FencingToken | None]) -> Any:
        return decide(records, commits, dict.fromkeys(heads, FencingToken(1 << 20, 0, 0)))

    history = a_few_orders()
    engine = gone_back(history)
    monkeypatch.setattr("tests.oracle.engine.decide", trusting)
    assert wrong(history, play(history, engine))


def test_an_emptied_store_is_filled_again() -> None:
    history = a_few_orders()
    empty = new_engine(history).save()
    engine = gone_back(history)
    engine.restore(empty)
    assert engine.start(1) == 0
    assert not wrong(history, play(history, engine))


# -- the clock


def windows() -> History:
    book = Book()
    book.put("shop", "customer", "1", email="ann@example.com")
    book.put("shop", "order", "1", "1", gross=10_000, placed_at=TODAY * DAY_US)
    book.put("shop", "order", "2", "1", gross=10_000, placed_at=(TODAY + 2) * DAY_US)
    book.put("books", "invoice", "1", "5", amount=70_000, due_on=TODAY + 3)
    return book.history()


class ForgetsDays(Wrapped):
    def changed(self, change: StateWrite) -> StateWrite:
        change.timers = {}
        return change


@pytest.mark.parametrize("days", [1, 2, 3, 4, 30, 32, 90, 365, 367, 1_000])
def test_days_pass_without_events(days: int) -> None:
    history = windows()
    assert not wrong(history, play(history, new_engine(history)), TODAY + days)


def test_days_pass_one_by_one() -> None:
    history = windows()
    engine = play(history, new_engine(history))
    for days in range(1, 40):
        assert not wrong(history, engine, TODAY + days), f"after {days} days"


def test_without_an_index_of_days_windows_stand_still() -> None:
    history = windows()
    assert wrong(history, play(history, new_engine(history, ForgetsDays)), TODAY + 30)


def test_a_day_never_goes_back_whatever_a_later_runs_clock_says() -> None:
    history = windows()
    engine = play(history, new_engine(history))
    assert not wrong(history, engine, TODAY + 31)
    engine.kill()
    engine.as_of = TODAY  # another machine's clock
    engine.start(2)
    engine.feed_until(batch_of(history.arrivals[-1:], IDS), len(history.arrivals))
    days = {(record["as_of"]) for record in engine.topic.published().values()}
    assert len(days) == 1
    engine.as_of = TODAY + 31
    assert not wrong(history, engine, TODAY + 31)
