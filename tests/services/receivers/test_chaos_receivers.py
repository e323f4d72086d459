"""Every receiver, through errors, outages, storms, cut connections and kills, ends as the profiles say."""

from __future__ import annotations

import threading
import time
from random import Random

import pytest

from nurt.delivery.run.clock import DeliveryClock
from nurt.fake.server import Fake, running
from nurt.model.delivery import Op
from tests.delivery.chaos import Hands, history, hurry, live_through, say_all
from tests.services.receivers.families import RECEIVERS, expect, scene_at

FASTER = 120.0
"""On the clock of these deliveries a second of the wall is two minutes."""

OUTAGE_S = 300.0

PEOPLE = 30
SEEDS = {"webhook": 9}
"""The plainest receiver stands for the machinery that all share."""


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name in RECEIVERS for seed in range(SEEDS.get(name, 2))])
def test_faults_and_kills_leave_no_row_wrong(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, name: str, seed: int
) -> None:
    hurry(monkeypatch)
    random = Random(seed)
    with running(RECEIVERS[name].fake(seed)) as fake:
        scene = scene_at(name, fake, redis_url)
        fake.faults.error_rate, fake.faults.cut_before, fake.faults.cut_after = 0.15, 0.05, 0.1
        fake.faults.throttle_rate, fake.faults.retry_after = 0.05, "0.01"
        kills = live_through(scene, fake, history(scene, random, 40, 300), random, batch=15, kill_share=0.04)
        assert kills > 3
        expect(name, scene, fake)


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        *((name, "ask") for name in RECEIVERS if name != "webhook"),
        *((name, policy) for name in ("hubspot", "mailchimp") for policy in ("leave", "restore")),
    ],
)
def test_people_who_take_rows_away_through_faults_and_kills_leave_no_row_in_part(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, name: str, policy: str
) -> None:
    hurry(monkeypatch)
    random = Random(11)
    with running(RECEIVERS[name].fake(11)) as fake:
        scene = scene_at(name, fake, redis_url, when_gone=policy)
        fake.faults.error_rate, fake.faults.cut_before, fake.faults.cut_after = 0.08, 0.03, 0.05
        hands = Hands(random, PEOPLE, shows_ids=name != "dataverse")
        told = history(scene, random, PEOPLE, 160)
        live_through(scene, fake, told, random, batch=12, kill_share=0.05, faults=hands)
        assert hands.gone and (name == "marketing_cloud" or scene.store().counts()["gone"])
        live_through(scene, fake, say_all(scene, PEOPLE), random)
        expect(name, scene, fake, hands, restores=policy == "restore")


@pytest.mark.parametrize("name", RECEIVERS)
def test_three_calls_of_ten_that_fail_lose_nothing(redis_url: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    hurry(monkeypatch)
    random = Random(30)
    with running(RECEIVERS[name].fake(30)) as fake:
        scene = scene_at(name, fake, redis_url)
        fake.faults.error_rate = 0.3
        live_through(scene, fake, history(scene, random, 40, 250), random)
        expect(name, scene, fake)


@pytest.mark.parametrize("name", RECEIVERS)
def test_an_outage_of_minutes_costs_few_calls_and_no_row(redis_url: str, name: str) -> None:
    random = Random(5)
    with running(RECEIVERS[name].fake(5)) as fake:
        scene = scene_at(name, fake, redis_url)
        live_through(scene, fake, history(scene, random, 30, 60), random, clock=DeliveryClock(FASTER))
        messages, before = history(scene, random, 30, 120), scene.store().counts()["calls"]
        _down_for(fake, OUTAGE_S / FASTER)
        began = time.monotonic()
        live_through(scene, fake, messages[:40], random, batch=40, clock=DeliveryClock(FASTER))
        assert time.monotonic() - began > 0.9 * OUTAGE_S / FASTER
        assert scene.store().counts()["calls"] - before < 60, "an open circuit lets few calls through"
        if name != "hubspot":  # there an address that was erased for good looks like a conflict at first
            assert scene.store().counts().get("parked_times", 0) == 0, "nothing is set aside because all fail"
        live_through(scene, fake, messages[40:], random, clock=DeliveryClock(FASTER))
        expect(name, scene, fake)


def _down_for(fake: Fake, seconds: float) -> None:
    fake.faults.down = True
    threading.Timer(seconds, lambda: setattr(fake.faults, "down", False)).start()


@pytest.mark.parametrize("name", RECEIVERS)
def test_a_storm_of_throttling_keeps_requests_within_the_limit_at_every_window(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    hurry(monkeypatch)
    random = Random(7)
    with running(RECEIVERS[name].fake(7)) as fake:
        scene = scene_at(name, fake, redis_url, "{rows_max: 10, rates: [{calls: 40, seconds: 1}]}")
        fake.faults.windows = [(41, 1.0)]  # a login is no call
        fake.faults.throttle_rate, fake.faults.retry_after = 0.15, "0.1"
        live_through(scene, fake, history(scene, random, 30, 100), random, batch=40)
        expect(name, scene, fake)
        assert fake.throttled > 0
        assert fake.busiest(1.0) <= 41


def test_requests_that_a_call_needs_beyond_its_first_are_paid_for_too(redis_url: str) -> None:
    with running(RECEIVERS["mailchimp"].fake(0)) as fake:
        scene = scene_at("mailchimp", fake, redis_url, "{rows_max: 10, rates: [{calls: 20, seconds: 1}]}")
        scene.deliverer().deliver([scene.say(n, email=f"{n}@x.pl") for n in range(45)])
        assert sum(method == "PUT" for _, method, _ in fake.calls) == 45, "a member is a request"
        assert fake.busiest(1.0) <= 20 and scene.store().counts()[f"accepted_{Op.UPSERT}_member"] == 45
