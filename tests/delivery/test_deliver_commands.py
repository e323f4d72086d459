"""`nurt deliver` as a person uses it, over a state with profiles and a fake receiver."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from nurt.adapters.http_logs import CLIENTS
from nurt.app.delivery import open_store
from nurt.cli.watching import log_to_stderr
from nurt.delivery.journal import JournalEntry, Parked
from nurt.fake.server import running
from nurt.fake.webhook import FakeWebhook
from nurt.model.delivery import DesiredState, Lifecycle
from nurt.settings import load_settings
from tests.command_line import Ran, run_nurt
from tests.delivery.scene import key_of
from tests.delivery.test_delivery_flow import State
from tests.delivery.test_delivery_kills import NURT, _deployed

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
    shown = nurt("deliver", "preview", "hook")
    assert shown.code == 0 and "2 rows would be sent" in shown.out
    assert key_of(1) in shown.out and "anna@x.pl" not in shown.out
    assert "anna@x.pl" in nurt("deliver", "preview", "hook", "--values").out
    assert json.loads(nurt("deliver", "preview", "hook", "--json").out)["writes"] == [
        {"object": "contact", "op": "upsert", "rows": 2}
    ]
    assert not fake.calls


def test_refusals_are_shown_with_the_receivers_words_and_tried_again(nurt: Nurt, fake: FakeWebhook) -> None:
    ran = nurt("deliver", "run", "hook", "--until-end")
    assert ran.code == 0 and "@x.pl" not in ran.err
    (status,) = json.loads(nurt("deliver", "status", "--json").out)
    assert (status["refused"], status["in_quarantine"], status["state"]) == (2, 2, "stopped")
    assert "email is not allowed" in nurt("deliver", "refused", "hook").out
    fake._refuse_field = ""
    assert "2 profiles" in nurt("deliver", "retry", "hook").out
    assert nurt("deliver", "run", "hook", "--until-end").code == 0
    (status,) = json.loads(nurt("deliver", "status", "--json").out)
    assert (status["accepted"], status["in_quarantine"]) == (2, 0) and len(fake.rows) == 2


def test_rows_that_people_took_away_are_in_the_status(nurt: Nurt, tmp_path: Path) -> None:
    store = open_store(load_settings(tmp_path / "nurt.yaml"), "hook")
    store.begin()
    store.write(JournalEntry(counts={"gone": 4_711}))
    shown = nurt("deliver", "status").out
    assert "gone" in shown and "4,711" in shown
    assert json.loads(nurt("deliver", "status", "--json").out)[0]["gone"] == 4_711


def test_a_sweep_shows_first_and_then_deletes(nurt: Nurt, fake: FakeWebhook, tmp_path: Path, redis_url: str) -> None:
    fake._refuse_field = ""
    assert nurt("deliver", "run", "hook", "--until-end").code == 0 and len(fake.rows) == 2
    asked = nurt("deliver", "sweep", "hook", "--yes")
    assert asked.code == 2 and "--from-scratch" in asked.err
    State(load_settings(tmp_path / "nurt.yaml")).forget(2)
    assert nurt("deliver", "run", "hook", "--from-scratch", "--until-end").code == 0
    assert json.loads(nurt("deliver", "sweep", "hook", "--json").out) == {
        **{"subjects": 1, "rows": {"contact": 1}, "dry_run": True}
    }
    assert "would be deleted" in nurt("deliver", "sweep", "hook").out and len(fake.rows) == 2
    assert "are deleted" in nurt("deliver", "sweep", "hook", "--yes").out
    assert nurt("deliver", "run", "hook", "--until-end").code == 0 and len(fake.rows) == 1
    assert "nothing is left over" in nurt("deliver", "sweep", "hook", "--yes").out


def test_mistakes_are_one_line_with_the_next_step(nurt: Nurt, tmp_path: Path) -> None:
    ran = nurt("deliver", "run", "hok")
    assert ran.code == 2 and "did you mean 'hook'" in ran.err
    (tmp_path / "delivery.yaml").write_text("destinations: {hook: {kind: webhok, url: x}}")
    ran = nurt("deliver", "run", "hook")
    assert ran.code == 2 and "did you mean 'webhook'" in ran.err
    (tmp_path / "delivery.yaml").write_text(
        "destinations: {hook: {kind: webhook, url: x, objects: {c: {key: id, fields: {a: emial}}}}}"
    )
    ran = nurt("deliver", "run", "hook")
    assert ran.code == 2 and "destinations.hook.objects.c.fields.a" in ran.err and "did you mean 'email'" in ran.err
    (tmp_path / "delivery.yaml").unlink()
    ran = nurt("deliver", "run", "hook")
    assert ran.code == 2 and "docs/delivery.md" in ran.err


def test_a_run_that_ends_says_what_still_waits(nurt: Nurt, fake: FakeWebhook, tmp_path: Path) -> None:
    fake._refuse_field = ""
    assert "wait for another try" not in nurt("deliver", "run", "hook", "--until-end").out
    store = open_store(load_settings(tmp_path / "nurt.yaml"), "hook")
    store.begin()
    desired = DesiredState(key_of(1), 1, (0, 0), Lifecycle.LIVE)
    store.write(JournalEntry(parked={desired.subject: (Parked(desired, 3, "http_503"), 600.0)}))
    assert "1 rows wait for another try" in nurt("deliver", "run", "hook", "--until-end").out


@pytest.mark.parametrize(
    ("former", "now"),
    [
        (["hook", "--dry-run"], "preview hook"),
        (["--dry-run", "hook", "--limit", "1"], "preview hook"),
        (["hook", "--sweep", "--dry-run"], "sweep hook"),
        (["hook", "--sweep"], "sweep hook --yes"),
        (["hook", "--check"], "check hook"),
        (["hook", "--refused"], "refused hook"),
        (["hook", "--retry"], "retry hook"),
        (["hook", "--until-end", "--quiet"], "run hook"),
        ([], "status"),
        (["--json", "status"], "status"),
    ],
    ids=lambda given: given if isinstance(given, str) else " ".join(given),
)
def test_the_former_way_to_write_does_the_same_and_says_the_new_one(
    nurt: Nurt, fake: FakeWebhook, former: list[str], now: str
) -> None:
    fake._refuse_field = ""
    nurt("deliver", "run", "hook", "--from-scratch", "--until-end")
    kept = [option for option in former if option in ("--json", "--until-end", "--quiet")]
    ran, new = nurt("deliver", *former), nurt("deliver", *now.split(), *kept)
    assert f"`nurt deliver {now}`" in ran.err
    assert "way to write" not in new.err
    assert (ran.code, _without_times(ran.out)) == (new.code, _without_times(new.out))


def _without_times(text: str) -> str:
    return re.sub(r'"(at|since)": [0-9]+', "", text)


def test_options_that_exclude_each_other_are_refused(nurt: Nurt, fake: FakeWebhook) -> None:
    ran = nurt("deliver", "hook", "--refused", "--retry")
    assert ran.code == 2 and "--refused and --retry exclude each other" in ran.err and not fake.calls
    assert nurt("deliver", "preview", "hook", "--until-end").code == 2


def test_a_destination_may_be_called_like_a_command(nurt: Nurt, fake: FakeWebhook, tmp_path: Path) -> None:
    destinations = tmp_path / "delivery.yaml"
    destinations.write_text(destinations.read_text().replace("hook:", "status:"))
    fake._refuse_field = ""
    assert nurt("deliver", "run", "status", "--until-end").code == 0 and len(fake.rows) == 2


def test_a_command_that_is_misspelt_is_no_destination(nurt: Nurt) -> None:
    ran = nurt("deliver", "prevew", "hook")
    assert ran.code == 2 and "No such command" in ran.err and "preview" in ran.err


@pytest.mark.parametrize("how", [[], ["--quiet"]], ids=["at INFO", "quiet"])
def test_no_request_is_logged(tmp_path: Path, redis_url: str, fake: FakeWebhook, how: list[str]) -> None:
    fake._refuse_field = ""
    State(_deployed(tmp_path, redis_url, fake.url)).publish((1, 1, "anna@x.pl"))
    command = [*NURT, "deliver", "run", "hook", "--until-end", "-c", str(tmp_path / "nurt.yaml"), *how]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert len(fake.rows) == 1
    assert "http" not in done.stderr.lower()


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING])
def test_clients_of_http_are_silent_at_every_level(level: int, caplog: pytest.LogCaptureFixture) -> None:
    for name in CLIENTS:
        logging.getLogger(name).setLevel(logging.NOTSET)
    log_to_stderr(level)
    with caplog.at_level(level), running(FakeWebhook()) as server:
        httpx2.get(f"{server.url}/anna@x.pl")
        for name in CLIENTS:
            logging.getLogger(f"{name}.pool").warning("retrying /anna@x.pl")
    assert "anna" not in caplog.text
