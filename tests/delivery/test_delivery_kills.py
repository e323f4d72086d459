"""Real processes: `nurt deliver` with two workers, killed by the system again and again, and overtaken by another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from random import Random

import pytest
from redis import Redis

from nurt.fake.server import running
from nurt.fake.webhook import FakeWebhook
from nurt.settings import Settings, load_settings
from tests.delivery.scene import key_of
from tests.delivery.test_delivery_flow import State

NURT = [sys.executable, "-c", "from nurt.cli import main; main()"]
DELIVERY = """
destinations:
  hook:
    kind: webhook
    url: {url}
    workers: 2
    limits: {{rows_max: 5}}
    objects:
      contact: {{key: id, fields: {{email: email}}}}
"""


def _deployed(folder: Path, redis_url: str, url: str) -> Settings:
    (folder / "delivery.yaml").write_text(DELIVERY.format(url=url))
    text = "mapping: mapping.yaml\ndata: data\n"
    text += f"state: {{url: '{redis_url}', prefix: t{uuid.uuid4().hex[:8]}, shards: 4}}\n"
    (folder / "nurt.yaml").write_text(text + "input: {archives: [nothing]}\n")
    (folder / "mapping.yaml").write_text("systems: {}\ntopics: []\n")
    settings = load_settings(folder / "nurt.yaml")
    settings.ids_secret()
    return settings


def _started(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [*NURT, "deliver", "run", "hook", "-c", str(folder / "nurt.yaml"), "--quiet", *more]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, stderr=subprocess.PIPE)


@pytest.mark.timeout(240)
def test_a_process_killed_again_and_again_delivers_everything(tmp_path: Path, redis_url: str) -> None:
    random = Random(3)
    with running(FakeWebhook()) as fake:
        assert isinstance(fake, FakeWebhook)
        fake.faults.latency_s, fake.faults.cut_after = 0.02, 0.05
        state = State(_deployed(tmp_path, redis_url, fake.url))
        mails: dict[int, str | None] = {}
        sequence = 0
        for _ in range(5):
            process = _started(tmp_path)
            until = time.monotonic() + random.uniform(2.5, 4.5)
            while time.monotonic() < until:
                sequence += 1
                number = random.randrange(120)
                mails[number] = None if random.random() < 0.1 else random.choice(("a@x.pl", "b@x.pl"))
                state.publish((number, sequence, mails[number]))
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
        fake.faults.cut_after = 0.0
        last = _started(tmp_path, "--until-end")
        assert last.wait(60) == 0
        held = {key: fields["email"] for (_, key), fields in fake.rows.items()}
        assert held == {key_of(number): mail for number, mail in mails.items() if mail is not None}


def test_a_second_process_takes_over_and_the_first_ends(tmp_path: Path, redis_url: str) -> None:
    with running(FakeWebhook()) as fake:
        settings = _deployed(tmp_path, redis_url, fake.url)
        state = State(settings)
        first = _started(tmp_path)
        client = Redis.from_url(redis_url)
        while client.get(f"{settings.prefix}:d:hook:run") is None:
            time.sleep(0.1)
        second = _started(tmp_path)
        try:
            for number in range(8):
                state.publish((number, number + 1, "a@x.pl"))
            assert first.stderr is not None
            said = first.stderr.read()
            assert first.wait(30) == 5 and b"overtaken" in said, said
            until = time.monotonic() + 10
            while len(fake.rows) < 8 and time.monotonic() < until:  # type: ignore[attr-defined]
                time.sleep(0.05)
            assert len(fake.rows) == 8  # type: ignore[attr-defined]
        finally:
            second.terminate()
            second.wait(20)
        assert second.returncode == 0
