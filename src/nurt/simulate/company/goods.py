"""Goods of the simulated shops: a small catalogue with stable SKUs."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

WAREHOUSES = ("gdansk", "goerlitz")

_CATALOGUE: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "tea",
        (
            ("TEA-SENCHA", "Herbata Sencha 100 g", "24.90"),
            ("TEA-ASSAM", "Assam Broken 250 g", "31.50"),
            ("TEA-LINDEN", "Lipa z miodem 50 g", "18.00"),
            ("TEA-ROOIBOS", "Rooibos Vanille 200 g", "27.90"),
        ),
    ),
    (
        "coffee",
        (
            ("COF-YIRGA", "Kawa Yirgacheffe 1 kg", "112.00"),
            ("COF-HOUSE", "Hausmischung 500 g", "59.99"),
            ("COF-DECAF", "Kawa bezkofeinowa 250 g", "38.40"),
        ),
    ),
    (
        "kitchen",
        (
            ("KIT-MUG", "Kubek bolesławiecki", "64.00"),
            ("KIT-KETTLE", "Wasserkocher Kupfer", "349.00"),
            ("KIT-GRINDER", "Młynek żarnowy", "289.00"),
            ("KIT-SCALE", "Küchenwaage 0,1 g", "139.00"),
        ),
    ),
    (
        "light",
        (
            ("LGT-LAMP", "Lampa Żuraw", "420.00"),
            ("LGT-CANDLE", "Bienenwachskerze", "36.00"),
            ("LGT-LANTERN", "Latarenka ogrodowa", "98.00"),
        ),
    ),
    (
        "garden",
        (
            ("GRD-SEEDS", "Nasiona łąki kwietnej", "15.50"),
            ("GRD-SHEARS", "Gartenschere", "119.00"),
            ("GRD-POT", "Donica terakota 40 cm", "156.00"),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Product:
    """Product for sale; `price` is in PLN."""

    number: int
    sku: str
    name: str
    category: str
    price: Decimal


PRODUCTS: tuple[Product, ...] = tuple(
    Product(number, sku, name, category, Decimal(price))
    for number, (category, (sku, name, price)) in enumerate(
        ((category, thing) for category, things in _CATALOGUE for thing in things), 1
    )
)

RATES = {"PLN": Decimal(1), "EUR": Decimal("0.23"), "CZK": Decimal("5.8")}
"""Rate of one PLN in the demo's currencies."""


def price_in(product: Product, currency: str) -> Decimal:
    """Return a product's price in a currency, to the cent."""
    return (product.price * RATES[currency]).quantize(Decimal("0.01"))
