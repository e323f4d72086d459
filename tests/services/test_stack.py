from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.services.stack import java
from tests.services.stack.kafka import KafkaServer
from tests.services.stack.redis_server import RedisServer

ROOT = Path(__file__).parents[2]


def produce(bootstrap: str, topic: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(20) == 0


def read(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        return [message.value() for message in consumer.consume(count, timeout=20)]
    finally:
        consumer.close()


def test_what_is_produced_is_consumed(kafka: str, topic: Callable[..., str]) -> None:
    name = topic()
    produce(kafka, name, b"one", b"two")
    assert read(kafka, name, 2) == [b"one", b"two"]


def test_a_killed_broker_comes_back_with_its_topics(kafka_server: KafkaServer) -> None:
    from tests.services.stack.fixtures import create_topic

    name = create_topic(kafka_server.bootstrap, "kept")
    produce(kafka_server.bootstrap, name, b"one")
    kafka_server.kill()
    kafka_server.start()
    assert read(kafka_server.bootstrap, name, 1) == [b"one"]


def test_a_killed_redis_goes_back_to_its_snapshot(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set("kept", b"1")
        redis_server.save()
        client.set("lost", b"1")
    redis_server.restart()
    with redis_server.client() as client:
        assert client.mget("kept", "lost") == [b"1", None]


CHILD = """
import sys, time
from tests.services.stack.redis_server import running_redis
with running_redis() as server:
    print(server.pid, server.folder, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_servers_end_with_whoever_started_them(how: signal.Signals) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdout=subprocess.PIPE, cwd=ROOT, stderr=subprocess.DEVNULL, text=True
    )
    assert starter.stdout is not None
    pid, folder = starter.stdout.readline().split()
    server = int(pid)
    os.kill(server, 0)
    starter.send_signal(how)
    starter.wait(180)
    starter.stdout.close()
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        if not _lives(server) and not Path(folder).exists():
            return
        time.sleep(0.05)
    pytest.fail(f"server {server} or its folder {folder} outlived the starter")


SHARER = """
import sys
from pathlib import Path
from tests.services.stack.shared import shared
with shared("valkey", Path(sys.argv[1])) as pid:
    print(pid, flush=True)
    sys.stdin.read()
"""


def _sharer(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SHARER, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True)


def test_workers_share_one_server_and_it_ends_with_the_last_of_them(tmp_path: Path) -> None:
    first, second = _sharer(tmp_path), _sharer(tmp_path)
    assert first.stdout and second.stdout
    (pid,) = {int(one.stdout.readline()) for one in (first, second) if one.stdout}
    first.kill()
    first.wait(180)
    third = _sharer(tmp_path)  # comes while the second alone holds it
    assert third.stdout and int(third.stdout.readline()) == pid
    second.communicate("")  # ends in order
    assert _lives(pid)
    third.kill()
    third.wait(180)
    deadline = time.monotonic() + 180
    while _lives(pid):
        assert time.monotonic() < deadline, "the shared server outlived all workers"
        time.sleep(0.05)
    fourth = _sharer(tmp_path)
    assert fourth.stdout and int(fourth.stdout.readline()) != pid, "who comes later starts another one"
    fourth.communicate("")


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_jar_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "some.jar").write_bytes(b"tampered")
    with pytest.raises(RuntimeError, match=r"checking the jars of kafka: other\.jar, some\.jar"):
        java._check("kafka", tmp_path, f"{'0' * 64}  some.jar\n{'0' * 64}  other.jar\n")
