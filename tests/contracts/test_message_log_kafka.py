from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from nurt.adapters.kafka.log import KafkaLog
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.adapters.kafka.topics import PartitionsChanged
from nurt.errors import ConfigurationError, ConnectionFailed, OffsetLost
from nurt.model.log import Committed
from nurt.model.raw import RawBatch
from tests.services.stack.fixtures import create_topic
from tests.services.stack.kafka import KafkaServer

MakeLog = Callable[..., KafkaLog]


@pytest.fixture
def group() -> str:
    return f"g-{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=[True, False], ids=["drained", "by_the_library"])
def open_log(request: pytest.FixtureRequest, kafka: str, group: str) -> Iterator[MakeLog]:
    opened: list[KafkaLog] = []

    def make(
        topics: Sequence[str], bootstrap: str = kafka, options: dict[str, Any] | None = None, **more: Any
    ) -> KafkaLog:
        settings = KafkaSettings(bootstrap, options or {})
        opened.append(KafkaLog(settings, topics, more.pop("group", group), drained=request.param, **more))
        return opened[-1]

    yield make
    for log in opened:
        log.close()


def produce(
    bootstrap: str,
    topic: str,
    values: Sequence[bytes | None],
    partition: int = 0,
    one_by_one: bool = False,
    **more: Any,
) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for value in values:
        producer.produce(topic, value, partition=partition, **more)
        if one_by_one:
            producer.flush(20)
    assert producer.flush(20) == 0


def poll_until(
    log: KafkaLog, enough: Callable[[list[RawBatch]], bool], rows_max: int = 1000, seconds: float = 30
) -> list[RawBatch]:
    batches: list[RawBatch] = []
    deadline = time.monotonic() + seconds
    while not enough(batches):
        assert time.monotonic() < deadline, f"only {sum(map(len, batches))} messages came"
        batches += log.poll(rows_max)
    return batches


def poll_count(log: KafkaLog, count: int, **more: Any) -> list[RawBatch]:
    return poll_until(log, lambda batches: sum(map(len, batches)) >= count, **more)


def values_of(batches: list[RawBatch]) -> list[bytes | None]:
    return [value for batch in batches for value in batch.values]


def numbered(count: int, start: int = 0) -> list[bytes | None]:
    return [b"%d" % number for number in range(start, start + count)]


def test_a_first_start_reads_everything_in_order_one_batch_a_topic(
    kafka: str, topic: Callable[..., str], open_log: MakeLog
) -> None:
    one, other = topic(), topic(2)
    produce(kafka, one, numbered(300))
    produce(kafka, other, numbered(200), partition=0)
    produce(kafka, other, numbered(100), partition=1)
    log = open_log([one, other])
    assert log.committed() is None
    log.start(None)
    batches = poll_count(log, 600)
    assert values_of([batch for batch in batches if batch.topic == one]) == numbered(300)
    for partition, count in ((0, 200), (1, 100)):
        read = [
            (offset, value)
            for batch in batches
            if batch.topic == other
            for at, offset, value in zip(batch.partitions, batch.offsets, batch.values, strict=True)
            if at == partition
        ]
        assert read == list(enumerate(numbered(count)))
    assert log.offsets() == {(one, 0): 300, (other, 0): 200, (other, 1): 100}
    poll_until(log, lambda _: log.lag() == 0)


def test_a_poll_returns_each_topic_once_and_at_most_what_was_asked(
    kafka: str, topic: Callable[..., str], open_log: MakeLog
) -> None:
    one, other = topic(), topic()
    for round_ in range(5):
        produce(kafka, one, numbered(10, round_ * 10))
        produce(kafka, other, numbered(10, round_ * 10))
    log = open_log([one, other])
    log.start(None)
    read = 0
    while read < 100:
        batches = log.poll(30)
        assert sum(map(len, batches)) <= 30
        assert len({batch.topic for batch in batches}) == len(batches)
        read += sum(map(len, batches))


def test_every_part_of_a_message_arrives(kafka: str, topic: Callable[..., str], open_log: MakeLog) -> None:
    name = topic()
    produce(kafka, name, [b"v"], key=b"k", headers=[("a", b"1"), ("b", None)], timestamp=1_700_000_000_123)
    produce(kafka, name, [None], key=b"k")
    produce(kafka, name, [b""])
    log = open_log([name])
    log.start(None)
    batches = poll_count(log, 3)
    whole = [column for batch in batches for column in zip(batch.keys, batch.values, batch.headers, strict=True)]
    assert whole == [(b"k", b"v", [("a", b"1"), ("b", None)]), (b"k", None, None), (None, b"", None)]
    assert batches[0].timestamps_ms[0] == 1_700_000_000_123


def test_a_next_run_goes_on_where_the_last_one_committed_and_knows_its_epoch(
    kafka: str, topic: Callable[..., str], open_log: MakeLog
) -> None:
    name = topic(2)
    produce(kafka, name, numbered(10))
    first = open_log([name])
    first.start(None)
    poll_count(first, 10)
    first.commit(Committed({(name, 0): 4, (name, 1): 0}, run=7, epoch=12))
    first.commit(Committed({(name, 0): 6, (name, 1): 0}, run=7, epoch=13))
    first.close()
    second = open_log([name])
    committed = second.committed()
    assert committed == Committed({(name, 0): 6, (name, 1): 0}, run=7, epoch=13, leaders={(name, 0): 0})
    second.start(committed.offsets)
    assert values_of(poll_count(second, 4)) == numbered(4, 6)


def test_an_epoch_that_read_nothing_is_committed_too(kafka: str, topic: Callable[..., str], open_log: MakeLog) -> None:
    name = topic(2)
    log = open_log([name])
    log.start(None)
    for epoch in (1, 2):
        log.commit(Committed(log.offsets(), run=3, epoch=epoch))
    assert open_log([name]).committed() == Committed({(name, 0): 0, (name, 1): 0}, run=3, epoch=2)


def test_a_commit_may_go_back(kafka: str, topic: Callable[..., str], open_log: MakeLog) -> None:
    name = topic()
    produce(kafka, name, numbered(5))
    log = open_log([name])
    log.start(None)
    poll_count(log, 5)
    log.commit(Committed({(name, 0): 5}, run=1, epoch=9))
    log.start({(name, 0): 2})
    assert log.offsets() == {(name, 0): 2}
    assert values_of(poll_count(log, 3)) == numbered(3, 2)
    log.commit(Committed({(name, 0): 3}, run=2, epoch=1))
    assert open_log([name]).committed() == Committed({(name, 0): 3}, run=2, epoch=1, leaders={(name, 0): 0})


def test_an_operators_reset_without_metadata_is_followed(
    kafka: str, topic: Callable[..., str], open_log: MakeLog, group: str
) -> None:
    name = topic()
    produce(kafka, name, numbered(5))
    tool = Consumer({"bootstrap.servers": kafka, "group.id": group})
    tool.commit(offsets=[TopicPartition(name, 0, 3)], asynchronous=False)
    tool.close()
    assert open_log([name]).committed() == Committed({(name, 0): 3}, run=0, epoch=0)


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_workers_share_every_partition_exactly_once(
    kafka: str, topic: Callable[..., str], open_log: MakeLog, workers: int
) -> None:
    prefix = f"s{uuid.uuid4().hex[:8]}"
    names = [topic(partitions, name=f"{prefix}.{letter}") for letter, partitions in (("a", 3), ("b", 1), ("c", 2))]
    shares = []
    for worker in range(workers):
        log = open_log([f"^{prefix}\\."], worker=worker, workers=workers)
        log.start(None)
        shares.append(list(log.offsets()))
    everything = [(names[0], 0), (names[0], 1), (names[0], 2), (names[1], 0), (names[2], 0), (names[2], 1)]
    assert shares == [everything[worker::workers] for worker in range(workers)]


def test_a_worker_without_partitions_has_nothing_to_do(
    kafka: str, topic: Callable[..., str], open_log: MakeLog
) -> None:
    log = open_log([topic()], worker=1, workers=2, stop_at_end=True)
    assert log.committed() is None
    log.start(None)
    assert (log.poll(10), log.offsets(), log.lag(), log.exhausted()) == ([], {}, 0, True)
    log.commit(Committed({}, run=1, epoch=1))


def test_a_pattern_takes_only_what_it_matches_and_never_kafkas_own_topics(
    kafka: str, topic: Callable[..., str], open_log: MakeLog
) -> None:
    prefix = f"p{uuid.uuid4().hex[:8]}"
    mine = topic(name=f"{prefix}.public.orders")
    topic(name=f"x{prefix}.public.orders")
    log = open_log([f"^{prefix}\\.", "^__consumer"])
    log.start(None)
    assert list(log.offsets()) == [(mine, 0)]


def test_a_pattern_that_is_no_pattern_is_a_configuration_error(open_log: MakeLog) -> None:
    with pytest.raises(ConfigurationError, match=r"topic pattern \^\(: "):
        open_log(["^("])


def delete_before(bootstrap: str, topic: str, offset: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for answer in admin.delete_records([TopicPartition(topic, 0, offset)]).values():
        answer.result()


def test_an_offset_that_retention_deleted_is_lost_and_said(
    kafka: str, topic: Callable[..., str], open_log: MakeLog
) -> None:
    name = topic()
    produce(kafka, name, numbered(10))
    delete_before(kafka, name, 6)
    with pytest.raises(OffsetLost, match=f"{name}, partition 0: offset 5 is gone, messages from 6 to 10 .*--rebuild"):
        open_log([name]).start({(name, 0): 5})
    log = open_log([name])
    log.start({(name, 0): 6})
    assert values_of(poll_count(log, 4)) == numbered(4, 6)


def test_what_is_deleted_before_it_is_read_is_lost_and_said(
    kafka: str, topic: Callable[..., str], open_log: MakeLog
) -> None:
    name = topic()
    produce(kafka, name, [b"x" * 2000] * 20, one_by_one=True)
    log = open_log(
        [name],
        options={
            "queued.min.messages": 1,
            "fetch.message.max.bytes": 1000,
            "fetch.max.bytes": 1000,
            "message.max.bytes": 1000,
            "queued.max.messages.kbytes": 1,
        },
    )
    log.start(None)
    poll_count(log, 1, rows_max=1)
    delete_before(kafka, name, 20)
    with pytest.raises(OffsetLost, match=f"{name}, partition 0: offset .* is gone, messages from 20 to 20"):
        poll_count(log, 20, rows_max=1)


def test_a_topic_made_anew_is_noticed(kafka: str, topic: Callable[..., str], open_log: MakeLog) -> None:
    name = topic()
    produce(kafka, name, numbered(3))
    with pytest.raises(
        OffsetLost, match=r"messages before offset 100 are gone \(the end is 3\), so the topic was made anew or cut"
    ):
        open_log([name]).start({(name, 0): 100})


def test_a_first_start_on_a_shortened_topic_begins_at_what_is_left(
    kafka: str, topic: Callable[..., str], open_log: MakeLog
) -> None:
    name = topic()
    produce(kafka, name, numbered(10))
    delete_before(kafka, name, 7)
    log = open_log([name])
    log.start(None)
    assert log.offsets() == {(name, 0): 7}
    assert values_of(poll_count(log, 3)) == numbered(3, 7)


def grow(bootstrap: str, topic: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_partitions([NewPartitions(topic, partitions)])[topic].result()


def test_a_single_worker_takes_in_partitions_that_appear(
    kafka: str, topic: Callable[..., str], open_log: MakeLog
) -> None:
    prefix = f"n{uuid.uuid4().hex[:8]}"
    name = topic(1, name=f"{prefix}.a")
    log = open_log([f"^{prefix}\\."], metadata_s=0.2)
    log.start(None)
    grow(kafka, name, 2)
    later = topic(1, name=f"{prefix}.b")
    produce(kafka, name, [b"in the new partition"], partition=1)
    produce(kafka, later, [b"in the new topic"])
    batches = poll_count(log, 2)
    assert set(values_of(batches)) == {b"in the new partition", b"in the new topic"}
    assert log.offsets() == {(name, 0): 0, (name, 1): 1, (later, 0): 1}
    log.commit(Committed(log.offsets(), run=1, epoch=1))
    read = {(name, 1): 0, (later, 0): 0}  # leader epochs, where something was read
    assert open_log([f"^{prefix}\\."]).committed() == Committed(log.offsets(), run=1, epoch=1, leaders=read)


def test_several_workers_stop_to_share_out_partitions_that_appear(
    kafka: str, topic: Callable[..., str], open_log: MakeLog
) -> None:
    name = topic(2)
    log = open_log([name], worker=1, workers=2, metadata_s=0.2)
    log.start(None)
    grow(kafka, name, 3)
    with pytest.raises(PartitionsChanged, match=f"partitions {name}/2 appeared .* restart all workers") as raised:
        poll_count(log, 1)
    assert raised.value.exit_code == 7


def test_a_topic_that_does_not_exist_yet_is_read_when_it_appears(
    kafka: str, topic: Callable[..., str], open_log: MakeLog, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"later-{uuid.uuid4().hex[:8]}"
    log = open_log([name], metadata_s=0.2)
    assert f"reading topic {name}: it does not exist yet" in caplog.text
    log.start(None)
    topic(name=name)
    produce(kafka, name, [b"1"])
    assert values_of(poll_count(log, 1)) == [b"1"]


def test_an_aborted_transaction_never_happened_and_the_end_is_still_reached(
    kafka: str, topic: Callable[..., str], open_log: MakeLog
) -> None:
    name = topic(2)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": f"t-{uuid.uuid4().hex}"})
    producer.init_transactions()
    for value, ends in ((b"kept", producer.commit_transaction), (b"dropped", producer.abort_transaction)):
        producer.begin_transaction()
        producer.produce(name, value, partition=0)
        producer.flush(20)
        ends()
    log = open_log([name], stop_at_end=True)
    log.start(None)
    batches = poll_until(log, lambda _: log.exhausted())
    assert values_of(batches) == [b"kept"]
    assert log.offsets() == {(name, 0): 4, (name, 1): 0}
    poll_until(log, lambda _: log.lag() == 0)


def test_a_log_that_stops_reads_what_was_there_when_it_started(
    kafka: str, topic: Callable[..., str], open_log: MakeLog
) -> None:
    name, empty = topic(), topic()
    produce(kafka, name, numbered(50))
    log = open_log([name, empty], stop_at_end=True)
    log.start({(name, 0): 10})
    assert not log.exhausted()
    batches = poll_until(log, lambda _: log.exhausted(), rows_max=7)
    assert values_of(batches) == numbered(40, 10)
    follow = open_log([name])
    follow.start({(name, 0): 50})
    assert not follow.exhausted()


def test_a_group_that_another_program_uses_is_refused(
    kafka: str, topic: Callable[..., str], open_log: MakeLog, group: str
) -> None:
    name = topic()
    member = Consumer({"bootstrap.servers": kafka, "group.id": group})
    member.subscribe([name])
    while not member.assignment():
        member.poll(0.2)
    log = open_log([name])
    log.start(None)
    with pytest.raises(ConfigurationError, match=f"group {group}: another program is a member"):
        log.commit(Committed({(name, 0): 0}, run=1, epoch=1))
    member.close()


def test_brokers_that_never_answer_end_the_start_with_what_to_check(
    open_log: MakeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nurt.adapters.kafka.topics.REQUEST_TIMEOUT_S", 1.0)
    with pytest.raises(ConnectionFailed, match=r"reading from Kafka .* at 127\.0\.0\.1:1: no answer for \d+ s"):
        open_log(["any"], bootstrap="127.0.0.1:1", answer_max_s=1)


def test_a_restarted_broker_loses_nothing_and_is_reported_once(
    kafka_server: KafkaServer, open_log: MakeLog, caplog: pytest.LogCaptureFixture
) -> None:
    bootstrap = kafka_server.bootstrap
    name = create_topic(bootstrap, "kept", 1, **{"flush.messages": "1"})
    produce(bootstrap, name, numbered(5000))
    log = open_log(
        [name],
        bootstrap=bootstrap,
        metadata_s=0.5,
        options={"queued.min.messages": 100, "fetch.message.max.bytes": 1000},
    )
    log.start(None)
    batches = poll_count(log, 1000, rows_max=100)
    log.commit(Committed(log.offsets(), run=1, epoch=1))
    kafka_server.kill()
    quiet_until = time.monotonic() + 2
    while time.monotonic() < quiet_until:
        batches += log.poll(100)
    kafka_server.start()
    batches += poll_count(log, 5000 - sum(map(len, batches)))
    assert values_of(batches) == numbered(5000)
    log.commit(Committed(log.offsets(), run=1, epoch=2))
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert sum("no answer" in line for line in said) == sum("answered again" in line for line in said) == 1, said
    again = open_log([name], bootstrap=bootstrap)
    assert again.committed() == Committed({(name, 0): 5000}, run=1, epoch=2, leaders={(name, 0): 0})


def test_a_commit_waits_for_a_broker_that_is_away(kafka_server: KafkaServer, open_log: MakeLog) -> None:
    name = create_topic(kafka_server.bootstrap, "kept")
    log = open_log([name], bootstrap=kafka_server.bootstrap)
    log.start(None)
    kafka_server.kill()
    waiting = threading.Thread(target=log.commit, args=(Committed({(name, 0): 0}, run=1, epoch=5),), daemon=True)
    waiting.start()
    waiting.join(1)
    assert waiting.is_alive()
    kafka_server.start()
    waiting.join(60)
    assert not waiting.is_alive()
    assert log.committed() == Committed({(name, 0): 0}, run=1, epoch=5)


def test_closing_twice_keeps_what_was_committed_and_says_nothing(
    kafka: str, topic: Callable[..., str], open_log: MakeLog, caplog: pytest.LogCaptureFixture
) -> None:
    name = topic()
    produce(kafka, name, numbered(3))
    log = open_log([name])
    log.start(None)
    poll_count(log, 3)
    log.commit(Committed({(name, 0): 3}, run=1, epoch=1))
    log.close()
    log.close()
    assert caplog.messages == []
    assert open_log([name]).committed() == Committed({(name, 0): 3}, run=1, epoch=1, leaders={(name, 0): 0})
