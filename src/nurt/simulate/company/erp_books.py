"""Writes of the ERP's clerks and jobs: contractors, invoices, consents, prices and stock."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from nurt.simulate.company.goods import PRODUCTS, WAREHOUSES
from nurt.simulate.company.people import typed_card, typed_email, typed_phone, typed_tax_id
from nurt.simulate.company.world import DAY_US, HOUR_US, Life, World, local_time
from nurt.simulate.connector.columns import moment

_NOTE = "Klient prosi o kontakt telefoniczny przed dostawą. "


def open_books(world: World) -> None:
    """Load the catalogue and the first stock, as they were before the connector started."""
    at = moment(world.start_us - 30 * DAY_US)
    world.connectors["erp"].load(
        "product",
        [{"sku": p.sku, "name": p.name, "category": p.category, "price": p.price, "updated_at": at} for p in PRODUCTS],
    )
    world.connectors["erp"].load(
        "stock",
        [
            {"sku": p.sku, "warehouse": warehouse, "quantity": Decimal(world.rng.randint(20, 400)), "updated_at": at}
            for p in PRODUCTS
            for warehouse in WAREHOUSES
        ],
    )


def contractor_row(world: World, life: Life, contractor_id: int, at_us: int) -> dict[str, Any]:
    """Return a new row of contractor: the clerk knows the tax id, the phone, the mail address or the card."""
    rng, person = world.rng, life.person
    return {
        "id": contractor_id,
        "code": f"K{contractor_id:05d}",
        "kind": "firm" if person.firm else "person",
        "name": person.firm or f"{person.first_name} {person.last_name}",
        "first_name": person.first_name,
        "last_name": person.last_name,
        "nip": typed_tax_id(rng, person.tax_id) if person.tax_id else None,
        "email": typed_email(rng, person.email) if rng.random() < 0.75 else None,
        "phone": typed_phone(rng, person.country, person.phone) if rng.random() < 0.6 else None,
        "card_no": typed_card(rng, person.loyalty_card) if person.loyalty_card and rng.random() < 0.5 else None,
        "country": person.country.code,
        "language": person.country.language,
        "birth_date": person.birth_date if rng.random() < 0.2 else None,
        "credit_limit": Decimal(rng.randint(1, 50) * 1000) if person.firm else None,
        "notes": _NOTE * rng.randint(45, 60) if rng.random() < 0.3 else None,
        "created_at": moment(at_us),
        "updated_at": local_time(at_us),
    }


def book_contractor(world: World, life: Life, at_us: int) -> None:
    """Enter a person or firm into the books, with an address and sometimes a consent."""
    if life.contractor_id is not None:
        return
    world.deeds["booked"] += 1
    rng, person, erp = world.rng, life.person, world.connectors["erp"]
    life.contractor_id = contractor_id = world.next_id("erp", "contractor")
    with erp.transaction(at_us) as transaction:
        transaction.insert("contractor", contractor_row(world, life, contractor_id, at_us))
        address = {
            "contractor_id": contractor_id,
            "address_no": 1,
            "kind": "billing",
            "name": f"{person.first_name} {person.last_name}",
            "company": person.firm,
            "street": person.street,
            "city": person.city,
            "region": person.region,
            "postcode": person.postcode,
            "country": person.country.code,
            "phone": person.phone,
        }
        transaction.insert("contractor_address", address)
        if rng.random() < 0.5:
            consent = {
                "id": world.next_id("erp", "consent"),
                "contractor_id": contractor_id,
                "purpose": rng.choice(("newsletter", "sms", "profiling")),
                "granted": rng.random() < 0.7,
                "channel": rng.choice(("paper", "phone")),
                "given_at": moment(at_us),
            }
            transaction.insert("consent", consent)


def invoice(world: World, life: Life, order_number: str, currency: str, gross: Decimal, at_us: int) -> None:
    """Write an invoice; firms may pay late or not at all, other customers have paid."""
    book_contractor(world, life, at_us)
    rng, erp = world.rng, world.connectors["erp"]
    if life.contractor_id is None or (life.contractor_id,) not in erp.rows("contractor"):
        return
    world.deeds["invoiced"] += 1
    document_id = world.next_id("erp", "document")
    life.document_ids.append(document_id)
    later = life.person.firm is not None
    issued = local_time(at_us).date()
    row = {
        "id": document_id,
        "contractor_id": life.contractor_id,
        "number": f"FV/{issued.year}/{issued.month:02d}/{document_id}",
        "kind": "invoice" if rng.random() < 0.95 else "proforma",
        "order_number": order_number,
        "currency": currency,
        "gross": gross,
        "open_gross": gross if later else Decimal(0),
        "issued": issued,
        "due": issued + timedelta(days=rng.choice((7, 14, 30))) if later else issued,
        "status": "open" if later else "paid",
        "created_at": moment(at_us),
    }
    erp.insert("document", row, at_us)
    if later and rng.random() < 0.75:
        world.later(world.within(at_us, DAY_US, 45 * DAY_US), lambda then: settle(world, document_id, then))


def settle(world: World, document_id: int, at_us: int) -> None:
    """Take the money for an invoice, or first a part."""
    erp = world.connectors["erp"]
    row = erp.rows("document").get((document_id,))
    if row is None or row["status"] != "open":
        return
    if row["open_gross"] == row["gross"] and world.rng.random() < 0.2:
        world.deeds["settled in part"] += 1
        erp.update("document", (document_id,), {"open_gross": (row["gross"] / 2).quantize(Decimal("0.01"))}, at_us)
        world.later(world.within(at_us, DAY_US, 20 * DAY_US), lambda then: settle(world, document_id, then))
        return
    world.deeds["settled"] += 1
    erp.update("document", (document_id,), {"open_gross": Decimal(0), "status": "paid"}, at_us)


def correct_contractor(world: World, life: Life, at_us: int) -> None:
    """Update a contractor with the person's current data; the long note is not sent."""
    erp = world.connectors["erp"]
    if life.contractor_id is None or (life.contractor_id,) not in erp.rows("contractor"):
        return
    world.deeds["corrected"] += 1
    person = life.person
    values = {"email": person.email, "phone": person.phone, "updated_at": local_time(at_us)}
    erp.update("contractor", (life.contractor_id,), values, at_us)


def renumber_contractor(world: World, life: Life, at_us: int) -> None:
    """Give a contractor, and all references to it, another number in one transaction: a re-key."""
    erp = world.connectors["erp"]
    if life.contractor_id is None or (life.contractor_id,) not in erp.rows("contractor"):
        return
    world.deeds["renumbered"] += 1
    old, life.contractor_id = life.contractor_id, 90_000 + life.contractor_id
    with erp.transaction(at_us) as transaction:
        note = erp.rows("contractor")[old,]["notes"]
        transaction.update("contractor", [(old,)], {"id": life.contractor_id, "notes": note})
        for table in ("contractor_address", "document", "consent"):
            for key, row in list(erp.rows(table).items()):
                if row["contractor_id"] == old:
                    transaction.update(table, [key], {"contractor_id": life.contractor_id})


def take_from_stock(world: World, warehouse: str, quantities: dict[str, Decimal], at_us: int) -> None:
    """Book goods out; goods that run low are ordered and come a day later."""
    erp = world.connectors["erp"]
    with erp.transaction(at_us) as transaction:
        for sku, quantity in quantities.items():
            left = erp.rows("stock")[sku, warehouse]["quantity"] - quantity
            transaction.update("stock", [(sku, warehouse)], {"quantity": left, "updated_at": moment(at_us)})
            if left < 15:
                world.later(at_us + DAY_US, partial(restock, world, sku, warehouse))


def restock(world: World, sku: str, warehouse: str, at_us: int) -> None:
    """Book a delivery in, unless another one was just booked."""
    erp = world.connectors["erp"]
    on_hand = erp.rows("stock")[sku, warehouse]["quantity"]
    if on_hand < 15:
        values = {"quantity": on_hand + world.rng.randint(100, 300), "updated_at": moment(at_us)}
        erp.update("stock", (sku, warehouse), values, at_us)


def change_price(world: World, at_us: int) -> None:
    """Change the price of one product, and plan the next change a week later."""
    erp = world.connectors["erp"]
    product = world.rng.choice(PRODUCTS)
    price = (erp.rows("product")[product.sku,]["price"] * Decimal("1.05")).quantize(Decimal("0.01"))
    erp.update("product", (product.sku,), {"price": price, "updated_at": moment(at_us)}, at_us)
    world.later(at_us + 7 * DAY_US + HOUR_US, lambda then: change_price(world, then))
