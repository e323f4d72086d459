"""Law: workers that are batches ahead of each other publish what a plain recomputation says, crashes included."""

from __future__ import annotations

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.oracle.agreement import differences
from tests.oracle.batch import expected_profiles
from tests.oracle.engine import normalise_really
from tests.oracle.histories import History, final_rows, histories
from tests.oracle.loose_cluster import LooseCluster
from tests.oracle.mishaps import Plan, plans, run_plan
from tests.oracle.naming import DEPLOYMENT_IDS as IDS
from tests.oracle.values import TODAY


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(histories(40), plans(restores=False), st.sampled_from([0, 1, 3, 9]), st.integers(0, 99))
def test_workers_out_of_step_equal_the_batch(history: History, plan: Plan, pace: int, seed: int) -> None:
    cluster = LooseCluster(history.systems, history.rules, IDS.ids, TODAY, pace, seed)
    published, as_of = run_plan(cluster, history, plan, IDS, TODAY)
    rows = final_rows(history, IDS)
    expected = expected_profiles(rows, history.systems, history.rules, as_of, IDS, normalise_really)
    found = differences(expected, published)
    if found:
        note("\n".join([history.transcript(), *found]))
    assert not found
