"""Decide where a run begins: at the commit, or, when state was restored from an older copy, at an earlier checkpoint.

Pure: the control log's records, the commits and the fences come in; one decision for all workers comes out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nurt.control.logs import KnownLogs, known_logs
from nurt.errors import ConfigurationError, Fenced
from nurt.limits import CHECKPOINTS_KEPT
from nurt.model.fence import FencingToken, pending_score
from nurt.model.log import Committed, Leaders, Offsets

Records = Sequence[tuple[int, dict[str, Any]]]
Moment = tuple[int, int]
"""(run, epoch): all work up to the end of this epoch was done."""
NEVER: Moment = (0, -1)
"""Before every moment: no work needs to have been done."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Values that the stored state depends on; they must be the same in every run.

    Attributes:
        secret: a fingerprint of the ids' secret, never the secret.
    """

    shards: int
    secret: str
    realms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LaunchDecision:
    """Decision where to begin.

    Attributes:
        offsets: None: everything from the earliest message.
        after: moment that the state must have reached for the offsets to be right; the state that was found has reached
            it.
        rewound: state is older than what was committed; checkpoints after this moment are void.
        kept: (run, epoch) of the checkpoints that stay valid.
        horizon: pending_score before which no rewind is possible.
        why: for the log.
        leaders: under which leader epochs the messages before `offsets` were read.
    """

    offsets: Offsets | None
    after: Moment
    rewound: bool
    kept: tuple[Moment, ...]
    horizon: int
    why: str
    leaders: Leaders = field(default_factory=dict)


def run_number(records: Records, mine: int) -> int:
    """Count start records up to the one numbered `mine`: this is the run's unique number.

    A control log that is made anew does not begin at 1: its first record names the highest run that the state has seen.
    """
    base = count = 0
    is_known = False
    for number, record in records:
        if number > mine:
            break
        if record["kind"] == "register" and (record["lost"] or not is_known):
            base, count, is_known = record["base"], 0, True
        count += record["kind"] == "start"
    return base + count


def latest_run(records: Records) -> int:
    """Return the number of the last run that has one; 0: none has."""
    return run_number(records, records[-1][0]) if records else 0


def register_record(identity: str, base: int, generation: int, lost: bool) -> dict[str, Any]:
    """Make the record that names a control log.

    Args:
        base: the run before its first one.
        generation: of all topics' source epochs, when the begins of earlier ones are lost.
        lost: records are lost, or this control log is another one than the state's.
    """
    return {"kind": "register", "id": identity, "base": base, "generation": generation, "lost": lost}


def has_begun(records: Records) -> bool:
    """Say whether a run has begun that this control log knows; before, commits are another deployment's."""
    return _replay(records, known_logs(records))[0] is not None


def owes_rebuild(records: Records) -> bool:
    """Say whether a rebuild was ordered that no run has begun yet."""
    begun = max((record["run"] for _, record in records if record["kind"] == "begin"), default=0)
    return known_logs(records).others.since > begun


def is_lost(records: Records, known: KnownLogs, stored: KnownLogs, fences: Iterable[FencingToken | None]) -> bool:
    """Say whether the control log has lost records that the state was written under.

    Args:
        known: what the control log knows.
        stored: what is kept beside the state.
        fences: of the state's places.

    Raises Fenced when it is another deployment's control log.
    """
    highest = max((fence.run for fence in fences if fence is not None), default=0)
    runs = latest_run(records)
    is_other = bool(known.register and stored.register) and known.register != stored.register
    if highest <= runs and not is_other:
        return False
    if not any(record["kind"] == "start" for _, record in records):
        return highest > 0
    if not is_other and known.register and known.register == stored.register:
        return True
    raise Fenced(
        f"claiming state: run {highest} holds it (the register's last run is {runs}), of another register; another "
        "cluster uses the same Redis: give one of them a prefix of its own; or, if this cluster is to take its place, "
        "start `nurt run --rebuild` once"
    )


def check_deployment(records: Records, deployment: Deployment) -> None:
    """Refuse state that was written under another secret or number of shards.

    Raises ConfigurationError with the remedy.
    """
    for _, record in records:
        if record["kind"] != "begin":
            continue
        for name, now in (("shards", deployment.shards), ("secret", deployment.secret)):
            if record[name] != now:
                raise ConfigurationError(
                    f"starting with state of an earlier run: its {name} is another (state keys depend on it); "
                    f"set `{name}` back, or give this deployment a prefix and a register of its own"
                )
        return


def begin_record(run: int, workers: int, deployment: Deployment, decision: LaunchDecision) -> dict[str, Any]:
    """Make the record of a decision; it is written before the first fence of the run."""
    return {
        "kind": "begin",
        "run": run,
        "workers": workers,
        "shards": deployment.shards,
        "secret": deployment.secret,
        "realms": list(deployment.realms),
        "offsets": None if decision.offsets is None else _listed(decision.offsets),
        "leaders": _listed(decision.leaders),
        "after": list(decision.after),
        "rewound": decision.rewound,
        "kept": [list(moment) for moment in decision.kept],
    }


def checkpoint_record(
    run: int, epoch: int, part: int, parts: int, offsets: Offsets, leaders: Leaders | None = None
) -> dict[str, Any]:
    """Make the record of one worker's part of a checkpoint; it counts when all parts of (run, epoch) are there."""
    record = {"kind": "checkpoint", "run": run, "epoch": epoch, "part": part, "parts": parts}
    return record | {"offsets": _listed(offsets), "leaders": _listed(leaders or {})}


def earlier_workers(records: Records) -> int:
    """Return the largest number of workers that any run had."""
    return max((record["workers"] for _, record in records if record["kind"] == "begin"), default=0)


def decide(
    records: Records,
    commits: Iterable[Committed],
    fences: Mapping[str, FencingToken | None],
    rebuild: bool = False,
) -> LaunchDecision:
    """Choose where to begin.

    A fence (run, e) proves that all epochs of its run before e are done, so state is as new as a moment when every
    fence is above that moment. Only commits of the last run that began are believed; a later commit by an older run's
    zombie is not. A run that committed nothing (epoch 0 only repeats where it began) stands where it began: state must
    be as new as it had to be then, whether or not the run has claimed a fence.

    Args:
        records: of the control log, oldest first.
        commits: of all shares.
        fences: of every place of the last run, by name.
        rebuild: begin at the earliest message, with any state.
    """
    known = known_logs(records)
    last, checkpoints = _replay(records, known)
    if last is None or rebuild or known.others.since > last["run"]:
        why = "rebuilding from the earliest message" if last else "first start"
        return LaunchDecision(None, NEVER, last is not None, (), 0, why)
    moment = _after(last)
    offsets = None if last["offsets"] is None else known.valid(_offsets(last["offsets"]), last["run"])
    leaders = _leaders(last, known)
    for committed in commits:
        if committed.run == last["run"]:
            offsets = (offsets or {}) | known.valid(committed.offsets, committed.run)
            leaders = {place: one for place, one in leaders.items() if place not in committed.offsets}
            leaders |= known.valid(dict(committed.leaders), committed.run)
            if committed.epoch > 0:
                moment = max(moment, (committed.run, committed.epoch))
    state = min((_moment(fence) for name, fence in fences.items() if _known(name, last)), default=(0, 0))
    kept = tuple(sorted(checkpoints))[-CHECKPOINTS_KEPT:]
    horizon = _horizon(kept)
    if state > moment:
        why = f"going on after run {moment[0]}, epoch {moment[1]}" if moment > NEVER else "beginning again"
        return LaunchDecision(offsets, moment, False, kept, horizon, why, leaders)
    for index in range(len(kept) - 1, -1, -1):
        if state > kept[index]:
            why = f"state is of run {state[0]}, epoch {state[1]}, older than what was committed: rewinding"
            at = checkpoints[kept[index]]
            return LaunchDecision(at.offsets, kept[index], True, kept[: index + 1], horizon, why, at.leaders)
    why = "state is lost or older than every checkpoint: rebuilding from the earliest message"
    return LaunchDecision(None, NEVER, True, (), 0, why)


@dataclass(slots=True)
class _Checkpoint:
    """Checkpoint, as far as its logs are still there."""

    offsets: Offsets = field(default_factory=dict)
    leaders: Leaders = field(default_factory=dict)
    parts: set[int] = field(default_factory=set)


def _replay(records: Records, known: KnownLogs) -> tuple[dict[str, Any] | None, dict[Moment, _Checkpoint]]:
    """Follow the control log: return the last run that began, and the checkpoints valid after it, oldest first."""
    last: dict[str, Any] | None = None
    valid: dict[Moment, _Checkpoint] = {}
    partly: dict[Moment, _Checkpoint] = defaultdict(_Checkpoint)
    for _, record in records:
        if record["kind"] == "register" and record["lost"]:
            last, valid = None, {}
        elif record["kind"] == "begin":
            last = record
            if record["rewound"]:
                kept = {(run, epoch) for run, epoch in record["kept"]}
                valid = {moment: checkpoint for moment, checkpoint in valid.items() if moment in kept}
            if record["offsets"] is not None:
                # the same moment however often a run begins there, lest crashes at start push checkpoints out
                offsets = known.valid(_offsets(record["offsets"]), record["run"])
                valid[_after(record)] = _Checkpoint(offsets, _leaders(record, known))
        elif record["kind"] == "checkpoint" and last is not None and record["run"] == last["run"]:
            moment = (record["run"], record["epoch"])
            found = partly[moment]
            found.offsets |= known.valid(_offsets(record["offsets"]), record["run"])
            found.leaders |= _leaders(record, known)
            found.parts.add(record["part"])
            if len(found.parts) == record["parts"]:
                valid[moment] = found
    return last, valid


def _known(name: str, last: dict[str, Any]) -> bool:
    """Say whether the last run had this place; a new realm has no fence yet."""
    return not name.startswith("r:") or name[2:] in last["realms"]


def _after(begin: Mapping[str, Any]) -> Moment:
    run, epoch = begin["after"]
    return run, epoch


def _moment(fence: FencingToken | None) -> Moment:
    return (0, 0) if fence is None else (fence.run, fence.epoch)


def _horizon(kept: tuple[Moment, ...]) -> int:
    if len(kept) < CHECKPOINTS_KEPT:
        return 0
    run, epoch = kept[0]
    return pending_score(run, max(0, epoch))


def _listed(offsets: Offsets) -> list[list[Any]]:
    return [[topic, partition, at] for (topic, partition), at in sorted(offsets.items())]


def _leaders(record: Mapping[str, Any], known: KnownLogs) -> Leaders:
    """Read leader epochs; earlier versions wrote none."""
    return known.valid(_offsets(record.get("leaders", [])), record["run"])


def _offsets(listed: list[list[Any]]) -> Offsets:
    return {(topic, partition): at for topic, partition, at in listed}
