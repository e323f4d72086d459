"""What receivers say of the calls that are left is obeyed, before they have to refuse one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from redis import Redis

from nurt.adapters.http_bounds import REST_S_MAX, retry_after_s
from nurt.adapters.receivers.dataverse import Dataverse
from nurt.adapters.receivers.hubspot import Hubspot
from nurt.adapters.receivers.salesforce import Salesforce
from nurt.app.delivery_config import read_preset
from nurt.delivery.mapping import DestinationMapping
from nurt.delivery.ports import Destination
from nurt.delivery.run.deliverer import Deliverer
from nurt.fake.dataverse import FakeDataverse
from nurt.fake.hubspot import FakeHubspot
from nurt.fake.salesforce import FakeSalesforce
from nurt.fake.server import Fake, running
from tests.delivery.scene import Scene, mapping_of

LOGIN = "client_id: id, client_secret: secret"
SLOWLY = "limits: {rows_max: 1, concurrency: 1, rates: []}"


@contextmanager
def delivering(
    redis_url: str, fake: Fake, preset: str, opens: Callable[[DestinationMapping], Destination], options: str
) -> Iterator[Scene]:
    with running(fake):
        text = f"{{url: '{fake.url}', {options.replace('URL', fake.url)}, {SLOWLY}}}"
        yield Scene(Redis.from_url(redis_url), mapping_of(text, read_preset(preset)), opens)


def _deliver(scene: Scene, people: int) -> Deliverer:
    to = scene.deliverer()
    to.deliver([scene.say(n, email=f"{n}@x.pl", company="F", tax_id="PL1") for n in range(people)])
    return to


def _hubspot_whose_day_ends_soon(monkeypatch: pytest.MonkeyPatch, calls_left: int) -> FakeHubspot:
    monkeypatch.setattr("nurt.adapters.receivers.hubspot.DAILY_WAIT_S", 0.8)
    fake = FakeHubspot()
    fake.daily_left = calls_left
    _later(0.5, fake, "daily_left", 1_000)
    return fake


def _later(seconds: float, fake: Fake, name: str, value: object) -> None:
    threading.Timer(seconds, setattr, (fake, name, value)).start()


def test_hubspots_window_is_left_alone_when_nothing_remains_of_it(redis_url: str) -> None:
    fake = FakeHubspot()
    fake.faults.windows = [(10, 0.6)]
    with delivering(redis_url, fake, "hubspot", Hubspot, "token: token") as scene:
        _deliver(scene, 12)
        assert len(fake.objects["contacts"]) == 12 and len(fake.links) == 12
        assert fake.throttled == 0 and fake.busiest(0.6) <= 10


def test_hubspots_day_is_left_alone_when_nothing_remains_of_it(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = _hubspot_whose_day_ends_soon(monkeypatch, calls_left=5)
    with delivering(redis_url, fake, "hubspot", Hubspot, "token: token") as scene:
        _deliver(scene, 12)
        assert len(fake.objects["contacts"]) == 12 and fake.throttled == 0


def test_hubspots_daily_refusal_rests_long_and_loses_nothing(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = _hubspot_whose_day_ends_soon(monkeypatch, calls_left=0)
    with delivering(redis_url, fake, "hubspot", Hubspot, "token: token") as scene:
        _deliver(scene, 5)
        assert len(fake.objects["contacts"]) == 5 and fake.throttled == 1
        assert scene.store().status()["last_error"] == "http_429_daily"


@pytest.mark.parametrize("what", ["requests", "time"])
def test_dataverses_window_is_left_alone_when_little_remains_of_it(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr("nurt.adapters.receivers.dataverse.REST_S", 0.5)
    fake = FakeDataverse()
    if what == "requests":
        fake.faults.windows = [(14, 1.0)]
    else:
        fake.execution_left_s = 1_200.5
    with delivering(redis_url, fake, "dataverse", Dataverse, f"login_url: URL, tenant: t, {LOGIN}") as scene:
        _deliver(scene, 8)
        if what == "time":
            began = time.monotonic()
            fake.execution_left_s = 9.5
            _deliver(scene, 10)
            assert time.monotonic() - began > 0.5
        assert len(fake.rows["contacts"]) == (10 if what == "time" else 8)
        assert fake.throttled == 0


def test_dataverses_refusals_by_any_of_its_three_limits_are_repeated(redis_url: str) -> None:
    fake = FakeDataverse()
    fake.execution_left_s = 0.0
    _later(0.5, fake, "execution_left_s", 900.0)
    with delivering(redis_url, fake, "dataverse", Dataverse, f"login_url: URL, tenant: t, {LOGIN}") as scene:
        _deliver(scene, 3)
        assert len(fake.rows["contacts"]) == 3 and fake.throttled and not scene.store().refusals()


def test_salesforces_day_is_left_alone_when_nearly_all_is_used(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nurt.adapters.receivers.salesforce.USAGE_WAIT_S", 0.8)
    fake = FakeSalesforce()
    fake.counts_usage, fake.usage = True, (90, 100)
    _later(0.6, fake, "usage", (0, 15_000))
    with delivering(redis_url, fake, "salesforce", Salesforce, LOGIN) as scene:
        _deliver(scene, 15)
        assert len(fake.objects["Contact"]) == 15 and fake.throttled == 0


@pytest.mark.parametrize(
    ("said", "rest_s"),
    [("7", 7.0), ("-3", 0.0), ("inf", REST_S_MAX), ("nan", 0.0), ("99999999", REST_S_MAX), ("soon", None)],
)
def test_a_receiver_is_left_alone_for_a_day_at_most(said: str, rest_s: float | None) -> None:
    assert retry_after_s({"retry-after": said}) == rest_s
