"""What others write to nurt's own topics is refused and named by its place; it stops no delivery and erases nobody."""

from __future__ import annotations

import pytest
from redis import Redis

from nurt.adapters.receivers.webhook import Webhook
from nurt.delivery.journal import Message
from nurt.delivery.read.bodies import NO_BODY, NO_KEY
from nurt.delivery.read.contracts import ContractMessageReader
from nurt.delivery.read.families import FAMILIES, tables_of
from nurt.delivery.read.profiles import ProfileMessageReader
from nurt.delivery.run.deliverer import Deliverer
from nurt.delivery.run.table_deliverer import TableDeliverer, TableTarget
from nurt.delivery.table_family import TableBatch
from nurt.fake.webhook import FakeWebhook
from nurt.model.delivery import CallResult
from nurt.model.raw import RawBatch
from tests.contracts.published import encode, id_of, profile
from tests.delivery.scene import Scene, mapping_of

WIRE = b"\0\0\0\0\x07"
KEY = WIRE + b"\x40" + id_of(1).hex().encode()
FOREIGN_KEYS = [
    b"",
    b"customer-7",
    WIRE + b"\x40" + b"\xff\xfe" * 16,
    WIRE + b"\x40" + b"AB" * 16,
    WIRE + b"\x02x') OR 1=1 --",
    KEY + b"0",
    b"\x01" + KEY[1:],
]
MAPPING = "{kind: webhook, url: 'http://127.0.0.1:1/', objects: {contact: {key: id, fields: {email: email}}}}"


def raw(*messages: tuple[bytes | None, bytes | None]) -> RawBatch:
    keys, values = [key for key, _ in messages], [value for _, value in messages]
    rows = len(messages)
    return RawBatch("nurt.profiles", [3] * rows, [*range(rows)], [0] * rows, keys, values, [None] * rows)


@pytest.mark.parametrize("value", [None, WIRE + encode(profile(1, 1))], ids=["tombstone", "body"])
@pytest.mark.parametrize("key", FOREIGN_KEYS)
def test_a_key_that_nurt_did_not_write_names_nobody(key: bytes, value: bytes | None) -> None:
    for of, reader in (("profiles", ProfileMessageReader(None)), ("orders", ContractMessageReader("orders"))):
        (found,) = reader.messages(raw((key, value)))
        assert (found.flaw, found.subject, found.body) == (NO_KEY, f"{of}-3-0", None)


@pytest.mark.parametrize("value", [b"\0", b"{}", b"\x01" + bytes(20)])
def test_a_value_without_wire_header_is_foreign(value: bytes) -> None:
    (found,) = ProfileMessageReader(None).messages(raw((KEY, value)))
    assert found.flaw == NO_BODY


def test_a_message_of_nurt_is_not_foreign() -> None:
    body = encode(profile(1, 1))
    found = ProfileMessageReader(None).messages(raw((KEY, WIRE + body), (KEY, None), (None, b"x")))
    subject = id_of(1).hex()
    assert found == [Message(subject, (3, 0), None, body), Message(subject, (3, 1), None, None)]


def messages_with_others(scene: Scene) -> list[Message]:
    first, last = scene.say(1, email="one@x.example"), scene.say(2, email="two@x.example")
    damaged = Message(id_of(3).hex(), (0, 7), None, b"\xff" * 40)
    (foreign,) = ProfileMessageReader(None).messages(raw((b"\xff\xff", None)))
    return [first, foreign, damaged, last]


@pytest.mark.services
def test_a_delivery_settles_what_stands_beside_foreign_messages(redis_url: str, fake: FakeWebhook) -> None:
    mapping = mapping_of(MAPPING.replace("http://127.0.0.1:1/", fake.url))
    scene = Scene(Redis.from_url(redis_url), mapping, Webhook)
    deliverer: Deliverer = scene.deliverer()
    messages = messages_with_others(scene)
    deliverer.deliver(messages)
    store = scene.store()
    refused = {(one.subject, one.object, one.code) for one in store.refusals()}
    assert refused == {("profiles-3-0", "message", NO_KEY), (id_of(3).hex(), "message", NO_BODY)}
    assert [one.key for one in deliverer.plan([messages[1]])] == []
    known = store.load([id_of(1).hex(), id_of(2).hex(), id_of(3).hex()])
    assert [bool(one.remote_rows) for one in known.values()] == [True, True, False]


@pytest.mark.services
def test_an_analytics_store_gets_what_stands_beside_foreign_messages(redis_url: str) -> None:
    class Sink:
        def __init__(self) -> None:
            self.ids: list[str] = []

        def write(self, batch: TableBatch) -> CallResult:
            self.ids += batch.nested["id"].to_list()
            return CallResult(())

        def close(self) -> None: ...

    scene, sink = Scene(Redis.from_url(redis_url), mapping_of(MAPPING), Webhook), Sink()
    store = scene.store()
    store.begin()
    target = TableTarget(FAMILIES["profiles"], sink, tables_of)
    TableDeliverer({"profiles": target}, store, 0).deliver(messages_with_others(scene))
    assert sorted(sink.ids) == sorted([id_of(1).hex(), id_of(2).hex()])
    assert {one.code for one in store.refusals()} == {NO_KEY, NO_BODY}
