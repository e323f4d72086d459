"""Look at topics before a run begins: their ids, their ends, and whether the messages that nurt has read are there."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from nurt.adapters.kafka.outage import Outage, refuse
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.adapters.kafka.topics import (
    Partition,
    TopicFilter,
    cluster_id,
    list_partitions,
    offset_range,
    open_admin,
    topic_ids,
)
from nurt.control.log_judgement import Look
from nurt.control.logs import KnownLogs
from nurt.errors import ConnectionFailed
from nurt.model.log import LogStand, Offsets, Witness, Witnesses, checksum_of
from nurt.model.raw import RawBatch, RawRows

POLL_S = 0.2
ANSWER_MAX_S = 60.0
FETCHED_AHEAD = 100
FETCHED_BYTES = 1 << 16
"""Of each partition at a time: only its first few messages are looked at."""


class TopicLook:
    """Look at the topics of an input.

    Args:
        topics: names, and patterns that begin with `^`.
    """

    def __init__(self, settings: KafkaSettings, topics: Sequence[str]) -> None:
        self._settings = settings
        self._outage = Outage("looking at topics", settings.bootstrap)
        self._admin = open_admin(settings, self._outage)
        wanted = TopicFilter(topics)
        self._there = self._ask(lambda: list_partitions(self._admin, wanted))
        self._ranges = self._ask(lambda: offset_range(self._admin, self._there))

    def starts(self) -> Offsets:
        """Return the first offset of every partition."""
        return {partition: first for partition, (first, _) in self._ranges.items()}

    def looks(self, last: Witnesses, stands: Mapping[str, Sequence[LogStand]], known: KnownLogs) -> dict[str, Look]:
        """Look at every topic, and whether it holds messages that nurt has read.

        Leader epochs are numbered by partition and topic id, so those of another id show nothing.
        """
        topics = {topic for topic, _ in self._there}
        cluster = self._ask(lambda: cluster_id(self._admin))
        ids = self._ask(lambda: topic_ids(self._admin, topics))
        held = self._held(last)
        same = {one for one in topics if (ids.get(one) or cluster) == (known.of(one).id or known.of(one).cluster)}
        cut = self._cut({(topic, one.partition): one for topic in same for one in stands.get(topic, ())})
        return {
            topic: Look(
                cluster,
                ids.get(topic, ""),
                {number: end for (of, number), (_, end) in self._ranges.items() if of == topic},
                {number: is_held for (of, number), is_held in held.items() if of == topic},
                cut={number: at for (of, number), at in cut.items() if of == topic},
            )
            for topic in topics
        }

    def first_messages(self, topics: Iterable[str], rows_max: int) -> list[RawBatch]:
        """Return the first messages of each partition of some topics."""
        wanted = set(topics)
        begins = {one: first for one, (first, end) in self._ranges.items() if one[0] in wanted and first < end}
        rows: dict[str, RawRows] = {topic: RawRows(topic) for topic in wanted}
        for (topic, number), messages in sorted(self._read(begins, rows_max).items()):
            for message in messages:
                _, timestamp_ms = message.timestamp()
                rows[topic].add(
                    number, message.offset(), timestamp_ms, message.key(), message.value(), message.headers()
                )
        return [some.batch() for some in rows.values()]

    def _held(self, last: Witnesses) -> dict[Partition, bool]:
        """Say which witnessed messages are there; a partition whose message was deleted or compacted is left out."""
        asked = {
            one: witness.offset
            for one, witness in last.items()
            if one in self._ranges and self._ranges[one][0] <= witness.offset < self._ranges[one][1]
        }
        found = {}
        for one, messages in self._read(asked, 1).items():
            if messages and messages[0].offset() == asked[one]:
                found[one] = _witness(messages[0]) == last[one]
        return found

    def _cut(self, stands: Mapping[Partition, LogStand]) -> dict[Partition, int]:
        """Find partitions that were cut below where nurt has read, and the offset from which on they are others.

        librdkafka asks the partition's leader where the messages of the leader epoch end, and goes back to there; where
        the leader knows no such epoch, to the beginning.
        """
        asked = {one: stand for one, stand in stands.items() if one in self._ranges}
        places = [TopicPartition(*one, stand.offset, leader_epoch=stand.leader) for one, stand in asked.items()]
        goes_back = {"auto.offset.reset": "earliest", "fetch.wait.max.ms": 10}
        met: dict[Partition, int] = {}

        def take(message: Any) -> bool:
            if message.error() is None or message.error().code() == KafkaError._PARTITION_EOF:
                return met.setdefault((message.topic(), message.partition()), message.offset()) >= 0
            refuse("looking at topics", message.error())
            return False

        self._consume(places, take, goes_back)
        return {one: at for one, at in met.items() if at < asked[one].offset}

    def _read(self, begins: Mapping[Partition, int], rows_max: int) -> dict[Partition, list[Any]]:
        """Read messages of partitions from given offsets on, up to `rows_max` or the end of each."""
        found: dict[Partition, list[Any]] = {one: [] for one in begins}
        places = [TopicPartition(*one, at) for one, at in begins.items()]
        self._consume(
            places, lambda message: self._take(message, found.get((message.topic(), message.partition()), []), rows_max)
        )
        return found

    def _consume(
        self, places: list[TopicPartition], is_done: Callable[[Any], bool], options: Mapping[str, Any] | None = None
    ) -> None:
        """Consume partitions until `is_done` says of a message, or of an error, that its partition is done."""
        if not places:
            return
        fixed = self._options() | dict(options or {})
        consumer: Any = self._settings.open(Consumer, "consumer", self._settings.client_options(fixed))
        left, heard_s = {(one.topic, one.partition) for one in places}, time.monotonic()
        try:
            consumer.assign(places)
            while left:
                for message in consumer.consume(FETCHED_AHEAD, POLL_S):
                    heard_s = time.monotonic()
                    one = (message.topic(), message.partition())
                    if is_done(message) and one in left:
                        left.remove(one)
                        consumer.incremental_unassign([TopicPartition(*one)])
                if time.monotonic() - heard_s > ANSWER_MAX_S:
                    raise ConnectionFailed(
                        f"looking at topics at {self._settings.bootstrap}: no message of {len(left)} partitions came "
                        f"for {ANSWER_MAX_S:.0f} s; check the brokers, and start again"
                    )
        finally:
            consumer.close()

    def _take(self, message: Any, found: list[Any], rows_max: int) -> bool:
        """Take one message, or what a broker says instead; return whether the partition is done."""
        error = message.error()
        if error is None:
            if len(found) < rows_max:
                found.append(message)
            return len(found) >= rows_max
        refuse("looking at topics", error)
        return error.code() in (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET)

    def _ask(self, call: Any) -> Any:
        return self._outage.until_answered(call, ANSWER_MAX_S)

    def _options(self) -> dict[str, Any]:
        return {
            "error_cb": self._outage.on_error,
            "group.id": f"nurt-{uuid.uuid4().hex}",  # never joined, nothing is committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "queued.min.messages": FETCHED_AHEAD,
            "fetch.queue.backoff.ms": 5,  # by default a partition whose queue is full rests for a second
            "max.partition.fetch.bytes": FETCHED_BYTES,
        }


def _witness(message: Any) -> Witness:
    return Witness(message.offset(), checksum_of(message.timestamp()[1], message.key(), message.value()))


def output_ids(settings: KafkaSettings, topics: Sequence[str]) -> dict[str, str]:
    """Return the ids of topics that nurt writes; of one whose id the broker does not tell, an empty one."""
    outage = Outage("looking at topics", settings.bootstrap)
    admin = open_admin(settings, outage)
    there = outage.until_answered(
        lambda: {topic for topic, _ in list_partitions(admin, TopicFilter(topics))}, ANSWER_MAX_S
    )
    found = outage.until_answered(lambda: topic_ids(admin, there), ANSWER_MAX_S)
    return {topic: found.get(topic, "") for topic in there}
