"""Judge whether the log that has a topic's name now is the one that nurt has read.

Four things tell: the ids of cluster and topic, the messages that nurt has read (`model.log.Witness`), the end of the
log, and, while the id is the same, leader epochs. Messages count more than ids: a mirrored or restored log has other
ids and the same messages. A restart, a leader that moves, a log start that moved by retention, a witness that
compaction took: none of these is evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from nurt.control.logs import TopicLog
from nurt.model.log import LogStand, Offsets, Witness


class Finding(StrEnum):
    """Finding about a topic's log."""

    SAME = "same"
    ANOTHER = "another"
    CUT = "cut"  # or restored: the name and the beginning are the same, and messages that nurt has read are not there


@dataclass(frozen=True, slots=True)
class Look:
    """What is there under a topic's name.

    Attributes:
        cluster, id: as the broker names them; empty: unknown.
        ends: partition -> the offset after its last message.
        last_held: partition -> whether the message that nurt read last is there; absent: nothing can tell.
        first_held: the same of its first message, of archives.
        cut: partition -> the offset from which on its messages are others than those that nurt read, as leader epochs
            show it.
    """

    cluster: str = ""
    id: str = ""
    ends: Mapping[int, int] = field(default_factory=dict)
    last_held: Mapping[int, bool] = field(default_factory=dict)
    first_held: Mapping[int, bool] = field(default_factory=dict)
    cut: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Judgement of a topic's log.

    Attributes:
        partitions: those that show it.
        why: for people.
    """

    finding: Finding
    partitions: tuple[int, ...] = ()
    why: str = ""


def judge(known: TopicLog, look: Look, offsets: Mapping[int, int]) -> Judgement:
    """Judge a topic's log.

    Args:
        known: what is known of the log that nurt has read.
        look: what is there now.
        offsets: partition -> the offset at which nurt would go on.
    """
    behind = [one for one, at in offsets.items() if one in look.ends and at > look.ends[one]]
    differ = [one for one, held in look.last_held.items() if not held]
    gone = sorted({*behind, *look.cut, *differ})
    why = _shown(behind, differ, offsets, look)
    same_name = _same_name(known, look)
    if same_name is False:
        if not gone and any(look.last_held.values()):
            return Judgement(Finding.SAME)
        ids = f"its id is {look.id} (it was {known.id})" if look.id and known.id else "it begins with another message"
        return Judgement(Finding.ANOTHER, tuple(gone), f"{ids}; {why}" if why else ids)
    return Judgement(Finding.CUT, tuple(gone), why) if gone else Judgement(Finding.SAME)


def restored(found: Judgement, look: Look, offsets: Mapping[int, int]) -> Judgement:
    """Return the judgement of another log that begins with the message that nurt has read first.

    It is a copy: an older one, unless it goes as far as nurt has read and nothing speaks against it.
    """
    if offsets and not found.partitions:
        return Judgement(Finding.SAME)
    unproven = tuple(sorted(one for one in look.ends if not look.last_held.get(one, False)))
    return Judgement(Finding.CUT, unproven, f"{found.why}; it begins as the former one did, as an older copy would")


def _same_name(known: TopicLog, look: Look) -> bool | None:
    if known.id and look.id:
        return known.id == look.id
    if look.first_held:
        return all(look.first_held.values())
    return None


def _shown(behind: Iterable[int], differ: Iterable[int], offsets: Mapping[int, int], look: Look) -> str:
    shown = {one: f"partition {one} has another message where nurt read last" for one in differ}
    shown |= {one: f"partition {one} was cut at offset {at} and written on" for one, at in look.cut.items()}
    shown |= {one: f"partition {one} ends at {look.ends[one]}, nurt has read up to {offsets[one]}" for one in behind}
    return next(iter(shown.values())) + (f", and {len(shown) - 1} more" if len(shown) > 1 else "") if shown else ""


def stands_of(offsets: Offsets, leaders: Mapping[tuple[str, int], int]) -> list[tuple[str, LogStand]]:
    """List up to where partitions were read, where leader epochs are known."""
    return [(place[0], LogStand(place[1], offsets[place], one)) for place, one in leaders.items() if place in offsets]


def furthest(stands: Iterable[tuple[str, LogStand]]) -> dict[str, list[LogStand]]:
    """Return the furthest place of each partition, by topic."""
    found: dict[str, dict[int, LogStand]] = {}
    for topic, stand in sorted(stands, key=lambda one: one[1].offset):
        if stand.leader >= 0:
            found.setdefault(topic, {})[stand.partition] = stand
    return {topic: list(some.values()) for topic, some in found.items()}


def cut_places(
    partitions: Iterable[int], look: Look, offsets: Mapping[int, int], last: Mapping[int, Witness]
) -> dict[int, int]:
    """Say of partitions that were cut from which offset on, at the latest, their messages are others.

    Args:
        offsets: partition -> the offset up to which it was read.
        last: partition -> the witness of its newest message.
    """
    found: dict[int, int] = {}
    for one in partitions:
        places = [look.cut[one]] if one in look.cut else []
        if look.ends.get(one, 0) < offsets.get(one, 0):
            places.append(look.ends.get(one, 0))
        if not look.last_held.get(one, True):
            places.append(last[one].offset)
        if places:
            found[one] = min(places)
    return found


# --- by rule --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FirstChange:
    """First change event of one partition.

    Attributes:
        is_full: it is a row of a full snapshot.
    """

    partition: int
    timestamp_ms: int
    is_full: bool


def begins_with_snapshot(changes: Iterable[FirstChange], snapshot_since: int | None = None) -> bool:
    """Say whether a full snapshot begins a log.

    Every partition begins with rows of the snapshot, or with a change that was written after the snapshot began.

    Args:
        snapshot_since: when the snapshot began, as other new logs of the same system show it.
    """
    every = list(changes)
    began = [one.timestamp_ms for one in every if one.is_full]
    began += [] if snapshot_since is None else [snapshot_since]
    return not every or (bool(began) and all(one.is_full or one.timestamp_ms >= min(began) for one in every))
