"""The engine against the simplest receiver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from nurt.adapters.receivers.webhook import Webhook
from nurt.fake.server import running
from nurt.fake.webhook import FakeWebhook
from tests.delivery.scene import Scene, key_of, mapping_of

MAPPING = """
kind: webhook
url: {url}
secret: ${{WEBHOOK_SECRET}}
format: {format}
objects:
  contact:
    key: id
    when: email is not null
    fields: {{email: email, name: "concat_ws(' ', first_name, last_name)", refuse_me: loyalty_card}}
"""


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWebhook]:
    monkeypatch.setenv("WEBHOOK_SECRET", "s3cret")
    with running(FakeWebhook("s3cret")) as fake:
        assert isinstance(fake, FakeWebhook)
        yield fake


@pytest.fixture(params=["json", "cloudevents"])
def scene(request: pytest.FixtureRequest, fake: FakeWebhook, redis_url: str) -> Scene:
    text = MAPPING.format(url=fake.url, format=request.param)
    return Scene(Redis.from_url(redis_url), mapping_of(text), Webhook)


def test_a_profile_arrives_signed_and_a_repeat_is_not_sent(scene: Scene, fake: FakeWebhook) -> None:
    to = scene.deliverer()
    messages = [scene.say(1, email="a@x.pl", first_name="Anna"), scene.say(2, phone="+48500")]
    to.deliver(messages)
    assert fake.rows == {("contact", key_of(1)): {"email": "a@x.pl", "name": "Anna", "refuse_me": None}}
    calls = len(fake.calls)
    to.deliver(messages)
    scene.deliverer().deliver(messages)
    assert len(fake.calls) == calls


def test_an_old_message_changes_nothing(scene: Scene, fake: FakeWebhook) -> None:
    to = scene.deliverer()
    old, gone, new = scene.say(1, email="old@x.pl"), scene.erase(1), scene.say(1, email="new@x.pl")
    to.deliver([new])
    to.deliver([old])
    to.deliver([gone])
    assert fake.rows["contact", key_of(1)]["email"] == "new@x.pl"


def test_a_refused_row_is_found_among_its_neighbours_and_cured_by_the_next_change(
    scene: Scene, fake: FakeWebhook
) -> None:
    to = scene.deliverer()
    messages = [scene.say(n, email=f"{n}@x.pl", loyalty_card="bad" if n == 37 else None) for n in range(90)]
    to.deliver(messages)
    (refusal,) = scene.store().refusals()
    assert refusal.subject == key_of(37) and refusal.code == "http_422" and "not allowed" in refusal.words
    assert len(fake.rows) == 89
    calls = len(fake.calls)
    to.deliver(messages)
    assert len(fake.calls) == calls, "what was refused is not sent again as it is"
    to.deliver([scene.say(37, email="37@x.pl")])
    assert len(fake.rows) == 90 and not scene.store().refusals()


def test_merge_split_and_erasure_are_delivered(scene: Scene, fake: FakeWebhook) -> None:
    to = scene.deliverer()
    to.deliver([scene.say(1, email="a@x.pl"), scene.say(2, email="b@x.pl")])
    to.deliver([scene.merge(2, into=1)])
    assert [*fake.rows] == [("contact", key_of(1))]
    to.deliver([scene.say(2, email="b@x.pl")])
    assert len(fake.rows) == 2
    to.deliver([scene.erase(1), scene.erase(2)])
    assert not fake.rows
    assert all(not one.remote_rows for one in scene.store().load([key_of(1), key_of(2)]).values())


def test_a_wrong_secret_pauses_and_a_new_one_goes_on(
    scene: Scene, fake: FakeWebhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", "wrong")
    monkeypatch.setattr("nurt.delivery.run.sender.AUTH_PAUSE_S", 0.3)
    to = scene.deliverer()
    original = to._sender._to.refresh

    def refresh() -> None:
        if len(fake.calls) > 2:
            monkeypatch.setenv("WEBHOOK_SECRET", "s3cret")
            assert scene.store().status()["state"].startswith("paused")
        original()

    monkeypatch.setattr(to._sender._to, "refresh", refresh)
    to.deliver([scene.say(1, email="a@x.pl")])
    assert len(fake.rows) == 1 and not scene.store().refusals()
