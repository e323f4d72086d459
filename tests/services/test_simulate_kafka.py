"""A simulation reaches Kafka whole, each message in the partition that its connector chose."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import date

import pytest
from confluent_kafka import Consumer, TopicPartition

from nurt.adapters.kafka.settings import KafkaSettings
from nurt.errors import ConfigurationError
from nurt.simulate.company.shop import simulate
from nurt.simulate.connector.messages import MemoryWriter
from nurt.simulate.connector.schemas import SchemaBook
from nurt.simulate.connector.targets import KafkaWriter, simulate_to_kafka
from tests.services.stack.absence import ServiceAbsent, skip_or_fail
from tests.services.stack.kafka import KafkaServer, running_kafka_server


@pytest.fixture
def fresh_kafka() -> Iterator[KafkaServer]:
    """A broker that never had another simulation's topics: their names are always the same."""
    try:
        with running_kafka_server() as server:
            yield server
    except ServiceAbsent as absent:
        skip_or_fail(absent)


def test_kafka_holds_the_simulation_in_partition_order(fresh_kafka: KafkaServer) -> None:
    last_day = date(2030, 1, 1)  # a broker refuses what lies in the future, unless the topic allows it
    settings = KafkaSettings(fresh_kafka.bootstrap)
    simulated = simulate_to_kafka(settings, SchemaBook(), 3, 25, 8, last_day=last_day, partitions=3)
    writer = MemoryWriter()
    simulate(3, 25, 8, writer, registry=SchemaBook(), last_day=last_day, partitions=3)
    expected: dict[tuple[str, int], list[tuple[object, ...]]] = {}
    for sent in writer.messages:
        place = (sent.topic, sent.partition)
        expected.setdefault(place, []).append((sent.key, sent.value, sent.timestamp_ms, sent.headers))
    consumer = Consumer({"bootstrap.servers": fresh_kafka.bootstrap, "group.id": "t", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in expected])
    found: dict[tuple[str, int], list[tuple[object, ...]]] = {}
    ended: Counter[tuple[str, int]] = Counter()
    while len(ended) < len(expected):
        for message in consumer.consume(1000, 10):
            if message.error() is None:
                headers = list(message.headers() or [])
                content = (message.key(), message.value(), message.timestamp()[1], headers)
                found.setdefault((message.topic(), message.partition()), []).append(content)
            else:
                ended[message.topic(), message.partition()] += 1
    consumer.close()
    assert found == expected
    assert simulated.total == len(writer.messages)


def test_too_few_partitions_are_refused_by_name(kafka: str) -> None:
    name = f"shop-{uuid.uuid4().hex[:8]}"
    KafkaWriter(KafkaSettings(kafka), 1).write(name, 0, b"k", b"v", [], 0)
    with pytest.raises(ConfigurationError, match=f"{name}.* 1 partitions"):
        KafkaWriter(KafkaSettings(kafka), 4).write(name, 3, b"k", b"v", [], 0)
