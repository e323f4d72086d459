"""Decide what follows a call result: which rows are settled, which are sent again and when, which are parked.

A transient call failure is repeated, never quarantined. A batch that is refused, or fails alone, is halved until the
bad row is found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nurt.model.delivery import Call, CallFailure, CallResult, RowOutcome, RowResult, Write

TRIES_MAX = 6
"""Tries of a row within its batch; then the row is parked, and the others go on."""

BACKOFF_S = 0.2
BACKOFF_S_MAX = 30.0
PARK_S = 15.0
PARK_S_MAX = 3600.0

EMPTY = "answer_without_results"
"""Code of a success without row results: a failure."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Call that is due.

    Attributes:
        tries: how often its rows were tried before.
        since: how many calls had succeeded at the receiver when this call first failed.
    """

    call: Call
    tries: int = 0
    wait_s: float = 0.0
    since: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Decision on what follows a call result; every write of the call is in exactly one of the three."""

    settled: tuple[tuple[Write, RowResult], ...] = ()
    retries: tuple[Attempt, ...] = ()
    parked: tuple[tuple[Write, str], ...] = ()


def backoff_s(tries: int, jitter: float) -> float:
    """Return how long to wait after so many tries: exponential, of which `jitter` (0 to 1) takes up to half."""
    return float(min(BACKOFF_S_MAX, BACKOFF_S * 2**tries)) * (0.5 + jitter / 2)


def park_s(times: int) -> float:
    """Return how long a row that was parked so many times stays aside."""
    return float(min(PARK_S_MAX, PARK_S * 2**times))


def decide(attempt: Attempt, result: CallResult, jitter: float, answered_well: int) -> Decision:
    """Decide what follows a call result.

    Args:
        jitter: a random number from 0 to 1.
        answered_well: how many calls have succeeded at the receiver so far. When others succeed and this one fails, the
            call is at fault.
    """
    call = attempt.call
    wait_s = max(result.wait_s or 0.0, backoff_s(attempt.tries, jitter))
    if result.failure is CallFailure.REFUSED:
        if len(call.writes) > 1:
            return Decision(retries=_halves(attempt))
        return Decision(settled=((call.writes[0], RowResult(RowOutcome.REFUSED, result.code, result.words)),))
    if result.failure in (CallFailure.THROTTLED, CallFailure.UNAUTHORISED):
        return Decision(retries=(replace(attempt, wait_s=result.wait_s or wait_s),))
    if result.failure is CallFailure.DOWN or len(result.row_results) != len(call.writes):
        since = answered_well if attempt.since is None else attempt.since
        next_attempt = Attempt(call, attempt.tries + 1, wait_s, since)
        if next_attempt.tries < TRIES_MAX or answered_well == since:
            return Decision(retries=(next_attempt,))
        if len(call.writes) > 1:
            return Decision(retries=_halves(replace(next_attempt, tries=TRIES_MAX - 2)))
        return Decision(parked=((call.writes[0], result.code or EMPTY),))
    rows = list(zip(call.writes, result.row_results, strict=True))
    settled = tuple(row for row in rows if row[1].outcome is not RowOutcome.TRANSIENT)
    transient = [row for row in rows if row[1].outcome is RowOutcome.TRANSIENT]
    if attempt.tries + 1 >= TRIES_MAX:
        return Decision(settled, (), tuple((write, row_result.code) for write, row_result in transient))
    if not transient:
        return Decision(settled)
    rest = replace(call, writes=tuple(write for write, _ in transient))
    return Decision(settled, (Attempt(rest, attempt.tries + 1, wait_s, attempt.since),))


def _halves(attempt: Attempt) -> tuple[Attempt, ...]:
    writes = attempt.call.writes
    middle = len(writes) // 2
    return tuple(
        replace(attempt, call=replace(attempt.call, writes=half)) for half in (writes[:middle], writes[middle:])
    )
