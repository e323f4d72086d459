"""What an input says of the partitions of its topics, over an archive and over Kafka."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from nurt.adapters.files.archive_lines import ArchiveWriter
from nurt.adapters.files.partitioning import ArchivePartitioning
from nurt.adapters.kafka import partitioning as kafka_partitioning
from nurt.adapters.kafka.partitioning import KafkaPartitioning
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.model.log import KeyPlaces
from nurt.ports.log import Partitioning
from tests.services.stack.fixtures import create_topic
from tests.unit.test_murmur2 import plainly

Write = Callable[[int, bytes], None]
"""Write a message with a key to a partition."""

KEYS = [b"key-%d" % number for number in range(60)]


class InAnArchive:
    def __init__(self, folder: Path) -> None:
        self.topic, self._folder = "t", folder

    def write(self, messages: list[tuple[int, bytes]], times_ms: Sequence[int] = ()) -> None:
        with ArchiveWriter(self._folder) as writer:
            for (partition, key), time_ms in zip(messages, times_ms or [0] * len(messages), strict=True):
                writer.write(self.topic, partition, key, b"v", None, time_ms)

    def grow(self, partitions: int) -> None:
        """Do nothing: a partition is there when it has a message."""

    def opened(self) -> Partitioning:
        return ArchivePartitioning([self._folder])


class InKafka:
    def __init__(self, bootstrap: str, partitions: int) -> None:
        self._bootstrap = bootstrap
        self.topic = create_topic(bootstrap, f"t-{uuid.uuid4().hex[:12]}", partitions)

    def write(self, messages: list[tuple[int, bytes]], times_ms: Sequence[int] = ()) -> None:
        producer = Producer({"bootstrap.servers": self._bootstrap})
        for (partition, key), time_ms in zip(messages, times_ms or [0] * len(messages), strict=True):
            producer.produce(self.topic, b"v", key=key, partition=partition, timestamp=time_ms)
        assert producer.flush(20) == 0

    def grow(self, partitions: int) -> None:
        admin = AdminClient({"bootstrap.servers": self._bootstrap})
        for done in admin.create_partitions([NewPartitions(self.topic, partitions)]).values():
            done.result()

    def opened(self) -> Partitioning:
        return KafkaPartitioning(KafkaSettings(self._bootstrap, {}))


@pytest.fixture(params=["archive", pytest.param("kafka", marks=pytest.mark.services)])
def input_(request: pytest.FixtureRequest, tmp_path: Path) -> InAnArchive | InKafka:
    if request.param == "archive":
        return InAnArchive(tmp_path)
    return InKafka(request.getfixturevalue("kafka"), 2)


def hashed(keys: list[bytes], partitions: int) -> list[tuple[int, bytes]]:
    return [(plainly(key) % partitions, key) for key in keys]


def test_keys_lie_where_they_hash_also_after_the_topic_grew(
    input_: InAnArchive | InKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_partitioning, "LOOK_EVERY_S", 0.0)
    input_.write(hashed(KEYS[:30], 2))
    opened = input_.opened()
    assert opened.key_places(input_.topic, 1) == KeyPlaces(2, True)
    input_.grow(3)
    input_.write(hashed(KEYS[30:], 3))
    assert opened.key_places(input_.topic, 2) == KeyPlaces(3, True)
    assert opened.partitions(input_.topic) == 3


def test_keys_that_lie_elsewhere_are_not_taken_as_hashed(input_: InAnArchive | InKafka) -> None:
    input_.write([(at % 2, key) for at, key in enumerate(KEYS)])
    assert input_.opened().key_places(input_.topic, 1) == KeyPlaces(2, False)


def test_of_an_unknown_topic_nothing_is_known(input_: InAnArchive | InKafka) -> None:
    input_.write(hashed(KEYS, 2))
    assert input_.opened().partitions("no-such-topic") == 0


def test_what_was_written_at_a_time_or_later_begins_at_an_offset(input_: InAnArchive | InKafka) -> None:
    messages = [(0, b"a"), (1, b"b"), (0, b"c"), (0, b"d"), (1, b"e")]
    input_.write(messages, [1000, 2000, 3000, 2500, 4000])
    opened = input_.opened()
    asked = [opened.offsets_at(input_.topic, time_ms) for time_ms in (1, 1000, 1001, 2600, 3000, 4000, 4001)]
    assert asked == [(0, 0), (0, 0), (1, 0), (1, 1), (1, 1), (3, 1), (3, 2)]
    input_.write([(0, b"f")], [5000])
    assert opened.offsets_at(input_.topic, 4500) == (3, 2)
    assert opened.offsets_at("no-such-topic", 1) == ()
