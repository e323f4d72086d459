from __future__ import annotations

import io
import json
import time
from typing import Any

import fastavro
from confluent_kafka.schema_registry import SchemaRegistryClient

from nurt.adapters.kafka.log import KafkaLog
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.model.raw import RawBatch
from tests.services.stack.connect import ConnectServer
from tests.services.stack.databases import Database

Envelope = dict[str, Any]


def read_topic(bootstrap: str, prefix: str, topic: str, count: int) -> list[RawBatch]:
    """Read from the beginning until `count` messages of the topic have come."""
    log = KafkaLog(KafkaSettings(bootstrap), [f"^{prefix}\\."], f"g-{prefix}", metadata_s=0.5)
    log.start(None)
    batches: list[RawBatch] = []
    deadline = time.monotonic() + 120
    try:
        while sum(len(batch) for batch in batches if batch.topic == topic) < count:
            assert time.monotonic() < deadline, [(batch.topic, len(batch)) for batch in batches]
            batches += log.poll(1000)
    finally:
        log.close()
    return batches


def envelopes(registry_url: str, batches: list[RawBatch], topic: str) -> list[Envelope | None]:
    client = SchemaRegistryClient({"url": registry_url})
    found: list[Envelope | None] = []
    for value in (value for batch in batches if batch.topic == topic for value in batch.values):
        if value is None:
            found.append(None)
            continue
        assert value[0] == 0, "Confluent's wire format"
        schema = json.loads(client.get_schema(int.from_bytes(value[1:5], "big")).schema_str)
        envelope = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
        assert isinstance(envelope, dict)
        found.append(envelope)
    return found


def test_changes_in_postgres_arrive_as_debezium_writes_them(
    kafka: str, connect: ConnectServer, postgres: Database
) -> None:
    postgres.execute("create table customer (id int primary key, email text); insert into customer values (1, 'a@x');")
    connect.capture_postgres(postgres, "pg1")
    read_topic(kafka, "pg1", "pg1.public.customer", 1)  # the snapshot is done
    postgres.execute("update customer set email = 'b@x' where id = 1; delete from customer where id = 1;")
    batches = read_topic(kafka, "pg1", "pg1.public.customer", 4)
    read, updated, deleted, tombstone = envelopes(connect.registry.url, batches, "pg1.public.customer")
    assert read is not None and updated is not None and deleted is not None and tombstone is None
    assert [event["op"] for event in (read, updated, deleted)] == ["r", "u", "d"]
    assert updated["after"] == {"id": 1, "email": "b@x"}
    assert json.loads(updated["source"]["sequence"])[1] == str(updated["source"]["lsn"])


def test_changes_in_mariadb_arrive_as_debezium_writes_them(
    kafka: str, connect: ConnectServer, mariadb: Database
) -> None:
    mariadb.execute(
        "create table customer_entity (entity_id int unsigned primary key, email varchar(255));"
        "insert into customer_entity values (1, 'łódź@x');"
    )
    connect.capture_mariadb(mariadb, "my1")
    topic = "my1.nurt.customer_entity"
    read_topic(kafka, "my1", topic, 1)  # the snapshot is done
    mariadb.execute("update customer_entity set email = 'b@x' where entity_id = 1;")
    batches = read_topic(kafka, "my1", topic, 2)
    read, updated = envelopes(connect.registry.url, batches, topic)
    assert read is not None and updated is not None
    assert (read["op"], read["after"]["email"]) == ("r", "łódź@x")
    assert (updated["op"], updated["after"]["email"]) == ("u", "b@x")
    assert updated["source"]["file"].startswith("binlog.") and updated["source"]["pos"] > 0
