"""Orders are linked to the contact of their profile, at every receiver that knows links, whoever comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from redis import Redis

from nurt.adapters.receivers.dataverse import Dataverse
from nurt.adapters.receivers.hubspot import Hubspot
from nurt.adapters.receivers.salesforce import Salesforce
from nurt.adapters.receivers.webhook import Webhook
from nurt.app.delivery_config import read_presets
from nurt.delivery.journal import Message
from nurt.delivery.mapping import DestinationMapping
from nurt.delivery.ports import Destination
from nurt.delivery.run.deliverer import Deliverer
from nurt.delivery.run.key_locks import KeyLocks
from nurt.errors import ConfigurationError
from nurt.fake.dataverse import FakeDataverse
from nurt.fake.hubspot import FakeHubspot
from nurt.fake.salesforce import FakeSalesforce
from nurt.fake.server import Fake, running
from nurt.fake.webhook import FakeWebhook
from tests.delivery.chaos import Killed, hurry, settle
from tests.delivery.scene import Scene, account, accounts, key_of, mapping_of, order_key

Links = dict[str, str | None]
"""By order, the contact that it is linked to."""


@dataclass(frozen=True)
class Receiver:
    fake: Callable[[], Fake]
    open: Callable[[DestinationMapping], Destination]
    presets: list[str]
    text: str
    links: Callable[[Any], Links]


def _salesforce(fake: FakeSalesforce) -> Links:
    ids = {held["Id"]: key for key, held in fake.objects["Contact"].items()}
    return {key: ids.get(held.get("Contact__c", "")) for key, held in fake.objects["Nurt_Order__c"].items()}


def _hubspot(fake: FakeHubspot) -> Links:
    contacts = {id_: held["nurt_id"] for id_, held in fake.objects["contacts"].items()}
    found: Links = {}
    for id_, held in fake.objects["orders"].items():
        linked = [contacts[far] for near, far in fake.links if near == id_ and far in contacts]
        assert len(linked) <= 1, "an order has one contact"
        found[held["nurt_id"]] = linked[0] if linked else None
    return found


def _dataverse(fake: FakeDataverse) -> Links:
    ids = {held["contactid"]: key for key, held in fake.rows["contacts"].items()}
    return {key: ids.get(held.get("_customerid_value") or "") for key, held in fake.rows["salesorders"].items()}


def _webhook(fake: FakeWebhook) -> Links:
    there = {key for kind, key in fake.rows if kind == "contact"}
    orders = {key: row["person"] for (kind, key), row in fake.rows.items() if kind == "order"}
    return {key: person if person in there else None for key, person in orders.items()}


LOGIN = "client_id: id, client_secret: secret"
CONTACT = "contact: {when: email is not null, when_merged: delete, archived: null}"
RECEIVERS: Mapping[str, Receiver] = {
    "salesforce": Receiver(
        FakeSalesforce,
        Salesforce,
        ["salesforce", "salesforce_orders"],
        f"{LOGIN}, objects: {{{CONTACT}}}",
        _salesforce,
    ),
    "hubspot": Receiver(
        FakeHubspot,
        Hubspot,
        ["hubspot", "hubspot_orders"],
        f"token: token, limits: {{rates: []}}, objects: {{{CONTACT}}}",
        _hubspot,
    ),
    "dataverse": Receiver(
        FakeDataverse,
        Dataverse,
        ["dataverse", "dataverse_orders"],
        f"login_url: URL, tenant: t, {LOGIN}, limits: {{rates: []}}, objects: {{{CONTACT}}}",
        _dataverse,
    ),
    "webhook": Receiver(
        FakeWebhook,
        Webhook,
        [],
        "kind: webhook, objects: {contact: {key: id, when: email is not null, fields: {email: email}}, "
        "order: {of: orders, key: id, parent: {person: contact}, fields: {stage: stage}, when_erased: delete}}",
        _webhook,
    ),
}


@dataclass
class Played:
    """A scene at one receiver."""

    scene: Scene
    fake: Any
    receiver: Receiver

    def links(self) -> dict[int, int | None]:
        """Say by number to whom orders are linked."""
        orders, people = {order_key(n): n for n in range(200)}, {key_of(n): n for n in range(200)}
        return {orders[key]: None if to is None else people[to] for key, to in self.receiver.links(self.fake).items()}


@pytest.fixture(params=RECEIVERS)
def played(request: pytest.FixtureRequest, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    hurry(monkeypatch)
    receiver = RECEIVERS[request.param]
    with running(receiver.fake()) as fake:
        text = f"{{url: '{fake.url}', {receiver.text.replace('URL', fake.url)}}}"
        mapping = mapping_of(text, read_presets(receiver.presets))
        yield Played(Scene(Redis.from_url(redis_url), mapping, receiver.open), fake, receiver)


def test_an_order_is_linked_to_its_contact_whoever_comes_first(played: Played) -> None:
    scene = played.scene
    to = scene.deliverer()
    to.deliver([scene.order(1, account(1)), scene.say(1, email="1@x.pl", accounts=accounts(1))])
    assert played.links() == {1: 1}
    to.deliver([scene.order(2, account(2))])
    assert 2 not in played.links(), "it waits for its contact"
    to.deliver([scene.say(2, email="2@x.pl", accounts=accounts(2))])
    assert played.links() == {1: 1, 2: 2}
    assert scene.store().counts()["parked"] == 0


def test_a_merge_takes_orders_along_and_a_split_gives_them_back(played: Played) -> None:
    scene = played.scene
    to = scene.deliverer()
    people = [scene.say(n, email=f"{n}@x.pl", accounts=accounts(n)) for n in (1, 2)]
    to.deliver([*people, *(scene.order(n, account(1 + n % 2)) for n in range(4))])
    assert played.links() == {0: 1, 1: 2, 2: 1, 3: 2}
    to.deliver([scene.merge(2, into=1), scene.say(1, email="1@x.pl", accounts=accounts(1, 2))])
    assert played.links() == dict.fromkeys(range(4), 1)
    to.deliver([scene.say(1, email="1@x.pl", accounts=accounts(1)), scene.say(2, email="2@x.pl", accounts=accounts(2))])
    assert played.links() == {0: 1, 1: 2, 2: 1, 3: 2}
    to.deliver([scene.order(0, account(2), stage="shipped")])
    assert played.links()[0] == 2, "the order was given to another account"


def test_an_order_never_points_at_who_has_it_no_more(played: Played) -> None:
    scene = played.scene
    to = scene.deliverer()
    to.deliver(
        [scene.say(1, email="1@x.pl", accounts=accounts(1, 2)), scene.order(1, account(2)), scene.order(2, None)]
    )
    assert played.links() == {1: 1, 2: None}
    to.deliver([scene.say(1, email="1@x.pl", accounts=accounts(1))])
    assert played.links() == {1: None, 2: None}, "it has left, and nobody has it yet"
    to.deliver([scene.say(3, email="3@x.pl", accounts=accounts(2))])
    assert played.links()[1] == 3
    to.deliver([scene.erase(3)])
    assert played.links()[1] is None
    to.deliver([scene.order_gone(1)])
    assert played.links() == {2: None}


def test_an_order_of_someone_who_is_no_contact_goes_without(played: Played) -> None:
    scene = played.scene
    to = scene.deliverer()
    to.deliver([scene.say(1, accounts=accounts(1), first_name="Anna"), scene.order(1, account(1))])
    assert played.links() == {1: None}
    to.deliver([scene.order(2, account(99))])
    settle(scene, played.fake, to)
    assert played.links() == {1: None, 2: None}, "nobody knows account 99; it has waited long enough"
    to.deliver(
        [scene.say(1, accounts=accounts(1), email="1@x.pl"), scene.say(9, accounts=accounts(99), email="9@x.pl")]
    )
    assert played.links() == {1: 1, 2: 9}


def _live(scene: Scene, random: Random, changes: int) -> list[Message]:
    """Let accounts move between people, and orders between accounts; each account is always with one person."""
    where = {n: n % 12 for n in range(24)}
    merged: set[int] = set()
    messages = []

    def say(person: int) -> Message:
        held = accounts(*(n for n, at in where.items() if at == person))
        if not held:
            merged.add(person)
            return scene.merge(person, into=(person + 1) % 12)
        email = random.choice((f"{person}@x.pl", f"{person}@y.pl", None))
        return scene.say(person, accounts=held, **({"email": email} if email else {"first_name": "Ola"}))

    for person in range(12):
        messages.append(say(person))
    for _ in range(changes):
        dice = random.random()
        if dice < 0.45:
            messages.append(scene.order(random.randrange(40), account(random.randrange(24)), stage=random.choice("ab")))
        elif dice < 0.5:
            messages.append(scene.order_gone(random.randrange(40)))
        elif dice < 0.75:
            messages.append(say(random.randrange(12)))
        else:
            moving, to = random.randrange(24), random.randrange(12)
            before, where[moving] = where[moving], to
            both = [say(person) for person in {before, to}]
            random.shuffle(both)
            messages += both
    return messages


def _expected(scene: Scene) -> dict[int, int | None]:
    owners = {}
    for number, told in scene.profiles.items():
        for one in told["accounts"] if told["state"] == "live" and told["email"] else ():
            owners[one["account"]] = number
    return {number: owners.get(order["account"]) for number, order in scene.orders.items()}


@pytest.mark.parametrize("seed", range(2))
def test_faults_and_kills_leave_no_order_with_the_wrong_contact(played: Played, seed: int) -> None:
    scene, random, fake = played.scene, Random(seed), played.fake
    messages = _live(scene, random, 160)
    fake.faults.error_rate, fake.faults.cut_after = 0.1, 0.05

    def fault(_step: str) -> None:
        if random.random() < 0.03:
            raise Killed

    to, at, committed, kills = scene.deliverer(fault=fault), 0, 0, 0
    while committed < len(messages):
        end = min(len(messages), at + random.randint(1, 12))
        try:
            to.deliver(messages[at:end])
            to.retry_parked()
        except Killed:
            kills += 1
            to, at = scene.deliverer(fault=fault), committed
            continue
        at = end
        if random.random() < 0.6 or at == len(messages):
            committed = at
    settle(scene, fake, scene.deliverer())
    assert kills > 2
    assert played.links() == _expected(scene)


@pytest.mark.parametrize("seed", range(2))
def test_two_workers_leave_no_order_with_the_wrong_contact(played: Played, seed: int) -> None:
    scene, random, key_locks = played.scene, Random(seed), KeyLocks()
    messages = _live(scene, random, 160)
    workers = [scene.deliverer(key_locks=key_locks), scene.deliverer(key_locks=key_locks)]
    workers[0]._store.run = workers[1]._store.run  # type: ignore[attr-defined]
    workers[0]._store._last_write_key = workers[0]._store.key("w1")  # type: ignore[attr-defined]
    shares = [[one for one in messages if int(one.subject, 16) % 3 % 2 == share] for share in (0, 1)]

    def deliver(to: Deliverer, share: list[Message]) -> None:
        while share:
            some, share = share[:7], share[7:]
            to.deliver(some)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(deliver, to, share) for to, share in zip(workers, shares, strict=True)]:
            done.result()
    settle(scene, played.fake, workers[0])
    assert played.links() == _expected(scene)


def test_who_retries_profiles_holds_no_orders_that_another_may_wait_for(played: Played) -> None:
    scene, key_locks = played.scene, KeyLocks()
    held: list[bool] = []

    def look(step: str) -> None:
        if step == "links written":
            held.append(order_key(1) in key_locks.subjects and key_of(1) in key_locks.subjects)

    scene.deliverer().deliver([scene.order(1, account(1))])
    told = scene.say(1, email="1@x.pl", accounts=accounts(1))
    scene.deliverer().deliver([scene.order(2, account(2))])
    to = scene.deliverer(key_locks=key_locks, fault=look)
    desired = to._state_reader.read([told]).desired_states[0]
    scene.store().ask_again([desired], "later")
    settle(scene, played.fake, to)
    assert held and not any(held)
    assert played.links() == {1: 1, 2: None}


def test_two_failed_deliveries_make_one_task_for_the_contact(redis_url: str) -> None:
    with running(FakeSalesforce()) as fake:
        assert isinstance(fake, FakeSalesforce)
        text = f"{{url: '{fake.url}', {LOGIN}, objects: {{contact: {{when: true}}}}}}"
        mapping = mapping_of(text, read_presets(["salesforce", "salesforce_orders"]))
        assert Salesforce(mapping).verify() == []
        scene = Scene(Redis.from_url(redis_url), mapping, Salesforce)
        to = scene.deliverer()
        failed = {"system": "wms", "number": None, "carrier": None, "tracking": None, "status": "failed"}
        failed |= {"shipped_at": None, "delivered_at": None}  # type: ignore[dict-item]
        to.deliver([scene.say(1, email="1@x.pl", accounts=accounts(1)), scene.order(1, account(1), shipments=[failed])])
        assert not fake.objects["Task"]
        for _ in range(2):
            to.deliver([scene.order(1, account(1), shipments=[failed, failed])])
        (task,) = fake.objects["Task"].values()
        assert task["WhoId"] == fake.objects["Contact"][key_of(1)]["Id"]


def test_a_row_that_needs_its_parent_waits_for_it(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    with running(FakeWebhook()) as fake:
        receiver = RECEIVERS["webhook"]
        text = f"{{url: '{fake.url}', {receiver.text.replace('URL', fake.url)}}}".replace(
            "parent: {person: contact}", "parent: {person: contact}, needs_parent: true"
        )
        scene = Scene(Redis.from_url(redis_url), mapping_of(text), Webhook)
        to = scene.deliverer()
        to.deliver([scene.order(1, account(1))])
        for _ in range(30):
            to.retry_parked()
        assert not fake.rows and scene.store().counts()["parked"] == 1  # type: ignore[attr-defined]
        to.deliver([scene.say(1, email="1@x.pl", accounts=accounts(1))])
        assert _webhook(fake) == {order_key(1): key_of(1)}  # type: ignore[arg-type]


def test_a_dry_run_names_the_contact_that_an_order_will_have(played: Played) -> None:
    scene = played.scene
    told = [scene.say(1, email="1@x.pl", accounts=accounts(1)), scene.order(1, account(1))]
    writes = scene.deliverer().plan(told)
    said = [str(write.fields) + write.key for write in writes if write.subject == order_key(1)]
    assert any(key_of(1) in text for text in said) and not played.fake.calls


@pytest.mark.parametrize(
    ("object_", "found"),
    [
        ("{of: orders, key: id, parent: {x: order}}", "order is no row of the profile"),
        ("{of: orders, key: id, parent: {x: later}}", "later is no row of the profile"),
        ("{key: id, parent: {x: contact}}", "contact is no row of the profile"),
        ("{of: ordres, key: id}", "did you mean 'orders'"),
        ("{of: orders, key: id, fields: {a: email}}", "no column `email`"),
        ("{of: orders, link: [contact, later]}", "do not hang together"),
    ],
)
def test_what_cannot_hang_together_is_said(object_: str, found: str) -> None:
    text = f"kind: webhook\nobjects: {{contact: {{key: id}}, order: {object_}, later: {{key: id}}}}"
    with pytest.raises(ConfigurationError, match=found):
        mapping_of(text)
