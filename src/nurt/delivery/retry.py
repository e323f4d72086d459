"""Decide what follows an answer: which rows are settled, which go again and when, which are set aside.

Transient trouble is repeated, never quarantined. A batch that is refused, or fails alone, is halved until the guilty
row is found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nurt.model.delivery import Answer, Call, Fate, Trouble, Verdict, Write

TRIES_MAX = 6
"""Tries of a row within its batch; then it is parked, and the others go on."""

BACKOFF_S = 0.2
BACKOFF_S_MAX = 30.0
PARK_S = 15.0
PARK_S_MAX = 3600.0

EMPTY = "answer_without_results"
"""Code of a success that says nothing of the rows: a failure."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call that is due.

    Attributes:
        tries: how often its rows were tried before.
        since: how many calls the receiver had answered well when it first failed.
    """

    call: Call
    tries: int = 0
    wait_s: float = 0.0
    since: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows an answer; every write of the call is in exactly one of the three."""

    settled: tuple[tuple[Write, Verdict], ...] = ()
    again: tuple[Attempt, ...] = ()
    parked: tuple[tuple[Write, str], ...] = ()


def backoff_s(tries: int, jitter: float) -> float:
    """Return how long to wait after so many tries: exponential, of which `jitter` (0 to 1) takes up to half."""
    return float(min(BACKOFF_S_MAX, BACKOFF_S * 2**tries)) * (0.5 + jitter / 2)


def park_s(times: int) -> float:
    """Return how long a row that was parked so many times stays aside."""
    return float(min(PARK_S_MAX, PARK_S * 2**times))


def decide(attempt: Attempt, answer: Answer, jitter: float, answered_well: int) -> Decision:
    """Say what follows.

    Args:
        jitter: a number from 0 to 1 by chance.
        answered_well: how many calls the receiver has answered well so far. When others succeed while this one fails,
            the call is at fault and not the receiver.
    """
    call = attempt.call
    wait_s = max(answer.wait_s or 0.0, backoff_s(attempt.tries, jitter))
    if answer.trouble is Trouble.REFUSED:
        if len(call.writes) > 1:
            return Decision(again=_halves(attempt))
        return Decision(settled=((call.writes[0], Verdict(Fate.REFUSED, answer.code, answer.words)),))
    if answer.trouble in (Trouble.THROTTLED, Trouble.UNAUTHORISED):
        return Decision(again=(replace(attempt, wait_s=answer.wait_s or wait_s),))
    if answer.trouble is Trouble.DOWN or len(answer.verdicts) != len(call.writes):
        since = answered_well if attempt.since is None else attempt.since
        again = Attempt(call, attempt.tries + 1, wait_s, since)
        if again.tries < TRIES_MAX or answered_well == since:
            return Decision(again=(again,))
        if len(call.writes) > 1:
            return Decision(again=_halves(replace(again, tries=TRIES_MAX - 2)))
        return Decision(parked=((call.writes[0], answer.code or EMPTY),))
    rows = list(zip(call.writes, answer.verdicts, strict=True))
    settled = tuple(row for row in rows if row[1].fate is not Fate.TRANSIENT)
    transient = [row for row in rows if row[1].fate is Fate.TRANSIENT]
    if attempt.tries + 1 >= TRIES_MAX:
        return Decision(settled, (), tuple((write, verdict.code) for write, verdict in transient))
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
