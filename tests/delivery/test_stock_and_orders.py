"""Stock and orders are delivered like profiles, from their own topics."""

from __future__ import annotations

import io
import threading
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka import Producer

from nurt.adapters.files.schema_registry import FolderRegistry
from nurt.adapters.kafka.profile_sink import KafkaProfileSink
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.app.delivery import Delivery, open_store, run_delivery
from nurt.app.delivery_config import destination_named
from nurt.app.delivery_tools import retry_refusals
from nurt.contracts import schemas
from nurt.delivery.read.contracts import CONTRACTS
from nurt.errors import ConfigurationError
from nurt.fake.webhook import FakeWebhook
from nurt.flows.deliver import deliver
from nurt.model.published import PublishedBatch
from nurt.settings import Settings, StockSettings
from tests.contracts.published import encode, id_of, profile
from tests.delivery.scene import account, accounts, chosen, key_of, order_key

DELIVERY = """
destinations:
  shop: {{preset: webhook_stock, url: {url}}}
  desk: {{preset: webhook_orders, url: {url}}}
  crm:
    kind: webhook
    url: {url}
    objects:
      contact: {{key: id, fields: {{email: email}}}}
      order: {{of: orders, key: id, parent: {{person: contact}}, fields: {{stage: stage}}}}
"""
NUMBERS = ("available", "on_hand", "inbound", "held", "reserved", "buffer", "oversold")
LINE_NUMBERS = ("ordered", "returned", "booked", "shipped", "remaining")


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, fake: FakeWebhook, kafka: str) -> Settings:
    (tmp_path / "delivery.yaml").write_text(DELIVERY.format(url=fake.url))
    own = uuid.uuid4().hex[:8]
    return Settings(
        mapping=tmp_path / "mapping.yaml",
        data=tmp_path / "data",
        redis_url=redis_url,
        prefix=own,
        kafka=KafkaSettings(kafka),
        stock=StockSettings(topic=f"stock-{own}", orders_topic=f"orders-{own}"),
        destinations=tmp_path / "delivery.yaml",
    )


def _tell(settings: Settings, kafka: str, topic: str, contract: str, *told: tuple[Any, dict[str, Any] | None]) -> None:
    registry = FolderRegistry(settings.data / "schemas", ())
    value, key = schemas.load(CONTRACTS[contract.removeprefix("nurt.")]), schemas.load(f"{contract}-key.v1")
    heads = [
        b"\x00" + registry.register(f"{topic}-{part}", each).to_bytes(4)
        for part, each in (("value", value), ("key", key))
    ]
    producer = Producer({"bootstrap.servers": kafka})
    for name, record in told:
        body = None if record is None else heads[0] + _written(value, record)
        producer.produce(topic, key=heads[1] + _written(key, name), value=body)
    producer.flush(20)


def _written(schema: Any, record: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return out.getvalue()


def _run(settings: Settings, name: str) -> None:
    delivery = Delivery(settings, destination_named(settings, name), threading.Event(), until_end=True)
    run_delivery(deliver, delivery)


def test_stock_arrives_and_a_sku_that_is_no_more_leaves(
    settings: Settings, fake: FakeWebhook, kafka: str, topic: Any
) -> None:
    name = settings.stock.topic or ""
    topic(name=name)

    def figure(sku: str, revision: int, available: str | None) -> tuple[Any, dict[str, Any] | None]:
        key = {"realm": "default", "sku": sku, "channel": "web", "market": "PL"}
        if available is None:
            return key, None
        numbers = {**dict.fromkeys(NUMBERS, Decimal(0)), "available": Decimal(available)}
        return key, {**key, "revision": revision, "as_of": datetime(2026, 1, 1, tzinfo=UTC), **numbers}

    _tell(settings, kafka, name, "nurt.stock", figure("A", 1, "5"), figure("B", 1, "2.5"))
    _run(settings, "shop")
    assert {row["sku"]: row["available"] for row in fake.rows.values()} == {"A": 5, "B": 2.5}
    _tell(settings, kafka, name, "nurt.stock", figure("A", 2, "4"), figure("B", 2, None))
    _run(settings, "shop")
    assert {row["sku"]: row["available"] for row in fake.rows.values()} == {"A": 4}


def test_orders_come_with_their_lines(settings: Settings, fake: FakeWebhook, kafka: str, topic: Any) -> None:
    name = settings.stock.orders_topic or ""
    topic(name=name)
    line = {"sku": "A", "location": None, **dict.fromkeys(LINE_NUMBERS, Decimal(1))}
    schema = schemas.load("nurt.orders-value.v2")
    order = {field["name"]: field.get("default") for field in schema["fields"]}
    id_ = uuid.uuid4().hex
    order |= {"id": id_, "revision": 1, "system": "shop", "stage": "placed", "lines": [line, {**line, "sku": "B"}]}
    _tell(settings, kafka, name, "nurt.orders", (id_, order))
    _run(settings, "desk")
    assert fake.rows["order", id_]["stage"] == "placed"
    assert {row["sku"] for (kind, _), row in fake.rows.items() if kind == "line"} == {"A", "B"}


def test_an_order_that_was_refused_gets_another_chance(
    settings: Settings, fake: FakeWebhook, kafka: str, topic: Any
) -> None:
    name = settings.stock.orders_topic or ""
    topic(name=name)
    order = {field["name"]: field.get("default") for field in schemas.load(CONTRACTS["orders"])["fields"]}
    order |= {"id": order_key(1), "revision": 1, "stage": "placed"}
    _tell(settings, kafka, name, "nurt.orders", (order_key(1), order))
    fake._refuse_field = "stage"
    _run(settings, "desk")
    assert not fake.rows and len(open_store(settings, "desk").refusals()) == 1
    fake._refuse_field = ""
    assert retry_refusals(settings, destination_named(settings, "desk")) == 1
    _run(settings, "desk")
    assert fake.rows["order", order_key(1)]["stage"] == "placed" and not open_store(settings, "desk").refusals()


def test_profiles_and_orders_of_two_topics_come_to_one_receiver_linked(
    settings: Settings, fake: FakeWebhook, kafka: str, topic: Any
) -> None:
    both = replace(settings, topic=f"profiles-{settings.prefix}")
    topic(name=both.topic)
    topic(name=settings.stock.orders_topic)
    order = {field["name"]: field.get("default") for field in schemas.load(CONTRACTS["orders"])["fields"]}
    order |= {"id": order_key(1), "revision": 1, "stage": "placed", "account": account(1)}
    _tell(both, kafka, settings.stock.orders_topic or "", "nurt.orders", (order_key(1), order))
    sink = KafkaProfileSink(
        KafkaSettings(kafka),
        FolderRegistry(both.data / "schemas", ()),
        *(schemas.load(name) for name in (schemas.PROFILE_VALUE, schemas.PROFILE_KEY)),
        deployment=both.prefix,
        topic=both.topic or "",
    )
    told = profile(1, 1, email=chosen("a@x.pl"), accounts=accounts(1))
    sink.write(PublishedBatch([id_of(1)], [1], [encode(told)]))
    sink.close()
    _run(both, "crm")
    assert fake.rows["order", order_key(1)] == {"stage": "placed", "person": key_of(1)}


def test_stock_without_a_topic_says_what_to_set(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="published to no topic and not kept"):
        _run(replace(settings, stock=StockSettings()), "shop")
