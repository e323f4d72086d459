"""Small pools of field values, so that accounts meet, rules tie and days fall on the edges of windows."""

from __future__ import annotations

from random import Random
from typing import Any

from nurt.model.entities import ENTITIES
from tests.oracle.writings import EMAILS, PHONES, TAX_IDS

TODAY = 20_000
"""The day that histories are about, days since 1970-01-01."""
DAY_US = 86_400_000_000

_DAYS = [TODAY + step for step in (-400, -365, -364, -90, -89, -31, -30, -29, -1, 0, 1, 2, 29, 30, 366)] + [-1, 0]
_INSTANTS = [day * DAY_US + within for day in _DAYS for within in (0, DAY_US - 1)]
_AMOUNTS = [0, 1, 5, -10_000, 10_000, 15_000, 25_000, 1_999_900, 99_999_999_999]
_QUANTITIES = [0, 10_000, 10_000, 20_000, 5_000, -10_000]
_UPDATED_US = [TODAY * DAY_US, TODAY * DAY_US + 1_000, TODAY * DAY_US + 2_000, (TODAY - 9) * DAY_US]

_POOLS: dict[str, list[Any]] = {
    "email": ["ann@example.com", " Ann@Example.com", "bob@example.com", "cyd@example.com", "nobody", "", *EMAILS],
    "phone": ["+48601000001", "+48601000002", "+4915100000001", "12", *PHONES],
    "tax_id": ["PL5260250274", "DE136695976", "0", *TAX_IDS],
    "loyalty_card": ["CARD1", "CARD2"],
    "first_name": ["Ann", "Łucja", "Bob", ""],
    "last_name": ["Nowak", "Ångström", "Nowak-Bąk"],
    "company": ["Nowak sp. z o.o.", "ACME"],
    "country": ["PL", "DE"],
    "market": ["PL", "DE", ""],
    "language": ["pl", "de"],
    "gender": ["f", "m"],
    "currency": ["PLN", "EUR", "CZK"],
    "sku": ["A", "B", "C", "Ł", "", *(f"S{i}" for i in range(12))],
    "category": ["shoes", "hats", "Hüte"],
    "purpose": ["newsletter", "profiling"],
    "channel": ["web", "shop"],
    "birth_date": [3000, -5000, 11_016],
    "updated_at": _UPDATED_US,
    "at": [*_UPDATED_US, -1, 0],
    "quantity": _QUANTITIES,
    "returned_quantity": _QUANTITIES,
}
_STATUSES = {
    "order": ["open", "complete", "cancelled", "returned", "weird"],
    "invoice": ["open", "paid", "cancelled", "booked"],
    "payment": ["paid", "done", "failed", "pending", "cancelled"],
    "refund": ["paid", "done", "failed", "pending", "cancelled"],
}
_BY_TYPE: dict[str, list[Any]] = {
    "str": ["x", "y", "Ulica Długa 1", ""],
    "bool": [True, False],
    "ts": _INSTANTS,
    "day": _DAYS,
    "amount": _AMOUNTS,
}


def pool(kind: str, name: str) -> list[Any]:
    """Return the values that a field may take, besides null."""
    if name == "status" and kind in _STATUSES:
        return _STATUSES[kind]
    if name == "kind" and kind == "address":
        return ["billing", "billing", "shipping"]
    if name == "country" and kind == "address":
        return _BY_TYPE["str"]
    if name == "phone" and kind == "address":
        return _POOLS["phone"]
    return _POOLS.get(name) or _BY_TYPE[ENTITIES[kind].fields[name].value]


def some_value(kind: str, name: str, choose: Random) -> Any:
    """Pick a value of a field, or null; fields of addresses are mostly null, so that some addresses are equal."""
    if kind == "address" and name != "kind":
        return choose.choice(pool(kind, name)) if choose.random() < 0.15 else None
    return None if choose.random() < 0.25 else choose.choice(pool(kind, name))


def some_identifiers(choose: Random, kind: str) -> str | None:
    """Pick identifiers beside the fields in the form that frames hold, often none; a customer's are of new kinds."""
    if choose.random() < (0.7 if kind == "customer" else 0.5):
        return None
    if kind != "customer":
        names = [
            choose.choice(["email", "email", "phone", "tax_id", "fidelity"]) for _ in range(choose.choice([1, 1, 2]))
        ]
        return "\x1e".join(f"{name}\x1f{choose.choice(_POOLS.get(name, ['F1', 'F2']))}" for name in names)
    pairs = [
        (choose.choice(["fidelity", "external"]), choose.choice(["F1", "F2"])) for _ in range(choose.choice([1, 2]))
    ]
    return "\x1e".join(f"{kind}\x1f{value}" for kind, value in pairs)
