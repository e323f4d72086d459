"""What was published outlives a store that comes back older; it must be said again, or unsaid."""

from __future__ import annotations

from hypothesis import HealthCheck, currently_in_test_context, given, note, settings
from hypothesis import strategies as st

from tests.oracle.agreement import differences
from tests.oracle.batch import expected_profiles
from tests.oracle.engine import Engine, normalise_really
from tests.oracle.final_row import System
from tests.oracle.histories import History, final_rows, histories, history_of
from tests.oracle.mishaps import Feed, Plan, Restore, Save, plans, run_plan
from tests.oracle.naming import DEPLOYMENT_IDS as IDS
from tests.oracle.sources import Connector, Event, Source
from tests.oracle.values import TODAY


def shop() -> Connector:
    log: list[Event] = []
    return Connector(Source(System("shop"), "postgres", 1, ("customer",), ("order",), False), log)


def wrong_after(history: History, plan: Plan, seed: int = 0) -> list[str]:
    engine = Engine(history.systems, history.rules, IDS.ids, TODAY, seed=seed)
    published, as_of = run_plan(engine, history, plan, IDS, TODAY)
    rows = final_rows(history, IDS)
    expected = expected_profiles(rows, history.systems, history.rules, as_of, IDS, normalise_really)
    found = differences(expected, published)
    if found and currently_in_test_context():
        note("\n".join([history.transcript(), *found]))
    return found


def test_a_profile_that_the_older_store_never_knew_does_not_stay_published() -> None:
    connector = shop()
    connector.set_row("customer", "customer", "1", email="ann@example.com")
    connector.delete("customer", "customer", "1")
    history = history_of([connector], connector.log)
    # published live, then the store is lost; fed again in one batch, there is nothing to publish
    assert not wrong_after(history, (Feed(1, True), Restore(1), Feed(2, True)))


def test_a_merge_that_the_older_store_forgot_does_not_stay_published() -> None:
    connector = shop()
    connector.set_row("customer", "customer", "1", email="ann@example.com")
    connector.set_row("customer", "customer", "2", email="bob@example.com")
    connector.set_row("customer", "customer", "2", email="ann@example.com")
    connector.set_row("customer", "customer", "2", email="bob@example.com")
    history = history_of([connector], connector.log)
    # the merge was published with a revision above what the older store remembers of both profiles
    assert not wrong_after(history, (Feed(2, True), Save(), Feed(1, False), Restore(1), Feed(2, True)))


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(histories(30), plans(), st.integers(0, 9))
def test_histories_end_right_over_an_older_store(history: History, plan: Plan, seed: int) -> None:
    assert not wrong_after(history, plan, seed)
