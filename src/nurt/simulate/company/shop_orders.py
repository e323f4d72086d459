"""Life of an order: placed, paid or cancelled, shipped, delivered, sometimes sent back; and the ERP's part in it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from nurt.simulate.company import erp_books
from nurt.simulate.company.goods import PRODUCTS, RATES, WAREHOUSES, price_in
from nurt.simulate.company.people import typed_email, typed_phone
from nurt.simulate.company.world import DAY_US, HOUR_US, MINUTE_US, Life, World, local_time
from nurt.simulate.connector.columns import Key, seconds
from nurt.simulate.connector.debezium import Connector


@dataclass(slots=True)
class Order:
    """Order with its keys in the shop, and its value."""

    shop: Connector
    order_id: int
    number: str
    currency: str
    gross: Decimal
    item_keys: list[Key]
    payment_id: int
    shipment_id: int | None = None

    def set_state(self, transaction: Any, state: str, at_us: int, **values: Any) -> None:
        """Change the order's state, within a transaction."""
        changes = {"state": state, "status": state, "updated_at": seconds(at_us), **values}
        transaction.update("sales_order", [(self.order_id,)], changes)


def place(world: World, life: Life, at_us: int) -> None:
    """Order some products, as a customer or as a guest; later events follow by themselves."""
    rng, person = world.rng, life.person
    shop, system = world.shop_of(life), person.country.shop
    customer = world.customer(life)
    known = customer is not None and bool(customer["is_active"]) and rng.random() < 0.85
    world.deeds["ordered" if known else "ordered as a guest"] += 1
    currency = person.country.currency if rng.random() < 0.95 else rng.choice(sorted(RATES))
    order_id = world.next_id(system, "sales_order")
    number = f"{'1' if system == 'shop_pl' else '2'}{order_id:08d}"
    chosen = rng.sample(PRODUCTS, rng.choice((1, 1, 2, 2, 3, 4)))
    items = [_item_row(world, system, order_id, product, currency, at_us) for product in chosen]
    gross = sum((item["row_total_incl_tax"] for item in items), Decimal(0))
    payment_id = world.next_id(system, "sales_order_payment")
    order = Order(shop, order_id, number, currency, gross, [(item["item_id"],) for item in items], payment_id)
    with shop.transaction(at_us) as transaction:
        transaction.insert(
            "sales_order",
            {
                "entity_id": order_id,
                "increment_id": number,
                "state": "new",
                "status": "pending",
                "store_id": 1,
                "customer_id": life.customer_id if known else None,
                "customer_is_guest": 0 if known else 1,
                "customer_email": typed_email(rng, person.email),
                "customer_telephone": typed_phone(rng, person.country, person.phone) if rng.random() < 0.8 else None,
                "customer_firstname": person.first_name,
                "customer_lastname": person.last_name,
                "country_id": person.country.code,
                "order_currency_code": currency,
                "base_currency_code": "PLN" if system == "shop_pl" else "EUR",
                "grand_total": gross,
                "total_item_count": len(items),
                "coupon_code": rng.choice((None, None, None, "WIOSNA10")),
                "created_at": seconds(at_us),
                "updated_at": seconds(at_us),
            },
        )
        for item in items:
            transaction.insert("sales_order_item", item)
        transaction.insert(
            "sales_order_payment",
            {
                "entity_id": payment_id,
                "parent_id": order_id,
                "method": rng.choice(("blik", "card", "paypal", "banktransfer")),
                "amount_ordered": gross,
                "payment_status": "pending",
            },
        )
    if rng.random() < 0.07:
        world.later(world.within(at_us, 5 * MINUTE_US, 2 * DAY_US), lambda then: cancel(world, order, then))
    else:
        world.later(world.within(at_us, MINUTE_US, 8 * HOUR_US), lambda then: pay(world, life, order, then))


def _item_row(world: World, system: str, order_id: int, product: Any, currency: str, at_us: int) -> dict[str, Any]:
    quantity = Decimal(world.rng.choice((1, 1, 1, 2, 3, 6)))
    price = price_in(product, currency)
    return {
        "item_id": world.next_id(system, "sales_order_item"),
        "order_id": order_id,
        "created_at": seconds(at_us),
        "updated_at": seconds(at_us),
        "product_id": product.number,
        "product_type": "simple",
        "sku": product.sku,
        "name": product.name,
        "category": product.category,
        "qty_ordered": quantity,
        "price": price,
        "row_total_incl_tax": price * quantity,
    }


def cancel(world: World, order: Order, at_us: int) -> None:
    """Cancel an order that was never paid."""
    world.deeds["cancelled"] += 1
    with order.shop.transaction(at_us) as transaction:
        order.set_state(transaction, "canceled", at_us)
        for key in order.item_keys:
            ordered = order.shop.rows("sales_order_item")[key]["qty_ordered"]
            transaction.update("sales_order_item", [key], {"qty_canceled": ordered, "updated_at": seconds(at_us)})


def pay(world: World, life: Life, order: Order, at_us: int) -> None:
    """Pay; the parcel leaves within days, and the ERP may write an invoice."""
    world.deeds["paid"] += 1
    with order.shop.transaction(at_us) as transaction:
        paid = {
            "payment_status": "paid",
            "amount_paid": order.gross,
            "paid_at": local_time(at_us // 1000 * 1000),
            "last_trans_id": f"{world.rng.getrandbits(48):012x}",
        }
        transaction.update("sales_order_payment", [(order.payment_id,)], paid)
        order.set_state(transaction, "processing", at_us)
    world.later(world.within(at_us, 3 * HOUR_US, 3 * DAY_US), lambda then: ship(world, life, order, then))
    if life.person.firm or world.rng.random() < 0.35:
        world.later(
            world.within(at_us, MINUTE_US, DAY_US),
            lambda then: erp_books.invoice(world, life, order.number, order.currency, order.gross, then),
        )


def ship(world: World, life: Life, order: Order, at_us: int) -> None:
    """Give the parcel to a carrier and take its goods from the stock."""
    world.deeds["shipped"] += 1
    system = order.shop.prefix
    order.shipment_id = world.next_id(system, "sales_shipment")
    with order.shop.transaction(at_us) as transaction:
        transaction.insert(
            "sales_shipment",
            {
                "entity_id": order.shipment_id,
                "order_id": order.order_id,
                "increment_id": f"S{order.number}",
                "carrier_code": world.rng.choice(("inpost", "dhl", "dpd")),
                "track_number": f"{world.rng.randrange(10**12):012d}",
                "shipment_status": 1,
                "created_at": seconds(at_us),
                "updated_at": seconds(at_us),
            },
        )
        order.set_state(transaction, "complete", at_us)
    items = [order.shop.rows("sales_order_item")[key] for key in order.item_keys]
    warehouse = WAREHOUSES[system == "shop_de"]
    erp_books.take_from_stock(world, warehouse, {item["sku"]: item["qty_ordered"] for item in items}, at_us)
    world.later(world.within(at_us, DAY_US, 4 * DAY_US), lambda then: deliver(world, order, then))


def deliver(world: World, order: Order, at_us: int) -> None:
    """Deliver the parcel; some parcels come back."""
    values = {"shipment_status": 2, "delivered_at": local_time(at_us), "updated_at": seconds(at_us)}
    assert order.shipment_id is not None
    order.shop.update("sales_shipment", (order.shipment_id,), values, at_us)
    if world.rng.random() < 0.09:
        world.later(world.within(at_us, DAY_US, 13 * DAY_US), lambda then: send_back(world, order, then))


def send_back(world: World, order: Order, at_us: int) -> None:
    """Send everything or one line back; with everything the order is closed."""
    world.deeds["returned"] += 1
    rows = order.shop.rows("sales_order_item")
    keys = order.item_keys if world.rng.random() < 0.6 else order.item_keys[:1]
    refunded = sum((rows[key]["row_total_incl_tax"] for key in keys), Decimal(0))
    with order.shop.transaction(at_us) as transaction:
        for key in keys:
            returned = {"qty_refunded": rows[key]["qty_ordered"], "updated_at": seconds(at_us)}
            transaction.update("sales_order_item", [key], returned)
        state = "closed" if len(keys) == len(order.item_keys) else "complete"
        order.set_state(transaction, state, at_us, total_refunded=refunded)
        transaction.update(
            "sales_order_payment",
            [(order.payment_id,)],
            {"amount_refunded": refunded, "payment_status": "refunded" if state == "closed" else "paid"},
        )
