"""Dataverse, Mailchimp and Marketing Cloud: what is particular to each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
from redis import Redis

from nurt.adapters.receivers.dataverse import Dataverse
from nurt.adapters.receivers.mailchimp import Mailchimp
from nurt.adapters.receivers.marketing_cloud import MarketingCloud
from nurt.app.delivery_config import read_preset
from nurt.delivery.mapping import DestinationMapping
from nurt.delivery.ports import Destination
from nurt.errors import ConfigurationError
from nurt.fake.dataverse import FakeDataverse
from nurt.fake.mailchimp import FakeMailchimp
from nurt.fake.marketing_cloud import FakeMarketingCloud
from nurt.fake.server import Fake, running
from nurt.model.delivery import DesiredState, Lifecycle
from tests.delivery.scene import Scene, key_of, mapping_of

LOGIN = "client_id: id, client_secret: secret"
OPTIONS: Mapping[str, tuple[Callable[[DestinationMapping], Destination], str]] = {
    "dataverse": (Dataverse, f"login_url: '{{url}}', tenant: t, {LOGIN}"),
    "mailchimp": (Mailchimp, "audience: aud, api_key: key-us1"),
    "marketing_cloud": (MarketingCloud, f"auth_url: '{{url}}', {LOGIN}"),
}


@pytest.fixture
def made(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Scene]]:
    monkeypatch.setattr("nurt.delivery.retry.BACKOFF_S", 0.01)
    with ExitStack() as stack:

        def make(preset: str, fake: Fake, more: str = "{}") -> Scene:
            stack.enter_context(running(fake))
            opener, options = OPTIONS[preset]
            text = f"{{url: '{fake.url}', {options.format(url=fake.url)}, objects: {more}}}"
            return Scene(Redis.from_url(redis_url), mapping_of(text, read_preset(preset)), opener)

        yield make


Made = Callable[..., Scene]


def _member(fake: FakeMailchimp, address: str) -> dict[str, Any]:
    return fake.members[hashlib.md5(address.encode()).hexdigest()]


def _consent(granted: bool | None) -> list[dict[str, Any]]:
    return [{"purpose": "newsletter", "granted": granted, "at": None, "system": "shop", "row": "0" * 32}]


@pytest.mark.parametrize(("name", "fake"), [("dataverse", FakeDataverse()), ("mailchimp", FakeMailchimp())])
def test_presets_fit_the_receivers_description(made: Made, name: str, fake: Fake) -> None:
    scene = made(name, fake)
    assert scene.open_destination(scene.mapping).verify() == []
    kind = scene.mapping.objects[-1].name
    assert len(OPTIONS[name][0](made(name, fake, f"{{{kind}: {{fields: {{shoe: phone}}}}}}").mapping).verify()) == 1


def test_a_row_that_spoils_upsert_multiple_is_found_in_one_batch(made: Made) -> None:
    fake = FakeDataverse()
    scene = made("dataverse", fake)
    scene.deliverer().deliver(
        [scene.say(n, email="bad" if n == 4 else f"{n}@x.pl", company="F", tax_id="PL'5 25/1") for n in range(50)]
    )
    assert fake.batches == 1 and len(fake.rows["contacts"]) == 49
    assert [refusal.code for refusal in scene.store().refusals()] == ["0x80040265"]
    account = fake.rows["accounts"]["PL'5 25/1"]["accountid"]
    assert {row["_parentcustomerid_value"] for row in fake.rows["contacts"].values()} == {account}


def test_dataverse_merges_and_a_split_makes_the_row_active_again(made: Made) -> None:
    fake = FakeDataverse()
    scene = made("dataverse", fake, "{contact: {when_merged: merge}}")
    to = scene.deliverer()
    to.deliver([scene.say(1, email="a@x.pl"), scene.say(2, email="b@x.pl")])
    to.deliver([scene.merge(2, into=1)])
    assert fake.rows["contacts"][key_of(2)]["merged"] is True
    to.deliver([scene.say(2, email="b@x.pl")])
    assert fake.rows["contacts"][key_of(2)]["statecode"] == 0
    to.deliver([scene.erase(2)])
    assert [*fake.rows["contacts"]] == [key_of(1)]


def test_nobody_who_unsubscribed_is_subscribed_again(made: Made) -> None:
    fake = FakeMailchimp()
    scene = made("mailchimp", fake)
    to = scene.deliverer()
    to.deliver([scene.say(1, email="a@x.pl", consents=_consent(True))])
    assert _member(fake, "a@x.pl")["status"] == "subscribed"
    _member(fake, "a@x.pl")["status"] = "unsubscribed"  # they did so themselves
    to.deliver([scene.say(1, email="a@x.pl", first_name="Anna", consents=_consent(True))])
    assert _member(fake, "a@x.pl")["status"] == "unsubscribed"
    assert _member(fake, "a@x.pl")["merge_fields"]["FNAME"] == "Anna"
    assert not scene.store().refusals()


def test_who_is_new_and_without_consent_is_told_in_batches_and_unknown_is_transactional(made: Made) -> None:
    fake = FakeMailchimp()
    scene = made("mailchimp", fake, "{member: {fields: {'tag:customer': null}}}")
    to = scene.deliverer()
    to.deliver([scene.say(n, email=f"{n}@x.pl", consents=_consent(None)) for n in range(30)])
    assert {held["status"] for held in fake.members.values()} == {"transactional"}
    calls = len(fake.calls)
    to.deliver([scene.say(n, email=f"{n}@x.pl", consents=_consent(False)) for n in range(60)])
    assert {held["status"] for held in fake.members.values()} == {"unsubscribed"} and len(fake.members) == 60
    asked = [method for _, method, _ in [*fake.calls][calls:]]
    assert asked.count("POST") == 1 and asked.count("PATCH") == 30, "the batch call would make who is missing"


def test_a_new_address_archives_the_old_one_and_tags_follow(made: Made) -> None:
    fake = FakeMailchimp()
    scene = made("mailchimp", fake)
    to = scene.deliverer()
    to.deliver([scene.say(1, email="a@x.pl")])
    to.deliver([scene.say(1, email="b@x.pl")])
    assert _member(fake, "a@x.pl")["status"] == "archived" and _member(fake, "b@x.pl")["tags"] == set()


def test_who_unsubscribed_and_went_to_another_address_is_not_subscribed_when_they_come_back(made: Made) -> None:
    fake = FakeMailchimp()
    scene = made("mailchimp", fake)
    to = scene.deliverer()
    to.deliver([scene.say(1, email="a@x.pl", consents=_consent(True))])
    _member(fake, "a@x.pl")["status"] = "unsubscribed"  # they did so themselves
    to.deliver([scene.say(1, email="b@x.pl", consents=_consent(True))])
    assert _member(fake, "b@x.pl")["status"] == "subscribed"
    to.deliver([scene.say(1, email="a@x.pl", consents=_consent(True))])
    assert _member(fake, "a@x.pl")["status"] == "unsubscribed"
    assert _member(fake, "b@x.pl")["status"] == "archived" and not scene.store().refusals()


def test_a_forgotten_address_is_final(made: Made) -> None:
    fake = FakeMailchimp()
    scene = made("mailchimp", fake)
    to = scene.deliverer()
    to.deliver([scene.say(1, email="a@x.pl")])
    to.deliver([scene.erase(1)])
    assert not fake.members and fake.forgotten
    to.deliver([scene.say(2, email="a@x.pl")])
    assert [refusal.code for refusal in scene.store().refusals()] == ["Forgotten Email Not Subscribed"]


def test_marketing_cloud_renews_its_token_and_halves_a_refused_batch(made: Made) -> None:
    fake = FakeMarketingCloud(token_s=0.5)
    scene = made("marketing_cloud", fake)
    to = scene.deliverer()
    to.deliver([scene.say(n, email="bad" if n == 9 else f"{n}@x.pl") for n in range(40)])
    assert len(fake.rows) == 39 and [one.subject for one in scene.store().refusals()] == [key_of(9)]
    fake._tokens.clear()
    to.deliver([scene.merge(3, into=4), scene.erase(5)])
    assert fake.rows[key_of(3)]["Status"] == "merged" and key_of(5) not in fake.rows
    assert fake.token_calls >= 2


def test_marketing_cloud_deletes_contacts_for_erasures_only(made: Made) -> None:
    fake = FakeMarketingCloud()
    with pytest.raises(ConfigurationError, match="`delete`: its REST API deletes contacts for good"):
        made("marketing_cloud", fake, "{profile: {when_gone: delete}}").deliverer()
    scene = made("marketing_cloud", FakeMarketingCloud())
    to = scene.deliverer()
    told = scene.say(1, email="a@x.pl")
    to.deliver([told])
    to.deliver_states([DesiredState(key_of(1), None, told.place, Lifecycle.SWEPT)])
    (refusal,) = scene.store().refusals()
    assert refusal.code == "no_deletion_of_rows" and "deletes contacts for good" in refusal.words


def test_an_address_that_moves_to_another_profile_is_not_archived_by_the_first(made: Made) -> None:
    fake = FakeMailchimp()
    scene = made("mailchimp", fake)
    to = scene.deliverer()
    to.deliver([scene.say(1, email="a@x.pl"), scene.say(2, email="b@x.pl")])
    to.deliver([scene.say(1, email="b@x.pl", first_name="Anna"), scene.merge(2, into=1)])
    assert (
        _member(fake, "b@x.pl")["status"] != "archived" and _member(fake, "b@x.pl")["merge_fields"]["FNAME"] == "Anna"
    )
    assert _member(fake, "a@x.pl")["status"] == "archived"
    to.deliver([scene.erase(2)])
    assert _member(fake, "b@x.pl")["status"] != "archived"
    to.deliver([scene.erase(1)])
    assert hashlib.md5(b"b@x.pl").hexdigest() not in fake.members


def test_a_back_fill_subscribes_in_batches_and_leaves_out_who_unsubscribed(made: Made) -> None:
    fake = FakeMailchimp()
    scene = made("mailchimp", fake)
    fake.members[hashlib.md5(b"1@x.pl").hexdigest()] = {
        "status": "unsubscribed",
        "merge_fields": {},
        "tags": set(),
        "email_address": "1@x.pl",
    }
    calls = len(fake.calls)
    told = [scene.say(n, email=f"{n}@x.pl", consents=_consent(True)) for n in range(40)]
    scene.deliverer().deliver(told, bulk=True)
    assert len(fake.calls) - calls == 4  # two lists, one batch, one by itself
    assert _member(fake, "1@x.pl")["status"] == "unsubscribed" and not scene.store().refusals()
    assert sum(held["status"] == "subscribed" for held in fake.members.values()) == 39
