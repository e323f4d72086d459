"""The control log on a topic of one partition: runs, checkpoints and source epochs, kept for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from nurt.adapters.kafka.outage import Outage, refuse
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.adapters.kafka.topics import ensure_topic, offset_range, open_admin, topic_config
from nurt.errors import ConfigurationError, NurtError, OffsetLost

KEPT_FOR_EVER = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
POLL_S = 1.0
READ_ROWS = 10_000


class KafkaControlLog:
    """Control log of small JSON records; a record's number is its offset, so all workers see one order.

    Args:
        topic: created with one partition and without retention when it is absent.
        answer_max_s: how long brokers may be silent at start; afterwards nurt waits.

    Raises ConfigurationError when the topic has several partitions, or would delete its records.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str = "nurt.control",
        *,
        replication: int = -1,
        answer_max_s: float = 60.0,
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._doing = f"keeping the register on topic {topic}"
        self._outage = Outage(self._doing, settings.bootstrap)
        self._admin = open_admin(settings, self._outage)
        count = ensure_topic(self._admin, self._outage, topic, 1, replication, KEPT_FOR_EVER, answer_max_s)
        if count != 1:
            raise ConfigurationError(
                f"{self._doing}: it has {count} partitions (expected 1, for one order of runs); name another topic"
            )
        for key, value in topic_config(self._admin, topic).items():
            if key in KEPT_FOR_EVER and value != KEPT_FOR_EVER[key]:
                raise ConfigurationError(
                    f"{self._doing}: {key} is {value} (expected {KEPT_FOR_EVER[key]}, the register must forget "
                    "nothing); set it on the topic"
                )
        self._producer: Any = settings.open(Producer, "producer", settings.client_options(self._producer_options()))

    def append(self, record: Mapping[str, Any]) -> int:
        """Store one record; return its number when all in-sync replicas have it, even if brokers are away for long."""
        stored: list[tuple[KafkaError | None, Any]] = []
        self._producer.produce(
            self._topic,
            orjson.dumps(record),
            partition=0,
            on_delivery=lambda error, message: stored.append((error, message)),
        )
        while not stored:
            if self._producer.flush(POLL_S):
                self._outage.begin(KafkaError(KafkaError._TIMED_OUT))
        error, message = stored[0]
        if error is not None:
            refuse(self._doing, error)
            raise NurtError(f"{self._doing}: a record was not stored ({error.name()}); restart nurt")
        self._outage.end()
        return int(message.offset())

    def records(self) -> Sequence[tuple[int, dict[str, Any]]]:
        """Return every record that was stored before this call, oldest first.

        Raises OffsetLost when the oldest records are gone, ConfigurationError when a record is not nurt's.
        """
        partition = (self._topic, 0)
        first, end = self._outage.until_answered(lambda: offset_range(self._admin, [partition]))[partition]
        if first > 0:
            raise OffsetLost(
                f"{self._doing}: its first record is {first} (expected 0, someone deleted records); "
                "start `nurt run --rebuild` with another control topic"
            )
        consumer = self._settings.open(Consumer, "consumer", self._settings.client_options(self._consumer_options()))
        found: list[tuple[int, dict[str, Any]]] = []
        try:
            consumer.assign([TopicPartition(self._topic, 0, 0)])
            at = 0
            while at < end:
                for message in consumer.consume(min(READ_ROWS, end - at), POLL_S):
                    at = max(at, self._read(message, found))
        finally:
            consumer.close()
        return [record for record in found if record[0] < end]

    def close(self) -> None:
        """Let go of the connections; every appended record is already stored."""
        self._producer.flush(POLL_S)

    def _read(self, message: Any, found: list[tuple[int, dict[str, Any]]]) -> int:
        error = message.error()
        if error is not None:
            refuse(self._doing, error)
            if error.code() != KafkaError._PARTITION_EOF:
                self._outage.begin(error)
            return int(message.offset()) if error.code() == KafkaError._PARTITION_EOF else 0
        self._outage.end()
        try:
            record = orjson.loads(message.value() or b"")
        except orjson.JSONDecodeError:
            record = None
        if not isinstance(record, dict):
            raise ConfigurationError(
                f"{self._doing}: record {message.offset()} is not a JSON object (another program writes to this "
                "topic); give nurt a control topic of its own"
            )
        found.append((message.offset(), record))
        return int(message.offset()) + 1

    def _producer_options(self) -> dict[str, Any]:
        return {
            "error_cb": self._outage.on_error,
            "enable.idempotence": True,
            "message.timeout.ms": 0,  # waits for ever
            "linger.ms": 0,
        }

    def _consumer_options(self) -> dict[str, Any]:
        return {
            "error_cb": self._outage.on_error,
            "group.id": "nurt-register",  # never joined, nothing is committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
        }
