"""Law: what the real stages publish equals a plain recomputation over the final rows, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from nurt.rows.children.waiting import WAITING
from tests.oracle.agreement import differences
from tests.oracle.batch import expected_profiles, expected_waiting
from tests.oracle.deployment import Published
from tests.oracle.engine import SHARDS, Engine
from tests.oracle.histories import History, final_rows, histories
from tests.oracle.mishaps import Plan, plans, run_plan
from tests.oracle.naming import DEPLOYMENT_IDS
from tests.oracle.sources import TRUNCATE, Event
from tests.oracle.stored_tables import table_differences
from tests.oracle.values import TODAY
from tests.oracle.writings import normalise_as_meant

IDS = DEPLOYMENT_IDS
days = st.integers(TODAY, TODAY + 3)
slowly = settings(deadline=None, suppress_health_check=list(HealthCheck))


def engine(history: History, seed: int = 0) -> Engine:
    return Engine(history.systems, history.rules, IDS.ids, TODAY, seed=seed)


def judge(history: History, stream: Engine, published: Published, as_of: int) -> list[str]:
    """Compare with the oracle, and leave the history's transcript for a failing test's reader."""
    rows = final_rows(history, IDS)
    expected = expected_profiles(rows, history.systems, history.rules, as_of, IDS, normalise_as_meant)
    found = differences(expected, published)
    counts = stream.memory.counts.items()
    waiting = {reason: rows for (_, outcome, reason), rows in counts if outcome == WAITING and rows}
    if waiting != (meant := expected_waiting(rows, IDS)):
        found.append(f"waiting {waiting}, expected {meant}")
    if found:
        note("\n".join([history.transcript(), *found]))
    return found


def messages(stream: Engine) -> int:
    """Add up the messages that were counted."""
    return sum(some for (_, outcome, _), some in stream.memory.counts.items() if outcome in ("folded", "old_news"))


def counted(history: History) -> Iterator[Event]:
    """Yield the messages that count: what lies below an offset of an earlier batch is taken for a repeat."""
    marks: dict[tuple[str, int, int], int] = {}
    for events in history.slices():
        risen: dict[tuple[str, int, int], int] = {}
        for event in events:
            shard = -1 if event.op == TRUNCATE else IDS.one("\x1f".join(event.row))[0] % SHARDS
            place = event.topic, event.partition, shard
            if event.offset > marks.get(place, -1):
                risen[place] = max(risen.get(place, -1), event.offset)
                yield event
        marks |= risen


@slowly
@given(histories(), days, st.integers(1, 3))
def test_the_engine_equals_the_batch(history: History, as_of: int, workers: int) -> None:
    stream = engine(history, seed=workers)
    stream.start(workers)
    for batch in history.batches(IDS):
        stream.feed(batch)
    assert not judge(history, stream, stream.drain(as_of), as_of)
    assert not table_differences(final_rows(history, IDS), stream.memory.values)
    assert messages(stream) == len(list(counted(history))), "each counts once, whatever its row is"


@slowly
@given(histories(), plans(), st.integers(0, 9))
def test_the_engine_equals_the_batch_whatever_happens(history: History, plan: Plan, seed: int) -> None:
    stream = engine(history, seed)
    published, as_of = run_plan(stream, history, plan, IDS, TODAY)
    assert not judge(history, stream, published, as_of)
    assert not table_differences(final_rows(history, IDS), stream.memory.values)
