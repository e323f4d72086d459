"""The pure parts: rates, breaker, attempts."""

from __future__ import annotations

import random as random_module

from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from nurt.adapters.redis.delivery.store import DeliveryStore
from nurt.delivery.breaker import FAILURES_MAX, Breaker, Circuit
from nurt.delivery.calls import calls_of, merge_writes
from nurt.delivery.gone import GonePolicy, is_believed
from nurt.delivery.last_known import Fingerprinter, LastKnown, Presence, RemoteRow
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


def _fields_known(known: LastKnown) -> dict[str, str]:
    (remote,) = known.remote_rows
    return dict(remote.fingerprints)


def test_a_record_keeps_whether_a_row_is_there_and_an_earlier_record_is_read() -> None:
    rows = (
        RemoteRow("o", "1", {"a": "ff"}, "id", None, Presence.THERE),
        RemoteRow("o", "2", {}, None, None, Presence.THERE),
        RemoteRow("o", "3", {}, None, "ee", Presence.GONE),
        RemoteRow("o", "4", {}, None, "ee"),
    )
    read = LastKnown.decode(LastKnown(revision=3, remote_rows=rows).encode())
    assert [one.is_there for one in read.remote_rows] == [True, True, False, False]
    assert [one.presence is Presence.GONE for one in read.remote_rows] == [False, False, True, False]
    earlier = b'[1,3,[0,7],0,"live",[["o","1",{"a":"ff"},"id",null],["o","2",{},null,"ee"]]]'
    assert [one.is_there for one in LastKnown.decode(earlier).remote_rows] == [True, False]


def test_a_row_stays_there_while_all_its_fields_are_under_way_but_not_while_it_is_removed() -> None:
    fingerprinter = Fingerprinter(b"0123456789abcdef")
    write = Write("s", 1, "o", Op.UPSERT, "1", {"a": 1, "b": 2}, is_new=True)
    begun = LastKnown().begin(write)
    assert not begun.remote_rows[0].is_there, "nobody knows yet whether the first write arrived"
    there = begun.settle(write, RowResult(RowOutcome.ACCEPTED), fingerprinter)
    again = LastKnown.decode(there.begin(write).encode())
    assert again.remote_rows[0].is_there and not _fields_known(again)
    removed = there.begin(Write("s", 2, "o", Op.DELETE, "1"))
    assert not removed.remote_rows[0].is_there, "its removal may have arrived: what comes back is sent whole"


def test_a_row_that_is_another_one_now_keeps_only_what_was_sent() -> None:
    fingerprinter = Fingerprinter(b"0123456789abcdef")
    whole = Write("s", 1, "o", Op.UPSERT, "1", {"a": 1, "b": 2}, is_new=True)
    known = LastKnown().settle(whole, RowResult(RowOutcome.ACCEPTED, receiver_id="7"), fingerprinter)
    change = Write("s", 2, "o", Op.UPSERT, "1", {"a": 3}, "7", whole=False, believed=True)
    same = known.settle(change, RowResult(RowOutcome.ACCEPTED, receiver_id="7"), fingerprinter)
    assert {*_fields_known(same)} == {"a", "b"}
    other = known.settle(change, RowResult(RowOutcome.ACCEPTED, receiver_id="8"), fingerprinter)
    made = known.settle(change, RowResult(RowOutcome.ACCEPTED, made=True), fingerprinter)
    assert {*_fields_known(other)} == {*_fields_known(made)} == {"a"}


def test_only_restoring_makes_a_row_that_is_gone() -> None:
    gone, there = RemoteRow("o", "1", presence=Presence.GONE), RemoteRow("o", "1", {"a": "ff"})
    assert [is_believed(gone, policy) for policy in GonePolicy] == [True, True, False]
    assert all(is_believed(there, policy) for policy in GonePolicy)
    assert not any(is_believed(RemoteRow("o", "1"), policy) for policy in GonePolicy)


def test_changes_of_known_rows_have_calls_of_their_own_and_are_never_bulk() -> None:
    writes = [Write(f"{n}", 1, "o", Op.UPSERT, f"{n}", {"a": n}, believed=n % 2 == 0) for n in range(50)]
    calls = list(calls_of(writes, Limits(rows_max=100, bulk_rows_max=1_000, bulk_from=20), bulk=True))
    assert sorted((call.believed, call.bulk, len(call.writes)) for call in calls) == [
        (False, True, 25),
        (True, False, 25),
    ]


def test_a_shared_row_may_be_made_when_one_profile_has_it_whole() -> None:
    known = Write("a", 2, "o", Op.UPSERT, "1", {"a": 2}, "7", whole=False, believed=True)
    new = Write("b", 1, "o", Op.UPSERT, "1", {"a": 1, "b": 1}, is_new=True)
    merged = merge_writes([known, new])
    assert not merged.believed and merged.fields == {"a": 2, "b": 1}
    assert merge_writes([known, Write("c", 1, "o", Op.UPSERT, "1", {"b": 3}, None, False, believed=True)]).believed
