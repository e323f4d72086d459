"""Law: when the input is drained, profiles equal a plain recomputation over the final rows."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from tests.oracle.agreement import differences
from tests.oracle.batch import expected_profiles
from tests.oracle.deployment import Deployment, Published, Stream
from tests.oracle.histories import History, final_rows, histories
from tests.oracle.mishaps import Plan, plans, run_plan
from tests.oracle.naming import DEPLOYMENT_IDS
from tests.oracle.reference import FAULTS, ReferenceStream
from tests.oracle.values import TODAY

IDS = DEPLOYMENT_IDS
days = st.integers(TODAY, TODAY + 3)
slowly = settings(deadline=None, suppress_health_check=list(HealthCheck))


def reference(history: History, *faults: str) -> ReferenceStream:
    return ReferenceStream(history.systems, history.rules, IDS, faults=frozenset(faults), as_of=TODAY)


def judge(history: History, published: Published, as_of: int) -> list[str]:
    """Compare what is published with the oracle, and leave the history's transcript for a failing test's reader."""
    expected = expected_profiles(final_rows(history, IDS), history.systems, history.rules, as_of, IDS)
    found = differences(expected, published)
    if found:
        note("\n".join([history.transcript(), *found]))
    return found


def wrong(history: History, stream: Stream, as_of: int) -> list[str]:
    """Feed a whole history; say what is wrong at the end."""
    for batch in history.batches(IDS):
        stream.feed(batch)
    return judge(history, stream.drain(as_of), as_of)


def wrong_after(history: History, plan: Plan, deployment: Deployment) -> list[str]:
    """Feed a history while a plan of mishaps happens; say what is wrong at the end."""
    published, as_of = run_plan(deployment, history, plan, IDS, TODAY)
    return judge(history, published, as_of)


@slowly
@given(histories(), days)
def test_the_slow_stream_equals_the_batch(history: History, as_of: int) -> None:
    assert not wrong(history, reference(history), as_of)


@slowly
@given(histories(), plans())
def test_the_slow_stream_equals_the_batch_whatever_happens(history: History, plan: Plan) -> None:
    assert not wrong_after(history, plan, reference(history))


NEED_MISHAPS = frozenset({"silent_replay", "nothing_owed", "no_start_checkpoint", "tail_unread"})


class Noticed(Exception):
    """A broken stream was caught."""


SELDOM = frozenset({"null_forgets", "nothing_owed"})
"""Faults whose histories random ones hit too seldom: `unit/test_rows.py` and `flows/test_rules_owed.py` play them."""


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in SELDOM])
def test_a_broken_stream_is_noticed(fault: str) -> None:
    """Without this the two laws above might hold because histories are too tame."""
    search = settings(slowly, max_examples=3000, database=None, derandomize=True, phases=[Phase.generate])

    @search
    @given(histories(), days if fault not in NEED_MISHAPS else plans())
    def notice(history: History, way: int | Plan) -> None:
        stream = reference(history, fault)
        if wrong(history, stream, way) if isinstance(way, int) else wrong_after(history, way, stream):
            raise Noticed

    with pytest.raises(Noticed):
        notice()
