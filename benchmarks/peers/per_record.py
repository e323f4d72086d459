"""A per-record pipeline that does our work the usual way: one message at a time, JSON documents in Redis.

Rows are kept by position, lines fold into orders, orders into accounts, accounts that share an e-mail or phone into a
profile, which is published as JSON after every change. It is not crash-safe and its identity only merges.
"""

from __future__ import annotations

import io
import json
import time
from typing import Any

import fastavro
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

TABLES = {"customer_entity": "customer", "customer_address_entity": "address", "sales_order": "order"}

TOPIC = "per-record-profiles"
"""Where its profiles go; somebody has to make it."""


class Pipeline:
    """The state of the pipeline lies in Redis, a JSON document a thing."""

    def __init__(self, url: str, producer: Producer) -> None:
        self._redis = redis.Redis.from_url(url)
        self._producer = producer

    def _get(self, key: str) -> dict[str, Any]:
        held = self._redis.get(key)
        return json.loads(held) if held else {}  # type: ignore[arg-type]

    def _set(self, key: str, value: dict[str, Any]) -> None:
        self._redis.set(key, json.dumps(value, default=str))

    def take(self, topic: str, change: dict[str, Any]) -> None:
        """Fold one change through all levels."""
        kind = TABLES.get(topic.rsplit(".", 1)[1], "order_line")
        row = change["after"] or change["before"]
        source = change["source"]
        position = [source["file"], source["pos"], source["row"]]
        key = f"row:{kind}:{row['item_id' if kind == 'order_line' else 'entity_id']}"
        held = self._get(key)
        if held and held["position"] >= position:
            return
        gone = change["op"] == "d"
        self._set(key, {"position": position, "row": None if gone else row})
        account = None
        if kind == "order_line":
            order = self._get(f"order:{row['order_id']}")
            lines = order.setdefault("lines", {})
            if gone:
                lines.pop(str(row["item_id"]), None)
            else:
                lines[str(row["item_id"])] = [row["sku"], str(row["qty_ordered"])]
            self._set(f"order:{row['order_id']}", order)
            account = order.get("customer")
        elif kind == "order":
            order = self._get(f"order:{row['entity_id']}")
            order["customer"] = row["customer_id"] or f"guest-{row['entity_id']}"
            order["gross"] = str(row["grand_total"])
            order["currency"] = row["order_currency_code"]
            self._set(f"order:{row['entity_id']}", order)
            account = order["customer"]
        elif kind == "address":
            account = row["parent_id"]
        else:
            account = row["entity_id"]
        if account is not None:
            self._account(str(account), kind, row, gone)

    def _account(self, name: str, kind: str, row: dict[str, Any], gone: bool) -> None:
        account = self._get(f"account:{name}")
        if gone and kind == "order":
            account.get("orders", {}).pop(str(row["entity_id"]), None)
        elif gone and kind in ("customer", "address"):
            account.pop(kind, None)
        elif kind == "order":
            account.setdefault("orders", {})[str(row["entity_id"])] = str(row["grand_total"])
        elif kind == "customer":
            account["customer"] = {"email": row["email"], "first_name": row["firstname"]}
        elif kind == "address":
            account["address"] = {"city": row["city"], "street": row["street"]}
        self._set(f"account:{name}", account)
        profile = name
        email = account.get("customer", {}).get("email")
        if email:
            profile = self._redis.get(f"email:{email}") or name  # type: ignore[assignment]
            if profile == name:
                self._redis.set(f"email:{email}", name)
            else:
                profile = profile.decode()  # type: ignore[attr-defined]
        members = self._get(f"profile:{profile}")
        members[name] = 1
        self._set(f"profile:{profile}", members)
        accounts = [self._get(f"account:{one}") for one in members]
        total = sum(float(gross) for one in accounts for gross in one.get("orders", {}).values())
        document = {"id": profile, "accounts": list(members), "total": total, "customer": account.get("customer")}
        self._producer.produce(TOPIC, json.dumps(document), key=str(profile))
        self._producer.poll(0)


def run(bootstrap: str, topics: dict[str, int], schemas: dict[int, dict[str, Any]], events: int, url: str) -> float:
    """Fold `events` messages of several topics (name -> partitions); returns the seconds it took."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "per-record", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, number, 0) for topic, count in topics.items() for number in range(count)])
    parsed = {number: fastavro.parse_schema(schema) for number, schema in schemas.items()}
    pipeline = Pipeline(url, Producer({"bootstrap.servers": bootstrap, "linger.ms": 5}))
    seen, began = 0, 0.0
    while seen < events:
        for message in consumer.consume(1_000, 1.0):
            if not began:
                began = time.perf_counter()
            value = message.value()
            if value is not None:
                body = io.BytesIO(value)
                body.seek(5)
                change = fastavro.schemaless_reader(body, parsed[int.from_bytes(value[1:5], "big")])
                pipeline.take(message.topic(), change)
            seen += 1
            if seen == events:
                break
    seconds = time.perf_counter() - began
    consumer.close()
    return seconds
