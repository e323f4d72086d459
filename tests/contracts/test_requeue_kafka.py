"""Messages from quarantine on a real broker again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, TopicPartition

from nurt.adapters.kafka.requeue import requeue_to_kafka
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.errors import ConfigurationError
from nurt.model.raw import DAMAGED_TOPIC, REQUEUED_HEADER
from nurt.model.refusal import Reason, Refused


def _refused(topic: str, offset: int, value: bytes | None) -> Refused:
    headers = [("__debezium.newkey", b"\x00k"), (REQUEUED_HEADER, b"elsewhere:0:1")]
    return Refused(topic, 2, offset, 1_700_000_000_000 + offset, b"key", value, headers, Reason.BAD_AVRO, "")


def test_a_requeued_message_has_its_bytes_its_partition_and_says_where_it_stood(
    kafka: str, topic: Callable[..., str]
) -> None:
    name = topic(partitions=3)
    requeue_to_kafka(KafkaSettings(kafka), [_refused(name, 7, b"\x00one"), _refused(name, 9, None)])
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": name, "enable.auto.commit": False})
    consumer.assign([TopicPartition(name, 2, 0)])
    first, second = consumer.consume(2, 30)
    consumer.close()
    assert (first.key(), first.value(), second.value()) == (b"key", b"\x00one", None)
    assert first.timestamp()[1] == 1_700_000_000_007
    assert first.headers() == [(REQUEUED_HEADER, f"{name}:2:7".encode()), ("__debezium.newkey", b"\x00k")]


def test_a_damaged_place_of_an_archive_is_no_message_to_requeue(kafka: str) -> None:
    with pytest.raises(ConfigurationError, match=r"mend the file"):
        requeue_to_kafka(KafkaSettings(kafka), [_refused(DAMAGED_TOPIC, 0, b"{")])
