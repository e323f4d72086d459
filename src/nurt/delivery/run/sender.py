"""Send calls as fast as the receiver takes them: rates, concurrency, a circuit breaker, retries, credentials.

The sender does not know what a call's rows are. It tells the caller before a call goes out and after the call returned
(`RowListener`), and writes the caller's journal entry before anything else happens.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import count
from random import random
from typing import Protocol

from nurt.delivery.breaker import Breaker, Circuit
from nurt.delivery.journal import JournalEntry
from nurt.delivery.ports import DeliveryMemory, Destination
from nurt.delivery.rate_limit import Concurrency, bucket_for
from nurt.delivery.retry import Attempt, Decision, decide
from nurt.delivery.run.clock import DeliveryClock
from nurt.delivery.run.key_locks import LOCK_WAIT_S, KeyLocks, Stopping
from nurt.model.delivery import Call, CallFailure, CallResult

AUTH_PAUSE_S = 30.0
LOOK_S = 0.1
LONG_WAIT_S = 5.0
LAST_CALLS_S = 5.0
NOT_UNDERSTOOD = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError)
"""What an adapter raises over an answer outside of its protocol."""
BUDGET_MAX, BUDGET_SHARE, BUDGET_WAIT_S = 20.0, 0.2, 5.0
"""Retries are paid from a budget; every successful call adds a share. Without budget, retries wait longer."""

_logger = logging.getLogger(__name__)


class RowListener(Protocol):
    """Owner of the rows in calls."""

    def begin(self, call: Call, entry: JournalEntry) -> None:
        """Enter, before a call goes out, that its fields are unknown at the receiver from now on."""
        ...

    def record_outcomes(self, decision: Decision, entry: JournalEntry) -> None:
        """Enter the outcomes of rows."""
        ...


class Sender:
    """Sender of one worker thread's calls; it lives as long as the run and learns how the receiver is."""

    def __init__(
        self,
        destination: Destination,
        store: DeliveryMemory,
        key_locks: KeyLocks,
        stopping: Callable[[], bool],
        fault: Callable[[str], None],
        clock: DeliveryClock,
    ) -> None:
        self._to = destination
        self._store = store
        self._key_locks = key_locks
        self._stopping = stopping
        self._fault = fault
        self._clock = clock
        limits = destination.limits
        self._buckets = [bucket_for(replace(limit, seconds=clock.real_s(limit.seconds))) for limit in limits.rates]
        self._concurrency = Concurrency(float(limits.concurrency), limits.concurrency)
        self._breaker = Breaker()
        self._pool = ThreadPoolExecutor(limits.concurrency, thread_name_prefix="nurt-deliver")
        self._order = count()
        self._answered_well = 0
        self._budget = BUDGET_MAX
        self._bad_logins = 0
        self._refreshed_s = 0.0
        self._state = ""
        self._waiting: list[tuple[float, int, Attempt]] = []
        self._in_flight: dict[Future[CallResult], tuple[Attempt, float]] = {}
        destination.obey(self._spend)

    def _spend(self) -> None:
        """Wait until the rates allow one request more; a call may need several."""
        while (wait_s := self._store.take(self._to.bucket, self._buckets)) > 0 and not self._stopping():
            time.sleep(min(self._clock.real_s(LOOK_S), wait_s))

    def send_all(self, calls: Iterable[Call], rows: RowListener) -> None:
        """Make calls until each row is settled or parked. Raises Stopping, Fenced, or what the store raises."""
        self._waiting = [(0.0, next(self._order), Attempt(call)) for call in calls]
        self._in_flight = {}
        try:
            while self._waiting or self._in_flight:
                pause_s = self._clock.real_s(self._launch(rows))
                done, _ = wait(self._in_flight, timeout=pause_s, return_when=FIRST_COMPLETED)
                if not self._in_flight:
                    time.sleep(pause_s)
                for future in done:
                    self._receive(future, rows)
                if self._stopping() and self._waiting:
                    self._end(rows)
        finally:
            for attempt, _ in self._in_flight.values():
                self._key_locks.release(attempt.call)

    def _end(self, rows: RowListener) -> None:
        """Wait for the results of calls under way, and leave the rest."""
        if self._in_flight:
            wait(self._in_flight, timeout=LAST_CALLS_S)
        for future in [one for one in self._in_flight if one.done()]:
            self._receive(future, rows)
        raise Stopping(f"delivering to {self._store.destination}: ended before everything was told; start it again")

    def _launch(self, rows: RowListener) -> float:
        """Send the calls that may go now; return how long to wait before the next look."""
        while self._waiting and len(self._in_flight) < self._concurrency.calls:
            now_s = self._clock.now_s()
            due_s, _, attempt = self._waiting[0]
            if due_s > now_s:
                return min(LOOK_S, due_s - now_s)
            circuit_s = self._breaker.wait_s(now_s)
            if circuit_s is None or circuit_s > 0:
                return LOOK_S if circuit_s is None else min(LOOK_S, circuit_s)
            if not self._key_locks.claim(attempt.call, self._concurrency.most):
                return LOCK_WAIT_S
            bucket_s = self._store.take(self._to.bucket, self._buckets) * self._clock.speed
            if bucket_s > 0:
                self._key_locks.release(attempt.call)
                if bucket_s > LONG_WAIT_S and self._state != "waiting":
                    self._report("waiting: the calls that are allowed are used up", "")
                return min(LOOK_S, bucket_s)
            heapq.heappop(self._waiting)
            entry = JournalEntry()
            rows.begin(attempt.call, entry)
            entry.count("calls")
            self._store.write(entry)
            self._fault("intent noted")
            self._breaker = self._breaker.sent()
            self._in_flight[self._pool.submit(self._call, attempt.call)] = attempt, self._clock.now_s()
        return LOOK_S

    def _call(self, call: Call) -> CallResult:
        """Make a call; an answer outside the protocol counts as no answer, and does not end the run."""
        try:
            return self._to.send(call)
        except NOT_UNDERSTOOD as failed:
            _logger.warning(
                "delivering to %s: an answer to %s %s was not understood (%s)",
                self._store.destination,
                call.op,
                call.object,
                type(failed).__name__,
            )
            return CallResult(failure=CallFailure.DOWN, code="answer_not_understood")

    def _receive(self, future: Future[CallResult], rows: RowListener) -> None:
        attempt, sent_s = self._in_flight.pop(future)
        self._key_locks.release(attempt.call)
        result = future.result()
        self._fault("answered")
        entry = JournalEntry()
        self._judge(result, sent_s, entry)
        decision = decide(attempt, result, random(), self._answered_well)
        rows.record_outcomes(decision, entry)
        self._schedule(decision, result, entry)
        self._store.write(entry)
        self._fault("answer noted")

    def _schedule(self, decision: Decision, result: CallResult, entry: JournalEntry) -> None:
        for retry in decision.retries:
            wait_s = retry.wait_s
            if result.failure is not CallFailure.REFUSED:
                entry.count("retried", len(retry.call.writes))
                self._budget -= 1.0
                if self._budget < 0:
                    self._budget, wait_s = 0.0, max(wait_s, min(BUDGET_WAIT_S, 2 * wait_s))
            heapq.heappush(self._waiting, (self._clock.now_s() + wait_s, next(self._order), retry))

    def _judge(self, result: CallResult, sent_s: float, entry: JournalEntry) -> None:
        """Learn from a call result how the receiver is; an auth failure from before the last login says nothing."""
        failure = result.failure
        if failure is not CallFailure.UNAUTHORISED:
            self._bad_logins = 0
        if result.wait_s:
            self._store.pause(self._to.bucket, self._clock.real_s(result.wait_s))
        if failure is CallFailure.DOWN:
            self._breaker = self._breaker.failed(self._clock.now_s(), result.wait_s)
            is_open = self._breaker.circuit is Circuit.OPEN
            self._report("waiting: the receiver does not answer" if is_open else "", result.code)
            return
        self._breaker = self._breaker.answered()
        if failure is CallFailure.THROTTLED:
            entry.count("throttled")
            self._concurrency = self._concurrency.throttled()
            self._report("throttled", result.code)
        elif failure is CallFailure.UNAUTHORISED and sent_s >= self._refreshed_s:
            self._renew_login(result.code)
        elif failure is None:
            self._answered_well += 1
            self._budget = min(BUDGET_MAX, self._budget + BUDGET_SHARE)
            self._concurrency = self._concurrency.accepted()
            if self._state:
                self._report("running", "")

    def _renew_login(self, code: str) -> None:
        """Renew the credentials; when that did not help, pause and log it."""
        self._bad_logins += 1
        self._refreshed_s = self._clock.now_s()
        if self._bad_logins > 1:
            self._store.pause(self._to.bucket, self._clock.real_s(AUTH_PAUSE_S))
            if self._state != "paused":
                _logger.error(
                    "delivering to %s: the receiver refuses the credentials (%s); renew them; next try in %d s",
                    self._store.destination,
                    code,
                    AUTH_PAUSE_S,
                )
            self._report("paused: the receiver refuses the credentials", code)
        self._to.refresh()

    def _report(self, state: str, code: str) -> None:
        kind = state.partition(":")[0]
        changed = kind != self._state
        self._state = "" if kind == "running" else kind
        status: dict[str, str | int | float] = {}
        if changed and kind:
            status["state"] = state
        if code:
            status |= {"last_error": code, "last_error_at": int(time.time())}
        if status:
            self._store.set_status(**status)

    def close(self) -> None:
        """Let go of threads; never raises."""
        self._pool.shutdown(wait=False, cancel_futures=True)
