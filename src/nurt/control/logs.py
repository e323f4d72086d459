"""What the control log knows of the topics' logs: which log has a topic's name now, and since which run.

A topic that is deleted and made anew has another log under the old name. Offsets, source epochs and counted offsets
belong to a log. So each topic has two numbers. Its *log's number* grows with each other log; counted offsets name it.
Its *generation* (`generations`) grows with each other log, too, and whenever begins of source epochs were lost: with a
lost control log, or a rebuild. Its rows then beat all earlier ones. What an earlier run said of offsets is void.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from nurt.errors import LogHalted
from nurt.model.log import LogStand, Offsets

Records = Sequence[tuple[int, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class TopicLog:
    """The log that has a topic's name.

    Attributes:
        number: counts the logs that had the name.
        generation: of the topic's source epochs.
        cluster, id: as the broker names them; empty: unknown.
        since: the run that began to read it; what earlier runs said of its offsets is void.
        cut: partition -> the run that began to read it again, because its log was cut.
        cut_at: partition -> the offset from which on its messages are others than those that were read.
        snapshot: partitions that begin with a full snapshot, as far as it was looked.
        first: partition -> checksum of its first message when nurt began to read it; a restored copy has it, too.
        record: number of the record that said so.
    """

    number: int = 0
    generation: int = 0
    cluster: str = ""
    id: str = ""
    since: int = 0
    cut: Mapping[int, int] = field(default_factory=dict)
    snapshot: tuple[int, ...] = ()
    first: Mapping[int, int] = field(default_factory=dict)
    record: int = 0
    cut_at: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KnownLogs:
    """All logs that are known, and the numbers of those that are not.

    Attributes:
        others: what a topic without an own record has.
        register: the id of the control log; empty: it is of a version without ids.
    """

    topics: Mapping[str, TopicLog]
    others: TopicLog = TopicLog()
    register: str = ""

    def of(self, topic: str) -> TopicLog:
        """Return what is known of a topic's log."""
        return self.topics.get(topic, self.others)

    def number(self, topic: str) -> int:
        """Return the number of a topic's log."""
        return self.of(topic).number

    def generation(self, topic: str) -> int:
        """Return the generation of a topic's source epochs."""
        return self.of(topic).generation

    def highest(self) -> TopicLog:
        """Return the highest number and generation of any topic."""
        every = [self.others, *self.topics.values()]
        return TopicLog(max(one.number for one in every), max(one.generation for one in every))

    def valid(self, offsets: Offsets, run: int) -> Offsets:
        """Leave out offsets that a run said of logs that are no longer there."""
        return {place: at for place, at in offsets.items() if not self.is_void(place, run)}

    def is_void(self, place: tuple[str, int], run: int) -> bool:
        """Say whether what a run said of a partition's offsets is void."""
        log = self.of(place[0])
        return 0 < run < max(log.since, self.others.since, log.cut.get(place[1], 0))


NO_LOGS = KnownLogs({})


def known_logs(records: Records) -> KnownLogs:
    """Read what the control log knows."""
    topics: dict[str, TopicLog] = {}
    others = TopicLog()
    register = ""
    for number, record in records:
        kind = record["kind"]
        if kind == "log":
            topics[record["topic"]] = _log_of(record, topics.get(record["topic"], others), number)
        elif kind == "register":
            register = record["id"]
            if record.get("lost"):
                topics, others = {}, TopicLog(generation=record["generation"], record=number)
        elif kind == "rebuild":
            since = record["run"]
            others = TopicLog(record["log"], record["generation"], since=since, record=number)
            topics = {
                topic: replace(others, cluster=one.cluster, id=one.id, first=one.first) for topic, one in topics.items()
            }
    return KnownLogs(topics, others, register)


def log_record(topic: str, log: TopicLog) -> dict[str, Any]:
    """Make the record of a topic's log."""
    return {
        "kind": "log",
        "topic": topic,
        "log": log.number,
        "generation": log.generation,
        "cluster": log.cluster,
        "id": log.id,
        "since": log.since,
        "cut": sorted(log.cut.items()),
        "snapshot": list(log.snapshot),
        "first": sorted(log.first.items()),
        "cut_at": sorted(log.cut_at.items()),
    }


def _log_of(record: Mapping[str, Any], before: TopicLog, number: int) -> TopicLog:
    is_other = record["since"] != before.since
    return TopicLog(
        record["log"],
        record["generation"],
        record["cluster"],
        record["id"],
        record["since"],
        dict(record["cut"]),
        tuple(record["snapshot"]),
        dict(record["first"]),
        number if is_other else before.record,
        dict(record.get("cut_at", ())),
    )


def next_log(log: TopicLog, run: int, snapshot: tuple[int, ...], first: Mapping[int, int] | None = None) -> TopicLog:
    """Return another log under a topic's name.

    Args:
        run: the run that begins to read it.
        snapshot: partitions that begin with a full snapshot.
        first: partition -> checksum of its first message.
    """
    return TopicLog(
        log.number + 1, log.generation + 1, log.cluster, log.id, run, snapshot=snapshot, first=dict(first or {})
    )


def rebuild_record(run: int, known: KnownLogs, confirmed: bool) -> dict[str, Any]:
    """Make the record that all topics are read anew, as other logs.

    Args:
        confirmed: rows that are not read again go, however many they are.
    """
    highest = known.highest()
    return {
        "kind": "rebuild",
        "run": run,
        "log": highest.number + 1,
        "generation": highest.generation + 1,
        "confirmed": confirmed,
    }


# --- beside the state: another control log does not know what the lost one knew -----------------------


def encode_known(known: KnownLogs) -> bytes:
    """Write what is known as one value."""
    topics = {
        topic: [one.number, one.generation, one.cluster, one.id, sorted(one.first.items())]
        for topic, one in sorted(known.topics.items())
    }
    others = [known.others.number, known.others.generation]
    return orjson.dumps({"register": known.register, "topics": topics, "others": others})


def decode_known(value: bytes | None) -> KnownLogs:
    """Read what is known; nothing is known without a value."""
    if value is None:
        return NO_LOGS
    found = orjson.loads(value)
    topics = {
        topic: TopicLog(number, generation, cluster, id_, first=dict(first))
        for topic, (number, generation, cluster, id_, first) in found["topics"].items()
    }
    return KnownLogs(topics, TopicLog(*found["others"]), found["register"])


def joined_known(known: KnownLogs, stored: KnownLogs) -> KnownLogs:
    """Join what the control log knows with the numbers of a state that knows more."""
    highest = stored.highest()
    number = max(known.others.number, highest.number)
    generation = max(known.others.generation, highest.generation)
    return replace(known, others=replace(known.others, number=number, generation=generation))


# --- words ----------------------------------------------------------------------------------------


SAME, ANOTHER = "same", "another"
"""The operator's words on a log."""


def halted_log_record(topic: str, why: str) -> dict[str, Any]:
    """Make the record that a topic's log waits for the operator's word."""
    return {"kind": "log_halted", "topic": topic, "why": why}


def log_word_record(topic: str, word: str) -> dict[str, Any]:
    """Make the record of the operator's word on a topic's log."""
    return {"kind": "log_word", "topic": topic, "word": word}


def halted_by(topic: str, why: str) -> LogHalted:
    """Say why a topic's log waits, and which command starts it again."""
    return LogHalted(
        f"reading topic {topic}: it is not the log that nurt has read ({why}), and no full snapshot begins it. Nothing "
        f"of it was folded. If the log was only cut or restored, say `nurt source same-log {topic}`; if it was made "
        f"anew, say `nurt source another-log {topic}`; then start again"
    )


def read_record(topic: str, stand: LogStand, run: int) -> dict[str, Any]:
    """Make the record of how far a run had read a partition when it noticed that the log was cut.

    The run's commits are behind that. So a start would find nothing wrong, while the state has more of the log.
    """
    listed = [stand.partition, stand.offset, stand.leader]
    return {"kind": "log_read", "topic": topic, "read": listed, "run": run}


def read_stands(records: Records, known: KnownLogs) -> list[tuple[str, LogStand]]:
    """List how far partitions were read by runs whose offsets are valid."""
    found = [
        (record["topic"], LogStand(*record["read"]), record["run"])
        for _, record in records
        if record["kind"] == "log_read"
    ]
    return [(topic, stand) for topic, stand, run in found if not known.is_void((topic, stand.partition), run)]


def halted_logs(records: Records) -> dict[str, str]:
    """List the topics whose logs wait for the operator's word, and why."""
    waiting: dict[str, str] = {}
    for _, record in records:
        if record["kind"] == "log_halted":
            waiting[record["topic"]] = record["why"]
        elif record["kind"] in ("log_word", "log"):
            waiting.pop(record["topic"], None)
        elif record["kind"] == "rebuild":
            waiting.clear()
    return waiting


def log_words(records: Records) -> dict[str, str]:
    """List the operator's words that no run has followed yet, by topic."""
    words: dict[str, str] = {}
    for _, record in records:
        if record["kind"] == "log_word":
            words[record["topic"]] = record["word"]
        elif record["kind"] == "log":
            words.pop(record["topic"], None)
        elif record["kind"] == "rebuild":
            words.clear()
    return words
