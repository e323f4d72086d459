"""What ships as `nurt.fake` refuses what the originals are documented to refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2 as httpx
import pytest

from nurt.fake.dataverse import FakeDataverse
from nurt.fake.hubspot import FakeHubspot
from nurt.fake.mailchimp import FakeMailchimp
from nurt.fake.marketing_cloud import FakeMarketingCloud
from nurt.fake.salesforce import FakeSalesforce
from nurt.fake.server import Fake, running
from nurt.fake.webhook import FakeWebhook

Ask = Callable[..., httpx.Response]


@contextmanager
def asking(fake: Fake) -> Iterator[Ask]:
    with running(fake), httpx.Client(base_url=fake.url) as client:
        yield lambda method, path, json=None, **more: client.request(method, path, json=json, **more)


def _hubspot(*properties: dict[str, str], ids: list[str] | None = None) -> dict[str, Any]:
    names = ids or [str(n) for n in range(len(properties))]
    return {
        "inputs": [
            {"id": id_, "idProperty": "nurt_id", "objectWriteTraceId": id_, "properties": {"nurt_id": id_, **one}}
            for id_, one in zip(names, properties, strict=True)
        ]
    }


def test_hubspot_refuses() -> None:
    path, head = "/crm/v3/objects/contacts/batch/upsert", {"Authorization": "Bearer token"}
    with asking(FakeHubspot()) as ask:
        assert ask("POST", path, _hubspot({})).status_code == 401
        assert ask("POST", path, _hubspot(*([{}] * 101)), headers=head).status_code == 400
        assert "Duplicate" in ask("POST", path, _hubspot({}, {}, ids=["1", "1"]), headers=head).json()["message"]
        said = ask("POST", path, _hubspot({"email": "a@x.pl"}, {"shoe": "42"}), headers=head)
        assert said.status_code == 207 and said.json()["numErrors"] == 1
        assert said.json()["errors"][0]["context"]["objectWriteTraceId"] == ["1"]


def test_salesforce_refuses() -> None:
    fake = FakeSalesforce()
    with asking(fake) as ask:
        login = {"grant_type": "client_credentials", "client_id": "id", "client_secret": "wrong"}
        assert ask("POST", "/services/oauth2/token", data=login).status_code == 400
        token = ask("POST", "/services/oauth2/token", data={**login, "client_secret": "secret"}).json()["access_token"]
        head, path = {"Authorization": f"Bearer {token}"}, "/services/data/v62.0/composite/sobjects/Contact/Nurt_Id__c"

        def upsert(*records: dict[str, Any]) -> Any:
            body = {"allOrNone": False, "records": [{"attributes": {"type": "Contact"}, **one} for one in records]}
            return ask("PATCH", path, body, headers=head).json()

        assert ask("PATCH", path, {"records": []}).json()[0]["errorCode"] == "INVALID_SESSION_ID"
        rows = upsert(
            {"Nurt_Id__c": "1", "LastName": "a"},
            {"Nurt_Id__c": "2", "LastName": "a", "Shoe__c": 42},
            {"Nurt_Id__c": "3"},
            {"Nurt_Id__c": "4", "LastName": "a", "Account": {"Nurt_Id__c": "nobody"}},
        )
        codes = [row["errors"][0]["statusCode"] if row["errors"] else None for row in rows]
        assert codes == [None, "INVALID_FIELD", "REQUIRED_FIELD_MISSING", "INVALID_FIELD"]
        twice = upsert({"Nurt_Id__c": "9", "LastName": "a"}, {"Nurt_Id__c": "9", "LastName": "b"})
        assert {row["errors"][0]["statusCode"] for row in twice} == {"DUPLICATE_VALUE"}
        assert upsert(*[{"Nurt_Id__c": str(n), "LastName": "a"} for n in range(201)])[0]["errorCode"]
        fake.usage = (5, 5)
        assert upsert()[0]["errorCode"] == "REQUEST_LIMIT_EXCEEDED"


def test_dataverse_refuses_a_batch_as_a_whole() -> None:
    fake = FakeDataverse()
    with asking(fake) as ask:
        token = ask("POST", "/t/oauth2/v2.0/token", data={"client_secret": "secret"}).json()["access_token"]
        head, path = (
            {"Authorization": f"Bearer {token}"},
            "/api/data/v9.2/contacts/Microsoft.Dynamics.CRM.UpsertMultiple",
        )

        def upsert(*rows: dict[str, Any]) -> int:
            targets = [{"@odata.type": "Microsoft.Dynamics.CRM.contact", **row} for row in rows]
            return ask("POST", path, {"Targets": targets}, headers=head).status_code

        one = {"@odata.id": "contacts(nurt_id='1')", "lastname": "a"}
        assert ask("POST", path, {"Targets": []}).status_code == 401
        assert upsert(one, {"@odata.id": "contacts(nurt_id='2')", "shoe": 42}) == 400
        assert upsert(one, one) == 400
        assert not fake.rows["contacts"]
        assert upsert(one) == 204 and len(fake.rows["contacts"]) == 1


def test_mailchimp_refuses() -> None:
    with asking(FakeMailchimp()) as ask:
        auth = ("any", "key-us1")
        assert ask("POST", "/3.0/lists/aud", {"members": []}, auth=("any", "wrong")).status_code == 401
        many = {"members": [{"email_address": f"{n}@x.pl"} for n in range(501)]}
        assert ask("POST", "/3.0/lists/aud", many, auth=auth).status_code == 400
        some = {"members": [{"email_address": "a@x.pl", "merge_fields": {"SHOE": "42"}}, {"email_address": "bad"}]}
        assert ask("POST", "/3.0/lists/aud", some, auth=auth).json()["error_count"] == 2


def test_marketing_cloud_refuses() -> None:
    path = "/hub/v1/dataevents/key:nurt_profiles/rowset"
    row = {"keys": {"SubscriberKey": "1"}, "values": {"FirstName": "a"}}
    with asking(FakeMarketingCloud()) as ask:
        assert ask("POST", path, [row]).status_code == 401
        login = {"client_secret": "secret", "client_id": "id", "grant_type": "client_credentials"}
        head = {"Authorization": f"Bearer {ask('POST', '/v2/token', login).json()['access_token']}"}
        assert ask("POST", path, [row, row], headers=head).status_code == 400
        assert ask("POST", path, [{**row, "values": {"Shoe": "42"}}], headers=head).status_code == 400
        assert (
            ask(
                "POST", path, [{"keys": {"SubscriberKey": str(n)}, "values": {}} for n in range(51)], headers=head
            ).status_code
            == 400
        )
        assert ask("POST", path, [row], headers=head).status_code == 200


def test_the_webhook_refuses_what_is_not_signed_or_too_much() -> None:
    with asking(FakeWebhook("secret")) as ask:
        assert ask("POST", "/", []).status_code == 401
    event = {"object": "o", "key": "1", "op": "upsert", "fields": {}}
    with asking(FakeWebhook()) as ask:
        assert ask("POST", "/", [event] * 101).status_code == 413
        assert ask("POST", "/", [event, event]).status_code == 400
        assert ask("POST", "/", [event]).status_code == 204


@pytest.mark.parametrize("fake", [FakeHubspot(), FakeSalesforce(), FakeDataverse(), FakeMailchimp(), FakeWebhook()])
def test_every_fake_enforces_its_windows(fake: Fake) -> None:
    fake.faults.windows = [(3, 10.0)]
    with asking(fake) as ask:
        codes = [ask("GET", "/").status_code for _ in range(5)]
    assert codes[3] in (429, 503) and codes[4] in (429, 503) and not {*codes[:3]} & {429, 503}
