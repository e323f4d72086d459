"""`nurt deliver` as a person uses it, over a state with profiles and a fake receiver."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nurt.app.delivery import open_store
from nurt.delivery.journal import Notes, Parked
from nurt.fake.server import running
from nurt.fake.webhook import FakeWebhook
from nurt.model.delivery import Life, Wish
from nurt.settings import load_settings
from tests.command_line import Ran, run_nurt
from tests.delivery.scene import key_of
from tests.delivery.test_delivery_flow import State
from tests.delivery.test_delivery_kills import _deployed

Nurt = Callable[..., Ran]


@pytest.fixture
def fake() -> Iterator[FakeWebhook]:
    with running(FakeWebhook(refuse_field="email")) as fake:
        assert isinstance(fake, FakeWebhook)
        yield fake


@pytest.fixture
def nurt(
    tmp_path: Path,
    redis_url: str,
    fake: FakeWebhook,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Nurt:
    state = State(_deployed(tmp_path, redis_url, fake.url))
    state.publish((1, 1, "anna@x.pl"), (2, 2, "ola@x.pl"))
    return lambda *arguments: run_nurt(monkeypatch, capfd, *arguments, "-c", str(tmp_path / "nurt.yaml"))


def test_a_dry_run_shows_fields_and_no_values_unless_asked(nurt: Nurt, fake: FakeWebhook) -> None:
    shown = nurt("deliver", "hook", "--dry-run")
    assert shown.code == 0 and "2 rows would be sent" in shown.out
    assert key_of(1) in shown.out and "anna@x.pl" not in shown.out
    assert "anna@x.pl" in nurt("deliver", "hook", "--dry-run", "--values").out
    assert json.loads(nurt("deliver", "hook", "--dry-run", "--json").out)["writes"] == [
        {"object": "contact", "op": "upsert", "rows": 2}
    ]
    assert not fake.calls


def test_refusals_are_shown_with_the_receivers_words_and_tried_again(nurt: Nurt, fake: FakeWebhook) -> None:
    ran = nurt("deliver", "hook", "--until-end")
    assert ran.code == 0 and "@x.pl" not in ran.err
    (status,) = json.loads(nurt("deliver", "status", "--json").out)
    assert (status["refused"], status["in_quarantine"], status["state"]) == (2, 2, "stopped")
    assert "email is not allowed" in nurt("deliver", "hook", "--refused").out
    fake._refuse_field = ""
    assert "2 profiles" in nurt("deliver", "hook", "--retry").out
    assert nurt("deliver", "hook", "--until-end").code == 0
    (status,) = json.loads(nurt("deliver", "status", "--json").out)
    assert (status["accepted"], status["in_quarantine"]) == (2, 0) and len(fake.rows) == 2


def test_a_sweep_shows_first_and_then_deletes(nurt: Nurt, fake: FakeWebhook, tmp_path: Path, redis_url: str) -> None:
    fake._refuse_field = ""
    assert nurt("deliver", "hook", "--until-end").code == 0 and len(fake.rows) == 2
    asked = nurt("deliver", "hook", "--sweep")
    assert asked.code == 2 and "--from-scratch" in asked.err
    State(load_settings(tmp_path / "nurt.yaml")).forget(2)
    assert nurt("deliver", "hook", "--from-scratch", "--until-end").code == 0
    assert json.loads(nurt("deliver", "hook", "--sweep", "--dry-run", "--json").out) == {
        **{"subjects": 1, "rows": {"contact": 1}, "dry_run": True}
    }
    assert "would be deleted" in nurt("deliver", "hook", "--sweep", "--dry-run").out and len(fake.rows) == 2
    assert "are deleted" in nurt("deliver", "hook", "--sweep").out
    assert nurt("deliver", "hook", "--until-end").code == 0 and len(fake.rows) == 1
    assert "nothing is left over" in nurt("deliver", "hook", "--sweep").out


def test_mistakes_are_one_line_with_the_next_step(nurt: Nurt, tmp_path: Path) -> None:
    ran = nurt("deliver", "hok")
    assert ran.code == 2 and "did you mean 'hook'" in ran.err
    (tmp_path / "delivery.yaml").write_text("destinations: {hook: {kind: webhok, url: x}}")
    ran = nurt("deliver", "hook")
    assert ran.code == 2 and "did you mean 'webhook'" in ran.err
    (tmp_path / "delivery.yaml").write_text(
        "destinations: {hook: {kind: webhook, url: x, objects: {c: {key: id, fields: {a: emial}}}}}"
    )
    ran = nurt("deliver", "hook")
    assert ran.code == 2 and "destinations.hook.objects.c.fields.a" in ran.err and "did you mean 'email'" in ran.err
    (tmp_path / "delivery.yaml").unlink()
    ran = nurt("deliver", "hook")
    assert ran.code == 2 and "docs/delivery.md" in ran.err


def test_a_run_that_ends_says_what_still_waits(nurt: Nurt, fake: FakeWebhook, tmp_path: Path) -> None:
    fake._refuse_field = ""
    assert "wait for another try" not in nurt("deliver", "hook", "--until-end").out
    store = open_store(load_settings(tmp_path / "nurt.yaml"), "hook")
    store.begin()
    wish = Wish(key_of(1), 1, (0, 0), Life.LIVE)
    store.write(Notes(parked={wish.subject: (Parked(wish, 3, "http_503"), 600.0)}))
    assert "1 rows wait for another try" in nurt("deliver", "hook", "--until-end").out
