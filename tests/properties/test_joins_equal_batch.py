"""Law: rows that the stream makes of several equal a plain join over the final rows, whatever happens meanwhile."""

from __future__ import annotations

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from nurt.contracts import schemas
from nurt.model.keys import Keys
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.profiles.worker import Worker
from tests.oracle.agreement import differences
from tests.oracle.batch import expected_profiles
from tests.oracle.deployment import Published
from tests.oracle.engine import Engine
from tests.oracle.histories import History, final_rows
from tests.oracle.joins import shop
from tests.oracle.joins_batch import joined
from tests.oracle.joins_histories import joined_histories
from tests.oracle.mishaps import Plan, plans, run_plan
from tests.oracle.naming import DEPLOYMENT_IDS as IDS
from tests.oracle.values import TODAY
from tests.oracle.writings import normalise_as_meant

SHOP = shop()
slowly = settings(deadline=None, suppress_health_check=list(HealthCheck))


def engine(history: History, seed: int = 0) -> Engine:
    def worker_of(store: Store, keys: Keys, context: FoldContext) -> Worker:
        return Worker(store, keys, context, schemas.load(schemas.PROFILE_VALUE), joins=SHOP)

    return Engine(history.systems, history.rules, IDS.ids, TODAY, worker_of, seed, len(SHOP.levels))


def judge(history: History, published: Published, as_of: int) -> list[str]:
    """Compare with the oracle, and leave the history's transcript for a failing test's reader."""
    rows = joined(final_rows(history, IDS))
    expected = expected_profiles(rows, history.systems, history.rules, as_of, IDS, normalise_as_meant)
    found = differences(expected, published)
    if found:
        note("\n".join([history.transcript(), *found]))
    return found


@slowly
@given(joined_histories(), st.integers(1, 4))
def test_rows_made_of_several_equal_the_batch(history: History, workers: int) -> None:
    stream = engine(history, seed=workers)
    stream.start(workers)
    for batch in history.batches(IDS):
        stream.feed(batch)
    assert not judge(history, stream.drain(TODAY), TODAY)


@slowly
@given(joined_histories(), plans(), st.integers(0, 9))
def test_rows_made_of_several_equal_the_batch_whatever_happens(history: History, plan: Plan, seed: int) -> None:
    published, as_of = run_plan(engine(history, seed), history, plan, IDS, TODAY)
    assert not judge(history, published, as_of)
