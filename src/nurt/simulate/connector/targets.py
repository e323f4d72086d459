"""Write a simulation into an archive folder, or to Kafka with schemas in a registry."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from nurt.adapters.files.archive_lines import ArchiveWriter
from nurt.adapters.files.schema_registry import FolderRegistry
from nurt.adapters.kafka.outage import Outage
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.adapters.kafka.topics import ensure_topic, open_admin
from nurt.errors import ConfigurationError, ConnectionFailed
from nurt.model.raw import Headers
from nurt.ports.registry import SchemaRegistry
from nurt.simulate.company.shop import Simulated, simulate
from nurt.simulate.company.world import Deed

FLUSH_SECONDS_MAX = 60.0


def simulate_to_archive(
    folder: Path,
    seed: int,
    customers: int,
    days: int,
    progress: Callable[[int, int], None] | None = None,
    *,
    last_day: date,
    partitions: int = 4,
) -> Simulated:
    """Write a simulation into a new archive: `messages.jsonl`, `schemas.json`, `subjects.json`.

    Raises ConfigurationError when the folder holds messages: a second history cannot follow a first.
    """
    path = folder / "messages.jsonl"
    if path.exists() and path.stat().st_size:
        raise ConfigurationError(
            f"simulating into archive {folder}: it holds messages (expected an empty folder); "
            "remove them or choose another folder"
        )
    with ArchiveWriter(folder) as writer:
        registry = FolderRegistry(folder)
        return simulate(
            seed, customers, days, writer, progress, registry=registry, last_day=last_day, partitions=partitions
        )


def simulate_to_kafka(
    settings: KafkaSettings,
    registry: SchemaRegistry,
    seed: int,
    customers: int,
    days: int,
    progress: Callable[[int, int], None] | None = None,
    *,
    last_day: date,
    partitions: int = 4,
    replication: int = 1,
    wait: Deed | None = None,
) -> Simulated:
    """Write a simulation to Kafka; missing topics are created, without deletion by age.

    Raises ConnectionFailed when messages could not be delivered; the text has the number.
    """
    writer = KafkaWriter(settings, partitions, replication)
    try:
        return simulate(
            seed,
            customers,
            days,
            writer,
            progress,
            registry=registry,
            last_day=last_day,
            partitions=partitions,
            wait=wait,
        )
    finally:
        writer.close()


class KafkaWriter:
    """Producer of messages to their partitions; implements `MessageWriter`."""

    def __init__(self, settings: KafkaSettings, partitions: int, replication: int = 1) -> None:
        """Open a producer. `partitions`: of topics that it creates; heartbeats and transactions get one."""
        self._bootstrap = settings.bootstrap
        self._outage = Outage("writing a simulation", settings.bootstrap)
        self._admin = open_admin(settings, self._outage)
        fixed = {
            "enable.idempotence": True,
            "linger.ms": 20,
            "compression.type": "lz4",
            "error_cb": self._outage.on_error,
        }
        self._producer = settings.open(Producer, "producer", settings.client_options(fixed))
        self._partitions, self._replication = partitions, replication
        self._known: set[str] = set()
        self._failed = 0
        self._why = ""

    def write(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers, timestamp_ms: int
    ) -> None:
        """Queue one message; when the queue is full, wait until some are delivered."""
        if topic not in self._known:
            self._make_topic(topic)
        while True:
            try:
                self._producer.produce(
                    topic,
                    value,
                    key,
                    partition,
                    on_delivery=self._delivered,
                    timestamp=timestamp_ms,
                    headers=list(headers),
                )
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until everything is delivered. Raises ConnectionFailed when a message was not."""
        left = self._producer.flush(FLUSH_SECONDS_MAX)
        if left or self._failed:
            raise ConnectionFailed(
                f"writing a simulation at {self._bootstrap}: {left + self._failed} messages were not delivered "
                f"({self._why or 'no answer'}); check the brokers and simulate into new topics"
            )

    def close(self) -> None:
        """Flush; the producer ends with this object."""
        self.flush()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed += 1
            self._why = error.name()

    def _make_topic(self, topic: str) -> None:
        ours_alone = topic.startswith("__debezium-heartbeat.") or topic.endswith(".transaction")
        wanted = 1 if ours_alone else self._partitions
        config = {
            "retention.ms": "-1",  # simulated days lie in the past
            "message.timestamp.type": "CreateTime",
            "message.timestamp.after.max.ms": str(2**63 - 1),  # and today's evening in the future
        }
        try:
            there = ensure_topic(self._admin, self._outage, topic, wanted, self._replication, config, FLUSH_SECONDS_MAX)
        except KafkaException as refused:
            error: KafkaError = refused.args[0]
            raise ConfigurationError(
                f"making topic {topic} at {self._bootstrap}: {error.name()} (expected leave to create it); "
                "create it yourself or allow it"
            ) from None
        if there < wanted:
            raise ConfigurationError(
                f"writing topic {topic} at {self._bootstrap}: it has {there} partitions (expected at least {wanted}); "
                f"simulate with {there} partitions or remove the topic"
            )
        self._known.add(topic)
