from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from nurt.adapters.kafka.profile_sink import SEND_ROWS_MAX, KafkaProfileSink
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.contracts import schemas
from nurt.errors import ConfigurationError, ConnectionFailed, Fenced, NurtError
from nurt.model.published import PublishedBatch
from tests.services.stack.kafka import KafkaServer

OpenSink = Callable[..., KafkaProfileSink]
Read = list[tuple[int, bytes, bytes | None]]


class Subjects:
    """A registry that numbers subjects as they come."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}

    def schema(self, schema_id: int, archive: str = "") -> dict[str, Any] | None:
        return None

    def register(self, subject: str, schema: Mapping[str, Any]) -> int:
        return self.ids.setdefault(subject, 70_000 + len(self.ids))


pytestmark = pytest.mark.services


@pytest.fixture
def registry() -> Subjects:
    return Subjects()


@pytest.fixture
def name() -> str:
    return f"profiles-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def open_sink(request: pytest.FixtureRequest, registry: Subjects, name: str) -> Iterator[OpenSink]:
    opened: list[KafkaProfileSink] = []

    def make(bootstrap: str | None = None, options: dict[str, Any] | None = None, **more: Any) -> KafkaProfileSink:
        settings = KafkaSettings(bootstrap or request.getfixturevalue("kafka"), options or {})
        more = {"deployment": name, "topic": name, "partitions": 3, **more}
        value, key = schemas.load(schemas.PROFILE_VALUE), schemas.load(schemas.PROFILE_KEY)
        opened.append(KafkaProfileSink(settings, registry, value, key, **more))
        return opened[-1]

    yield make
    for sink in opened:
        sink.close()


def read_all(bootstrap: str, topic: str, isolation: str = "read_committed") -> Read:
    """Read a topic to its end: (partition, key, value)."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "enable.partition.eof": True,
            "isolation.level": isolation,
            "enable.auto.commit": False,
        }
    )
    partitions = list(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, one, 0) for one in partitions])
    found: Read = []
    ended: set[int] = set()
    while len(ended) < len(partitions):
        for message in consumer.consume(1000, 1.0):
            if message.error() is None:
                found.append((message.partition(), message.key(), message.value()))
            elif message.error().code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
    consumer.close()
    return found


def id_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def batch_of(*values: tuple[int, bytes | None]) -> PublishedBatch:
    return PublishedBatch([id_of(number) for number, _ in values], list(range(len(values))), [v for _, v in values])


def test_a_profile_is_keyed_and_framed_as_the_registry_says(
    kafka: str, open_sink: OpenSink, registry: Subjects, name: str
) -> None:
    open_sink().write(batch_of((1, b"body"), (2, None)))
    by_key = {key: value for _, key, value in read_all(kafka, name)}
    key_id, value_id = registry.ids[f"{name}-key"], registry.ids[f"{name}-value"]
    header = b"\0" + key_id.to_bytes(4, "big")
    assert by_key == {
        header + b"\x40" + id_of(1).hex().encode(): b"\0" + value_id.to_bytes(4, "big") + b"body",
        header + b"\x40" + id_of(2).hex().encode(): None,
    }


def test_the_key_is_what_any_avro_reader_reads(kafka: str, open_sink: OpenSink, name: str) -> None:
    import io

    import fastavro

    open_sink().write(batch_of((0xAB, b"body")))
    ((_, key, _),) = read_all(kafka, name)
    assert fastavro.schemaless_reader(io.BytesIO(key[5:]), "string", None) == id_of(0xAB).hex()


def test_an_absent_topic_is_created_compacted(kafka: str, open_sink: OpenSink, name: str) -> None:
    open_sink(partitions=5)
    admin = AdminClient({"bootstrap.servers": kafka})
    resource = ConfigResource(ResourceType.TOPIC, name)
    config = admin.describe_configs([resource])[resource].result()
    assert config["cleanup.policy"].value == "compact"
    assert len(admin.list_topics(name, timeout=10).topics[name].partitions) == 5


def test_an_existing_topic_that_is_not_compacted_is_pointed_out(
    kafka: str, topic: Callable[..., str], open_sink: OpenSink, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic(name=name)
    open_sink()
    assert f"topic {name} exists with cleanup.policy=delete (expected compact)" in caplog.text


def test_revisions_of_one_profile_stay_in_order_across_batches(kafka: str, open_sink: OpenSink, name: str) -> None:
    sink = open_sink()
    for round_ in range(5):
        sink.write(batch_of(*[(number, b"%d.%d" % (round_, twice)) for twice in (0, 1) for number in range(40)]))
    seen: dict[bytes, list[bytes]] = {}
    places: dict[bytes, set[int]] = {}
    for partition, key, value in read_all(kafka, name):
        assert value is not None
        seen.setdefault(key, []).append(value[5:])
        places.setdefault(key, set()).add(partition)
    assert len(seen) == 40
    assert all(
        values == [b"%d.%d" % (round_, twice) for round_ in range(5) for twice in (0, 1)] for values in seen.values()
    )
    assert all(len(partitions) == 1 for partitions in places.values())
    assert len(set.union(*places.values())) == 3


def test_an_empty_batch_writes_nothing(kafka: str, open_sink: OpenSink, name: str) -> None:
    open_sink().write(PublishedBatch([], [], []))
    assert read_all(kafka, name) == []


def test_a_batch_larger_than_one_send_arrives_whole(kafka: str, open_sink: OpenSink, name: str) -> None:
    count = 2 * SEND_ROWS_MAX + 7
    open_sink().write(batch_of(*[(number, b"%d" % number) for number in range(count)]))
    found = read_all(kafka, name)
    assert len(found) == len({key for _, key, _ in found}) == count


def test_a_queue_that_would_fill_up_and_reorder_is_refused(kafka: str, open_sink: OpenSink, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"option queue\.buffering\.max\.messages: it cannot be set"):
        open_sink(options={"queue.buffering.max.messages": 100})


@pytest.mark.parametrize("limit", ["the producer's", "the topic's"])
def test_a_profile_that_is_too_large_is_named_and_not_tried_for_ever(
    kafka: str, topic: Callable[..., str], open_sink: OpenSink, name: str, limit: str
) -> None:
    topic(name=name, **{"max.message.bytes": "5000" if limit == "the topic's" else "100000"})
    options = {"message.max.bytes": 5000} if limit == "the producer's" else {}
    sink = open_sink(options={"compression.type": "none", **options})
    with pytest.raises(
        ConfigurationError, match=r"MSG_SIZE_TOO_LARGE.* not published; raise the topic's max"
    ) as raised:
        sink.write(batch_of((6, b"small"), (7, b"x" * 6000)))
    assert f"largest profile is {id_of(7).hex()} with 6005 bytes" in str(raised.value)
    assert read_all(kafka, name) == []
    sink.write(batch_of((6, b"small")))
    assert len(read_all(kafka, name)) == 1


def test_a_topic_that_is_deleted_meanwhile_is_said(kafka: str, open_sink: OpenSink, name: str) -> None:
    sink = open_sink(options={"topic.metadata.propagation.max.ms": 1000, "topic.metadata.refresh.interval.ms": 1000})
    sink.write(batch_of((1, b"1")))
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.delete_topics([name])[name].result()
    with pytest.raises(NurtError, match=f"topic {name}: the topic is gone .* --rebuild"):
        sink.write(batch_of((1, b"2")))


def test_a_zombie_is_shut_out_and_publishes_nothing_more(kafka: str, open_sink: OpenSink, name: str) -> None:
    zombie = open_sink()
    zombie.write(batch_of((1, b"old")))
    successor = open_sink()
    successor.write(batch_of((1, b"new")))
    with pytest.raises(Fenced, match=f"another run has taken over transactional id {name}-0"):
        zombie.write(batch_of((1, b"older, last")))
    assert [value[5:] for _, _, value in read_all(kafka, name) if value] == [b"old", b"new"]


def test_a_zombie_in_mid_transaction_is_never_read(kafka: str, open_sink: OpenSink, name: str) -> None:
    zombie = open_sink()
    zombie._producer.begin_transaction()
    zombie._producer.produce(name, key=b"k", value=b"half", partition=0)
    assert zombie._producer.flush(10) == 0
    open_sink().write(batch_of((1, b"new")))
    assert [value[5:] for _, _, value in read_all(kafka, name) if value] == [b"new"]
    assert len(read_all(kafka, name, "read_uncommitted")) == 2


def test_a_smaller_cluster_shuts_out_the_workers_it_no_longer_has(kafka: str, open_sink: OpenSink, name: str) -> None:
    old = [open_sink(worker=worker, workers=5) for worker in range(5)]
    new = [open_sink(worker=worker, workers=2, fence_workers=5) for worker in range(2)]
    for sink in old:
        with pytest.raises(Fenced):
            sink.write(batch_of((1, b"old")))
    for sink in new:
        sink.write(batch_of((1, b"new")))
    assert [value[5:] for _, _, value in read_all(kafka, name) if value] == [b"new", b"new"]


def test_workers_of_one_run_do_not_shut_out_each_other(kafka: str, open_sink: OpenSink, name: str) -> None:
    sinks = [open_sink(worker=worker, workers=3, fence_workers=3) for worker in range(3)]
    for number, sink in enumerate(sinks):
        sink.write(batch_of((number, b"1")))
    assert len(read_all(kafka, name)) == 3


def test_a_transaction_that_outlived_its_timeout_is_no_fence(kafka_server: KafkaServer, open_sink: OpenSink) -> None:
    sink = open_sink(kafka_server.bootstrap, transaction_timeout_ms=1000)
    deliver = sink._deliver

    def deliver_late() -> None:
        deliver()
        time.sleep(4)  # by then the broker has ended it

    sink._deliver = deliver_late  # type: ignore[method-assign]
    with pytest.raises(ConnectionFailed, match=r"lasted \d+ s and was ended by the broker .* restart nurt"):
        sink.write(batch_of((1, b"1")))


def test_brokers_that_never_answer_end_the_start(open_sink: OpenSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nurt.adapters.kafka.topics.REQUEST_TIMEOUT_S", 1.0)
    with pytest.raises(ConnectionFailed, match=r"publishing to topic .* at 127\.0\.0\.1:1: no answer"):
        open_sink("127.0.0.1:1", answer_max_s=1)


def test_a_broker_killed_amid_writing_costs_nothing_and_repeats_nothing(
    kafka_server: KafkaServer, open_sink: OpenSink, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    sink = open_sink(kafka_server.bootstrap)
    written = threading.Event()
    ended = threading.Event()
    rounds: list[int] = []

    def write() -> None:
        while not ended.is_set():
            sink.write(batch_of(*[(number, b"%d" % len(rounds)) for number in range(100)]))
            rounds.append(len(rounds))
            if len(rounds) == 20:
                written.set()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    for _ in range(2):
        assert written.wait(60)
        kafka_server.kill()
        time.sleep(1)
        kafka_server.start()
        target = len(rounds) + 20
        while len(rounds) < target and writer.is_alive():
            time.sleep(0.05)
    ended.set()
    writer.join(60)
    assert not writer.is_alive()
    seen: dict[bytes, list[int]] = {}
    for _, key, value in read_all(kafka_server.bootstrap, name):
        assert value is not None
        seen.setdefault(key, []).append(int(value[5:]))
    assert len(seen) == 100
    assert all(values == rounds for values in seen.values())
    assert caplog.text.count("no answer") <= 2
