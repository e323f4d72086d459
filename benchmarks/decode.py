"""Time Avro both ways: this package's columnar reader and writer against fastavro, interleaved, medians.

Run: python benchmarks/decode.py [messages]
"""

from __future__ import annotations

import io
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import fastavro

from nurt.core.avro import compile_reader

SOURCE = {
    "type": "record",
    "name": "Source",
    "namespace": "io.debezium.connector.postgresql",
    "fields": [
        *({"name": name, "type": "string"} for name in ("version", "connector", "name")),
        {"name": "ts_ms", "type": "long"},
        {"name": "snapshot", "type": ["string", "null"], "default": "false"},
        {"name": "db", "type": "string"},
        {"name": "sequence", "type": ["null", "string"]},
        *({"name": name, "type": ["null", "long"]} for name in ("ts_us", "ts_ns")),
        *({"name": name, "type": "string"} for name in ("schema", "table")),
        *({"name": name, "type": ["null", "long"]} for name in ("txId", "lsn", "xmin")),
    ],
}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
VALUE = {
    "type": "record",
    "name": "Value",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "customer_id", "type": ["null", "long"]},
        {"name": "email", "type": ["null", "string"]},
        {"name": "first_name", "type": ["null", "string"]},
        {"name": "last_name", "type": ["null", "string"]},
        {"name": "status", "type": "string"},
        {"name": "currency", "type": "string"},
        {"name": "gross", "type": ["null", DECIMAL]},
        {"name": "shipping", "type": ["null", DECIMAL]},
        {"name": "items", "type": "int"},
        {"name": "weight", "type": ["null", "double"]},
        {"name": "gift", "type": "boolean"},
        {"name": "note", "type": ["null", "string"]},
        {"name": "created_at", "type": "long"},
        {"name": "updated_at", "type": ["null", "long"]},
    ],
}
ENVELOPE: dict[str, Any] = {
    "type": "record",
    "name": "Envelope",
    "namespace": "shop.public.orders",
    "fields": [
        {"name": "before", "type": ["null", VALUE]},
        {"name": "after", "type": ["null", "Value"]},
        {"name": "source", "type": SOURCE},
        {"name": "op", "type": "string"},
        *({"name": name, "type": ["null", "long"]} for name in ("ts_ms", "ts_us", "ts_ns")),
    ],
}
WANTED = [
    *("op", "after", "source.sequence", "source.lsn", "source.ts_ms", "source.snapshot"),
    *(f"after.{name}" for name in ("id", "customer_id", "email", "first_name", "last_name", "status", "currency")),
    *("after.gross", "after.created_at", "after.updated_at"),
]


def envelopes(count: int) -> list[bytes]:
    rng = random.Random(7)
    fastavro.parse_schema(ENVELOPE)
    messages = []
    for i in range(count):
        now_ms = 1_795_307_000_000 + i
        body = io.BytesIO()
        after = {
            "id": i,
            "customer_id": rng.randrange(1_000_000) if rng.random() < 0.8 else None,
            "email": f"user{rng.randrange(1_000_000)}@example.com",
            "first_name": rng.choice(["Anna", "Łukasz", "Zoë", "Jan"]),
            "last_name": rng.choice(["Kowalska", "Müller", "Nowak"]),
            "status": rng.choice(["open", "complete", "cancelled"]),
            "currency": "PLN",
            "gross": rng.randrange(1_000_000).to_bytes(3, "big"),
            "shipping": None,
            "items": rng.randrange(9),
            "weight": rng.random(),
            "gift": rng.random() < 0.1,
            "note": None,
            "created_at": now_ms * 1000,
            "updated_at": now_ms * 1000,
        }
        source = {
            "version": "3.6.3",
            "connector": "postgresql",
            "name": "shop",
            "ts_ms": now_ms,
            "snapshot": "false",
            "db": "shop",
            "sequence": f'["{34_000_000 + i * 90}","{34_000_000 + i * 96}"]',
            "ts_us": now_ms * 1000,
            "ts_ns": now_ms * 1_000_000,
            "schema": "public",
            "table": "orders",
            "txId": 1000 + i,
            "lsn": 34_000_000 + i * 96,
            "xmin": None,
        }
        envelope = {"before": None, "after": after, "source": source, "op": "c"}
        envelope |= {"ts_ms": now_ms + 9, "ts_us": (now_ms + 9) * 1000, "ts_ns": (now_ms + 9) * 1_000_000}
        fastavro.schemaless_writer(body, ENVELOPE, envelope)
        messages.append(b"\0\0\0\0\1" + body.getvalue())
    return messages


def interleave(contenders: dict[str, Callable[[], object]], messages: int, rounds: int = 7) -> dict[str, float]:
    """Give medians in us a message; all run once a round, so that they share the machine's moods."""
    times_s: dict[str, list[float]] = {name: [] for name in contenders}
    for contender in contenders.values():
        contender()
    for _ in range(rounds):
        for name, contender in contenders.items():
            begun = time.perf_counter()
            contender()
            times_s[name].append(time.perf_counter() - begun)
    return {name: statistics.median(each) / messages * 1e6 for name, each in times_s.items()}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    messages = envelopes(count)
    parsed = fastavro.parse_schema(ENVELOPE)
    reader = compile_reader(ENVELOPE, WANTED)
    narrow = compile_reader(ENVELOPE, ["op"])

    def read_with_fastavro() -> None:
        for message in messages:
            fastavro.schemaless_reader(io.BytesIO(message[5:]), parsed)

    medians = interleave(
        {
            "fastavro.schemaless_reader": read_with_fastavro,
            f"Reader, {len(WANTED)} paths": lambda: reader.read(messages),
            "Reader, 1 path": lambda: narrow.read(messages),
        },
        count,
    )
    size = sum(map(len, messages)) / count
    print(f"{count} envelopes of {size:.0f} bytes; us a message, times fastavro")
    for name, us in medians.items():
        print(f"  {name:34} {us:8.3f} {medians['fastavro.schemaless_reader'] / us:8.1f}")


if __name__ == "__main__":
    main()
