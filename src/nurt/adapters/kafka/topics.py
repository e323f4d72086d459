"""Topics and partitions: list them, choose a worker's part, and create topics that nurt owns."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from nurt.adapters.kafka.outage import Outage
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.errors import ConfigurationError, NurtError, frames_of
from nurt.mapping.topic_patterns import BadPattern, TopicPattern

Partition = tuple[str, int]

REQUEST_TIMEOUT_S = 10.0

_logger = logging.getLogger(__name__)


class PartitionsChanged(NurtError):
    """New partitions appeared, and some worker must take them; a restart of all workers assigns partitions again."""

    exit_code = 7


class TopicFilter:
    """Filter of the topics that are input: names, and patterns that begin with `^` (as librdkafka writes them)."""

    def __init__(self, topics: Sequence[str]) -> None:
        self.names = [topic for topic in topics if not topic.startswith("^")]
        self._patterns = [_compile(topic) for topic in topics if topic.startswith("^")]
        self._known: dict[str, bool] = {}

    def __call__(self, topic: str) -> bool:
        """Say whether this topic is input; a pattern never takes Kafka's own topics."""
        if topic in self.names:
            return True
        if topic not in self._known:
            self._known[topic] = not topic.startswith("__") and any(matches(topic) for matches in self._patterns)
        return self._known[topic]


def _compile(pattern: str) -> Callable[[str], bool]:
    """Compile a pattern; one that only a backtracking matcher knows is left to Python's, as before."""
    try:
        return TopicPattern(pattern).search
    except BadPattern:
        pass
    try:
        compiled = re.compile(pattern)
    except re.error as wrong:
        raise ConfigurationError(
            f"reading topic pattern {pattern}: {wrong} (expected a regular expression); correct it"
        ) from None
    return lambda name: compiled.search(name) is not None


def list_partitions(client: Any, wanted: TopicFilter) -> list[Partition]:
    """Return the partitions of all wanted topics that exist, sorted; raises KafkaException when nothing answers."""
    topics = client.list_topics(timeout=REQUEST_TIMEOUT_S).topics
    found: list[Partition] = []
    for name, topic in topics.items():
        if wanted(name):
            if topic.error is not None and topic.error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise KafkaException(topic.error)
            found += [(name, partition) for partition in topic.partitions]
    return sorted(found)


def share_of(partitions: Sequence[Partition], worker: int, workers: int) -> list[Partition]:
    """Return one worker's part: every `workers`-th partition of the sorted list, beginning with its own index."""
    return sorted(partitions)[worker::workers]


def offset_range(admin: AdminClient, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, int]]:
    """Return the first offset and the offset after the last committed message, of each partition.

    Raises KafkaException when nothing answers. The client would ask leaders that it has once heard of, also when they
    are gone; then it gives an offset below 0 and no error. So it first hears who leads now.
    """
    positions = [TopicPartition(*one) for one in partitions]
    if not positions:
        return {}
    admin.list_topics(timeout=REQUEST_TIMEOUT_S)
    ends = []
    for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):
        asked = admin.list_offsets(
            dict.fromkeys(positions, spec),
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=REQUEST_TIMEOUT_S,
        )
        ends.append({(at.topic, at.partition): answer.result().offset for at, answer in asked.items()})
        if any(offset < 0 for offset in ends[-1].values()):
            raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
    first, last = ends
    return {partition: (offset, last[partition]) for partition, offset in first.items()}


def offsets_at(admin: AdminClient, topic: str, partitions: int, time_ms: int) -> tuple[int, ...]:
    """Return, by partition, the offset of the first message that was written at a time or later; else the end.

    Raises KafkaException when nothing answers.
    """
    found: dict[int, int] = {}
    for spec in (OffsetSpec.for_timestamp(time_ms), OffsetSpec.latest()):
        asked = {TopicPartition(topic, one): spec for one in range(partitions) if one not in found}
        answered = admin.list_offsets(asked, request_timeout=REQUEST_TIMEOUT_S) if asked else {}
        offsets = {at.partition: answer.result().offset for at, answer in answered.items()}
        found |= {partition: offset for partition, offset in offsets.items() if offset >= 0}
    return tuple(found[one] for one in range(partitions))


def topic_ids(admin: AdminClient, topics: Iterable[str]) -> dict[str, str]:
    """Return the ids of topics that exist; those that a broker does not tell are left out.

    Raises KafkaException when nothing answers.
    """
    asked = sorted(topics)
    if not asked:
        return {}
    answered = admin.describe_topics(TopicCollection(asked), request_timeout=REQUEST_TIMEOUT_S)
    found = {}
    for topic, answer in answered.items():
        try:
            id_ = str(answer.result().topic_id)
        except KafkaException as failed:
            if failed.args[0].code() in UNTOLD:
                continue
            raise
        if id_ not in NO_ID:
            found[topic] = id_
    return found


UNTOLD = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._UNSUPPORTED_FEATURE}
)
"""Errors of a broker that does not tell a topic's id."""
NO_ID = frozenset({"", "AAAAAAAAAAAAAAAAAAAAAA"})
"""Ids of topics that have none: their broker is older than Kafka 2.8."""


def cluster_id(admin: AdminClient) -> str:
    """Return the cluster's id; empty: it has none. Raises KafkaException when nothing answers."""
    return admin.list_topics(timeout=REQUEST_TIMEOUT_S).cluster_id or ""


def open_admin(settings: KafkaSettings, outage: Outage) -> AdminClient:
    """Make an admin client that reports outages through `outage`."""
    return settings.open(AdminClient, "admin client", settings.client_options({"error_cb": outage.on_error}))


def ensure_topic(
    admin: AdminClient,
    outage: Outage,
    name: str,
    partitions: int,
    replication: int,
    config: Mapping[str, str],
    seconds_max: float | None = None,
) -> int:
    """Create the topic when it is absent, and return its number of partitions.

    An existing topic is left as it is; each setting of `config` that the topic does not have is logged.
    Raises ConfigurationError when the broker refuses to create it.
    """
    new = NewTopic(name, partitions, replication, config=dict(config))

    def create() -> None:
        try:
            admin.create_topics([new], request_timeout=REQUEST_TIMEOUT_S)[name].result()
        except KafkaException as failed:
            if failed.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise

    def count() -> int:
        topic = admin.list_topics(name, timeout=REQUEST_TIMEOUT_S).topics[name]
        if topic.error is not None or not topic.partitions:
            raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
        return len(topic.partitions)

    def exists() -> bool:
        return name in admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics

    if not outage.until_answered(exists, seconds_max):
        outage.until_answered(create, seconds_max)
        return outage.until_answered(count, seconds_max)
    for key, value in topic_config(admin, name).items():
        if key in config and value != config[key]:
            _logger.warning(
                "topic %s exists with %s=%s (expected %s); set it, or readers will miss what it keeps",
                name,
                key,
                value,
                config[key],
            )
    return outage.until_answered(count, seconds_max)


def topic_config(admin: AdminClient, name: str) -> dict[str, str]:
    """Return the settings of a topic as the broker has them; {} when nurt may not read them or no broker answers."""
    resource = ConfigResource(ResourceType.TOPIC, name)
    try:
        entries = admin.describe_configs([resource], request_timeout=REQUEST_TIMEOUT_S)[resource].result()
    except KafkaException:
        return {}
    return {key: entry.value for key, entry in entries.items()}


class PartitionWatch(threading.Thread):
    """Thread that looks every few seconds for new partitions or topics.

    The reader takes new partitions with `take_new`; the reader and this thread never block each other.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        outage: Outage,
        wanted: TopicFilter,
        known: Iterable[Partition],
        every_s: float,
        ids: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name="nurt-kafka-partitions", daemon=True)
        self._admin = open_admin(settings, outage)
        self._outage = outage
        self._wanted = wanted
        self._known = set(known)
        self._every_s = every_s
        self._ids = dict(ids or {})
        self.changed: tuple[str, str] | None = None
        """A topic that is another one now, and what shows it."""
        self._new: list[Partition] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def run(self) -> None:
        """Look, until `end` is called; the reader reports a broker that is away."""
        while not self._ended.wait(self._every_s):
            try:
                found = list_partitions(self._admin, self._wanted)
                self._compare({topic for topic, _ in found})
            except KafkaException:
                continue
            except Exception as failed:
                _logger.error(
                    "looking for new partitions: failed; nurt looks again in %.0f s\n%s",
                    self._every_s,
                    frames_of(failed),
                )
                continue
            self._outage.end()
            with self._lock:
                new = [one for one in found if one not in self._known]
                self._known.update(new)
                self._new += new

    def expect(self, ids: Mapping[str, str]) -> None:
        """Take in the ids of topics that were met first."""
        self._ids = self._ids | dict(ids)

    def _compare(self, there: Iterable[str]) -> None:
        known = self._ids
        if not known:
            return
        for topic, id_ in topic_ids(self._admin, known.keys() & set(there)).items():
            if id_ != known[topic]:
                self.changed = topic, f"its id is {id_} (it was {known[topic]})"

    def take_new(self) -> list[Partition]:
        """Return the partitions that appeared since the last call, in order; usually []."""
        if not self._new:
            return []
        with self._lock:
            new, self._new = self._new, []
        return new

    def end(self) -> None:
        """Stop looking; return when the thread has ended."""
        self._ended.set()
        if self.is_alive():
            self.join(REQUEST_TIMEOUT_S + 1)
