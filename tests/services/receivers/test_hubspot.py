"""HubSpot: per-row results, links, merges, the privacy call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from nurt.adapters.receivers.hubspot import Hubspot
from nurt.app.delivery_config import read_preset
from nurt.cli.commands.check import _misfits
from nurt.fake.hubspot import FakeHubspot
from nurt.fake.server import Response, running
from nurt.settings import Settings
from tests.delivery.scene import Scene, key_of, mapping_of


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHubspot]:
    monkeypatch.setenv("HUBSPOT_TOKEN", "token")
    with running(FakeHubspot()) as fake:
        assert isinstance(fake, FakeHubspot)
        yield fake


def _scene(fake: FakeHubspot, redis_url: str, more: str = "{}") -> Scene:
    text = f"{{url: '{fake.url}', token: '${{HUBSPOT_TOKEN}}', objects: {more}}}"
    return Scene(Redis.from_url(redis_url), mapping_of(text, read_preset("hubspot")), Hubspot)


def _contacts(fake: FakeHubspot) -> dict[str, dict[str, str]]:
    return {held["nurt_id"]: held for held in fake.objects["contacts"].values()}


def test_the_preset_fits_the_receivers_description(fake: FakeHubspot, redis_url: str) -> None:
    assert Hubspot(_scene(fake, redis_url).mapping).verify() == []
    wrong = _scene(fake, redis_url, "{contact: {fields: {shoe_size: phone}}}")
    assert Hubspot(wrong.mapping).verify() == ["contact: contacts has no property shoe_size; create it, or take it out"]


def test_people_and_firms_arrive_and_are_linked(fake: FakeHubspot, redis_url: str) -> None:
    scene = _scene(fake, redis_url)
    to = scene.deliverer()
    to.deliver([scene.say(n, email=f"{n}@x.pl", company="Firma", tax_id="PL525") for n in range(3)])
    assert len(fake.objects["companies"]) == 1 and len(fake.links) == 3
    to.deliver([scene.say(1, email="1@x.pl", company="Inna", tax_id="PL777")])
    by_name = {held["name"]: id_ for id_, held in fake.objects["companies"].items()}
    one = next(id_ for id_, held in fake.objects["contacts"].items() if held["email"] == "1@x.pl")
    assert {pair for pair in fake.links if pair[0] == one} == {(one, by_name["Inna"])}


def test_errors_are_matched_to_rows_by_their_trace_id(fake: FakeHubspot, redis_url: str) -> None:
    scene = _scene(fake, redis_url)
    scene.deliverer().deliver([scene.say(n, email="broken" if n in (3, 7) else f"{n}@x.pl") for n in range(20)])
    assert len(_contacts(fake)) == 18
    refused = {refusal.subject: refusal for refusal in scene.store().refusals()}
    assert {*refused} == {key_of(3), key_of(7)}
    assert refused[key_of(3)].code == "VALIDATION_ERROR" and "broken is invalid" in refused[key_of(3)].words


def test_a_link_that_a_success_says_was_not_made_is_refused_alone(fake: FakeHubspot, redis_url: str) -> None:
    scene = _scene(fake, redis_url)
    to = scene.deliverer()
    to.deliver([scene.say(n, email=f"{n}@x.pl") for n in range(5)])
    gone = next(id_ for id_, held in fake.objects["contacts"].items() if held["nurt_id"] == key_of(3))
    del fake.objects["contacts"][gone]  # deleted in HubSpot
    to.deliver([scene.say(n, email=f"{n}@x.pl", company="Firma", tax_id="PL525") for n in range(5)])
    assert len(fake.links) == 4
    (refusal,) = scene.store().refusals()
    assert (refusal.subject, refusal.object, refusal.code) == (key_of(3), "works_for", "OBJECT_NOT_FOUND")


def test_only_what_changed_is_sent_and_null_clears(fake: FakeHubspot, redis_url: str) -> None:
    scene = _scene(fake, redis_url)
    to = scene.deliverer()
    to.deliver([scene.say(1, email="a@x.pl", first_name="Anna", phone="+48500")])
    fake.objects["contacts"]["101"]["firstname"] = "changed in HubSpot"
    to.deliver([scene.say(1, email="a@x.pl", first_name="Anna", last_name="Nowak")])
    assert _contacts(fake)[key_of(1)]["firstname"] == "changed in HubSpot"
    assert _contacts(fake)[key_of(1)]["lastname"] == "Nowak" and "phone" not in _contacts(fake)[key_of(1)]


def test_a_success_without_results_is_tried_again(
    fake: FakeHubspot, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nurt.delivery.retry.BACKOFF_S", 0.01)
    scene = _scene(fake, redis_url)
    fake.empty_answers = 2
    scene.deliverer().deliver([scene.say(1, email="a@x.pl")])
    assert len(_contacts(fake)) == 1 and scene.store().counts()["retried"] == 2


def test_a_merge_uses_the_receivers_own_and_a_split_takes_it_back(
    fake: FakeHubspot, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nurt.delivery.retry.PARK_S", 0.0)
    scene = _scene(fake, redis_url, "{contact: {when_merged: merge}}")
    to = scene.deliverer()
    to.deliver([scene.say(1, email="a@x.pl"), scene.say(2, email="b@x.pl", phone="+48500")])
    to.deliver([scene.merge(2, into=1)])
    assert len(fake.merged) == 1 and [*_contacts(fake)] == [key_of(1)]
    assert "phone" not in fake.objects["contacts"]["101"], "what HubSpot fills in is nobody's word"
    to.deliver([scene.say(1, email="a@x.pl", phone="+48500")])
    assert fake.objects["contacts"]["101"]["phone"] == "+48500"
    to.deliver([scene.say(2, email="b@x.pl")])
    assert [*_contacts(fake)] == [key_of(1)], "its address is the second one of the contact that stayed"
    fake.second.clear()  # somebody takes it away there
    to.retry_parked()
    assert {*_contacts(fake)} == {key_of(1), key_of(2)} and not scene.store().refusals()


def test_what_a_merge_filled_is_emptied_though_the_receiver_fails_meanwhile(
    fake: FakeHubspot, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nurt.delivery.retry.BACKOFF_S", 0.01)
    scene = _scene(fake, redis_url, "{contact: {when_merged: merge}}")
    to = scene.deliverer()
    to.deliver([scene.say(1, email="a@x.pl"), scene.say(2, email="b@x.pl", phone="+48500")])
    update, failed = fake._update, []

    def failing(kind: str, body: dict[str, Any]) -> Response:
        if fake.merged and not failed:
            failed.append(kind)
            return Response(502, {})
        return update(kind, body)

    monkeypatch.setattr(fake, "_update", failing)
    to.deliver([scene.merge(2, into=1)])
    assert failed and len(fake.merged) == 1
    assert "phone" not in fake.objects["contacts"]["101"]


def test_a_merge_waits_until_the_heir_is_there(
    fake: FakeHubspot, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nurt.delivery.retry.PARK_S", 0.0)
    scene = _scene(fake, redis_url, "{contact: {when_merged: merge}}")
    to = scene.deliverer()
    to.deliver([scene.say(2, email="b@x.pl")])
    to.deliver([scene.merge(2, into=1)])
    assert scene.store().counts()["parked"] == 1 and not fake.merged
    to.deliver([scene.say(1, email="a@x.pl")])
    to.retry_parked()
    assert len(fake.merged) == 1 and scene.store().counts()["parked"] == 0


def test_a_merge_that_was_made_just_before_a_crash_is_repeated_harmlessly(fake: FakeHubspot, redis_url: str) -> None:
    scene = _scene(fake, redis_url, "{contact: {when_merged: merge}}")
    scene.deliverer().deliver([scene.say(1, email="a@x.pl"), scene.say(2, email="b@x.pl")])

    class Killed(BaseException):
        pass

    def fault(step: str) -> None:
        if step == "answered":
            raise Killed

    message = scene.merge(2, into=1)
    with pytest.raises(Killed):
        scene.deliverer(fault=fault).deliver([message])
    assert [*_contacts(fake)] == [key_of(1)]
    scene.deliverer().deliver([message])
    assert [*_contacts(fake)] == [key_of(1)] and not scene.store().refusals()
    assert scene.store().load([key_of(2)])[key_of(2)].remote_rows == ()


def test_an_erasure_uses_the_privacy_call_also_for_what_was_made_just_before_a_crash(
    fake: FakeHubspot, redis_url: str
) -> None:
    scene = _scene(fake, redis_url)

    class Killed(BaseException):
        pass

    def fault(step: str) -> None:
        if step == "answered":
            raise Killed

    message = scene.say(1, email="a@x.pl")
    with pytest.raises(Killed):
        scene.deliverer(fault=fault).deliver([message])
    assert len(_contacts(fake)) == 1
    scene.deliverer().deliver([scene.erase(1)])
    assert not _contacts(fake) and fake.forgotten == {"a@x.pl"}
    assert scene.store().load([key_of(1)])[key_of(1)].remote_rows == ()


def test_an_address_passes_from_the_merged_contact_to_its_heir(fake: FakeHubspot, redis_url: str) -> None:
    scene = _scene(fake, redis_url)
    to = scene.deliverer()
    to.deliver([scene.say(1, email="a@x.pl"), scene.say(2, email="b@x.pl")])
    to.deliver([scene.say(1, email="b@x.pl"), scene.merge(2, into=1)])
    assert {key: held["email"] for key, held in _contacts(fake).items()} == {key_of(1): "b@x.pl"}
    assert not scene.store().refusals() and not scene.store().counts()["parked"]


def test_a_conflict_that_stays_is_parked_and_at_last_refused(
    fake: FakeHubspot, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nurt.delivery.retry.PARK_S", 0.0)
    scene = _scene(fake, redis_url)
    to = scene.deliverer()
    to.deliver([scene.say(1, email="a@x.pl")])
    to.deliver([scene.say(2, email="a@x.pl")])
    assert scene.store().counts()["parked"] == 1 and not scene.store().refusals()
    for _ in range(6):
        to.retry_parked()
    assert scene.store().counts()["parked"] == 0
    assert [one.code for one in scene.store().refusals()] == ["CONFLICT"]


def test_a_refusal_of_a_row_that_is_no_longer_wanted_leaves_the_quarantine(fake: FakeHubspot, redis_url: str) -> None:
    scene = _scene(fake, redis_url)
    to = scene.deliverer()
    to.deliver([scene.say(1, email="broken")])
    assert scene.store().refusals()
    to.deliver([scene.say(1, phone="+48500")])
    assert not scene.store().refusals()


def test_nurt_check_compares_destinations_with_their_receivers(
    fake: FakeHubspot, redis_url: str, tmp_path: Path
) -> None:
    preset = f"preset: [hubspot, hubspot_orders], url: '{fake.url}'"
    wrong = "objects: {contact: {fields: {shoe: phone}}}"
    (tmp_path / "delivery.yaml").write_text(
        f"destinations: {{right: {{{preset}, token: token}}, wrong: {{{preset}, token: token, {wrong}}}, "
        f"locked: {{{preset}, token: '${{NO_SUCH_VARIABLE}}'}}}}"
    )
    settings = Settings(tmp_path / "mapping.yaml", tmp_path, redis_url, destinations=tmp_path / "delivery.yaml")
    found = _misfits(settings)
    assert found["right"] == []
    assert found["wrong"] == ["contact: contacts has no property shoe; create it, or take it out"]
    assert "NO_SUCH_VARIABLE is not set" in found["locked"][0]
