"""The plain loop: confluent-kafka, fastavro, a dict of {orders, total, last} by customer; no identity, no store."""

from __future__ import annotations

import io
import time
from typing import Any

import fastavro
from confluent_kafka import Consumer, TopicPartition

FIELDS = ("customer_id", "gross", "placed_at")


def run(bootstrap: str, topic: str, schemas: dict[int, dict[str, Any]], events: int, partitions: int) -> float:
    """Read `events` messages and keep the dict; returns the seconds from the first message to the last."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "plain-loop",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "queued.min.messages": 500_000,
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    parsed = {number: fastavro.parse_schema(schema) for number, schema in schemas.items()}
    customers: dict[Any, dict[str, Any]] = {}
    seen, began = 0, 0.0
    while seen < events:
        messages = consumer.consume(10_000, 1.0)
        if messages and not began:
            began = time.perf_counter()
        for message in messages:
            value = message.value()
            body = io.BytesIO(value)
            body.seek(5)
            change = fastavro.schemaless_reader(body, parsed[int.from_bytes(value[1:5], "big")])
            row = change["after"]
            seen += 1
            if row is None:
                continue
            known = customers.setdefault(row["customer_id"], {"orders": 0, "total": 0, "last": 0})
            known["orders"] += 1
            known["total"] += row["gross"] or 0
            known["last"] = max(known["last"], row["placed_at"] or 0)
    seconds = time.perf_counter() - began
    consumer.close()
    return seconds
