"""Actions of people with a shop account: open one, open another, change it, subscribe, visit, leave."""

from __future__ import annotations

from typing import Any

from nurt.simulate.company.people import new_email, new_phone, typed_email, typed_phone, typed_tax_id
from nurt.simulate.company.world import DAY_US, HOUR_US, MINUTE_US, Life, World
from nurt.simulate.connector.columns import seconds


def register(world: World, life: Life, at_us: int) -> None:
    """Open an account with an address; most people confirm their mail address soon after."""
    if world.customer(life) is not None:
        return
    world.deeds["registered"] += 1
    shop, system = world.shop_of(life), life.person.country.shop
    life.customer_id = world.next_id(system, "customer_entity")
    with shop.transaction(at_us) as transaction:
        transaction.insert("customer_entity", account_row(world, life, life.customer_id, at_us))
        transaction.insert("customer_address_entity", address_row(world, life, life.customer_id, at_us))
    if world.rng.random() < 0.8:
        world.later(world.within(at_us, MINUTE_US, 3 * HOUR_US), lambda then: confirm(world, life, then))


def register_again(world: World, life: Life, at_us: int) -> None:
    """Open a second account (the first is forgotten) with a new mail address and the same phone."""
    if life.customer_id is None:
        return
    world.deeds["registered again"] += 1
    person, system = life.person, life.person.country.shop
    life.customer_id = world.next_id(system, "customer_entity")
    person.email = new_email(world.rng, person.country, person.first_name, person.last_name, 50_000 + life.customer_id)
    row = account_row(world, life, life.customer_id, at_us)
    row["telephone"] = typed_phone(world.rng, person.country, person.phone)
    world.shop_of(life).insert("customer_entity", row, at_us)


def account_row(world: World, life: Life, customer_id: int, at_us: int) -> dict[str, Any]:
    """Return a new row of customer_entity, with fields that people leave empty."""
    rng, person = world.rng, life.person
    return {
        "entity_id": customer_id,
        "website_id": 1,
        "email": typed_email(rng, person.email),
        "group_id": 3 if person.firm else 1,
        "store_id": 1,
        "created_at": seconds(at_us),
        "updated_at": seconds(at_us),
        "firstname": person.first_name,
        "lastname": person.last_name if rng.random() < 0.95 else person.last_name.upper(),
        "dob": person.birth_date if rng.random() < 0.3 else None,
        "taxvat": typed_tax_id(rng, person.tax_id) if person.tax_id else None,
        "gender": person.gender if rng.random() < 0.5 else None,
        "confirmation": f"{rng.getrandbits(64):016x}",
        "telephone": typed_phone(rng, person.country, person.phone) if rng.random() < 0.7 else None,
        "phone_verified": int(rng.random() < 0.4),
        "loyalty_card": person.loyalty_card if rng.random() < 0.6 else None,
        "language": person.country.language,
        "country_id": person.country.code,
        "segments": "b2b" if person.firm else rng.choice((None, None, None, "vip")),
    }


def address_row(world: World, life: Life, customer_id: int, at_us: int) -> dict[str, Any]:
    """Return a new row of customer_address_entity."""
    rng, person = world.rng, life.person
    return {
        "entity_id": world.next_id(person.country.shop, "customer_address_entity"),
        "parent_id": customer_id,
        "created_at": seconds(at_us),
        "updated_at": seconds(at_us),
        "kind": rng.choice(("billing", "shipping")),
        "firstname": person.first_name,
        "lastname": person.last_name,
        "company": person.firm,
        "street": person.street if rng.random() < 0.9 else f"{person.street}\nApp. {rng.randint(1, 40)}",
        "city": person.city,
        "region": person.region,
        "postcode": person.postcode,
        "country_id": person.country.code,
        "telephone": typed_phone(rng, person.country, person.phone),
        "vat_id": person.tax_id,
    }


def change(world: World, life: Life, at_us: int, **values: Any) -> None:
    """Change some columns of the account, if it still exists."""
    if life.customer_id is not None and world.customer(life) is not None:
        values["updated_at"] = seconds(at_us)
        world.shop_of(life).update("customer_entity", (life.customer_id,), values, at_us)


def confirm(world: World, life: Life, at_us: int) -> None:
    """Follow the link in the mail: the address is verified."""
    change(world, life, at_us, confirmation=None)


def change_email(world: World, life: Life, at_us: int) -> None:
    """Use another mail address in this shop from now on; the ERP gets it later, or never."""
    world.deeds["changed email"] += 1
    person = life.person
    number = 90_000 + world.deeds["changed email"]
    person.email = new_email(world.rng, person.country, person.first_name, person.last_name, number)
    change(world, life, at_us, email=person.email, confirmation=f"{world.rng.getrandbits(64):016x}")
    world.later(world.within(at_us, MINUTE_US, DAY_US), lambda then: confirm(world, life, then))


def change_phone(world: World, life: Life, at_us: int) -> None:
    """Use another phone from now on."""
    world.deeds["changed phone"] += 1
    life.person.phone = new_phone(world.rng, life.person.country)
    change(
        world, life, at_us, telephone=typed_phone(world.rng, life.person.country, life.person.phone), phone_verified=1
    )


def move_house(world: World, life: Life, at_us: int) -> None:
    """Write a new street into an address, or add an address and drop the old one by flag."""
    shop = world.shop_of(life)
    rows = shop.rows("customer_address_entity")
    mine = [key for key, row in rows.items() if row["parent_id"] == life.customer_id and row["is_active"]]
    if life.customer_id is None or world.customer(life) is None or not mine:
        return
    world.deeds["moved house"] += 1
    person = life.person
    person.street = f"{world.rng.choice(person.country.streets)} {world.rng.randint(1, 120)}"
    person.city, person.region, _ = world.rng.choice(person.country.cities)
    if world.rng.random() < 0.5:
        values = {"street": person.street, "city": person.city, "region": person.region, "updated_at": seconds(at_us)}
        shop.update("customer_address_entity", mine[0], values, at_us)
        return
    with shop.transaction(at_us) as transaction:
        transaction.insert("customer_address_entity", address_row(world, life, life.customer_id, at_us))
        transaction.update("customer_address_entity", mine, {"is_active": 0, "updated_at": seconds(at_us)})


def subscribe(world: World, life: Life, at_us: int) -> None:
    """Subscribe to the newsletter, with or without an account; some people leave it again."""
    world.deeds["subscribed"] += 1
    system = life.person.country.shop
    life.subscriber_id = world.next_id(system, "newsletter_subscriber")
    row = {
        "subscriber_id": life.subscriber_id,
        "store_id": 1,
        "change_status_at": seconds(at_us),
        "customer_id": life.customer_id if world.customer(life) is not None else 0,
        "subscriber_email": life.person.email,
        "subscriber_status": 1 if world.rng.random() < 0.7 else 2,
        "subscriber_confirm_code": f"{world.rng.getrandbits(64):016x}",
    }
    world.shop_of(life).insert("newsletter_subscriber", row, at_us)
    if world.rng.random() < 0.35:
        world.later(world.within(at_us, HOUR_US, 40 * DAY_US), lambda then: set_newsletter(world, life, then, 3))
        if world.rng.random() < 0.3:
            world.later(
                world.within(at_us, 41 * DAY_US, 60 * DAY_US), lambda then: set_newsletter(world, life, then, 1)
            )


def set_newsletter(world: World, life: Life, at_us: int, status: int) -> None:
    """Unsubscribe (3) or subscribe again (1)."""
    if life.subscriber_id is not None and (life.subscriber_id,) in world.shop_of(life).rows("newsletter_subscriber"):
        world.deeds["unsubscribed" if status == 3 else "subscribed again"] += 1
        values = {"subscriber_status": status, "change_status_at": seconds(at_us)}
        world.shop_of(life).update("newsletter_subscriber", (life.subscriber_id,), values, at_us)


def visit(world: World, life: Life, at_us: int) -> None:
    """Visit the shop; the shop keeps a row of the visit."""
    row = {
        "visit_id": world.next_id(life.person.country.shop, "customer_visit"),
        "customer_id": life.customer_id if world.customer(life) is not None else None,
        "kind": world.rng.choice(("login", "login", "cart", "wishlist", "complaint")),
        "channel": world.rng.choice(("web", "web", "app", "store", "phone")),
        "visited_at": seconds(at_us),
    }
    world.shop_of(life).insert("customer_visit", row, at_us)


def leave(world: World, life: Life, at_us: int) -> None:
    """Close the account: by flag, or delete it with everything that belongs to it, except orders."""
    if world.customer(life) is None or life.customer_id is None:
        return
    if world.rng.random() < 0.5:
        world.deeds["closed by flag"] += 1
        change(world, life, at_us, is_active=0)
        return
    world.deeds["erased"] += 1
    shop, customer_id = world.shop_of(life), life.customer_id
    with shop.transaction(at_us) as transaction:
        for table, column in (("customer_address_entity", "parent_id"), ("newsletter_subscriber", "customer_id")):
            mine = [key for key, row in shop.rows(table).items() if row[column] == customer_id]
            if mine:
                transaction.delete(table, mine)
        transaction.delete("customer_entity", [(customer_id,)])
    life.customer_id = life.subscriber_id = None
