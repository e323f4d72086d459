"""Rows that people delete, merge or archive at a receiver: a difference never makes a part of a row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis import Redis

from nurt.adapters.receivers.dataverse import Dataverse
from nurt.adapters.receivers.hubspot import Hubspot
from nurt.adapters.receivers.mailchimp import Mailchimp
from nurt.adapters.receivers.salesforce import Salesforce
from nurt.app.delivery_config import read_presets
from nurt.delivery.gone import GONE
from nurt.delivery.run.batch import RETRY
from nurt.errors import ConfigurationError
from nurt.fake.dataverse import FakeDataverse
from nurt.fake.hubspot import FakeHubspot
from nurt.fake.mailchimp import FakeMailchimp
from nurt.fake.salesforce import FakeSalesforce
from nurt.fake.server import Fake, Request, Response, running
from nurt.model.delivery import DesiredState, Lifecycle
from tests.delivery.chaos import Killed
from tests.delivery.scene import Scene, account, accounts, key_of, mapping_of, order_key
from tests.services.receivers.families import RECEIVERS, scene_at

CAREFUL = ["hubspot", "salesforce", "dataverse", "mailchimp"]
"""Receivers that are told differences."""

POLICIES = ["ask", "leave", "restore"]


@contextmanager
def _at(name: str, redis_url: str, policy: str = "") -> Iterator[tuple[Scene, Any]]:
    """Open a receiver of `families`."""
    with running(RECEIVERS[name].fake(3)) as fake:
        yield scene_at(name, fake, redis_url, when_gone=policy), fake


def _held(name: str, fake: Any, number: int) -> tuple[str | None, ...] | None:
    return RECEIVERS[name].rows(fake).get(key_of(number))


def _say(scene: Scene, number: int, first: str, last: str = "Nowak") -> Any:
    return scene.say(number, email=f"{number}@a.pl", first_name=first, last_name=last)


def _codes(scene: Scene) -> list[str]:
    return [refusal.code for refusal in scene.store().refusals()]


def _ask_again(scene: Scene, *numbers: int) -> None:
    store = scene.store()
    kept = store.kept([key_of(number) for number in numbers])
    store.ask_again([DesiredState(one, None, kept[one].place, Lifecycle.LIVE) for one in kept], RETRY)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", CAREFUL)
def test_a_difference_of_a_row_that_people_deleted_makes_no_part_of_it(
    name: str, policy: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeMailchimp, "delete_by_hand", _archive)
    with _at(name, redis_url, policy) as (scene, fake):
        to = scene.deliverer()
        to.deliver([_say(scene, n, "Anna") for n in range(4)])
        assert fake.delete_by_hand(key_of(1)) and fake.delete_by_hand(key_of(2))
        to.deliver([_say(scene, n, "Ola") for n in range(4)])
        counts = scene.store().counts()
        assert counts["gone"] == 2
        assert _held(name, fake, 0) == ("0@a.pl", "Ola", "Nowak") == ("0@a.pl", *_held(name, fake, 3)[1:])  # type: ignore[index]
        whole = ("1@a.pl", "Ola", "Nowak") if policy == "restore" else None
        assert _held(name, fake, 1) == whole
        assert _codes(scene) == ([GONE, GONE] if policy == "ask" else [])
        assert counts.get("left_gone", 0) == (2 if policy == "leave" else 0)
        calls = len(fake.calls)
        to.deliver([_say(scene, 1, "Ewa")])
        assert _held(name, fake, 1) == (("1@a.pl", "Ewa", "Nowak") if policy == "restore" else None)
        assert (len(fake.calls) == calls) == (policy == "leave"), "what is left alone costs no call"
        assert scene.store().counts()["parked"] == 0


def _archive(self: FakeMailchimp, key: str) -> bool:
    found = next(one for one in self.members.values() if one["email_address"].startswith(key))
    found["status"] = "archived"
    return True


@pytest.mark.parametrize("name", CAREFUL)
def test_a_question_says_what_to_do_and_each_answer_is_taken(name: str, redis_url: str) -> None:
    with _at(name, redis_url) as (scene, fake):
        scene.deliverer().deliver([_say(scene, n, "Anna") for n in range(2)])
        fake.delete_by_hand(key_of(0))
        fake.delete_by_hand(key_of(1))
        fake.__dict__.get("forgotten", set()).clear()
        scene.deliverer().deliver([_say(scene, 0, "Ola"), _say(scene, 1, "Ola")])
        refusal = scene.store().refusals()[0]
        assert "`when_gone: restore`" in refusal.words and f"`nurt deliver retry {scene.mapping.name}`" in refusal.words
        assert "`when_gone: leave`" in refusal.words and refusal.object in refusal.words
        _ask_again(scene, 0, 1)
        scene.deliverer().retry_parked()
        assert _codes(scene) == [GONE, GONE], "another try alone is no answer"
        scene.mapping = scene_at(name, fake, redis_url, when_gone="leave").mapping
        _ask_again(scene, 0)
        scene.deliverer().retry_parked()
        assert [one.subject for one in scene.store().refusals()] == [key_of(1)] and _held(name, fake, 0) is None
        scene.mapping = scene_at(name, fake, redis_url, when_gone="restore").mapping
        _ask_again(scene, 1)
        scene.deliverer().retry_parked()
        assert not _codes(scene) and _held(name, fake, 1) == ("1@a.pl", "Ola", "Nowak")
        assert _held(name, fake, 0) is None, "who was left alone stays so, until the profile changes"


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", CAREFUL)
def test_a_row_that_people_put_back_is_whole_with_the_next_change(name: str, policy: str, redis_url: str) -> None:
    with _at(name, redis_url, policy) as (scene, fake):
        to = scene.deliverer()
        to.deliver([_say(scene, 1, "Anna")])
        kept = _take_out(name, fake, key_of(1))
        if policy == "leave":
            kept()  # put back before anything found it gone
        else:
            to.deliver([_say(scene, 1, "Ola", "Kowalska")])
            kept() if policy == "ask" else None
        to.deliver([_say(scene, 1, "Ewa", "Kowalska")])
        assert _held(name, fake, 1) == ("1@a.pl", "Ewa", "Kowalska")
        assert not scene.store().refusals()


def _take_out(name: str, fake: Any, key: str) -> Any:
    """Take a row out of a receiver; return what puts it back as it was."""
    rows = {
        "hubspot": lambda: fake.objects["contacts"],
        "salesforce": lambda: fake.objects["Contact"],
        "dataverse": lambda: fake.rows["contacts"],
        "mailchimp": lambda: fake.members,
    }[name]()
    at = next(id_ for id_, row in rows.items() if key in (id_, row.get("nurt_id"), row.get("email_address", "")[:32]))
    row = rows.pop(at)

    def put_back() -> None:
        rows[at] = row

    return put_back


@pytest.mark.parametrize("name", ["hubspot", "salesforce", "dataverse"])
def test_a_row_that_people_made_anew_under_its_key_gets_all_fields(name: str, redis_url: str) -> None:
    with _at(name, redis_url) as (scene, fake):
        to = scene.deliverer()
        to.deliver([_say(scene, 1, "Anna")])
        to.deliver([_say(scene, 1, "Ola")])  # at Dataverse the first change tells the row's id
        assert fake.make_anew_by_hand(key_of(1))
        to.deliver([_say(scene, 1, "Ewa")])
        assert _held(name, fake, 1) == ("1@a.pl", "Ewa", "Nowak")
        assert scene.store().counts()["made_anew"] == 1 and not scene.store().refusals()


@pytest.mark.parametrize("policy", ["leave", "restore"])
@pytest.mark.parametrize("name", CAREFUL)
def test_nobody_who_was_erased_comes_back(name: str, policy: str, redis_url: str) -> None:
    with _at(name, redis_url, policy) as (scene, fake):
        to = scene.deliverer()
        to.deliver([_say(scene, 1, "Anna")])
        fake.delete_by_hand(key_of(1))
        changed, erased = _say(scene, 1, "Ola"), scene.erase(1)
        to.deliver([changed, erased])
        assert _held(name, fake, 1) is None
        scene.deliverer().deliver([changed])  # a crash lets it be read again, and the erasure not yet
        assert _held(name, fake, 1) is None and scene.store().counts()["old_news"] == 1


def test_who_comes_again_after_an_erasure_is_told_whole(redis_url: str) -> None:
    with _at("salesforce", redis_url) as (scene, fake):
        to = scene.deliverer()
        first = _say(scene, 1, "Anna")
        to.deliver([first])
        to.deliver([scene.erase(1)])
        to.deliver([first])
        assert _held("salesforce", fake, 1) is None
        scene.generation += 1
        scene.deliverer().deliver([first])
        assert _held("salesforce", fake, 1) is None, "nor does a back-fill bring the person back"
        scene.deliverer().deliver([_say(scene, 1, "Ola")])
        assert _held("salesforce", fake, 1) == ("1@a.pl", "Ola", "Nowak")


@pytest.mark.parametrize("name", CAREFUL)
def test_telling_everything_again_brings_nobody_back_by_itself(name: str, redis_url: str) -> None:
    with _at(name, redis_url) as (scene, fake):
        told = [_say(scene, n, "Anna") for n in range(3)]
        scene.deliverer().deliver(told)
        fake.delete_by_hand(key_of(1))
        scene.generation += 1
        scene.deliverer().deliver(told, bulk=True)
        assert _held(name, fake, 1) is None and _codes(scene) == [GONE]
        assert _held(name, fake, 0) is not None and _held(name, fake, 2) is not None


@pytest.mark.parametrize("name", CAREFUL)
def test_a_row_whose_change_was_under_way_at_a_crash_is_not_brought_back(name: str, redis_url: str) -> None:
    with _at(name, redis_url) as (scene, fake):
        scene.deliverer().deliver([scene.say(1, email="1@a.pl", first_name="Anna", last_name="Nowak")])

        def fault(step: str) -> None:
            if step == "intent noted":
                raise Killed

        changed = scene.say(1, email="1@b.pl", first_name="Ola", last_name="Kowalska")
        with pytest.raises(Killed):
            scene.deliverer(fault=fault).deliver([changed])
        fake.delete_by_hand(key_of(1))
        scene.deliverer().deliver([changed])
        assert _held(name, fake, 1) is None and _codes(scene) == [GONE]


@pytest.mark.parametrize("name", CAREFUL)
def test_a_first_write_that_a_crash_cut_off_goes_again_whole(name: str, redis_url: str) -> None:
    with _at(name, redis_url, "leave") as (scene, fake):

        def fault(step: str) -> None:
            if step == "intent noted":
                raise Killed

        told = _say(scene, 1, "Anna")
        with pytest.raises(Killed):
            scene.deliverer(fault=fault).deliver([told])
        scene.deliverer().deliver([told])
        held = _held(name, fake, 1)
        assert held is not None and held[1:] == ("Anna", "Nowak") and not scene.store().counts().get("gone")


def test_a_merge_by_hand_at_hubspot_is_told_and_never_undone_by_a_difference(redis_url: str) -> None:
    with _at("hubspot", redis_url) as (scene, fake):
        to = scene.deliverer()
        to.deliver([_say(scene, 1, "Anna"), _say(scene, 2, "Ola")])
        assert fake.merge_by_hand(key_of(2), key_of(1))
        to.deliver([_say(scene, 2, "Ewa")])
        assert _codes(scene) == [GONE] and _held("hubspot", fake, 2) is None
        assert _held("hubspot", fake, 1) == ("1@a.pl", "Anna", "Nowak"), "nor does it reach the contact that stayed"


def test_an_erasure_after_a_merge_by_hand_takes_nobody_else_away(redis_url: str) -> None:
    with _at("hubspot", redis_url) as (scene, fake):
        to = scene.deliverer()
        to.deliver([_say(scene, 1, "Anna"), _say(scene, 2, "Ola")])
        fake.merge_by_hand(key_of(2), key_of(1))
        to.deliver([scene.erase(2)])
        assert _held("hubspot", fake, 1) == ("1@a.pl", "Anna", "Nowak") and not fake.forgotten


@pytest.mark.parametrize("name", CAREFUL)
def test_what_nurt_itself_took_away_comes_back_without_a_question(name: str, redis_url: str) -> None:
    with _at(name, redis_url) as (scene, fake):
        to = scene.deliverer()
        to.deliver([_say(scene, 1, "Anna"), _say(scene, 2, "Ola")])
        to.deliver([scene.merge(2, into=1)])
        to.deliver([_say(scene, 2, "Ewa")])
        held = _held(name, fake, 2)
        assert held is not None and held[1:] == ("Ewa", "Nowak")
        assert not scene.store().refusals() and not scene.store().counts().get("gone")


@pytest.mark.parametrize("name", CAREFUL)
def test_what_is_to_be_removed_and_is_gone_already_is_no_question(name: str, redis_url: str) -> None:
    with _at(name, redis_url) as (scene, fake):
        to = scene.deliverer()
        to.deliver([_say(scene, n, "Anna") for n in range(3)])
        fake.delete_by_hand(key_of(1))
        fake.delete_by_hand(key_of(2))
        to.deliver([scene.merge(1, into=0), scene.erase(2)])
        assert not scene.store().refusals() and not scene.store().counts()["parked"]


def test_a_row_to_be_archived_that_is_gone_makes_no_part_of_it_and_no_question(redis_url: str) -> None:
    with running(FakeSalesforce()) as fake:
        scene = _preset("salesforce", Salesforce, fake, redis_url, "contact: {when: true}")
        to = scene.deliverer()
        to.deliver([_say(scene, 1, "Anna"), _say(scene, 2, "Ola")])
        fake.delete_by_hand(key_of(2))
        to.deliver([scene.merge(2, into=1)])
        assert [*fake.objects["Contact"]] == [key_of(1)] and not scene.store().refusals()
        to.deliver([_say(scene, 2, "Ola")])
        assert _codes(scene) == [GONE], "people deleted it, so its return is theirs to decide"


PRESETS: dict[str, str] = {
    "hubspot": "token: token",
    "salesforce": "client_id: id, client_secret: secret",
    "dataverse": "login_url: '{url}', tenant: t, client_id: id, client_secret: secret",
    "mailchimp": "audience: aud, api_key: key-us1",
}


def _preset(name: str, opener: Any, fake: Fake, redis_url: str, objects: str = "", more: str = "") -> Scene:
    names = [name, f"{name}_orders"] if more else [name]
    text = f"{{url: '{fake.url}', {PRESETS[name].format(url=fake.url)}, {more} objects: {{{objects}}}}}"
    return Scene(Redis.from_url(redis_url), mapping_of(text, read_presets(names)), opener)


def test_a_restored_contact_gets_its_links_and_its_orders_back(redis_url: str) -> None:
    with running(FakeHubspot()) as fake:
        scene = _preset("hubspot", Hubspot, fake, redis_url, more="when_gone: restore,")
        to = scene.deliverer()
        firm = {"email": "1@x.pl", "company": "Firma", "tax_id": "PL525", "accounts": accounts(1)}
        to.deliver([scene.say(1, **firm), scene.order(7, account(1))])
        assert len(fake.links) == 2
        fake.delete_by_hand(key_of(1))
        assert not fake.links
        to.deliver([scene.say(1, **firm, first_name="Ola")])
        (contact,) = fake.objects["contacts"]
        (order,), (company,) = fake.objects["orders"], fake.objects["companies"]
        assert fake.links == {(contact, company), (order, contact)}
        assert not scene.store().refusals() and not scene.store().counts()["parked"]


@pytest.mark.parametrize("name", ["salesforce", "dataverse"])
def test_orders_name_a_restored_contact_again(name: str, redis_url: str) -> None:
    opener, fake = {"salesforce": (Salesforce, FakeSalesforce()), "dataverse": (Dataverse, FakeDataverse())}[name]
    with running(fake):
        only = "contact: {when: true}" if name == "salesforce" else ""
        scene = _preset(name, opener, fake, redis_url, only, more="when_gone: restore,")
        to = scene.deliverer()
        told = {"email": "1@x.pl", "last_name": "Nowak", "accounts": accounts(1)}
        to.deliver([scene.say(1, **told), scene.order(7, account(1))])
        fake.delete_by_hand(key_of(1))
        to.deliver([scene.say(1, **told, first_name="Ola")])
        assert _parent(name, fake) == _id(name, fake)
        assert not scene.store().refusals() and not scene.store().counts()["parked"]


def _parent(name: str, fake: Any) -> str:
    at_salesforce = name == "salesforce"
    order = fake.objects["Nurt_Order__c"] if at_salesforce else fake.rows["salesorders"]
    return str(order[order_key(7)].get("Contact__c" if at_salesforce else "_customerid_value"))


def _id(name: str, fake: Any) -> str:
    if name == "salesforce":
        return str(fake.objects["Contact"][key_of(1)]["Id"])
    return str(fake.rows["contacts"][key_of(1)]["contactid"])


def test_a_parent_that_is_missing_is_not_the_row_that_is_gone(redis_url: str) -> None:
    with running(FakeDataverse()) as fake:
        scene = _preset("dataverse", Dataverse, fake, redis_url)
        to = scene.deliverer()
        told = [scene.say(n, email=f"{n}@x.pl", company="F", tax_id="PL1") for n in range(3)]
        to.deliver(told)
        del fake.rows["accounts"]["PL1"]
        fake.delete_by_hand(key_of(2))
        binding = {"company": "G", "tax_id": "PL2", "email": "x@x.pl"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FakeDataverse, "_put", _without_parents(FakeDataverse._put))
            to.deliver([scene.say(n, **binding) for n in range(3)])
        codes = {refusal.subject: refusal.code for refusal in scene.store().refusals()}
        assert codes == {key_of(0): "0x80040217", key_of(1): "0x80040217", key_of(2): GONE}


def _without_parents(put: Any) -> Any:
    def refusing(self: FakeDataverse, table: str, key: str, fields: dict[str, Any]) -> Response | None:
        if table == "contacts" and "parentcustomerid_account@odata.bind" in fields:
            fields = {**fields, "parentcustomerid_account@odata.bind": "/accounts(nurt_id='nobody')"}
        answer: Response | None = put(self, table, key, fields)
        return answer

    return refusing


def test_a_contact_known_by_its_address_is_updated_and_never_made(redis_url: str) -> None:
    with running(FakeHubspot()) as fake:
        contact = "{type: contacts, key: {email: email}, fields: {firstname: first_name, phone: phone}}"
        text = f"{{kind: hubspot, url: '{fake.url}', token: token, objects: {{contact: {contact}}}}}"
        scene = Scene(Redis.from_url(redis_url), mapping_of(text), Hubspot)
        to = scene.deliverer()
        to.deliver([scene.say(n, email=f"{n}@x.pl", first_name="Anna", phone="1") for n in range(3)])
        del fake.objects["contacts"][next(id_ for id_, c in fake.objects["contacts"].items() if c["email"] == "1@x.pl")]
        to.deliver([scene.say(n, email=f"{n}@x.pl", first_name="Ola", phone="1") for n in range(3)])
        assert {row["email"]: row.get("firstname") for row in fake.objects["contacts"].values()} == {
            "0@x.pl": "Ola",
            "2@x.pl": "Ola",
        }
        assert _codes(scene) == [GONE]


def test_an_audience_that_is_not_there_is_no_member_that_is_gone(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nurt.delivery.retry.BACKOFF_S", 0.01)
    with running(FakeMailchimp()) as fake:
        scene = _preset("mailchimp", Mailchimp, fake, redis_url)
        scene.deliverer().deliver([scene.say(1, email="a@x.pl", first_name="Anna")])
        real, away = fake.answer, [4]  # twice a member and its audience

        def answer(request: Request) -> Response:
            if away[0]:
                away[0] -= 1
                return Response(404, {"title": "Resource Not Found", "status": 404})
            return real(request)

        monkeypatch.setattr(fake, "answer", answer)
        scene.deliverer().deliver([scene.say(1, email="a@x.pl", first_name="Ola")])
        assert not scene.store().refusals() and not scene.store().counts().get("gone")
        assert next(iter(fake.members.values()))["merge_fields"]["FNAME"] == "Ola"


def test_who_is_gone_and_forgotten_at_mailchimp_is_not_brought_back(redis_url: str) -> None:
    with running(FakeMailchimp()) as fake:
        scene = _preset("mailchimp", Mailchimp, fake, redis_url, more="")
        scene.mapping = mapping_of(
            f"{{url: '{fake.url}', {PRESETS['mailchimp']}, when_gone: restore}}", read_presets("mailchimp")
        )
        to = scene.deliverer()
        to.deliver([scene.say(1, email="a@x.pl", first_name="Anna")])
        fake.forgotten |= {*fake.members}
        fake.members.clear()
        to.deliver([scene.say(1, email="a@x.pl", first_name="Ola")])
        assert not fake.members and _codes(scene) == ["Forgotten Email Not Subscribed"]


def test_a_receiver_that_makes_a_row_all_the_same_is_noticed_and_gets_it_whole(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeHubspot, "_update", FakeHubspot._upsert)
    with _at("hubspot", redis_url) as (scene, fake):
        to = scene.deliverer()
        to.deliver([_say(scene, 1, "Anna")])
        fake.delete_by_hand(key_of(1))
        to.deliver([_say(scene, 1, "Ola")])
        assert _held("hubspot", fake, 1) == ("1@a.pl", "Ola", "Nowak")
        assert scene.store().counts()["made_anew"] == 1


def test_a_word_is_read_for_a_destination_and_for_an_object_and_keeps_the_presets_other_word() -> None:
    mapping = mapping_of("{audience: a, api_key: k-us1, when_gone: leave}", read_presets("mailchimp"))
    (plan,) = [one.plan for one in mapping.objects]
    assert (plan.when_gone, plan.gone_there) == ("delete", "leave")
    own = mapping_of("{audience: a, objects: {member: {when_gone: restore}}}", read_presets("mailchimp"))
    assert (own.objects[0].plan.when_gone, own.objects[0].plan.gone_there) == ("delete", "restore")
    both = mapping_of("{audience: a, objects: {member: {when_gone: [keep, leave]}}}", read_presets("mailchimp"))
    assert (both.objects[0].plan.when_gone, both.objects[0].plan.gone_there) == ("keep", "leave")
    assert mapping_of("{audience: a}", read_presets("mailchimp")).objects[0].plan.gone_there == "ask"


@pytest.mark.parametrize(
    ("preset", "written", "said"),
    [
        ("mailchimp", "{when_gone: restor}", "did you mean 'restore'"),
        ("mailchimp", "{when_gone: delete}", "choose one of ask, leave, restore"),
        ("mailchimp", "{objects: {member: {when_gone: restor}}}", "restore"),
        ("mailchimp", "{objects: {member: {when_gone: [ask, leave]}}}", "choose one of"),
        ("hubspot", "{objects: {works_for: {when_gone: leave}}}", "at the objects it joins"),
    ],
)
def test_a_word_that_means_nothing_is_refused(preset: str, written: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        mapping_of(written, read_presets(preset))


@pytest.mark.parametrize("name", ["webhook", "marketing_cloud"])
def test_a_receiver_of_whole_rows_takes_no_such_word_and_never_holds_a_part(name: str, redis_url: str) -> None:
    with running(RECEIVERS[name].fake(0)) as fake:
        with pytest.raises(ConfigurationError, match="told whole rows"):
            scene_at(name, fake, redis_url, when_gone="restore").deliverer()
        scene = scene_at(name, fake, redis_url)
        to = scene.deliverer()
        to.deliver([_say(scene, 1, "Anna")])
        rows: dict[Any, Any] = fake.rows  # type: ignore[attr-defined]
        rows.clear()
        to.deliver([_say(scene, 1, "Ola")])
        assert _held(name, fake, 1) == ("1@a.pl", "Ola", "Nowak")
