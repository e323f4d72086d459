"""Put messages from quarantine on the input again: on the topic that they came from, or into its archive.

They come back as new messages with their old bytes: the row's own position, not the offset, says how old they are. A
message whose connector gives no positions counts as new; look at such rows after a requeue.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

from nurt.adapters.files.archive_lines import ArchiveWriter
from nurt.adapters.kafka.outage import Outage
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.errors import ConfigurationError, ConnectionFailed
from nurt.model.raw import DAMAGED_TOPIC, REQUEUED_HEADER, Headers
from nurt.model.refusal import Refused

FLUSH_SECONDS_MAX = 60.0


def requeue_to_kafka(settings: KafkaSettings, batch: Sequence[Refused]) -> None:
    """Produce messages to their own topics and partitions; returns when all in-sync replicas have them.

    Raises ConnectionFailed when one was not delivered; those before it may be there twice, which folds absorb.
    """
    _check(batch)
    failed: list[str] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error.name())

    outage = Outage("requeuing messages", settings.bootstrap)
    own = {"enable.idempotence": True, "error_cb": outage.on_error}
    producer = settings.open(Producer, "producer", settings.client_options(own))
    for refused in batch:
        producer.produce(
            refused.topic,
            refused.value,
            refused.key,
            refused.partition,
            on_delivery=delivered,
            timestamp=refused.timestamp_ms,
            headers=_marked(refused),
        )
        producer.poll(0)
    left = producer.flush(FLUSH_SECONDS_MAX)
    if left or failed:
        raise ConnectionFailed(
            f"requeuing at {settings.bootstrap}: {left + len(failed)} of {len(batch)} messages were not delivered "
            f"({failed[0] if failed else 'no answer'}); they stay in quarantine: check the brokers and try again"
        )


def requeue_to_archive(folders: Sequence[Path], batch: Sequence[Refused]) -> None:
    """Append messages to the archive that holds their partition (else to the last one); returns when durable.

    Raises ConfigurationError when another process writes that archive.
    """
    _check(batch)
    left = list(batch)
    for folder in folders:
        with ArchiveWriter(folder) as writer:
            known = writer.next_offsets().keys()
            is_last = folder == folders[-1]
            ours = [refused for refused in left if is_last or (refused.topic, refused.partition) in known]
            for refused in ours:
                writer.write(
                    refused.topic,
                    refused.partition,
                    refused.key,
                    refused.value,
                    _marked(refused),
                    refused.timestamp_ms,
                )
        taken = set(map(id, ours))
        left = [refused for refused in left if id(refused) not in taken]


def _marked(refused: Refused) -> Headers:
    place = f"{refused.topic}:{refused.partition}:{refused.offset}".encode()
    return [*(header for header in refused.headers or [] if header[0] != REQUEUED_HEADER), (REQUEUED_HEADER, place)]


def can_requeue(refused: Refused) -> bool:
    """Say whether it is a message; a damaged place of an archive is none."""
    return refused.topic != DAMAGED_TOPIC


def _check(batch: Sequence[Refused]) -> None:
    for refused in batch:
        if not can_requeue(refused):
            raise ConfigurationError(
                f"requeuing {refused.topic}:{refused.partition}:{refused.offset}: it is no message but a damaged place "
                "of an archive (its header nurt-file names it); mend the file, and rebuild with `nurt run --rebuild`"
            )
