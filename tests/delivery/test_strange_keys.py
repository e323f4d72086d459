"""Keys that nurt did not write, on topics that nurt reads: their text reaches no store, and others are delivered."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import pytest
from redis import Redis

from nurt.adapters.analytics.clickhouse import ClickhouseSink
from nurt.adapters.http import Reply
from nurt.adapters.receivers.webhook import Webhook
from nurt.adapters.redis.delivery.store import DeliveryStore
from nurt.delivery.mapping import DestinationMapping
from nurt.delivery.read.bodies import NO_BODY, NO_KEY, OTHER_BODY
from nurt.delivery.read.contracts import ContractMessageReader
from nurt.delivery.read.families import FAMILIES, ContractTables, tables_of
from nurt.delivery.read.profiles import ProfileMessageReader
from nurt.delivery.run.table_deliverer import TableDeliverer, TableTarget
from nurt.delivery.table_family import TableBatch
from nurt.fake.webhook import FakeWebhook
from nurt.model.delivery import CallFailure, CallResult
from nurt.model.keys import Keys
from nurt.model.raw import RawBatch, RawRows
from tests.contracts.published import encode, id_of, redirect, rich
from tests.delivery.scene import Scene, mapping_of

CONTACT = "{{kind: webhook, url: '{url}', objects: {{contact: {{key: id, fields: {{email: email}}}}}}}}"
WIRE = b"\x00\x00\x00\x00\x01"
INJECTION = b"x') OR 1=1 GROUP BY id --"
STRANGE = [
    *(INJECTION, b"", b"\xff\xfe\x80" * 10, b"anna@example.pl", b"0" * 31, b"0" * 33, b"A" * 32, b"g" * 32),
    *(b"0" * 31 + b"\n", "٠".encode() * 16, b" " + b"a" * 31, b"\x00" * 32),
]


def _key(text: bytes) -> bytes:
    return WIRE + bytes([2 * len(text) & 0x7F]) + text


def _batch(topic: str, rows: Sequence[tuple[bytes | None, bytes | None]]) -> RawBatch:
    made = RawRows(topic)
    for offset, (key, value) in enumerate(rows):
        made.add(0, offset, 0, key, value, None)
    return made.batch()


def _profile(number: int) -> tuple[bytes, bytes]:
    return _key(id_of(number).hex().encode()), WIRE + encode(rich(number, 1))


@pytest.mark.parametrize("key", STRANGE, ids=repr)
def test_a_key_that_is_no_id_is_named_by_its_place(key: bytes) -> None:
    for reader in (ProfileMessageReader(None), ContractMessageReader("orders")):
        (tombstone, said) = reader.messages(_batch("t", [(_key(key), None), (_key(key), WIRE + b"x")]))
        assert tombstone.flaw == said.flaw == NO_KEY
        assert said.subject.endswith("-0-1") and said.body is None


def test_keys_shorter_than_a_wire_header_are_named_too() -> None:
    for key in (b"", b"\x00", WIRE, WIRE + b"\x40"):
        (said,) = ProfileMessageReader(None).messages(_batch("t", [(key, None)]))
        assert said.flaw == NO_KEY


def test_keys_and_values_that_nurt_writes_pass() -> None:
    said = ProfileMessageReader(None).messages(
        _batch("t", [_profile(1), (_key(id_of(2).hex().encode()), None), (_profile(3)[0], b"")])
    )
    assert [one.flaw for one in said] == ["", "", ""]
    assert [one.subject for one in said] == [id_of(number).hex() for number in (1, 2, 3)]
    assert [one.body is None for one in said] == [False, True, True]
    (order,) = ContractMessageReader("orders").messages(_batch("o", [(_key(b"0a" * 16), None)]))
    assert (order.subject, order.flaw) == ("0a" * 16, "")


def test_a_value_that_names_another_profile_than_its_key_is_told_to_nobody() -> None:
    key, _ = _profile(1)
    values = (_profile(2)[1], WIRE, b"\x00", WIRE + b"\x80" * 30, b"garbage")
    for value in values:
        (said,) = ProfileMessageReader(None).messages(_batch("t", [(key, value)]))
        assert said.flaw in (OTHER_BODY, NO_BODY) and said.body is None, value


class Statements:
    """Stands for ClickHouse: keeps the statements that it gets."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def send(self, _method: str, _path: str, *, content: bytes, params: object = None) -> Reply | CallResult:
        self.said.append(content.decode("utf-8", "replace"))
        return Reply(200, {}, None, "")

    def close(self) -> None:
        pass


@pytest.fixture
def clickhouse(monkeypatch: pytest.MonkeyPatch) -> tuple[ClickhouseSink, Statements]:
    sink = ClickhouseSink(DestinationMapping("ch", "clickhouse", (), {"url": "http://127.0.0.1"}), FAMILIES["profiles"])
    said = Statements()
    monkeypatch.setattr(sink, "_http", said)
    return sink, said


def test_no_statement_holds_what_is_no_id(clickhouse: tuple[ClickhouseSink, Statements]) -> None:
    sink, said = clickhouse
    result = sink.write(TableBatch({}, tables_of([], []).nested, [("0a" * 16, 1), (INJECTION.decode(), 1)]))
    assert result.failure is CallFailure.REFUSED
    assert not any("OR 1=1" in one for one in said.said)
    assert sink.write(TableBatch({}, tables_of([], []).nested, [("0a" * 16, 1)])).failure is None
    assert any("0a" * 16 in one for one in said.said)


def test_a_store_is_told_the_others_of_a_batch(redis_url: str, clickhouse: tuple[ClickhouseSink, Statements]) -> None:
    sink, said = clickhouse
    with Redis.from_url(redis_url) as client:
        store = DeliveryStore(client, Keys(f"t{uuid.uuid4().hex[:8]}", 4), "ch")
        store.begin()
        targets = {
            "profiles": TableTarget(FAMILIES["profiles"], sink, tables_of),
            "orders": TableTarget(FAMILIES["orders"], sink, ContractTables("orders", None)),
        }
        deliverer = TableDeliverer(targets, store, 0)
        rows = [(_key(one), None) for one in STRANGE]
        good = (_key(id_of(5).hex().encode()), None)
        for _ in range(2):  # a replay adds nothing
            messages = ProfileMessageReader(None).messages(_batch("p", [*rows, good, (_profile(6)[0], b"junk")]))
            deliverer.deliver([*messages, *ContractMessageReader("orders").messages(_batch("o", rows[:1]))])
            refusals = store.refusals()
            assert len(refusals) == len(STRANGE) + 2
            assert {one.code for one in refusals} == {NO_KEY, NO_BODY}
            assert not any("1=1" in repr(one) or "anna" in repr(one) for one in refusals)
        assert any(id_of(5).hex() in one for one in said.said)
        assert not any("1=1" in one or "anna" in one for one in said.said)


def test_a_receiver_is_told_the_others_of_a_batch(redis_url: str, fake: FakeWebhook) -> None:
    with Redis.from_url(redis_url) as client:
        scene = Scene(client, mapping_of(CONTACT.format(url=fake.url)), Webhook)
        deliverer = scene.deliverer()
        strange = ProfileMessageReader(None).messages(_batch("p", [(_key(one), None) for one in STRANGE]))
        deliverer.deliver([strange[0], scene.say(1, email="anna@example.pl"), *strange[1:]])
        assert {one.code for one in scene.store().refusals()} == {NO_KEY}
        assert len(fake.rows) == 1
        deliverer.close()


def test_a_redirect_to_what_is_no_id_names_nobody(redis_url: str, fake: FakeWebhook) -> None:
    with Redis.from_url(redis_url) as client:
        scene = Scene(client, mapping_of(CONTACT.format(url=fake.url)), Webhook)
        deliverer = scene.deliverer()
        deliverer.deliver([scene.say(1, email="anna@example.pl")])
        scene.offset += 1
        made = redirect(1, scene.offset, 2) | {"redirect_to": INJECTION.decode()}
        deliverer.deliver([scene._told(1, encode(made))])
        rows, told = dict(fake.rows), repr(fake.rows)
        assert len(rows) <= 1 and "1=1" not in told
        deliverer.deliver([scene.say(1, email="anna@example.com")])  # who was redirected to nobody can be told again
        assert [row["email"] for row in fake.rows.values()] == ["anna@example.com"]
        assert not any("1=1" in repr(one) for one in scene.store().refusals())
        deliverer.close()
