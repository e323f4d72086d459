from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from nurt.adapters.kafka.control_log import KafkaControlLog
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.errors import ConfigurationError, OffsetLost
from tests.services.stack.kafka import KafkaServer


@pytest.fixture
def name() -> str:
    return f"control-{uuid.uuid4().hex[:12]}"


def test_records_come_back_in_order_under_growing_numbers(kafka: str, name: str) -> None:
    register = KafkaControlLog(KafkaSettings(kafka), name)
    assert register.records() == []
    numbers = [register.append({"kind": "run", "which": which, "name": "Łódź"}) for which in range(3)]
    assert numbers == sorted(set(numbers))
    expected = [(number, {"kind": "run", "which": which, "name": "Łódź"}) for which, number in enumerate(numbers)]
    assert register.records() == expected
    assert KafkaControlLog(KafkaSettings(kafka), name).records() == expected


def test_what_one_worker_appended_every_other_reads(kafka: str, name: str) -> None:
    one, other = (KafkaControlLog(KafkaSettings(kafka), name) for _ in range(2))
    number = one.append({"by": "one"})
    assert other.records() == [(number, {"by": "one"})]
    assert other.append({"by": "other"}) > number


def test_workers_that_start_at_once_share_one_topic(kafka: str, name: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        registers = list(pool.map(lambda _: KafkaControlLog(KafkaSettings(kafka), name), range(4)))
    assert len({register.append({"n": 0}) for register in registers}) == 4


def test_no_two_appenders_get_one_number(kafka: str, name: str) -> None:
    registers = [KafkaControlLog(KafkaSettings(kafka), name) for _ in range(4)]

    def append_ten(register: KafkaControlLog) -> list[int]:
        return [register.append({"n": n}) for n in range(10)]

    with ThreadPoolExecutor(4) as pool:
        numbers = [number for some in pool.map(append_ten, registers) for number in some]
    assert len(set(numbers)) == 40
    assert [number for number, _ in registers[0].records()] == sorted(numbers)


def test_the_topic_is_made_to_forget_nothing(kafka: str, name: str) -> None:
    KafkaControlLog(KafkaSettings(kafka), name)
    admin = AdminClient({"bootstrap.servers": kafka})
    resource = ConfigResource(ResourceType.TOPIC, name)
    config = admin.describe_configs([resource])[resource].result()
    assert {key: config[key].value for key in ("cleanup.policy", "retention.ms", "retention.bytes")} == {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
    }
    assert len(admin.list_topics(name, timeout=10).topics[name].partitions) == 1


@pytest.mark.parametrize(
    ("partitions", "config", "complaint"),
    [
        (2, {}, "it has 2 partitions .expected 1"),
        (1, {"retention.ms": "1000"}, "retention.ms is 1000 .expected -1"),
        (1, {"retention.ms": "-1", "cleanup.policy": "compact"}, "cleanup.policy is compact .expected delete"),
    ],
)
def test_a_topic_that_would_forget_or_reorder_is_refused(
    kafka: str, topic: Callable[..., str], partitions: int, config: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        KafkaControlLog(KafkaSettings(kafka), topic(partitions, **config))


def test_a_strangers_message_is_named_by_its_number(kafka: str, name: str) -> None:
    register = KafkaControlLog(KafkaSettings(kafka), name)
    register.append({"n": 0})
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(name, b"not json")
    assert producer.flush(10) == 0
    with pytest.raises(ConfigurationError, match="record 1 is not a JSON object"):
        register.records()


def test_deleted_records_are_missed(kafka: str, name: str) -> None:
    register = KafkaControlLog(KafkaSettings(kafka), name)
    for n in range(3):
        register.append({"n": n})
    admin = AdminClient({"bootstrap.servers": kafka})
    for answer in admin.delete_records([TopicPartition(name, 0, 2)]).values():
        answer.result()
    with pytest.raises(OffsetLost, match=r"its first record is 2 .expected 0"):
        register.records()


def test_an_append_waits_for_a_broker_and_is_stored_once(kafka_server: KafkaServer, name: str) -> None:
    register = KafkaControlLog(KafkaSettings(kafka_server.bootstrap), name)
    first = register.append({"n": 0})
    kafka_server.kill()
    numbers: list[int] = []
    waiting = threading.Thread(target=lambda: numbers.append(register.append({"n": 1})), daemon=True)
    waiting.start()
    waiting.join(2)
    assert waiting.is_alive()
    kafka_server.start()
    waiting.join(60)
    assert register.records() == [(first, {"n": 0}), (numbers[0], {"n": 1})]
