"""What an overtaken process commits late is not where its successor's successor goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from nurt.adapters.files.archive import ArchiveLog, ArchiveWriter
from nurt.adapters.kafka.log import KafkaLog
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.model.log import Committed
from nurt.ports.log import MessageLog

OpenLog = Callable[[], MessageLog]
TOPIC = "late-commits"


@pytest.fixture
def archive(tmp_path: Path) -> OpenLog:
    with ArchiveWriter(tmp_path / "archive") as writer:
        for number in range(40):
            writer.write(TOPIC, number % 2, b"k", b"v", [], 1_000)
    return lambda: ArchiveLog([tmp_path / "archive"], tmp_path / "commits")


@pytest.fixture
def topic(kafka: str, topic: Callable[..., str]) -> OpenLog:
    name = topic(partitions=2, name=TOPIC)
    producer = Producer({"bootstrap.servers": kafka})
    for number in range(40):
        producer.produce(name, b"v", b"k", number % 2)
    producer.flush(20)
    return lambda: KafkaLog(KafkaSettings(kafka), [name], "late-commits")


@pytest.mark.parametrize("source", ["archive", pytest.param("topic", marks=pytest.mark.services)])
def test_only_the_newest_runs_commits_are_believed(source: str, request: pytest.FixtureRequest) -> None:
    open_log: OpenLog = request.getfixturevalue(source)
    overtaken, successor = open_log(), open_log()
    overtaken.start(None)
    overtaken.commit(Committed({(TOPIC, 0): 5, (TOPIC, 1): 5}, 1, 3))
    successor.start({(TOPIC, 0): 2, (TOPIC, 1): 2})
    successor.commit(Committed({(TOPIC, 0): 3}, 2, 1))
    overtaken.commit(Committed({(TOPIC, 1): 19}, 1, 8))
    found = open_log()
    committed = found.committed()
    assert committed is not None
    assert (committed.run, committed.epoch) == (2, 1)
    assert committed.offsets == {(TOPIC, 0): 3}, "where run 2 began with partition 1 is in the register"
    for log in (overtaken, successor, found):
        log.close()


def test_an_overtaken_process_does_not_replace_a_commit_in_an_archive(archive: OpenLog) -> None:
    log = archive()
    log.commit(Committed({(TOPIC, 0): 3}, 2, 1))
    log.commit(Committed({(TOPIC, 0): 19}, 1, 8))
    assert log.committed() == Committed({(TOPIC, 0): 3}, 2, 1)
