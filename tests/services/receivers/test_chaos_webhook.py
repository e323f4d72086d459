"""Through outages, storms, cut connections and kills the receiver ends as the profiles say."""

from __future__ import annotations

import threading
import time
from random import Random

import pytest
from redis import Redis

from nurt.adapters.receivers.webhook import Webhook
from nurt.fake.server import Fake, running
from nurt.fake.webhook import FakeWebhook
from tests.delivery.chaos import history, hurry, live_through
from tests.delivery.scene import Scene, key_of, mapping_of

MAPPING = """
kind: webhook
url: {url}
limits: {{rows_max: 10, concurrency: 3, rates: {rates}}}
objects:
  contact:
    key: id
    fields: {{email: email, first: first_name, last: last_name, refuse_me: loyalty_card}}
"""


def _scene(fake: Fake, redis_url: str, rates: str = "[]") -> Scene:
    return Scene(Redis.from_url(redis_url), mapping_of(MAPPING.format(url=fake.url, rates=rates)), Webhook)


def _expect(scene: Scene, fake: FakeWebhook) -> None:
    """Rows at the receiver are the profiles; what it refused lies in quarantine, and nothing else does."""
    wanted, bad = {}, set()
    for number, told in scene.profiles.items():
        if told["state"] != "live":
            continue
        fields = {
            name: told[field] and told[field]["value"]
            for name, field in (("email", "email"), ("first", "first_name"), ("last", "last_name"))
        }
        if told["loyalty_card"]:
            bad.add(key_of(number))
        else:
            wanted[key_of(number)] = {**fields, "refuse_me": None}
    held = {key: fields for (_, key), fields in fake.rows.items() if key not in bad}
    assert held == wanted
    assert {refusal.subject for refusal in scene.store().refusals()} == bad


@pytest.mark.parametrize("seed", range(3))
def test_random_errors_and_cut_connections_lose_nothing(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    hurry(monkeypatch)
    random = Random(seed)
    with running(FakeWebhook(seed=seed)) as fake:
        assert isinstance(fake, FakeWebhook)
        fake.faults.error_rate, fake.faults.cut_before, fake.faults.cut_after = 0.3, 0.05, 0.1
        scene = _scene(fake, redis_url)
        live_through(scene, fake, history(scene, random, 60, 600), random)
        _expect(scene, fake)


@pytest.mark.parametrize("seed", range(4))
def test_a_worker_killed_at_every_step_leaves_no_row_wrong(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    hurry(monkeypatch)
    random = Random(100 + seed)
    with running(FakeWebhook(seed=seed)) as fake:
        assert isinstance(fake, FakeWebhook)
        fake.faults.cut_after, fake.faults.error_rate = 0.1, 0.1
        scene = _scene(fake, redis_url)
        kills = live_through(scene, fake, history(scene, random, 40, 500), random, batch=15, kill_share=0.06)
        assert kills > 10
        _expect(scene, fake)


def test_a_storm_of_throttling_keeps_calls_within_the_limit_at_every_window(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    random = Random(7)
    with running(FakeWebhook()) as fake:
        assert isinstance(fake, FakeWebhook)
        fake.faults.windows, fake.faults.throttle_rate, fake.faults.retry_after = [(20, 1.0)], 0.2, "0.1"
        scene = _scene(fake, redis_url, "[{calls: 20, seconds: 1}]")
        live_through(scene, fake, history(scene, random, 60, 400), random, batch=60)
        _expect(scene, fake)
        assert fake.throttled > 0
        assert fake.busiest(1.0) <= 20


def test_a_receiver_that_is_down_is_left_alone_and_gets_everything_when_it_is_back(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr("nurt.delivery.breaker.OPEN_S", 0.2)
    monkeypatch.setattr("nurt.delivery.breaker.OPEN_S_MAX", 0.5)
    random = Random(8)
    with running(FakeWebhook()) as fake:
        assert isinstance(fake, FakeWebhook)
        scene = _scene(fake, redis_url)
        messages = history(scene, random, 60, 300)
        fake.faults.down = True
        back = threading.Timer(3.0, lambda: setattr(fake.faults, "down", False))
        back.start()
        began = time.monotonic()
        live_through(scene, fake, messages, random, batch=100, faults=lambda _fake, _at: None)
        assert time.monotonic() - began > 2.5
        _expect(scene, fake)
        assert scene.store().counts()["calls"] < 200, "an open circuit lets few calls through"
        assert scene.store().counts().get("parked_times", 0) == 0, "nothing is set aside because all fail"
