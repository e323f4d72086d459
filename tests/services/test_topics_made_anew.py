"""Topics on a real broker that are deleted and made anew, between two runs and during one, and other clusters."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from redis import Redis

from nurt.adapters.kafka.control_log import KafkaControlLog
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.app.running import run_here
from nurt.control.logs import ANOTHER, SAME, log_word_record
from nurt.errors import LogChanged, LogHalted
from nurt.flows.profiles import profiles
from nurt.model.raw import RawBatch
from nurt.settings import KafkaInput, Settings
from tests.envelopes import Topic, _raw, entry
from tests.flows.new_logs import NEW, NEWEST, old_log, topic_of
from tests.services.stack.fixtures import create_topic
from tests.services.stack.kafka import KafkaServer

COLUMNS = ("partitions", "offsets", "timestamps_ms", "keys", "values", "headers")
OLDEST = {"c1-d38", "c2-c", "c3-c"}


@dataclass
class Shop:
    """A deployment over one topic of a broker."""

    home: Path
    redis_url: str
    bootstrap: str
    name: str

    def settings(self, **more: Any) -> Settings:
        topic = topic_of(name=self.name)
        (self.home / "mapping.yaml").write_text(
            f"systems:\n  s: {{}}\ntopics:\n  - match: {json.dumps(self.name)}\n    system: s\n" + entry(email="email")
        )
        schemas = self.home / "data" / "schemas" / "schemas.json"
        if not schemas.exists():
            schemas.parent.mkdir(parents=True)
            held = {str(one): _raw(schema) for one, schema in topic.schemas.items()}
            schemas.write_text(json.dumps(held))
        settings = Settings(
            mapping=self.home / "mapping.yaml",
            data=self.home / "data",
            redis_url=self.redis_url,
            prefix=self.name,
            kafka=KafkaSettings(self.bootstrap),
            kafka_input=KafkaInput((self.name,), f"group-{self.name}", stop_at_end=True),
            control_topic=f"control-{self.name}",
            duckdb=self.home / "profiles.duckdb",
            secret="00" * 16,
        )
        return replace(settings, **more)

    def produce(self, topic: Topic, partition: int = 0) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True})
        batch = topic.batch
        for at in range(len(batch)):
            producer.produce(self.name, batch.values[at], batch.keys[at], partition, timestamp=1_790_000_000_000 + at)
        assert producer.flush(20) == 0

    def make_anew(self, partitions: int = 1) -> None:
        """Delete the topic and make it under its name; nothing else is touched."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        admin.delete_topics([self.name])[self.name].result(20)
        deadline = time.monotonic() + 30
        while self.name in admin.list_topics(timeout=10).topics and time.monotonic() < deadline:
            time.sleep(0.1)
        create_topic(self.bootstrap, self.name, partitions)

    def run(self, **more: Any) -> set[str]:
        """Run to the end; return the addresses of the profiles."""
        run_here(profiles, self.settings(**more))
        return self.emails()

    def emails(self) -> set[str]:
        with duckdb.connect(str(self.home / "profiles.duckdb"), read_only=True) as tables:
            rows = tables.execute("SELECT email FROM profiles WHERE state = 'live'").fetchall()
        return {email.removesuffix("@example.com") for (email,) in rows}

    def counted(self) -> int:
        counts: Any = Redis.from_url(self.redis_url).hgetall(f"{self.name}:counts")
        return sum(map(int, counts.values()))

    def control_log(self) -> KafkaControlLog:
        return KafkaControlLog(KafkaSettings(self.bootstrap), f"control-{self.name}")

    def logs(self) -> list[dict[str, Any]]:
        return [record for _, record in self.control_log().records() if record["kind"] == "log"]


@pytest.fixture
def shop(tmp_path: Path, redis_url: str, kafka: str) -> Shop:
    name = f"s.t-{uuid.uuid4().hex[:8]}"
    create_topic(kafka, name)
    return Shop(tmp_path, redis_url, kafka, name)


def log_of(shop: Shop, *events: tuple[str, int, str, int]) -> Topic:
    return topic_of(*events, name=shop.name)


def test_a_topic_made_anew_between_two_runs_is_read_from_its_beginning(shop: Shop) -> None:
    shop.produce(old_log(shop.name))
    assert shop.run() == OLDEST
    shop.make_anew()
    shop.produce(log_of(shop, *NEW))
    assert shop.run() == NEWEST
    assert shop.counted() == 46 + 6
    assert [one["generation"] for one in shop.logs()] == [0, 1]
    assert shop.run() == NEWEST


def test_a_topic_made_anew_that_is_longer_by_now_is_noticed_by_its_id(shop: Shop) -> None:
    shop.produce(log_of(shop, *NEW))
    assert shop.run() == NEWEST
    shop.make_anew()
    shop.produce(old_log(shop.name))
    assert shop.run() == OLDEST | {"c4-new"}
    assert shop.counted() == 6 + 46


def test_a_topic_made_anew_without_a_snapshot_waits_for_one_word(shop: Shop) -> None:
    shop.produce(old_log(shop.name))
    shop.run()
    shop.make_anew()
    shop.produce(log_of(shop, ("u", 1, "c1-new", 900)))
    starts = [record for _, record in shop.control_log().records() if record["kind"] == "start"]
    for _ in range(2):
        with pytest.raises(LogHalted, match="nurt source another-log"):
            shop.run()
    assert [one for _, one in shop.control_log().records() if one["kind"] == "start"] == starts
    shop.control_log().append(log_word_record(shop.name, ANOTHER))
    assert shop.run() == {"c1-new", "c2-c", "c3-c"}


OLD = [("r", 1, "c1-a", 100), *(("u", 1, f"c1-{at}", 400 + at) for at in range(40))]


@pytest.mark.parametrize("before", [OLD[:3], OLD], ids=["longer", "shorter"])
def test_a_topic_made_anew_while_nurt_runs_ends_the_run_and_the_next_one_reads_it(
    shop: Shop, before: list[tuple[str, int, str, int]]
) -> None:
    shop.produce(log_of(shop, *before))
    stop = threading.Event()
    live = shop.settings(kafka_input=KafkaInput((shop.name,), f"group-{shop.name}"))
    with ThreadPoolExecutor(1) as one:
        running = one.submit(run_here, profiles, live, stop=stop)
        try:
            until(lambda: shop.counted() == len(before))
            shop.make_anew()
            shop.produce(log_of(shop, *NEW))
            with pytest.raises(LogChanged, match="start nurt again"):
                running.result(60)
        finally:
            stop.set()
    assert shop.run() == NEWEST


def test_another_cluster_with_the_same_state_is_read_from_its_beginning(shop: Shop, kafka_server: KafkaServer) -> None:
    shop.produce(old_log(shop.name))
    assert shop.run() == OLDEST
    other = replace(shop, bootstrap=kafka_server.bootstrap)
    create_topic(other.bootstrap, other.name)
    other.produce(log_of(shop, *NEW))
    assert other.run() == NEWEST
    assert other.counted() == 46 + 6
    assert other.run() == NEWEST


def test_a_copy_on_another_cluster_is_the_same_log(shop: Shop, kafka_server: KafkaServer) -> None:
    shop.produce(old_log(shop.name))
    assert shop.run() == OLDEST
    other = replace(shop, bootstrap=kafka_server.bootstrap)
    create_topic(other.bootstrap, other.name)
    other.produce(old_log(shop.name))
    _mirror_commits(shop, other)
    assert other.run() == OLDEST
    assert other.counted() == 46, "mirrored with offsets, commits and register: nothing is read again"
    assert {one["generation"] for one in other.logs()} == {0}


def _mirror_commits(one: Shop, other: Shop) -> None:
    """Copy the register and the group's commits, as cluster linking does."""
    copy = other.control_log()
    for _, record in one.control_log().records():
        copy.append(record)
    place = TopicPartition(one.name, 0)
    group = {"group.id": f"group-{one.name}"}
    reader, writer = (Consumer({"bootstrap.servers": of.bootstrap, **group}) for of in (one, other))
    committed = reader.committed([place], timeout=10)
    writer.commit(offsets=committed, asynchronous=False)
    reader.close()
    writer.close()


def test_a_topic_that_was_restored_from_an_older_copy_waits_for_a_word_and_loses_nothing(shop: Shop) -> None:
    shop.produce(old_log(shop.name))
    assert shop.run() == OLDEST
    shop.make_anew()
    whole = old_log(shop.name).batch
    copy = old_log(shop.name)
    copy.batch = RawBatch(shop.name, *(getattr(whole, name)[:8] for name in COLUMNS))
    shop.produce(copy)
    shop.produce(log_of(shop, ("u", 2, "c2-more", 3000)))
    with pytest.raises(LogHalted, match="as an older copy would"):
        shop.run()
    shop.control_log().append(log_word_record(shop.name, SAME))
    assert shop.run() == {"c1-d38", "c2-more", "c3-c"}, "what nurt has read stays, what was written on is newer"


def test_more_partitions_retention_and_an_empty_batch_are_the_same_log(shop: Shop) -> None:
    shop.produce(old_log(shop.name))
    assert shop.run() == OLDEST
    admin = AdminClient({"bootstrap.servers": shop.bootstrap})
    admin.create_partitions([NewPartitions(shop.name, 2)])[shop.name].result(20)
    admin.delete_records([TopicPartition(shop.name, 0, 46)])[TopicPartition(shop.name, 0)].result(20)
    shop.produce(log_of(shop, ("u", 1, "c1-more", 3000)), partition=1)
    assert shop.run() == {"c1-more", "c2-c", "c3-c"}
    assert {one["generation"] for one in shop.logs()} == {0}
    assert shop.counted() == 47


def test_commits_of_a_former_deployment_under_the_group_halt_no_first_start(shop: Shop) -> None:
    shop.produce(old_log(shop.name))
    shop.run()
    shop.make_anew()
    shop.produce(log_of(shop, ("u", 1, "c1-new", 900)))
    anew = {"prefix": f"{shop.name}-anew", "control_topic": f"control-{shop.name}-anew"}
    assert shop.run(**anew, duckdb=shop.home / "anew.duckdb") == {"c1-d38", "c2-c", "c3-c"}, "the former tables"
    with duckdb.connect(str(shop.home / "anew.duckdb"), read_only=True) as tables:
        assert tables.execute("SELECT email FROM profiles").fetchall() == [("c1-new@example.com",)]


def test_a_broker_that_restarts_has_the_same_log(tmp_path: Path, redis_url: str, kafka_server: KafkaServer) -> None:
    shop = Shop(tmp_path, redis_url, kafka_server.bootstrap, f"s.t-{uuid.uuid4().hex[:8]}")
    create_topic(shop.bootstrap, shop.name)
    shop.produce(old_log(shop.name))
    assert shop.run() == OLDEST
    kafka_server.stop()  # its leader epoch rises
    kafka_server.start()
    shop.produce(log_of(shop, ("u", 1, "c1-more", 3000)))
    assert shop.run() == {"c1-more", "c2-c", "c3-c"}
    assert {one["generation"] for one in shop.logs()} == {0}


def test_a_register_made_anew_does_not_begin_at_run_one_nor_count_twice(shop: Shop) -> None:
    shop.produce(old_log(shop.name))
    shop.run()
    shop.run()
    admin = AdminClient({"bootstrap.servers": shop.bootstrap})
    control = f"control-{shop.name}"
    admin.delete_topics([control])[control].result(20)
    until(lambda: control not in admin.list_topics(timeout=10).topics)
    assert shop.run() == OLDEST
    runs = [record["run"] for _, record in shop.control_log().records() if record["kind"] == "begin"]
    assert runs == [3]
    assert shop.counted() == 46


def test_a_rebuild_of_a_topic_that_lost_its_beginning_says_so_and_erases_nothing_unless_confirmed(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.produce(old_log(shop.name))
    assert shop.run() == OLDEST
    admin = AdminClient({"bootstrap.servers": shop.bootstrap})
    admin.delete_records([TopicPartition(shop.name, 0, 40)])[TopicPartition(shop.name, 0)].result(20)
    run_here(profiles, shop.settings(), rebuild=True)
    assert shop.emails() == OLDEST
    assert (
        "begins neither with offset 0 nor with a full snapshot (partition: offset 0: 40); 2 stored rows" in caplog.text
    )
    assert "2 of 3 rows of kind customer were not read again" in caplog.text
    assert shop.counted() == 6
    run_here(profiles, shop.settings(), rebuild=True, confirmed=True)
    assert shop.emails() == {"c1-d38"}
    assert shop.run() == {"c1-d38"}


def test_a_topic_of_ours_that_was_made_anew_is_told_everything_again_what_ended_as_well(shop: Shop) -> None:
    ours = f"profiles-{shop.name}"
    shop.produce(old_log(shop.name))
    shop.run(topic=ours, partitions=1)
    shop.produce(log_of(shop, ("d", 3, "c3-c", 5000)))
    shop.run(topic=ours, partitions=1)
    assert told(shop, ours) == {True: 2, False: 1}
    admin = AdminClient({"bootstrap.servers": shop.bootstrap})
    admin.delete_topics([ours])[ours].result(20)
    until(lambda: ours not in admin.list_topics(timeout=10).topics)
    shop.run(topic=ours, partitions=1)
    assert told(shop, ours) == {True: 2, False: 1}
    shop.run(topic=ours, partitions=1)
    assert told(shop, ours) == {True: 2, False: 1}


def told(shop: Shop, topic: str) -> dict[bool, int]:
    """Count the keys of a topic whose newest message has a value, and those that end."""
    consumer = Consumer({"bootstrap.servers": shop.bootstrap, "group.id": uuid.uuid4().hex})
    consumer.assign([TopicPartition(topic, 0, 0)])
    newest: dict[bytes, bool] = {}
    while messages := consumer.consume(1000, 3.0):
        newest |= {message.key(): message.value() is not None for message in messages if message.error() is None}
    consumer.close()
    return dict(Counter(newest.values()))


def until(is_done: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < deadline
        time.sleep(0.1)
