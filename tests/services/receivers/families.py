"""Every family of receivers that takes rows: how it is opened, and what it holds, for tests that all must pass."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from redis import Redis

from nurt.adapters.receivers.dataverse import Dataverse
from nurt.adapters.receivers.hubspot import Hubspot
from nurt.adapters.receivers.mailchimp import Mailchimp
from nurt.adapters.receivers.marketing_cloud import MarketingCloud
from nurt.adapters.receivers.salesforce import Salesforce
from nurt.adapters.receivers.webhook import Webhook
from nurt.delivery.gone import GONE
from nurt.delivery.mapping import DestinationMapping
from nurt.delivery.ports import Destination
from nurt.fake.dataverse import FakeDataverse
from nurt.fake.hubspot import FakeHubspot
from nurt.fake.mailchimp import FakeMailchimp
from nurt.fake.marketing_cloud import FakeMarketingCloud
from nurt.fake.salesforce import FakeSalesforce
from nurt.fake.server import Fake
from nurt.fake.webhook import FakeWebhook
from tests.delivery.chaos import Hands
from tests.delivery.scene import Scene, key_of, mapping_of

Fields = dict[str, Any]


@dataclass(frozen=True)
class Receiver:
    """How one receiver is opened, and what it holds by key: (e-mail, first name, last name)."""

    fake: Callable[[int], Fake]
    open: Callable[[DestinationMapping], Destination]
    mapping: str
    rows: Callable[[Any], dict[str, tuple[str | None, ...]]]
    may_refuse: Callable[[Any, Fields], bool] = lambda _fake, _profile: False


def _hubspot(fake: FakeHubspot) -> dict[str, tuple[str | None, ...]]:
    names = ("email", "firstname", "lastname")
    return {held["nurt_id"]: tuple(map(held.get, names)) for held in fake.objects["contacts"].values()}


def _salesforce(fake: FakeSalesforce) -> dict[str, tuple[str | None, ...]]:
    names = ("Email", "FirstName", "LastName")
    return {key: tuple(map(held.get, names)) for key, held in fake.objects["Contact"].items()}


def _dataverse(fake: FakeDataverse) -> dict[str, tuple[str | None, ...]]:
    names = ("emailaddress1", "firstname", "lastname")
    return {key: tuple(map(held.get, names)) for key, held in fake.rows["contacts"].items()}


def _mailchimp(fake: FakeMailchimp) -> dict[str, tuple[str | None, ...]]:
    members = [held for held in fake.members.values() if held["status"] != "archived"]
    names = ("PHONE", "FNAME", "LNAME")
    return {
        held["email_address"].removesuffix("@x.pl"): tuple(held["merge_fields"].get(name) or None for name in names)
        for held in members
    }


def _marketing_cloud(fake: FakeMarketingCloud) -> dict[str, tuple[str | None, ...]]:
    names = ("EmailAddress", "FirstName", "LastName")
    alive = {key: held for key, held in fake.rows.items() if held.get("Status") != "merged"}
    return {key: tuple(held.get(name) or None for name in names) for key, held in alive.items()}


def _webhook(fake: FakeWebhook) -> dict[str, tuple[str | None, ...]]:
    names = ("email", "first", "last")
    return {key: tuple(map(held.get, names)) for (_, key), held in fake.rows.items()}


BAD = "CASE WHEN loyalty_card is not null THEN 'broken' ELSE email END"
RECEIVERS = {
    "hubspot": Receiver(
        lambda seed: FakeHubspot(seed=seed),
        Hubspot,
        f"""
        kind: hubspot
        url: {{url}}
        token: token
        limits: {{{{rows_max: 10, rates: []}}}}
        objects:
          contact:
            type: contacts
            key: {{{{nurt_id: id}}}}
            fields: {{{{email: "{BAD}", firstname: first_name, lastname: last_name}}}}
        """,
        _hubspot,
        lambda fake, profile: profile["email"]["value"] in {*fake.forgotten, *fake.second},
    ),
    "salesforce": Receiver(
        lambda seed: FakeSalesforce(seed=seed),
        Salesforce,
        f"""
        kind: salesforce
        url: {{url}}
        client_id: id
        client_secret: secret
        limits: {{{{rows_max: 10}}}}
        objects:
          contact:
            type: Contact
            key: {{{{Nurt_Id__c: id}}}}
            fields: {{{{Email: "{BAD}", FirstName: first_name, LastName: "coalesce(last_name, 'none')"}}}}
        """,
        _salesforce,
    ),
    "dataverse": Receiver(
        lambda seed: FakeDataverse(seed=seed),
        Dataverse,
        f"""
        kind: dataverse
        url: {{url}}
        login_url: {{url}}
        tenant: t
        client_id: id
        client_secret: secret
        limits: {{{{rows_max: 10, rates: []}}}}
        objects:
          contact:
            key: {{{{nurt_id: id}}}}
            fields: {{{{emailaddress1: "{BAD}", firstname: first_name, lastname: last_name}}}}
        """,
        _dataverse,
    ),
    "mailchimp": Receiver(
        lambda seed: FakeMailchimp(seed=seed),
        Mailchimp,
        """
        kind: mailchimp
        url: {url}
        audience: aud
        api_key: key-us1
        limits: {{rows_max: 10}}
        objects:
          member:
            key: {{email_address: "concat(id, CASE WHEN loyalty_card is not null THEN '' ELSE '@x.pl' END)"}}
            fields:
              status: "'subscribed'"
              FNAME: first_name
              LNAME: last_name
              PHONE: email
            when_gone: delete
        """,
        _mailchimp,
        lambda fake, profile: hashlib.md5(f"{profile['id']}@x.pl".encode()).hexdigest() in fake.forgotten,
    ),
    "marketing_cloud": Receiver(
        lambda seed: FakeMarketingCloud(seed=seed),
        MarketingCloud,
        f"""
        kind: marketing_cloud
        url: {{url}}
        auth_url: {{url}}
        client_id: id
        client_secret: secret
        limits: {{{{rows_max: 10}}}}
        objects:
          profile:
            type: nurt_profiles
            key: {{{{SubscriberKey: id}}}}
            fields: {{{{EmailAddress: "{BAD}", FirstName: first_name, LastName: last_name, Status: "'active'"}}}}
            archived: {{{{Status: "'merged'"}}}}
        """,
        _marketing_cloud,
    ),
    "webhook": Receiver(
        lambda seed: FakeWebhook(seed=seed),
        Webhook,
        """
        kind: webhook
        url: {url}
        limits: {{rows_max: 10}}
        objects:
          contact:
            key: id
            fields: {{email: email, first: first_name, last: last_name, refuse_me: loyalty_card}}
        """,
        _webhook,
    ),
}


def scene_at(name: str, fake: Fake, redis_url: str, limits: str = "", when_gone: str = "") -> Scene:
    """Make a scene at one receiver.

    Args:
        limits: replaces those of its mapping.
        when_gone: what follows where people took a row away.
    """
    receiver = RECEIVERS[name]
    text = receiver.mapping.format(url=fake.url)
    if when_gone:
        text += f"\n        when_gone: {when_gone}"
    if limits:
        text = re.sub(r"limits: .*", f"limits: {limits}", text)
    return Scene(Redis.from_url(redis_url), mapping_of(text), receiver.open)


def expect(name: str, scene: Scene, fake: Fake, hands: Hands | None = None, restores: bool = False) -> None:
    """Claim that rows at the receiver are the profiles, and that exactly what it refused is in quarantine.

    Args:
        hands: people who took rows away. Such a row is missing, or whole; a question about it is in quarantine.
        restores: the rows are whole again.
    """
    receiver = RECEIVERS[name]
    hands = hands or Hands(Random(0), 0)
    codes = {refusal.subject: refusal.code for refusal in scene.store().refusals()}
    asked = {subject for subject, code in codes.items() if code == GONE}
    refused = {*codes} - asked
    live = {key_of(n): told for n, told in scene.profiles.items() if told["state"] == "live"}
    held = receiver.rows(fake)
    assert asked <= hands.gone - {*held}
    for key, told in live.items():
        if key in hands.gone and key not in held and not (restores and key not in refused):
            continue
        is_bad = bool(told["loyalty_card"]) or (key in refused and receiver.may_refuse(fake, told))
        assert (key in refused) == is_bad, key
        if not is_bad:
            values = [told[field] and told[field]["value"] for field in ("email", "first_name", "last_name")]
            assert key in hands.filled or [value if value != "none" else None for value in held[key]] == values
    assert {*held} <= {*live} and refused <= {*live}
