"""What ships as `nurt.fake` refuses what the originals are documented to refuse."""

from __future__ import annotations

import hashlib
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


def test_hubspot_updates_nothing_that_is_gone_and_says_what_an_upsert_makes() -> None:
    base, head = "/crm/v3/objects/contacts/batch", {"Authorization": "Bearer token"}
    fake = FakeHubspot()
    with asking(fake) as ask:
        made = ask("POST", f"{base}/upsert", _hubspot({"email": "0@x.pl"}, {"email": "1@x.pl"}), headers=head).json()
        assert [one["new"] for one in made["results"]] == [True, True]
        assert not ask("POST", f"{base}/upsert", _hubspot({"phone": "1"}), headers=head).json()["results"][0]["new"]
        assert fake.merge_by_hand("1", "0")
        said = ask("POST", f"{base}/update", _hubspot({"phone": "2"}, {"phone": "2"}), headers=head)
        assert said.status_code == 207 and [one["properties"]["nurt_id"] for one in said.json()["results"]] == ["0"]
        (error,) = said.json()["errors"]
        assert error["category"] == "OBJECT_NOT_FOUND" and error["context"]["ids"] == ["1"]
        gone, stays = made["results"][1]["id"], made["results"][0]["id"]
        by_id = {"inputs": [{"id": gone, "properties": {"phone": "3"}}]}
        assert ask("POST", f"{base}/update", by_id, headers=head).json()["results"][0]["id"] == stays
        again = ask("POST", f"{base}/upsert", _hubspot({}, {"email": "1@x.pl"}), headers=head).json()
        assert again["errors"][0]["category"] == "CONFLICT", "the contact that stayed has the address"


def test_salesforce_updates_nothing_that_is_deleted() -> None:
    fake = FakeSalesforce()
    with asking(fake) as ask:
        login = {"grant_type": "client_credentials", "client_id": "id", "client_secret": "secret"}
        token = ask("POST", "/services/oauth2/token", data=login).json()["access_token"]
        head, path = {"Authorization": f"Bearer {token}"}, "/services/data/v62.0/composite/sobjects"

        def ask_for(where: str, **record: Any) -> Any:
            records = [{"attributes": {"type": "Contact"}, **record}]
            return ask("PATCH", where, {"allOrNone": False, "records": records}, headers=head).json()[0]

        made = ask_for(f"{path}/Contact/Nurt_Id__c", Nurt_Id__c="1", LastName="a")
        assert made["created"] and not ask_for(f"{path}/Contact/Nurt_Id__c", Nurt_Id__c="1", Phone="1")["created"]
        assert ask_for(path, id=made["id"], Phone="2")["success"]
        assert fake.delete_by_hand("1")
        codes = [ask_for(path, id=id_, Phone="3")["errors"][0]["statusCode"] for id_ in (made["id"], "003")]
        assert codes == ["ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY"] and not fake.objects["Contact"]


def test_dataverse_makes_nothing_where_a_row_must_be_there() -> None:
    fake = FakeDataverse()
    with asking(fake) as ask:
        token = ask("POST", "/t/oauth2/v2.0/token", data={"client_secret": "secret"}).json()["access_token"]
        head, path = {"Authorization": f"Bearer {token}"}, "/api/data/v9.2/contacts(nurt_id='1')"
        said = ask("PATCH", path, {"lastname": "a"}, headers={**head, "If-Match": "*"})
        assert said.status_code == 404 and said.json()["error"]["code"] == "0x80040217" and not fake.rows["contacts"]
        shown = {**head, "Prefer": "return=representation"}
        assert [ask("PATCH", path, {"lastname": "a"}, headers=shown).status_code for _ in range(2)] == [201, 200]
        said = ask("PATCH", path, {"lastname": "b"}, headers={**head, "If-Match": "*"})
        assert said.status_code == 204 and fake.rows["contacts"]["1"]["contactid"] in said.headers["OData-EntityId"]


def test_mailchimp_patches_no_one_who_is_missing_and_leaves_archived_ones_where_they_are() -> None:
    fake, auth = FakeMailchimp(), ("any", "key-us1")
    hash_ = hashlib.md5(b"a@x.pl").hexdigest()
    path = f"/3.0/lists/aud/members/{hash_}"
    with asking(fake) as ask:
        assert ask("PATCH", path, {"merge_fields": {"FNAME": "a"}}, auth=auth).status_code == 404
        member = {"email_address": "a@x.pl", "status_if_new": "subscribed"}
        assert ask("PUT", path, member, auth=auth).json()["status"] == "subscribed"
        assert ask("DELETE", path, auth=auth).status_code == 204
        assert ask("PATCH", path, {"merge_fields": {"FNAME": "a"}}, auth=auth).json()["status"] == "archived"
        assert ask("PUT", path, member, auth=auth).json()["status"] == "subscribed"
        ask("POST", f"{path}/actions/delete-permanent", auth=auth)
        assert ask("PATCH", path, {}, auth=auth).status_code == 404
        assert "Forgotten" in ask("PUT", path, member, auth=auth).json()["title"]


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
