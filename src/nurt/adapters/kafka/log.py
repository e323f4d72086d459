"""One worker's part of Kafka topics as a message log: assigned by nurt, read as columns, committed when done."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from nurt.adapters.kafka.drain import Drain
from nurt.adapters.kafka.messages import LibraryMessages, MessageSource
from nurt.adapters.kafka.outage import AWAY, Outage, refuse
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.adapters.kafka.topics import (
    REQUEST_TIMEOUT_S,
    Partition,
    PartitionsChanged,
    PartitionWatch,
    TopicFilter,
    list_partitions,
    offset_range,
    open_admin,
    share_of,
    topic_ids,
)
from nurt.control.logs import halted_by
from nurt.debezium.payloads import int64s
from nurt.errors import ConfigurationError, LogChanged, NurtError, OffsetLost, frames_of
from nurt.model.log import NO_LEADER, Committed, Leaders, LogStand, Offsets, Witness, WitnessNotes
from nurt.model.raw import RawBatch

Result = TypeVar("Result")

FETCHER: dict[str, Any] = {
    "queued.min.messages": 100_000,
    "fetch.queue.backoff.ms": 5,
}
"""librdkafka pauses a partition past `queued.min.messages`, by default for a second: then the reader has no input."""

AHEAD = 20_000
MESSAGE_BYTES = 400
AHEAD_KBYTES_MIN = 4_096
"""A micro-batch is fetched ahead, and the queue is polled every 5 ms; more would only take memory, three times over."""

LOST = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION})
FOREIGN_MEMBERS = frozenset(
    {
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
    }
)

_logger = logging.getLogger(__name__)


class KafkaLog:
    """Log of this worker's partitions: it reads them in order, and commits what is done to `group`.

    No consumer group membership: partitions are assigned by index in the sorted list, so a killed worker's successor
    continues at once. Every worker must be started with the same topics and `workers`.

    Args:
        topics: names, and patterns that begin with `^`.
        stop_at_end: `exhausted` becomes true when every partition was read up to its end at `start`.
        idle_wait_ms: how long an empty `poll` waits for the first message, after two empty polls in a row.
        metadata_s: how often to look for new partitions.
        ahead: about how many messages to fetch in advance: a micro-batch.
        drained: take messages from librdkafka's queue in one call where possible (see `drain.py`).
        answer_max_s: how long brokers may be silent at start before ConnectionFailed; afterwards nurt waits for ever.
        ids: the topics' ids that are known; None: it does not matter whether a topic is another one.
        on_id: is told the id of a topic that was met first.
        on_cut: is told of a topic that was cut, up to where a partition of it was read, and what shows it.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Sequence[str],
        group: str,
        *,
        worker: int = 0,
        workers: int = 1,
        stop_at_end: bool = False,
        idle_wait_ms: int = 5,
        metadata_s: float = 10.0,
        answer_max_s: float = 60.0,
        ahead: int = AHEAD,
        drained: bool = True,
        ids: Mapping[str, str] | None = None,
        on_id: Callable[[str, str], object] = lambda _topic, _id: None,
        on_cut: Callable[[str, LogStand, str], object] = lambda _topic, _stand, _why: None,
    ) -> None:
        assert 0 <= worker < workers, "a worker's index lies below the number of workers"
        self._settings = settings
        self._group = group
        self._worker = worker
        self._workers = workers
        self._stop_at_end = stop_at_end
        self._idle_wait_ms = idle_wait_ms
        self._outage = Outage(f"reading from Kafka (group {group})", settings.bootstrap)
        fixed = {
            **FETCHER,
            "queued.max.messages.kbytes": max(AHEAD_KBYTES_MIN, ahead * MESSAGE_BYTES // 1024),
            "error_cb": self._outage.on_error,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
        }
        self._consumer: Any = settings.open(Consumer, "consumer", settings.client_options(fixed))
        self._tap: MessageSource = (Drain.of(self._consumer) if drained else None) or LibraryMessages(self._consumer)
        self._admin = open_admin(settings, self._outage)
        wanted = TopicFilter(topics)
        known = self._ask(lambda: list_partitions(self._consumer, wanted), answer_max_s)
        for missing in sorted(set(wanted.names) - {topic for topic, _ in known}):
            _logger.warning("reading topic %s: it does not exist yet; nurt takes it in when it appears", missing)
        self._share = share_of(known, worker, workers)
        self._watch = PartitionWatch(settings, self._outage, wanted, known, metadata_s, ids)
        self._metadata_s = metadata_s
        self._ids = None if ids is None else dict(ids)
        self._on_id, self._on_cut = on_id, on_cut
        self._notes = WitnessNotes()
        self._proven: Offsets = {}  # messages before these offsets are of the topics with the known ids
        self._proven_s = -metadata_s
        self._next: Offsets = {}
        self._ends: Offsets = {}
        self._committed: Offsets = {}
        self._leaders: Leaders = {}
        self._untouched: set[Partition] = set()
        self._reported: set[tuple[str, int, int]] = set()
        self._idle = False
        self._closed = False

    def committed(self) -> Committed | None:
        """Return the committed offsets of this part and the largest (run, epoch) in their metadata.

        An offset without nurt's metadata (an operator's reset) counts as run 0, epoch 0. An offset of an earlier run
        than the largest is left out: an overtaken process may have written it late.
        """
        asked = [TopicPartition(*partition) for partition in self._share]
        if not asked:
            return None
        answered = self._ask(lambda: _each_answered(self._consumer.committed(asked, timeout=REQUEST_TIMEOUT_S)))
        found = [(at, read_metadata(at.metadata)) for at in answered if at.offset >= 0]
        if not found:
            return None
        run, epoch = max((run, epoch) for _, (run, epoch, _) in found)
        self._committed = {(at.topic, at.partition): at.offset for at, _ in found}
        believed = {(at.topic, at.partition): (at.offset, last) for at, (of, _, last) in found if of in (0, run)}
        offsets = {partition: at for partition, (at, _) in believed.items()}
        last = {partition: one for partition, (_, one) in believed.items() if one is not None}
        every = {(at.topic, at.partition): at.leader_epoch for at, _ in found}
        leaders = {one: every[one] for one in offsets if every[one] is not None}
        return Committed(offsets, run, epoch, last, leaders=leaders)

    def start(self, offsets: Offsets | None, leaders: Leaders | None = None) -> None:
        """Begin to read; a partition that `offsets` does not name begins at its earliest message.

        The broker compares `leaders` with its own log: a partition that was cut gives an error instead of messages.

        Raises OffsetLost when an offset is before the topic's first or behind its last message.
        """
        ranges = self._ask(lambda: offset_range(self._admin, self._share))
        wanted = offsets or {}
        self._next, self._untouched = {}, set()
        self._notes, known = WitnessNotes(), self.committed()
        self._committed = {}
        self._leaders = {one: leader for one, leader in (leaders or {}).items() if one in wanted}
        for partition, witness in (known.last if known is not None else {}).items():
            if witness.offset < wanted.get(partition, 0):
                self._notes.set(partition, witness)
                self._proven[partition] = wanted[partition]
        for partition in self._share:
            first, end = ranges[partition]
            at = wanted.get(partition)
            if at is not None and not first <= at <= end:
                raise self._lost(partition, at, first, end)
            if at is None:
                self._untouched.add(partition)
            self._next[partition] = first if at is None else at
            self._ends[partition] = end
        self._tap.forward(self._share)
        self._consumer.assign(
            [
                TopicPartition(*one, OFFSET_BEGINNING)
                if one in self._untouched
                else TopicPartition(*one, at, leader_epoch=self._leaders.get(one, NO_LEADER))
                for one, at in self._next.items()
            ]
        )
        self._meet({topic for topic, _ in self._share})
        if not self._watch.is_alive():
            self._watch.start()

    def _meet(self, topics: set[str]) -> None:
        """Learn the ids of topics that are met first."""
        if self._ids is None or not (new := topics - self._ids.keys()):
            return
        found = self._ask(lambda: topic_ids(self._admin, new))
        for topic, id_ in found.items():
            self._on_id(topic, id_)
        self._ids |= found
        self._watch.expect(found)

    def poll(self, rows_max: int) -> list[RawBatch]:
        """Return arrived messages, one batch a topic; wait a few ms only when there were none before.

        Raises OffsetLost when messages were deleted before they were read, LogChanged when a topic was made anew or
        cut, PartitionsChanged when partitions appeared and there are several workers (a single worker takes new
        partitions at once).
        """
        if changed := self._watch.changed:
            raise _changed(*changed)
        if new := self._watch.take_new():
            self._take_in(new)
        batches, failed = self._tap.take(rows_max, self._idle_wait_ms if self._idle else 0)
        self._idle = not batches and not failed
        for batch in batches:
            self._note(batch)
        for message in failed:
            self._take_error(message)
        return batches

    def offsets(self) -> Offsets:
        """Return the next offset of every partition of this part."""
        return dict(self._next)

    def leaders(self) -> Leaders:
        """Return under which leader epoch each partition was read last."""
        return self._leaders_of(list(self._next))

    def _leaders_of(self, partitions: Sequence[Partition]) -> Leaders:
        """Return leader epochs; that of the newest message is right for any offset before it.

        A later leader epoch than that of the message before an offset finds the same cuts: what a new leader writes
        after a cut has a higher one than all that were seen.
        """
        for at in self._consumer.position([TopicPartition(*one) for one in partitions]):
            if at.leader_epoch is not None and at.offset >= 0:
                self._leaders[at.topic, at.partition] = at.leader_epoch
        return {one: self._leaders[one] for one in partitions if one in self._leaders}

    def exhausted(self) -> bool:
        """Say whether every partition was read up to its end at `start`; never, unless `stop_at_end`."""
        return self._stop_at_end and self.caught_up()

    def caught_up(self) -> bool:
        """Say whether every partition was read up to its end at `start`."""
        return all(self._next[partition] >= end for partition, end in self._ends.items())

    def commit(self, committed: Committed) -> None:
        """Store the offsets that moved, with "run:epoch" as metadata; returns when the broker has them.

        One partition is stored even when none moved, so that the stored (run, epoch) is never behind the caller's.
        """
        mine = {partition: at for partition, at in committed.offsets.items() if partition in self._next}
        moved = [partition for partition, at in mine.items() if self._committed.get(partition) != at]
        self._prove(moved)
        told = moved or list(mine)[:1]
        if not told:
            return
        leaders = self._leaders_of(told)
        stored = [
            TopicPartition(*one, mine[one], self._metadata(committed, one), leaders.get(one, NO_LEADER)) for one in told
        ]
        self._ask(lambda: _each_answered(self._consumer.commit(offsets=stored, asynchronous=False)))
        self._committed.update(mine)

    def _prove(self, moved: Sequence[Partition]) -> None:
        """Look whether topics are those that nurt knows, every few seconds: then their messages are witnesses."""
        now_s = time.monotonic()
        if self._ids is None or not moved or (now_s - self._proven_s < self._metadata_s and not self.exhausted()):
            return
        read = dict(self._next)
        found = self._ask(lambda: topic_ids(self._admin, {topic for topic, _ in self._share}))
        for topic, known in self._ids.items():
            if topic in found and found[topic] != known:
                raise _changed(topic, f"its id is {found[topic]} (it was {known})")
        untold = self._ids.keys() - found.keys()  # deleted, or the broker does not tell
        self._proven |= {partition: at for partition, at in read.items() if partition[0] not in untold}
        self._proven_s = now_s

    def _metadata(self, committed: Committed, partition: Partition) -> str:
        """Write what a commit says beside its offset: run, epoch, and the newest message before it that is proven."""
        offset = committed.offsets[partition]
        last = None if self._ids is None else self._notes.before(partition, min(offset, self._proven.get(partition, 0)))
        text = f"{committed.run}:{committed.epoch}"
        return text if last is None else f"{text}:{last.offset}:{last.checksum:08x}"

    def lag(self) -> int:
        """Return how many offsets lie between polled messages and the last ends that brokers reported.

        A partition without a reported end counts as one.
        """
        waiting = 0
        for partition, at in self._next.items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
            waiting += max(0, high - at) if high >= 0 else 1
        return waiting

    def close(self) -> None:
        """Stop watching and close the connections; the next run reads again what was not committed."""
        if self._closed:
            return
        self._closed = True
        try:
            self._watch.end()
            self._tap.close()
            self._consumer.close()
        except Exception as failed:
            _logger.error("closing the Kafka consumer of group %s: failed\n%s", self._group, frames_of(failed))

    def _ask(self, call: Callable[[], Result], seconds_max: float | None = None) -> Result:
        try:
            return self._outage.until_answered(call, seconds_max)
        except KafkaException as failed:
            error = failed.args[0]
            if error.code() in FOREIGN_MEMBERS:
                raise ConfigurationError(
                    f"committing to group {self._group}: another program is a member of it "
                    f"({error.name()}); give nurt a group of its own"
                ) from None
            raise NurtError(
                f"reading from Kafka (group {self._group}): the broker answered {error.name()}; restart nurt"
            ) from None

    def _note(self, batch: RawBatch) -> None:
        """Keep the next offset of each partition."""
        partitions, offsets = int64s(batch.partitions), int64s(batch.offsets)
        for number in np.flatnonzero(np.bincount(partitions)).tolist():
            partition = batch.topic, number
            last = int(np.flatnonzero(partitions == number)[-1])
            offset = int(offsets[last])
            self._next[partition] = offset + 1
            if self._ids is not None:
                timestamp_ms = int(batch.timestamps_ms[last])
                self._notes.note(partition, offset, timestamp_ms, batch.keys[last], batch.values[last])
            self._untouched.discard(partition)

    def _take_error(self, message: Any) -> None:
        error = message.error()
        partition = (message.topic(), message.partition())
        if error.code() == KafkaError._PARTITION_EOF:
            self._next[partition] = max(self._next[partition], message.offset())
        elif error.code() in LOST:
            self._go_on_or_raise(partition)
        elif error.fatal():
            raise NurtError(f"reading topic {message.topic()}: librdkafka cannot go on ({error.name()}); restart nurt")
        else:
            refuse(f"reading topic {message.topic()}", error)
            if error.code() in AWAY:
                self._outage.begin(error)
            elif (*partition, error.code()) not in self._reported:
                self._reported.add((*partition, error.code()))
                _logger.warning("reading topic %s, partition %s: %s; nurt tries again", *partition, error.name())

    def _go_on_or_raise(self, partition: Partition) -> None:
        """Begin a partition again that was not read yet; else its messages are lost, or its log was cut.

        librdkafka stops such a partition: that it was cut, it says in a text only (`_AUTO_OFFSET_RESET`).
        """
        first, end = self._ask(lambda: offset_range(self._admin, [partition]))[partition]
        if partition not in self._untouched:
            raise self._lost(partition, self._next[partition], first, end)
        self._next[partition] = first
        self._consumer.incremental_unassign([TopicPartition(*partition)])
        self._tap.forward([partition])
        self._consumer.incremental_assign([TopicPartition(*partition, OFFSET_BEGINNING)])

    def _lost(self, partition: Partition, at: int, first: int, end: int) -> NurtError:
        topic, number = partition
        if at >= first and self._ids is not None:
            return self._other_log(partition, at, end)
        found = f"offset {at} is gone, messages from {first} to {end} are there"
        remedy = "`nurt run --rebuild`"
        if self._ids is None:
            if at >= first:
                found = f"messages before offset {at} are gone (the end is {end}), so the topic was made anew or cut"
            remedy += ", for a delivery `nurt deliver run NAME --from-scratch`"
        return OffsetLost(
            f"reading topic {topic}, partition {number}: {found} (expected to go on at {at}); start {remedy}, and keep "
            "the topic's messages longer than nurt may be down (retention.ms)"
        )

    def _other_log(self, partition: Partition, at: int, end: int) -> NurtError:
        """Say that messages that were read are gone from a partition: its topic was made anew, or its log was cut."""
        assert self._ids is not None
        topic, number = partition
        found = f"partition {number} ends at {end}, nurt has read up to {at}"
        if at <= end:
            found = f"partition {number} was cut below offset {at}, up to which nurt has read, and written on"
        known, id_ = self._ids.get(topic), self._ask(lambda: topic_ids(self._admin, [topic])).get(topic)
        if known and id_ and id_ != known:
            return _changed(topic, f"its id is {id_} (it was {known})")
        self._on_cut(topic, LogStand(number, at, self._leaders_of([partition]).get(partition, NO_LEADER)), found)
        return halted_by(topic, found) if id_ and id_ == known else _changed(topic, found)

    def _take_in(self, new: list[Partition]) -> None:
        names = ", ".join(f"{topic}/{number}" for topic, number in new)
        self._meet({topic for topic, _ in new})
        if self._workers > 1:
            raise PartitionsChanged(
                f"reading topics: partitions {names} appeared (they must be shared out among "
                f"{self._workers} workers); restart all workers, then they are read"
            )
        _logger.info("reading topics: partitions %s appeared; reading them from their start", names)
        for partition in new:
            self._share.append(partition)
            self._next[partition] = 0
            self._untouched.add(partition)
        self._tap.forward(new)
        self._consumer.incremental_assign([TopicPartition(*partition, OFFSET_BEGINNING) for partition in new])


def _each_answered(positions: list[Any]) -> list[Any]:
    for at in positions:
        if at.error is not None:
            raise KafkaException(at.error)
    return positions


_METADATA = re.compile(r"([0-9]+):([0-9]+)(?::([0-9]+):([0-9a-f]{8}))?")


def read_metadata(metadata: str | None) -> tuple[int, int, Witness | None]:
    """Read run, epoch and witness of a commit; run 0, epoch 0 when nurt has not written it."""
    found = _METADATA.fullmatch(metadata or "")
    if found is None:
        return 0, 0, None
    run, epoch, offset, checksum = found.groups()
    return int(run), int(epoch), None if offset is None else Witness(int(offset), int(checksum, 16))


def _changed(topic: str, found: str) -> LogChanged:
    return LogChanged(
        f"reading topic {topic}: it is another log now ({found}); start nurt again: it then looks what begins the log"
    )
