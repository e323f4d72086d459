"""What no replay would find again is stored in the write that caused it, and said again by the next run."""

from __future__ import annotations

from contextlib import suppress

import pytest

from nurt.contracts import schemas
from nurt.control.launch import CHECKPOINTS_KEPT
from nurt.model.fence import owed_score
from nurt.model.keys import Keys
from nurt.model.state_write import Change
from nurt.model.tick import Tick
from nurt.normalise.context import FoldContext
from nurt.profiles.profiles_stage import encode_touch
from nurt.profiles.worker import Worker
from nurt.testing.memory_store import Memory, MemoryStore
from tests.flows.book import IDS, Book, Wrapped, new_engine, play, wrong, wrong_crashes
from tests.oracle.deployment import Killed
from tests.oracle.engine import Engine
from tests.oracle.frames import batch_of
from tests.oracle.histories import History
from tests.oracle.values import DAY_US, TODAY


def memberships() -> History:
    """Two profiles become one, and two again; whoever is emptied hears of it only now."""
    book = Book()
    book.put("shop", "customer", "1", email="ann@example.com")
    book.put("books", "customer", "7", email="bob@example.com")
    book.put("books", "customer", "7", email="ann@example.com")
    book.put("books", "customer", "7", email="bob@example.com")
    book.delete("shop", "customer", "1")
    return book.history()


def windows() -> History:
    book = Book()
    book.put("shop", "customer", "1", email="ann@example.com")
    book.put("shop", "order", "1", "1", gross=50_000, placed_at=TODAY * DAY_US)
    book.put("books", "invoice", "1", "5", amount=70_000, due_on=TODAY + 3)
    return book.history()


class OwesNothing(Wrapped):
    def changed(self, change: Change) -> Change:
        change.owed = {}
        return change


@pytest.mark.slow
def test_both_sides_of_a_membership_change_are_owed() -> None:
    history = memberships()
    assert not wrong_crashes(history, lambda: new_engine(history), commit_every=1)
    assert wrong_crashes(history, lambda: new_engine(history, OwesNothing), first_only=True, commit_every=1)


def ticked(history: History, engine: Engine, crash_at: int) -> list[str]:
    """Let the day come and die in the middle of it."""
    play(history, engine)
    engine.crash_after_writes(crash_at)
    with suppress(Killed):
        engine.drain(TODAY + 30)
    engine.kill()
    engine.as_of = TODAY + 30
    engine.start(2)
    return wrong(history, engine, TODAY + 30)


def test_what_the_clock_changed_is_owed_until_it_is_published() -> None:
    history = windows()
    crashes = range(8)
    assert not [at for at in crashes if ticked(history, new_engine(history), at)]
    assert [at for at in crashes if ticked(history, new_engine(history, OwesNothing), at)]


def died_at(history: History, crash_at: int) -> Engine:
    """Feed, committing each event, until the crash."""
    engine = new_engine(history)
    at = engine.start(1)
    engine.crash_after_writes(crash_at)
    with suppress(Killed):
        while at < len(history.arrivals):
            engine.feed_until(batch_of(history.arrivals[at : at + 1], IDS), at + 1)
            at += 1
            engine.commit()
    return engine


def test_runs_that_die_at_their_start_forget_nothing() -> None:
    """Starts alone once moved the rewind horizon over what the last working run had owed."""
    history = memberships()
    for crash_at in range(4, play(history, new_engine(history), commit_every=1).writes, 3):
        engine = died_at(history, crash_at)
        engine.kill()
        tick, engine._tick = engine._tick, lambda: None  # type: ignore[method-assign]
        for _ in range(2 * CHECKPOINTS_KEPT):
            engine.start(2)
            engine.kill()
        engine._tick = tick  # type: ignore[method-assign]
        assert not wrong(history, play(history, engine))


def test_what_is_owed_is_owed_again_by_the_run_that_says_it() -> None:
    """Said is not told: the run that says it may die before it is published, and the next one after that."""
    history = memberships()
    at_risk = 0
    writes = play(history, new_engine(history), commit_every=1).writes
    for crash_at in range(0, writes, 2):
        engine = died_at(history, crash_at)
        for second in range(4):
            engine.kill()
            engine.start(1 + second % 2)
            engine.kill()
            at_risk += sum(map(len, engine.memory.owed.values()))
        assert not wrong(history, play(history, engine))
    assert at_risk > 0


def test_nothing_owed_is_forgotten_before_this_run_has_said_it() -> None:
    keys, memory = Keys("t", 1), Memory()
    places = [keys.shard_place(0), keys.realm_place("eu")]
    touch = encode_touch(("eu", bytes(16)))
    memory.owed[places[1]] = {touch: owed_score(1, 5)}
    memory.claim(9, places)
    worker = Worker(MemoryStore(memory, 9, places), keys, FoldContext(IDS.ids), schemas.load(schemas.PROFILE_VALUE))
    worker.begin_epoch(Tick(1, TODAY, owed_score(8, 0)))
    assert worker.owed_touches() == [("eu", bytes(16))]
    assert memory.owed[places[1]] == {touch: owed_score(9, 1)}
    assert worker.owed_touches() == [], "once a run"
    worker.begin_epoch(Tick(2, TODAY, owed_score(9, 1)))
    assert memory.owed[places[1]], "the epoch that told it is not behind the horizon"
    worker.begin_epoch(Tick(3, TODAY, owed_score(9, 2)))
    assert not memory.owed[places[1]]


def test_an_epoch_begins_once_whoever_says_so() -> None:
    keys, memory = Keys("t", 1), Memory()
    places = [keys.shard_place(0)]
    memory.claim(1, places)
    worker = Worker(MemoryStore(memory, 1, places), keys, FoldContext(IDS.ids), schemas.load(schemas.PROFILE_VALUE))
    assert [worker.begin_epoch(Tick(epoch, TODAY, 0)) for epoch in (1, 1, 2, 1, 2)] == [True, False, True, False, False]
    assert memory.heads[places[0]].epoch == 2
