"""Salesforce: ordered results, parents, codes of errors, tokens, bulk jobs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from redis import Redis

from nurt.adapters.receivers.salesforce import Salesforce
from nurt.app.delivery_config import read_preset
from nurt.fake.salesforce import FakeSalesforce
from nurt.fake.server import Request, Response, running
from tests.delivery.scene import Scene, key_of, mapping_of


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSalesforce]:
    monkeypatch.setenv("SF_SECRET", "secret")
    monkeypatch.setattr("nurt.delivery.retry.BACKOFF_S", 0.01)
    with running(FakeSalesforce()) as fake:
        assert isinstance(fake, FakeSalesforce)
        yield fake


def _scene(fake: FakeSalesforce, redis_url: str, more: str = "{contact: {when: true}}", login: str = "") -> Scene:
    login = login or "client_id: id, client_secret: '${SF_SECRET}'"
    text = f"{{url: '{fake.url}', {login}, bulk_poll_s: 0.01, objects: {more}}}"
    return Scene(Redis.from_url(redis_url), mapping_of(text, read_preset("salesforce")), Salesforce)


def test_the_preset_fits_the_receivers_description(fake: FakeSalesforce, redis_url: str) -> None:
    assert Salesforce(_scene(fake, redis_url).mapping).verify() == []
    wrong = _scene(fake, redis_url, "{contact: {fields: {Shoe__c: phone}}}")
    assert Salesforce(wrong.mapping).verify() == ["contact: Contact has no field Shoe__c; create it, or take it out"]


def test_firms_come_before_their_people(fake: FakeSalesforce, redis_url: str) -> None:
    scene = _scene(fake, redis_url)
    scene.deliverer().deliver([scene.say(n, email=f"{n}@x.pl", company="Firma", tax_id="PL525") for n in range(5)])
    account = fake.objects["Account"]["PL525"]["Id"]
    assert {held["AccountId"] for held in fake.objects["Contact"].values()} == {account}
    assert len(fake.objects["Contact"]) == 5


def test_locked_rows_go_again_and_refused_ones_to_quarantine(fake: FakeSalesforce, redis_url: str) -> None:
    fake.lock_rate = 0.3
    scene = _scene(fake, redis_url)
    scene.deliverer().deliver([scene.say(n, email="broken" if n == 7 else f"{n}@x.pl") for n in range(30)])
    (refusal,) = scene.store().refusals()
    assert refusal.subject == key_of(7) and refusal.code == "INVALID_EMAIL_ADDRESS"
    assert len(fake.objects["Contact"]) == 29


def test_an_expired_session_is_renewed_once_and_the_call_repeated(fake: FakeSalesforce, redis_url: str) -> None:
    fake.token_good_for = 2
    scene = _scene(fake, redis_url)
    to = scene.deliverer()
    for n in range(5):
        to.deliver([scene.say(n, email=f"{n}@x.pl")])
    assert len(fake.objects["Contact"]) == 5 and fake.token_calls == 3
    assert scene.store().status().get("state", "") == ""


def test_jwt_bearer_logs_in(fake: FakeSalesforce, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key = rsa.generate_private_key(65537, 2048)
    formats = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    monkeypatch.setenv("SF_KEY", key.private_bytes(*formats).decode())
    scene = _scene(fake, redis_url, login="client_id: id, user: u@x.pl, private_key: '${SF_KEY}'")
    scene.deliverer().deliver([scene.say(1, email="a@x.pl")])
    assert len(fake.objects["Contact"]) == 1


def test_a_used_up_quota_rests(fake: FakeSalesforce, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nurt.adapters.receivers.salesforce.LIMIT_WAIT_S", 0.3)
    fake.usage = (10, 10)
    scene = _scene(fake, redis_url)

    def come_back(step: str) -> None:
        if step == "answer noted":
            fake.usage = (1, 10)

    scene.deliverer(fault=come_back).deliver([scene.say(1, email="a@x.pl")])
    assert len(fake.objects["Contact"]) == 1 and scene.store().counts()["throttled"] == 1


def test_a_back_fill_goes_through_bulk_jobs(fake: FakeSalesforce, redis_url: str) -> None:
    fake.unprocessed_rate = 0.1
    scene = _scene(fake, redis_url)
    told = [
        scene.say(n, email="broken" if n == 7 else f"{n}@x.pl", company="F" if n % 2 else None, tax_id=f"PL{n % 40}")
        for n in range(600)
    ]
    scene.deliverer().deliver(told, bulk=True)
    assert len(fake.objects["Contact"]) == 599 and len(fake.objects["Account"]) == 20
    assert sum("AccountId" in held for held in fake.objects["Contact"].values()) in (299, 300)
    assert [refusal.subject for refusal in scene.store().refusals()] == [key_of(7)]
    assert fake.jobs and len(fake.calls) < 60


def test_a_session_that_expires_while_a_job_goes_on_is_renewed(fake: FakeSalesforce, redis_url: str) -> None:
    fake.token_good_for = 5  # jobs are listed; one is made, filled and closed, and asked for once
    scene = _scene(fake, redis_url)
    scene.deliverer().deliver([scene.say(n, email=f"{n}@x.pl") for n in range(300)], bulk=True)
    assert len(fake.objects["Contact"]) == 300 and len(fake.jobs) == 1


def test_an_answer_that_is_not_what_was_agreed_on_is_none(fake: FakeSalesforce, redis_url: str) -> None:
    real, left = fake.answer, [2]

    def answer(asked: Request) -> Response:
        if left[0] and asked.method == "POST" and asked.path.endswith("/jobs/ingest"):
            left[0] -= 1
            return Response(200, {"done": True})
        return real(asked)

    fake.answer = answer  # type: ignore[method-assign]
    scene = _scene(fake, redis_url)
    scene.deliverer().deliver([scene.say(n, email=f"{n}@x.pl") for n in range(300)], bulk=True)
    assert left == [0] and len(fake.objects["Contact"]) == 300
    assert scene.store().status()["last_error"] == "answer_not_understood"


def test_a_job_that_a_killed_run_left_behind_is_aborted(
    fake: FakeSalesforce, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = _scene(fake, redis_url)
    told = [scene.say(n, email=f"{n}@x.pl") for n in range(300)]

    class Killed(BaseException):
        pass

    def die(*_said: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Salesforce, "_results", die)
        with pytest.raises(Killed):
            scene.deliverer().deliver(told, bulk=True)
    (left,) = fake.jobs.values()
    assert left["state"] == "UploadComplete"
    fake.jobs["other"] = {**left, "id": "other", "externalIdFieldName": "Theirs__c"}
    scene.deliverer().deliver(told, bulk=True)
    assert left["state"] == "Aborted" and fake.jobs["other"]["state"] != "Aborted"
    assert len(fake.objects["Contact"]) == 300


def test_many_changes_take_a_reference_away_by_salesforces_own_ids(fake: FakeSalesforce, redis_url: str) -> None:
    scene = _scene(fake, redis_url)
    to = scene.deliverer()
    to.deliver([scene.say(n, email=f"{n}@x.pl", company="F", tax_id="PL1") for n in range(500)], bulk=True)
    assert sum("AccountId" in held for held in fake.objects["Contact"].values()) == 500
    to.deliver([scene.say(n, email=f"{n}@x.pl") for n in range(1, 500, 2)], bulk=True)
    assert sum("AccountId" in held for held in fake.objects["Contact"].values()) == 250
    assert not scene.store().refusals() and len(fake.jobs) == 1, "a job makes rows that are missing"


def test_a_merged_contact_is_archived_and_a_split_takes_it_back(fake: FakeSalesforce, redis_url: str) -> None:
    scene = _scene(fake, redis_url)
    to = scene.deliverer()
    to.deliver([scene.say(1, email="a@x.pl"), scene.say(2, email="b@x.pl")])
    to.deliver([scene.merge(2, into=1)])
    assert fake.objects["Contact"][key_of(2)]["Nurt_Status__c"] == "merged"
    to.deliver([scene.say(2, email="b@x.pl")])
    assert fake.objects["Contact"][key_of(2)]["Nurt_Status__c"] == "live"
    to.deliver([scene.erase(2), scene.erase(2)])
    assert [*fake.objects["Contact"]] == [key_of(1)]


def test_a_lead_is_made_once(fake: FakeSalesforce, redis_url: str) -> None:
    scene = _scene(fake, redis_url, "{lead: {when: email is not null}}")
    to = scene.deliverer()
    to.deliver([scene.say(1, email="a@x.pl")])
    del fake.objects["Lead"][key_of(1)]  # converted
    to.deliver([scene.say(1, email="b@x.pl")])
    to.deliver([scene.say(1, phone="1")])
    assert not fake.objects["Lead"]


def test_calls_that_fly_while_a_session_expires_cost_one_login_and_no_pause(
    fake: FakeSalesforce, redis_url: str
) -> None:
    fake.token_good_for, fake.faults.latency_s = 12, 0.05
    scene = _scene(fake, redis_url)
    object.__setattr__(scene.mapping, "options", {**scene.mapping.options, "limits": {"rows_max": 2}})
    scene.deliverer().deliver([scene.say(n, email=f"{n}@x.pl") for n in range(100)])
    assert len(fake.objects["Contact"]) == 100 and 5 <= fake.token_calls <= 9
    assert "paused" not in scene.store().status().get("state", "")


def test_a_unique_address_passes_from_the_merged_contact_to_its_heir(fake: FakeSalesforce, redis_url: str) -> None:
    fake.unique_email = True
    scene = _scene(fake, redis_url, "{contact: {when: true, when_merged: delete}}")
    to = scene.deliverer()
    to.deliver([scene.say(1, email="a@x.pl"), scene.say(2, email="b@x.pl")])
    to.deliver([scene.say(1, email="b@x.pl"), scene.merge(2, into=1)])
    assert [held["Email"] for held in fake.objects["Contact"].values()] == ["b@x.pl"]
    assert not scene.store().refusals(), "DUPLICATE_VALUE was no refusal"
