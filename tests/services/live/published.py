"""Read what nurt published on its topic, with readers of others."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient

Profile = dict[str, Any]


def read_to_end(bootstrap: str, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """Read keys and values of all partitions, each from its beginning to where it ends now."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "comparison",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    found = []
    try:
        partitions = list(consumer.list_topics(topic, 20).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        open_partitions = set(partitions)
        while open_partitions:
            for message in consumer.consume(1000, 1):
                if message.error() is None:
                    found.append((message.key(), message.value()))
                else:
                    open_partitions.discard(message.partition())
    finally:
        consumer.close()
    return found


def live_profiles(bootstrap: str, registry_url: str, topic: str) -> dict[str, Profile]:
    """Return the live profiles by id: the last message of each key, as a reader of a compacted topic sees them."""
    client = SchemaRegistryClient({"url": registry_url})
    schemas: dict[int, Any] = {}

    def decode(body: bytes) -> Any:
        number = int.from_bytes(body[1:5], "big")
        if number not in schemas:
            schemas[number] = fastavro.parse_schema(json.loads(client.get_schema(number).schema_str))
        return fastavro.schemaless_reader(io.BytesIO(body[5:]), schemas[number], None)

    last = dict(read_to_end(bootstrap, topic))
    decoded = [decode(body) for body in last.values() if body is not None]
    return {profile["id"]: profile for profile in decoded if profile["state"] == "live"}
