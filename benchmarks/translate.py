"""Time the translator: raw Debezium envelopes to rows of a canonical entity, and what each step of it costs.

Run: python benchmarks/translate.py [messages] [rounds] [--profile]
"""

from __future__ import annotations

import cProfile
import io
import pstats
import random
import statistics
import sys
import time
from typing import Any

import fastavro

from nurt.columnar.ids import Ids
from nurt.debezium.wire import split_wire
from nurt.mapping.load import load_mapping
from nurt.model.raw import RawBatch
from nurt.translate.translator import Translator


def optional(type_: Any) -> Any:
    return ["null", type_]


def named(avro: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": avro, "connect.name": name, **more}


DECIMAL = named("bytes", "org.apache.kafka.connect.data.Decimal", logicalType="decimal", precision=12, scale=2)
ZONED = named("string", "io.debezium.time.ZonedTimestamp")
VALUE = {
    "type": "record",
    "name": "Value",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "customer_id", "type": optional("long")},
        {"name": "number", "type": optional("string")},
        {"name": "email", "type": optional("string")},
        {"name": "phone", "type": optional("string")},
        {"name": "first_name", "type": optional("string")},
        {"name": "last_name", "type": optional("string")},
        {"name": "country", "type": optional("string")},
        {"name": "status", "type": "string"},
        {"name": "currency", "type": "string"},
        {"name": "gross", "type": optional(DECIMAL)},
        {"name": "shipping", "type": optional(DECIMAL)},
        {"name": "items", "type": "int"},
        {"name": "weight", "type": optional("double")},
        {"name": "gift", "type": "boolean"},
        {"name": "note", "type": optional("string")},
        {"name": "placed_at", "type": ZONED},
        {"name": "updated_at", "type": optional(named("long", "io.debezium.time.MicroTimestamp"))},
    ],
}
SOURCE = {
    "type": "record",
    "name": "Source",
    "fields": [
        *({"name": name, "type": "string"} for name in ("version", "connector", "name")),
        {"name": "ts_ms", "type": "long"},
        {"name": "snapshot", "type": ["string", "null"], "default": "false"},
        {"name": "db", "type": "string"},
        {"name": "sequence", "type": optional("string")},
        *({"name": name, "type": optional("long")} for name in ("ts_us", "ts_ns")),
        *({"name": name, "type": "string"} for name in ("schema", "table")),
        *({"name": name, "type": optional("long")} for name in ("txId", "lsn", "xmin")),
    ],
}
ENVELOPE: dict[str, Any] = {
    "type": "record",
    "name": "Envelope",
    "namespace": "shop.public.orders",
    "fields": [
        {"name": "before", "type": optional(VALUE)},
        {"name": "after", "type": optional("Value")},
        {"name": "source", "type": SOURCE},
        {"name": "op", "type": "string"},
        *({"name": name, "type": optional("long")} for name in ("ts_ms", "ts_us", "ts_ns")),
    ],
}
KEY = {"type": "record", "name": "Key", "namespace": "shop.public.orders", "fields": [{"name": "id", "type": "long"}]}
MAPPING = """
systems:
  shop: {country: PL, market: PL, currency: PLN, timezone: Europe/Warsaw}
topics:
  - match: shop\\.public\\.orders
    system: shop
    entity: order
    key: id
    parent: {customer: customer_id}
    fields:
      number: number
      email: email
      phone: phone
      first_name: first_name
      last_name: last_name
      country: country
      currency: currency
      gross: gross
      status: CASE WHEN status = 'canceled' THEN 'cancelled' ELSE status END
      placed_at: placed_at
"""


class Registry:
    """The two schemas of this benchmark."""

    def schema(self, schema_id: int, archive: str = "") -> dict[str, Any] | None:
        return {1: KEY, 2: ENVELOPE}.get(schema_id)

    def register(self, subject: str, schema: Any) -> int:
        raise AssertionError("this benchmark registers nothing")


def orders(count: int, deletes: float = 0.0) -> RawBatch:
    """Invent a batch of one partition; a share of it are deletes with their tombstones."""
    rng = random.Random(7)
    key_schema, value_schema = fastavro.parse_schema(KEY), fastavro.parse_schema(ENVELOPE)
    batch = RawBatch("shop.public.orders", [], [], [], [], [], [])

    def add(key: bytes, value: bytes | None) -> None:
        batch.partitions.append(0)
        batch.offsets.append(len(batch.offsets))
        batch.timestamps_ms.append(1795307186711)
        batch.keys.append(key)
        batch.values.append(value)
        batch.headers.append(None)

    while len(batch) < count:
        i = rng.randrange(10**6)
        key = b"\0\0\0\0\1" + written(key_schema, {"id": i})
        row = {
            "id": i,
            "customer_id": rng.randrange(10**6),
            "number": f"1{i:08}",
            "email": f"someone.{i}@example.com",
            "phone": f"+48 600 {i % 1000:03} {i % 997:03}",
            "first_name": rng.choice(["Ewa", "Jan", "Żaneta"]),
            "last_name": "Kowalska",
            "country": "PL",
            "status": rng.choice(["new", "complete", "canceled"]),
            "currency": "PLN",
            "gross": rng.randrange(10**6).to_bytes(3, "big", signed=True),
            "shipping": None,
            "items": 3,
            "weight": 1.5,
            "gift": False,
            "note": None,
            "placed_at": "2026-11-22T00:25:50.760745Z",
            "updated_at": 1714979289123456,
        }
        gone = rng.random() < deletes
        source = {
            **dict.fromkeys(("version", "connector", "name", "db", "schema", "table"), "shop"),
            "ts_ms": 1795307186711,
            "snapshot": "false",
            "sequence": f'["{116000000 + i}","{116000000 + i}"]',
            "lsn": 116000000 + i,
        }
        value = {
            "before": row if gone else None,
            "after": None if gone else row,
            "source": source,
            "ts_ms": 1795307186712,
        }
        add(key, b"\0\0\0\0\2" + written(value_schema, {**value, "op": "d" if gone else "u"}))
        if gone:
            add(key, None)
    return batch


def written(schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, value)
    return out.getvalue()


def timed(batch: RawBatch, rounds: int, translator: Translator) -> tuple[float, float]:
    took = []
    for _ in range(rounds):
        start = time.perf_counter()
        translated = translator.translate(batch)
        took.append(time.perf_counter() - start)
    assert sum(frame.frame.height for frame in translated.entities) + sum(translated.not_ours.values()) == len(batch)
    return statistics.median(took) / len(batch) * 1e6, min(took) / len(batch) * 1e6


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    count, rounds = [*numbers, *(10_000, 30)[len(numbers) :]]
    translator = Translator(load_mapping(MAPPING, "benchmark"), Registry(), Ids(bytes(16)))
    upserts, mixed = orders(count), orders(count, deletes=0.1)
    timed(upserts, 3, translator)
    timed(mixed, 3, translator)
    size = sum(len(value or b"") for value in upserts.values) / len(upserts)
    print(f"{count} messages of {size:.0f} bytes a batch; us a message, median and least of {rounds}")
    for name, batch in (("upserts", upserts), ("10% deletes", mixed)):
        median, least = timed(batch, rounds, translator)
        print(f"translate, {name:<22} {median:.3f} {least:.3f}")
    table = translator._tables[upserts.topic, ""]
    wire = split_wire(upserts.values)
    reader = table._readers[2]
    rows = next(wire.by_schema())[1]
    for name, step in (
        ("wire headers", lambda: split_wire(upserts.values)),
        ("decode and positions", lambda: reader.read(wire.joined, rows)),
        ("decode only", lambda: reader._reader.read_joined(wire.joined, rows)),
    ):
        took = []
        for _ in range(rounds):
            start = time.perf_counter()
            step()
            took.append(time.perf_counter() - start)
        print(f"  of it {name:<27} {statistics.median(took) / count * 1e6:.3f} {min(took) / count * 1e6:.3f}")
    if "--profile" in sys.argv:
        profile = cProfile.Profile()
        profile.enable()
        timed(upserts, rounds, translator)
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
