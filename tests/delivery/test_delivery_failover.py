"""A delivery whose Redis is replaced, or came back older: it goes on, or ends and tells again what was forgotten."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisAway

from nurt.adapters.redis.client import open_client
from nurt.adapters.redis.delivery.store import DeliveryStore
from nurt.delivery.journal import Notes
from nurt.errors import Fenced
from nurt.fake.server import running
from nurt.fake.webhook import FakeWebhook
from nurt.model.keys import Keys
from tests.delivery.scene import key_of
from tests.delivery.test_delivery_flow import State
from tests.delivery.test_delivery_kills import NURT, _deployed
from tests.services.stack.redis_server import RedisServer
from tests.services.stack.sentinels import guarded, wait_until

KEYS = Keys("t", 1)


def counted() -> Notes:
    notes = Notes()
    notes.count("accepted")
    return notes


def worker_of(run: DeliveryStore, client: Redis) -> DeliveryStore:
    store = DeliveryStore(client, KEYS, "hook", part=1)
    store.run = run.run
    return store


@pytest.fixture
def server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    return start_redis("valkey")


def test_notes_whose_answer_was_lost_are_not_counted_twice(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_client(server.url)
    run = DeliveryStore(client, KEYS, "hook")
    run.begin()
    store = worker_of(run, client)
    real, broken = store._write, []

    def write(notes: Notes) -> None:
        real(notes)
        if not broken:
            broken.append(True)
            raise RedisAway("the answer was lost")

    monkeypatch.setattr(store, "_write", write)
    store.write(counted())
    store.write(counted())
    assert broken and run.counts()["accepted"] == 2


def test_a_memory_that_forgot_notes_takes_no_more_and_no_offsets(server: RedisServer) -> None:
    client = open_client(server.url)
    run = DeliveryStore(client, KEYS, "hook")
    run.begin()
    store = worker_of(run, client)
    store.write(counted())
    run.note("live", {"t:0": 1}, [store])
    server.save()
    store.write(counted())
    server.restart()
    with pytest.raises(Fenced, match="came back older"):
        run.note("live", {"t:0": 2}, [store])
    assert run.get("live") == {"t:0": 1}
    with pytest.raises(Fenced, match="start this delivery again"):
        store.write(counted())


def test_a_newer_run_is_not_taken_for_an_older_memory(server: RedisServer) -> None:
    client = open_client(server.url)
    old, new = DeliveryStore(client, KEYS, "hook"), DeliveryStore(client, KEYS, "hook")
    old.begin()
    old.write(counted())
    new.begin()
    with pytest.raises(Fenced, match="overtaken"):
        old.note("live", {}, [old])
    with pytest.raises(Fenced, match="overtaken"):
        old.write(counted())


@pytest.mark.timeout(120)
@pytest.mark.services
def test_a_delivery_outlives_its_primary_and_delivers_everything(tmp_path: Path) -> None:
    with guarded() as group, running(FakeWebhook()) as fake:
        assert isinstance(fake, FakeWebhook)
        fake.faults.latency_s = 0.01
        first, second = group.servers
        settings = _deployed(tmp_path, group.url, fake.url)
        state = State(settings)
        for number in range(150):
            state.publish((number, number + 1, "a@x.pl"))
        process = started(tmp_path)
        wait_until(lambda: len(fake.rows) > 30, "some to be delivered")
        group.fail_over(first, second)
        wait_until(lambda: is_answered(group.url), "the Sentinels to name the new primary")
        state = State(settings)  # whatever flow publishes has failed over, too; and says again what was lost
        for number in range(150):
            state.publish((number, 1_000 + number, "b@x.pl"))
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not all_told(fake):
            if process.poll() is not None:
                assert process.returncode == Fenced.exit_code
                process = started(tmp_path)
            time.sleep(0.05)
        process.terminate()
        assert process.wait(20) == 0
        assert all_told(fake)


def started(folder: Path) -> subprocess.Popen[bytes]:
    command = [*NURT, "deliver", "run", "hook", "-c", str(folder / "nurt.yaml"), "--quiet"]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


def is_answered(url: str) -> bool:
    try:
        with open_client(url) as client:
            return bool(client.set("here", 1))
    except Exception:
        return False


def all_told(fake: FakeWebhook) -> bool:
    held = {key: fields["email"] for (_, key), fields in dict(fake.rows).items()}
    return held == {key_of(number): "b@x.pl" for number in range(150)}
