"""Made-up figures of stock and orders as their topics say them."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import fastavro

from nurt.contracts import schemas
from nurt.delivery.read.bodies import WIRE_BYTES
from nurt.delivery.read.contracts import CONTRACTS
from tests.contracts.published import id_of

FIGURES = ("available", "on_hand", "inbound", "held", "reserved", "buffer", "oversold")
NUMBERS = ("ordered", "returned", "booked", "shipped", "remaining")

Record = dict[str, Any]


def written(of: str, record: Record, schema_id: int = 0, contract: str | None = None) -> bytes:
    """Write a record in the wire format."""
    body = io.BytesIO()
    body.write(b"\x00" + schema_id.to_bytes(WIRE_BYTES - 1))
    fastavro.schemaless_writer(body, fastavro.parse_schema(schemas.load(contract or CONTRACTS[of])), record)
    return body.getvalue()


def rich_figure(number: int, revision: int) -> Record:
    """Make a figure drawn from (number, revision)."""
    random = Random(number * 1_000_003 + revision)
    key = {"realm": "default", "sku": f"S-{number}", "channel": "web", "market": random.choice(["", "PL"])}
    return {**key, "revision": revision, "as_of": _moment(random), **{name: _amount(random) for name in FIGURES}}


def rich_order(number: int, revision: int) -> Record:
    """Make an order with lists of any length, drawn from (number, revision)."""
    random = Random(number * 1_000_003 + revision)

    def word(*words: str) -> str | None:
        return random.choice([None, "", 'zażółć, "\n\\N', *words])

    def some(make: Any) -> list[Record]:
        return [make() for _ in range(random.randint(0, 3))]

    return {
        "id": id_of(number).hex(),
        "revision": revision,
        "realm": "default",
        "system": "shop",
        "number": word(str(number)),
        "reference": word("R"),
        "channel": "web",
        "market": "PL",
        "status": word("new"),
        "placed_at": random.choice([None, _moment(random)]),
        "stage": random.choice(["placed", "shipped"]),
        "account": random.choice([None, id_of(number + 1).hex()]),
        "lines": some(lambda: {"sku": "A", "location": word("BER"), **{name: _amount(random) for name in NUMBERS}}),
        "documents": some(
            lambda: {"system": "erp", "number": word("1"), "status": word("ok"), "booked_at": _moment(random)}
        ),
        "shipments": some(
            lambda: {
                **{"system": "wms", "number": word("2"), "carrier": word("dhl"), "tracking": word("3")},
                **{"status": word("sent"), "shipped_at": _moment(random), "delivered_at": None},
            }
        ),
    }


def _amount(random: Random) -> Decimal:
    return Decimal(random.randint(-(10**9), 10**14)).scaleb(-4)


def _moment(random: Random) -> datetime:
    return datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC) + timedelta(milliseconds=random.randrange(10**9))
