"""Look at the input's logs before a run begins, and decide of each whether it is the one that nurt has read."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np

from nurt.adapters.files.archive import ArchiveLog
from nurt.adapters.kafka.look import TopicLook
from nurt.app.opening import open_registry
from nurt.columnar.ids import Ids
from nurt.columnar.types import Int64s
from nurt.control.launch import LaunchDecision
from nurt.control.log_judgement import (
    Finding,
    FirstChange,
    Look,
    begins_with_snapshot,
    cut_places,
    furthest,
    judge,
    restored,
    stands_of,
)
from nurt.control.logs import (
    ANOTHER,
    SAME,
    KnownLogs,
    halted_log_record,
    halted_logs,
    log_record,
    log_words,
    next_log,
    read_stands,
)
from nurt.control.source_epochs import SourceEpochs
from nurt.control.source_survey import Seen
from nurt.mapping.load import Mapping as TopicMappings
from nurt.model.entity_frame import FULL_SNAPSHOT
from nurt.model.log import Committed, LogStand, Offsets, Witness, Witnesses, checksum_of
from nurt.model.raw import DAMAGED_TOPIC, RawBatch, RawRows
from nurt.settings import Settings
from nurt.translate.translator import Translator

FIRST_ROWS = 50
"""Messages of each partition among which its first change must be."""

POLL_ROWS = 10_000

Partition = tuple[str, int]
Stands = Mapping[str, Sequence[LogStand]]
"""topic -> up to where its partitions were read."""
T = TypeVar("T")

_logger = logging.getLogger(__name__)


class LogLook(Protocol):
    """Look at all logs of an input."""

    def starts(self) -> Offsets:
        """Return the first offset of every partition."""
        ...

    def looks(self, last: Witnesses, stands: Stands, known: KnownLogs) -> dict[str, Look]:
        """Look at every topic, whether it holds messages that nurt has read, and up to where it was read."""
        ...

    def first_messages(self, topics: Iterable[str], rows_max: int) -> list[RawBatch]:
        """Return the first messages of each partition of some topics."""
        ...


def open_look(settings: Settings, commits: Sequence[Committed]) -> LogLook:
    """Look at the input; an archive is read once, when something of it was read before."""
    if settings.kafka_input is not None:
        assert settings.kafka is not None
        return TopicLook(settings.kafka, settings.kafka_input.topics)
    return ArchiveLook(settings, commits)


class ArchiveLook:
    """Look at archives: all of their messages are read."""

    def __init__(self, settings: Settings, commits: Sequence[Committed]) -> None:
        self._last = {place: one for committed in commits for place, one in committed.last.items()}
        self._first = {place: one for committed in commits for place, one in committed.first.items()}
        self._ends: Offsets = {}
        self._starts: Offsets = {}
        self._held: dict[tuple[str, int], bool] = {}
        self._first_held: dict[tuple[str, int], bool] = {}
        self._rows: dict[tuple[str, int], RawRows] = {}
        if commits:
            log = ArchiveLog(settings.archives)
            log.start(None)
            while not log.exhausted():
                for batch in log.poll(POLL_ROWS):
                    if batch.topic != DAMAGED_TOPIC:
                        self._take(batch)
            log.close()

    def _take(self, batch: RawBatch) -> None:
        for row in range(len(batch)):
            place = batch.topic, int(batch.partitions[row])
            message = (int(batch.offsets[row]), int(batch.timestamps_ms[row]), batch.keys[row], batch.values[row])
            offset = message[0]
            if place not in self._rows:
                self._rows[place] = RawRows(batch.topic, batch.schemas)
                self._starts[place] = offset
                self._compare(self._first, self._first_held, place, message)
            if offset - self._starts[place] < FIRST_ROWS:
                self._rows[place].add(place[1], *message, batch.headers[row])
            self._ends[place] = offset + 1
            self._compare(self._last, self._held, place, message)

    def _compare(
        self,
        known: Witnesses,
        held: dict[tuple[str, int], bool],
        place: tuple[str, int],
        message: tuple[int, int, bytes | None, bytes | None],
    ) -> None:
        witness = known.get(place)
        if witness is not None and (witness.offset == message[0] or known is self._first):
            held[place] = witness == Witness(message[0], checksum_of(*message[1:]))

    def starts(self) -> Offsets:
        """See LogLook."""
        return self._starts

    def looks(self, last: Witnesses, stands: Stands, known: KnownLogs) -> dict[str, Look]:
        """See LogLook."""
        found: dict[str, Look] = {}
        for topic in {topic for topic, _ in self._ends}:
            held = {number: one for (of, number), one in self._held.items() if of == topic and (of, number) in last}
            first = {number: one for (of, number), one in self._first_held.items() if of == topic}
            ends = {number: end for (of, number), end in self._ends.items() if of == topic}
            found[topic] = Look("", "", ends, held, first)
        return found

    def first_messages(self, topics: Iterable[str], rows_max: int) -> list[RawBatch]:
        """See LogLook."""
        wanted = set(topics)
        return [rows.batch() for (topic, _), rows in sorted(self._rows.items()) if topic in wanted]


@dataclass(frozen=True, slots=True)
class LogsDecided:
    """Decision about all logs of an input.

    Attributes:
        records: what the control log must be told before the run begins.
        halted: topics that wait for the operator's word, and why.
    """

    records: list[dict[str, Any]]
    halted: dict[str, str]


def decide_logs(
    settings: Settings,
    mapping: TopicMappings,
    records: Sequence[tuple[int, dict[str, Any]]],
    known: KnownLogs,
    commits: Sequence[Committed],
    going_on: LaunchDecision,
    run: int,
) -> LogsDecided:
    """Decide of each topic whether its log is the one that nurt has read.

    Args:
        known: what the control log, or the state, knows.
        commits: of the input.
        going_on: where the run would go on.
        run: the run's number.
    """
    commits = [_valid(one, known) for one in commits]
    look = open_look(settings, commits)
    at = {place: one for committed in commits for place, one in committed.offsets.items()}
    at |= {place: max(one, at.get(place, 0)) for place, one in (going_on.offsets or {}).items()}
    last = {place: one for committed in commits for place, one in committed.last.items()}
    stands = furthest(
        [
            *(one for of in commits for one in stands_of(of.offsets, of.leaders)),
            *stands_of(going_on.offsets or {}, going_on.leaders),
            *read_stands(records, known),
        ]
    )
    for topic, some in stands.items():
        at |= {(topic, one.partition): max(one.offset, at.get((topic, one.partition), 0)) for one in some}
    looks = look.looks(last, stands, known)
    found = {topic: judge(known.of(topic), one, _of_topic(at, topic)) for topic, one in looks.items()}
    words, waiting = log_words(records), halted_logs(records)
    unknown = {topic for topic, one in looks.items() if one.id and not known.of(topic).first}
    other = {topic for topic, one in found.items() if one.finding is Finding.ANOTHER}
    first = _first_checksums(look, unknown | other)
    for topic in other:
        if any(first.get(topic, {}).get(number) == one for number, one in known.of(topic).first.items()):
            found[topic] = restored(found[topic], looks[topic], _of_topic(at, topic))
    anew = {topic for topic, one in found.items() if one.finding is Finding.ANOTHER and topic not in words}
    begun = _begun_by_snapshot(settings, mapping, look, anew) if anew else {}
    decided = LogsDecided([], {})
    for topic, one in sorted(looks.items()):
        log = replace(known.of(topic), cluster=one.cluster, id=one.id or known.of(topic).id)
        if not log.first:
            log = replace(log, first=first.get(topic, {}))
        other_log = next_log(log, run, begun.get(topic, ()), first.get(topic))
        if words.get(topic) == ANOTHER or (topic in begun and topic not in words):
            said = "as you said" if topic in words else "a full snapshot begins it, or it is empty"
            why = found[topic].why
            _logger.warning("topic %s is another log (%s); it is read from its beginning: %s", topic, why, said)
            decided.records.append(log_record(topic, other_log))
        elif words.get(topic) == SAME:
            gone = found[topic].partitions
            cut = {**log.cut, **dict.fromkeys(gone, run)}
            cut_at = {number: where for number, where in log.cut_at.items() if number not in gone}
            cut_at |= cut_places(gone, one, _of_topic(at, topic), _of_topic(last, topic))
            decided.records.append(log_record(topic, replace(log, cut=cut, cut_at=cut_at)))
        elif found[topic].finding is not Finding.SAME:
            decided.halted[topic] = found[topic].why
        elif topic in waiting or log != known.of(topic):
            decided.records.append(log_record(topic, log))
    return decided


def _valid(committed: Committed, known: KnownLogs) -> Committed:
    """Leave out what a commit says of logs that are no longer there."""
    void = {place for place in committed.offsets if known.is_void(place, committed.run)}
    return replace(
        committed,
        offsets=_without(committed.offsets, void),
        last=_without(committed.last, void),
        first=_without(committed.first, void),
        leaders=_without(committed.leaders, void),
    )


def _without(some: Mapping[Partition, T], void: set[Partition]) -> dict[Partition, T]:
    return {place: one for place, one in some.items() if place not in void}


def _first_checksums(look: LogLook, topics: set[str]) -> dict[str, dict[int, int]]:
    """Return the checksum of the first message of each partition that has one, by topic."""
    found: dict[str, dict[int, int]] = {topic: {} for topic in topics}
    for batch in look.first_messages(topics, 1) if topics else ():
        for row in range(len(batch)):
            checksum = checksum_of(int(batch.timestamps_ms[row]), batch.keys[row], batch.values[row])
            found[batch.topic].setdefault(int(batch.partitions[row]), checksum)
    return found


def new_halts(records: Sequence[tuple[int, dict[str, Any]]], halted: Mapping[str, str]) -> list[dict[str, Any]]:
    """Make the records of topics that do not wait yet."""
    waiting = halted_logs(records)
    return [halted_log_record(topic, why) for topic, why in halted.items() if topic not in waiting]


def _of_topic(some: Mapping[Partition, T], topic: str) -> dict[int, T]:
    return {number: one for (of, number), one in some.items() if of == topic}


# --- by rule --------------------------------------------------------------------------------------


class _FirstPhases(SourceEpochs):
    """Keeps what a translator sees of messages."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Seen] = []

    def observe(self, topic: str, seen: Seen, *more: Any) -> Int64s:
        self.seen.append(seen)
        return np.zeros(len(seen.offsets), dtype=np.int64)


def first_changes(
    settings: Settings, mapping: TopicMappings, look: LogLook, topics: set[str]
) -> dict[str, list[FirstChange]]:
    """Find the first change event of each partition of some topics; empty lists: their logs are empty.

    A topic is left out when a partition holds messages and no change event among its first ones.
    """
    changes: dict[str, list[FirstChange]] = {topic: [] for topic in topics}
    registry = open_registry(settings)
    for batch in look.first_messages(topics, FIRST_ROWS):
        if not len(batch) or mapping.for_topic(batch.topic) is None:
            continue
        epochs = _FirstPhases()
        Translator(mapping, registry, Ids(settings.ids_secret()), epochs).translate(batch)
        places = zip(map(int, batch.partitions), map(int, batch.offsets), strict=True)
        times = dict(zip(places, map(int, batch.timestamps_ms), strict=True))
        found: dict[int, FirstChange] = {}
        for seen in epochs.seen:
            for number, offset, snapshot in zip(seen.partitions, seen.offsets, seen.snapshot, strict=True):
                place = int(number)
                if place not in found:
                    found[place] = FirstChange(place, times[place, int(offset)], snapshot == FULL_SNAPSHOT)
        if {place for place, _ in times} == found.keys():
            changes.get(batch.topic, []).extend(found.values())
        else:
            changes.pop(batch.topic, None)
    return changes


def _begun_by_snapshot(
    settings: Settings, mapping: TopicMappings, look: LogLook, topics: set[str]
) -> dict[str, tuple[int, ...]]:
    """List the topics whose logs a full snapshot begins, and the partitions with its rows; an empty log is one, too.

    A table that was empty at the snapshot begins with later changes: other new logs of its system show the snapshot.
    """
    changes = first_changes(settings, mapping, look, topics)
    systems = {topic: entry.system.name for topic in topics if (entry := mapping.for_topic(topic)) is not None}
    since: dict[str, int] = {}
    for topic, some in changes.items():
        for one in some:
            if one.is_full:
                system = systems[topic]
                since[system] = min(since.get(system, one.timestamp_ms), one.timestamp_ms)
    return {
        topic: tuple(one.partition for one in some if one.is_full)
        for topic, some in changes.items()
        if begins_with_snapshot(some, since.get(systems.get(topic, "")))
    }
