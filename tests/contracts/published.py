"""Made-up published profiles, and what flat tables must hold of them."""

from __future__ import annotations

import io
from datetime import date, datetime
from decimal import Decimal
from random import Random
from typing import Any

import fastavro

from nurt.contracts import schemas
from nurt.model.published import PublishedBatch

_SCHEMA = fastavro.parse_schema(schemas.load(schemas.PROFILE_VALUE))
_CHOSEN = (
    *("email", "phone", "first_name", "last_name", "company", "tax_id", "loyalty_card", "birth_date"),
    *("gender", "language", "country", "market"),
)

Profile = dict[str, Any]


def encode(profile: Profile) -> bytes:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, _SCHEMA, profile)
    return body.getvalue()


def profile(number: int, revision: int, **fields: Any) -> Profile:
    """Make a live profile in which everything depends on its number and revision, or an empty one."""
    filled: Profile = {
        "id": id_of(number).hex(),
        "revision": revision,
        "state": "live",
        "redirect_to": None,
        "realm": "default",
        "as_of": date(2026, 5, 4),
        **dict.fromkeys(_CHOSEN),
        **{name: [] for name in ("identifiers", "addresses", "accounts", "orders")},
        **{name: [] for name in ("products", "categories", "invoices", "consents")},
        "last_interaction_on": None,
    }
    return {**filled, **fields}


def rich(number: int, revision: int) -> Profile:
    """Make a live profile whose every list has something, drawn from (number, revision)."""
    random = Random(number * 1_000_003 + revision)

    def chosen(value: str) -> Profile:
        return {"value": value, "system": "shop", "row": "0" * 32, "position": "1:2:::@3", "rule": "newest"}

    def money() -> Decimal:
        return Decimal(random.randint(-(10**9), 10**14)).scaleb(-4)

    def day() -> date | None:
        return random.choice([None, date(2020, 1, 1), date(2026, 5, random.randint(1, 28))])

    def orders(currency: str, market: str) -> Profile:
        counts = {f"last_{days}_count": random.randint(0, 5) for days in (30, 90, 365)}
        grosses = {f"last_{days}_gross": money() for days in (30, 90, 365)}
        return {
            **{"currency": currency, "market": market, "count": random.randint(0, 9), "gross": money()},
            **{"average": random.choice([None, money()]), "first_on": day(), "last_on": day()},
            **{"cancelled": random.randint(0, 2), "returned": 1, "open": 2, **counts, **grosses},
            **{name: money() for name in ("given_back", "net", "paid", "open_amount")},
        }

    return profile(
        number,
        revision,
        email=chosen(f"żółw{number}-{revision}@example.pl"),
        first_name=chosen("Łucja"),
        birth_date=chosen("1985-02-28"),
        country=random.choice([None, chosen("PL")]),
        identifiers=[{"kind": "email", "value": f"żółw{number}-{revision}@example.pl"}],
        addresses=[
            {
                **dict.fromkeys(("kind", "name", "company", "region", "phone")),
                **{"system": "shop", "row": f"{index:032x}", "street": f"Długa {revision}", "city": "Gdańsk"},
                **{"postcode": "80-001", "country": "PL", "count": index + 1},
            }
            for index in range(random.randint(0, 3))
        ],
        accounts=[
            {"account": f"{index:032x}", "system": "shop", "entity": "customer", "key": f"{number}\x1f{index}"}
            for index in range(random.randint(1, 3))
        ],
        orders=[orders(*place) for place in random.choice([[("PLN", "PL")], [("EUR", "DE"), ("PLN", "PL")], []])],
        products=[{"sku": f"s{index}", "quantity": money()} for index in range(random.randint(0, 4))],
        categories=[{"category": "tea", "quantity": money()}],
        invoices=[
            {
                **{"currency": "PLN", "open_count": 2, "open_amount": money()},
                **{"overdue_count": random.randint(0, 1), "overdue_amount": money()},
            }
        ],
        consents=[
            {
                **{"purpose": "newsletter", "granted": random.choice([None, True, False])},
                **{"at": random.choice([None, datetime.fromisoformat("2026-05-04T01:02:03.456789+00:00")])},
                **{"system": "shop", "row": "0" * 32},
            }
        ],
        last_interaction_on=day(),
    )


def redirect(number: int, revision: int, to: int) -> Profile:
    return profile(number, revision, state="redirect", redirect_to=id_of(to).hex())


def id_of(number: int) -> bytes:
    return bytes([number * 37 % 256]) + number.to_bytes(15, "big")


def batch(*profiles: Profile | tuple[int, int]) -> PublishedBatch:
    """Publish profiles, and tombstones given as (number, revision), in this order."""
    ids, revisions, values = [], [], []
    for entry in profiles:
        dead = isinstance(entry, tuple)
        ids.append(id_of(entry[0]) if dead else bytes.fromhex(entry["id"]))  # type: ignore[index]
        revisions.append(entry[1] if dead else entry["revision"])  # type: ignore[index,call-overload]
        values.append(None if dead else encode(entry))  # type: ignore[arg-type]
    return PublishedBatch(ids, revisions, values)


def flat(profile: Profile) -> dict[str, list[dict[str, Any]]]:
    """Flatten one profile by hand, one row at a time: the slow reference of `profile_tables`."""
    head = {"id": profile["id"], "revision": profile["revision"]}
    orders, currencies = profile["orders"], {order["currency"] for order in profile["orders"]}
    single = len(currencies) == 1
    values: dict[str, Any] = {name: (profile[name] or {}).get("value") for name in _CHOSEN}
    if values["birth_date"]:
        values["birth_date"] = date.fromisoformat(values["birth_date"])
    summed = {
        **{"order_count": "count", "cancelled_count": "cancelled", "returned_count": "returned", "open_count": "open"},
        **{f"last_{days}_count": f"last_{days}_count" for days in (30, 90, 365)},
    }
    tables: dict[str, list[dict[str, Any]]] = {
        "profiles": [
            {
                **head,
                **{name: profile[name] for name in ("state", "redirect_to", "realm", "as_of", "last_interaction_on")},
                **values,
                "account_count": len(profile["accounts"]),
                **{column: sum(order[name] for order in orders) for column, name in summed.items()},
                "first_order_on": min((o["first_on"] for o in orders if o["first_on"]), default=None),
                "last_order_on": max((o["last_on"] for o in orders if o["last_on"]), default=None),
                "gross_currency": currencies.pop() if single else None,
                **{
                    name: sum(order[name] for order in orders) if single else None
                    for name in ("gross", "given_back", "net", "paid", "open_amount")
                },
                "open_invoice_count": sum(invoice["open_count"] for invoice in profile["invoices"]),
                "overdue_invoice_count": sum(invoice["overdue_count"] for invoice in profile["invoices"]),
            }
        ]
    }
    renamed = {
        "orders": {"count": "order_count", "cancelled": "cancelled_count"}
        | {"returned": "returned_count", "open": "open_count"},
        "addresses": {"row": "source_row", "count": "address_count"},
        "consents": {"row": "source_row", "at": "said_at"},
    }
    for name in (
        *("identifiers", "addresses", "accounts", "orders"),
        *("products", "categories", "invoices", "consents"),
    ):
        rows = tables[f"profile_{name}"] = []
        for rank, item in enumerate(profile[name], 1):
            row = {renamed.get(name, {}).get(key, key): value for key, value in item.items()}
            if name in ("products", "categories"):
                row["rank"] = rank
            if row.get("said_at"):
                row["said_at"] = row["said_at"].replace(tzinfo=None)
            rows.append({**head, **row})
    return tables
