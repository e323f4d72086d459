"""Plans of what goes wrong while a history is fed: crashes, restarts with other workers, an older store, days passing.

A plan is a list of steps for the harness; whatever the plan, the profiles at the end must be the oracle's.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.oracle.deployment import Deployment, Killed, Published
from tests.oracle.final_row import Named
from tests.oracle.frames import batch_of
from tests.oracle.histories import History

WRITES_MAX = 15
WORKERS = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Feed:
    """Feed so many arrivals as one micro-batch, and perhaps commit."""

    arrivals: int
    commit: bool


@dataclass(frozen=True, slots=True)
class Crash:
    """Feed so many arrivals, die after so many writes (at the latest before the commit), start again."""

    arrivals: int
    writes: int
    workers: int


@dataclass(frozen=True, slots=True)
class Restart:
    """Stop between two batches without a commit, start again with so many workers."""

    workers: int


@dataclass(frozen=True, slots=True)
class Save:
    """Copy the store; a later Restore takes the newest copy."""


@dataclass(frozen=True, slots=True)
class Restore:
    """Lose the store, start again over the copy (over an empty store when there is none)."""

    workers: int


@dataclass(frozen=True, slots=True)
class Days:
    """Let so many days pass without any event."""

    days: int


Mishap = Feed | Crash | Restart | Save | Restore | Days
Plan = tuple[Mishap, ...]


def plans(
    *, crashes: bool = True, restores: bool = True, days: bool = True, steps_max: int = 16
) -> st.SearchStrategy[Plan]:
    """Draw a plan; what it leaves unfed is fed at its end."""
    workers = st.sampled_from(WORKERS)
    arrivals = st.integers(1, 8)
    steps: list[st.SearchStrategy[Mishap]] = [st.builds(Feed, arrivals, st.booleans())]
    if crashes:
        steps += [st.builds(Crash, arrivals, st.integers(0, WRITES_MAX), workers), st.builds(Restart, workers)]
    if restores:
        steps += [st.just(Save()), st.builds(Restore, workers)]
    if days:
        steps.append(st.builds(Days, st.sampled_from([1, 2, 29, 30, 61, 366])))
    return st.lists(st.one_of(steps), min_size=3, max_size=steps_max).map(tuple)


def run_plan(
    deployment: Deployment, history: History, plan: Sequence[Mishap], ids: Named, as_of: int
) -> tuple[Published, int]:
    """Feed a history to a deployment while the plan happens; return what is published at the end, and for which day."""
    empty = deployment.save()
    saved = empty
    at = deployment.start(WORKERS[0])
    for step in plan:
        match step:
            case Feed(arrivals, commit):
                at = _feed(deployment, history, at, arrivals, ids)
                if commit:
                    deployment.commit()
            case Crash(arrivals, writes, workers):
                deployment.crash_after_writes(writes)
                with suppress(Killed):
                    _feed(deployment, history, at, arrivals, ids)
                deployment.kill()
                at = deployment.start(workers)
            case Restart(workers):
                deployment.kill()
                at = deployment.start(workers)
            case Save():
                saved = deployment.save()
            case Restore(workers):
                deployment.kill()
                deployment.restore(saved)
                at = deployment.start(workers)
            case Days(days):
                as_of += days
                deployment.drain(as_of)
    while at < len(history.arrivals):
        at = _feed(deployment, history, at, history.sizes[0], ids)
    deployment.commit()
    return deployment.drain(as_of), as_of


def _feed(deployment: Deployment, history: History, at: int, arrivals: int, ids: Named) -> int:
    events = history.arrivals[at : at + arrivals]
    if events:
        deployment.feed_until(batch_of(events, ids), at + len(events))
    return at + len(events)
