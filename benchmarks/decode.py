"""Time Avro both ways: this package's columnar reader and writer against fastavro, interleaved, medians.

Run: python benchmarks/decode.py [messages]
"""

from __future__ import annotations

import io
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import polars as pl

from nurt.avro import compile_reader, compile_writer

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


PROFILE = Path(__file__).parents[1] / "schemas" / "nurt.profiles-value.v1.avsc"
CHOSEN = ("email", "phone", "first_name", "last_name", "country", "market")
MONEY = ("gross", "last_30_gross", "last_90_gross", "last_365_gross")
COUNTS = ("count", "cancelled", "returned", "open", "last_30_count", "last_90_count", "last_365_count")


def profiles(count: int) -> list[dict[str, Any]]:
    """Make up profiles of two accounts, three identifiers, one address and five products; amounts are unscaled."""
    rng = random.Random(7)
    made = []
    for _ in range(count):
        row = rng.randbytes(16).hex()
        chosen = {"value": f"user{rng.randrange(10**6)}@example.com", "system": "shop_pl", "row": row}
        chosen |= {"position": f"34000000:{rng.randrange(10**6)}:0:0@{rng.randrange(10**6)}", "rule": "newest"}
        profile = dict.fromkeys(("redirect_to", "company", "tax_id", "loyalty_card", "birth_date"))
        profile |= dict.fromkeys(("gender", "language"))
        profile |= {"id": row, "revision": rng.randrange(2**45), "state": "live", "realm": "default", "as_of": 20_779}
        profile |= dict.fromkeys(CHOSEN, chosen)
        profile["identifiers"] = [{"kind": kind, "value": chosen["value"]} for kind in ("email", "email", "phone")]
        address = dict.fromkeys(("company", "region", "phone"))
        address |= {"system": "shop_pl", "row": row, "kind": "billing", "name": "Łucja Nowak", "street": "Długa 7"}
        profile["addresses"] = [address | {"city": "Łódź", "postcode": "90-001", "country": "PL"}]
        accounts = [("shop_pl", "customer"), ("erp", "contractor")]
        profile["accounts"] = [{"account": row, "system": s, "entity": e, "key": str(7)} for s, e in accounts]
        orders = dict.fromkeys(COUNTS, 3) | dict.fromkeys(MONEY, rng.randrange(10**9)) | {"average": 123_456}
        profile["orders"] = [orders | {"currency": "PLN", "market": "PL", "first_on": 19_000, "last_on": 20_700}]
        profile["products"] = [{"sku": f"SKU-{rng.randrange(10**5)}", "quantity": 10_000} for _ in range(5)]
        profile["categories"] = [{"category": "shoes", "quantity": 50_000}]
        profile["invoices"] = []
        profile["consents"] = [
            {"purpose": "newsletter", "granted": True, "at": 1_795_307_000_000_000, "system": "shop_pl", "row": row}
        ]
        profile["last_interaction_on"] = 20_777
        made.append(profile)
    return made


def profile_type(schema: Any, named: dict[str, Any]) -> Any:
    """Give the polars type that a part of the profile is held as."""
    if isinstance(schema, list):
        return profile_type(next(branch for branch in schema if branch != "null"), named)
    if isinstance(schema, str):
        return named.get(schema) or {"string": pl.String, "boolean": pl.Boolean}.get(schema, pl.Int64)
    if schema["type"] == "record":
        fields = {field["name"]: profile_type(field["type"], named) for field in schema["fields"]}
        return named.setdefault(schema["name"], pl.Struct(fields))
    if schema["type"] == "array":
        return pl.List(profile_type(schema["items"], named))
    return pl.String if schema["type"] == "enum" else pl.Int64


def with_decimals(part: Any) -> Any:
    """Give amounts as the objects that fastavro takes."""
    if isinstance(part, list):
        return [with_decimals(each) for each in part]
    if not isinstance(part, dict):
        return part
    amounts = {*MONEY, "average", "quantity"}
    return {k: Decimal(v).scaleb(-4) if k in amounts and v is not None else with_decimals(v) for k, v in part.items()}


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


def compare_reading(count: int) -> None:
    messages = envelopes(count)
    parsed = fastavro.parse_schema(ENVELOPE)
    reader = compile_reader(ENVELOPE, WANTED)
    narrow = compile_reader(ENVELOPE, ["op"])

    def read_with_fastavro() -> None:
        for message in messages:
            fastavro.schemaless_reader(io.BytesIO(message[5:]), parsed)

    contenders = {
        "fastavro.schemaless_reader": read_with_fastavro,
        f"Reader, {len(WANTED)} paths": lambda: reader.read(messages),
        "Reader, 1 path": lambda: narrow.read(messages),
    }
    show(f"{count} envelopes of {sum(map(len, messages)) // count} bytes", interleave(contenders, count))


def compare_writing(count: int) -> None:
    schema = json.loads(PROFILE.read_text())
    parsed = fastavro.parse_schema(schema)
    values = profiles(count)
    frame = pl.DataFrame(values, schema=profile_type(schema, {}).to_schema()).rechunk()
    frame = pl.DataFrame(frame.to_arrow())  # texts in one buffer a column, as a fold leaves them
    decimals = with_decimals(values)
    writer = compile_writer(schema)

    def write_with_fastavro() -> list[bytes]:
        bodies = []
        for value in decimals:
            body = io.BytesIO()
            fastavro.schemaless_writer(body, parsed, value)
            bodies.append(body.getvalue())
        return bodies

    bodies = writer.write(frame)
    assert bodies == write_with_fastavro()
    contenders = {"fastavro.schemaless_writer": write_with_fastavro, "Writer": lambda: writer.write(frame)}
    show(f"{count} profiles of {sum(map(len, bodies)) // count} bytes", interleave(contenders, count))


def show(what: str, medians_us: dict[str, float]) -> None:
    print(f"{what}; us each, times the first")
    first = next(iter(medians_us.values()))
    for name, us in medians_us.items():
        print(f"  {name:30} {us:9.3f} {first / us:8.1f}")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    compare_reading(count)
    compare_writing(count // 2)


if __name__ == "__main__":
    main()
