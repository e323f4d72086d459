"""The pure parts: rates, breaker, attempts."""

from __future__ import annotations

import random as random_module

from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from nurt.adapters.redis.delivery.store import DeliveryStore
from nurt.delivery.breaker import FAILURES_MAX, Breaker, Circuit
from nurt.delivery.calls import calls_of
from nurt.delivery.rate_limit import Bucket, Concurrency, bucket_for, take
from nurt.delivery.retry import TRIES_MAX, Attempt, backoff_s, decide
from nurt.model.delivery import Call, CallFailure, CallResult, Limits, Op, RateLimit, RowOutcome, RowResult, Write
from nurt.model.keys import Keys


@given(st.integers(1, 300), st.floats(0.5, 100), st.lists(st.floats(0, 3), min_size=1, max_size=80), st.data())
def test_no_window_ever_holds_more_calls_than_the_limit(
    calls: int, seconds: float, pauses: list[float], data: st.DataObject
) -> None:
    bucket, now, debt, granted = bucket_for(RateLimit(calls, seconds)), 0.0, 0.0, []
    for pause in pauses:
        now += pause
        for _ in range(10):
            debt, wait = take(bucket, debt, now)
            if wait:
                now += wait
            else:
                granted.append(now)
    for at in granted:
        assert sum(at <= other < at + seconds * 0.9999 for other in granted) <= calls


def test_the_server_computes_what_the_core_does(redis_url: str) -> None:
    store = DeliveryStore(Redis.from_url(redis_url), Keys(f"r{random_module.random()}", 1), "d")
    bucket = Bucket(10.0, 30.0)
    waits = [store.take("b", [bucket]) for _ in range(6)]
    debt, expected = 0.0, []
    for _ in range(6):
        debt, wait = take(bucket, debt, 0.0)
        expected.append(wait)
    assert all(abs(a - b) < 0.5 for a, b in zip(waits, expected, strict=True))
    store.pause("b", 100.0)
    assert store.take("b", [bucket]) > 99


def test_an_open_circuit_lets_one_probe_through_and_closes_on_an_answer() -> None:
    breaker = Breaker()
    for _ in range(FAILURES_MAX):
        assert breaker.wait_s(0.0) == 0.0
        breaker = breaker.failed(0.0)
    assert breaker.circuit is Circuit.OPEN and breaker.wait_s(0.5) == 0.5
    probing = breaker.sent()
    assert probing.wait_s(2.0) is None
    assert probing.failed(2.0).until_s > 2.0 + breaker.until_s - 0.1
    assert probing.answered() == Breaker()


def _call(rows: int) -> Call:
    return Call("o", Op.UPSERT, tuple(Write(f"{n:032x}", 1, "o", Op.UPSERT, str(n)) for n in range(rows)))


def test_a_success_without_results_is_a_failure() -> None:
    decision = decide(Attempt(_call(3)), CallResult(), 0.5, 0)
    assert not decision.settled and len(decision.retries) == 1


def test_a_refused_batch_is_halved_and_a_refused_row_is_settled() -> None:
    refused = CallResult(failure=CallFailure.REFUSED, code="x", words="why")
    assert [len(one.call.writes) for one in decide(Attempt(_call(5)), refused, 0.5, 0).retries] == [2, 3]
    ((_, row_result),) = decide(Attempt(_call(1)), refused, 0.5, 0).settled
    assert row_result == RowResult(RowOutcome.REFUSED, "x", "why")


def test_a_receiver_that_is_down_parks_nothing_and_a_call_that_fails_alone_is_halved_then_parked() -> None:
    down = CallResult(failure=CallFailure.DOWN, code="http_500")
    attempt = Attempt(_call(2))
    for _ in range(3 * TRIES_MAX):
        (attempt,) = decide(attempt, down, 0.5, answered_well=7).retries
    halves = decide(attempt, down, 0.5, answered_well=8).retries
    assert [len(half.call.writes) for half in halves] == [1, 1]
    decision = decide(halves[0], down, 0.5, answered_well=9)
    while decision.retries:
        decision = decide(decision.retries[0], down, 0.5, answered_well=9)
    assert decision.parked[0][1] == "http_500"


def test_only_transient_rows_of_a_batch_go_again() -> None:
    row_results = (
        RowResult(RowOutcome.ACCEPTED),
        RowResult(RowOutcome.TRANSIENT, "locked"),
        RowResult(RowOutcome.REFUSED, "bad"),
    )
    decision = decide(Attempt(_call(3)), CallResult(row_results), 0.5, 0)
    assert len(decision.settled) == 2 and [write.key for write in decision.retries[0].call.writes] == ["1"]
    assert decide(Attempt(_call(3), TRIES_MAX - 1), CallResult(row_results), 0.5, 0).parked[0][1] == "locked"


def test_back_off_grows_and_concurrency_gives_way() -> None:
    assert backoff_s(0, 1.0) < backoff_s(3, 0.0) < backoff_s(30, 1.0) == backoff_s(60, 1.0)
    assert Concurrency(8.0, 8).throttled().calls == 4
    assert Concurrency(1.0, 8).throttled().calls == 1
    assert Concurrency(4.0, 8).accepted().allowed == 4.25


def test_calls_are_cut_by_count_and_by_bytes() -> None:
    writes = [Write(f"{n}", 1, "o", Op.UPSERT, f"{n}", {"text": "x" * 100}) for n in range(25)]
    by_count = list(calls_of(writes, Limits(rows_max=10), bulk=False))
    assert [len(call.writes) for call in by_count] == [10, 10, 5]
    by_bytes = list(calls_of(writes, Limits(rows_max=10, bytes_max=600), bulk=False))
    assert all(1 <= len(call.writes) <= 3 for call in by_bytes) and sum(len(call.writes) for call in by_bytes) == 25
    alone = list(calls_of(writes, Limits(rows_max=10, bytes_max=10), bulk=False))
    assert len(alone) == 25, "a row that is larger than a call may be goes alone, and is the receiver's to refuse"
    bulk = list(calls_of(writes, Limits(rows_max=10, bulk_rows_max=1_000, bulk_from=20), bulk=True))
    assert [(len(call.writes), call.bulk) for call in bulk] == [(25, True)]
