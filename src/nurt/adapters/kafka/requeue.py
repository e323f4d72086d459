"""Put messages from quarantine on the input again: on their own topic.

They come back as new messages with their old bytes: the row's own position, not the offset, says how old they are. A
message whose connector gives no positions counts as new; look at such rows after a requeue.
"""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError, Message, Producer

from nurt.adapters.kafka.outage import Outage
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.adapters.requeued import check_requeue, marked
from nurt.errors import ConnectionFailed
from nurt.model.refusal import Refused

FLUSH_SECONDS_MAX = 60.0


def requeue_to_kafka(settings: KafkaSettings, batch: Sequence[Refused]) -> None:
    """Produce messages to their own topics and partitions; returns when all in-sync replicas have them.

    Raises ConnectionFailed when a message was not delivered; earlier ones may be there twice, but folds ignore repeats.
    """
    check_requeue(batch)
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
            headers=marked(refused),
        )
        producer.poll(0)
    left = producer.flush(FLUSH_SECONDS_MAX)
    if left or failed:
        raise ConnectionFailed(
            f"requeuing at {settings.bootstrap}: {left + len(failed)} of {len(batch)} messages were not delivered "
            f"({failed[0] if failed else 'no answer'}); they stay in quarantine: check the brokers and try again"
        )
