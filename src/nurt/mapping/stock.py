"""Check the section `stock` of a mapping file: locations, channels, markets and rules."""

from __future__ import annotations

import re
from dataclasses import fields
from decimal import Decimal
from typing import Any

from yaml.nodes import Node, ScalarNode

from nurt.mapping.words import STOCK_CHANNEL_WORDS, STOCK_LOCATION_WORDS, STOCK_MARKET_WORDS, STOCK_WORDS, Shape, Word
from nurt.mapping.yaml_lines import Complaints, items_of, nearest, number_of, pairs, section, text_of
from nurt.model.stock.plan import UNIT, Channel, Location, Market, StockPlan

_UNITS_S = {"grace_s": 1, "reservation_hours": 3600, "stuck_minutes": 60, "stale_minutes": 60, "inbound_days": 1}
_NAMES = {"reservation_hours": "reservation_s", "stuck_minutes": "stuck_s", "stale_minutes": "stale_s"}


def read_stock(node: Node | None, complaints: Complaints) -> StockPlan | None:
    """Read the section `stock`; None when the file has none."""
    if node is None:
        return None
    values = section(node, "stock", STOCK_WORDS, complaints)
    rules = _values(values, "stock", STOCK_WORDS, complaints)
    locations = {
        name: Location(name, **_values(inner, f"stock location {name!r}", STOCK_LOCATION_WORDS, complaints))
        for name, inner in _named(values.get("locations"), "stock.locations", STOCK_LOCATION_WORDS, complaints)
    }
    markets = {}
    for name, inner in _named(values.get("markets"), "stock.markets", STOCK_MARKET_WORDS, complaints):
        markets[name] = Market(name, **_values(inner, f"stock market {name!r}", STOCK_MARKET_WORDS, complaints))
        _check(inner.get("locations"), locations, f"stock market {name!r}: locations", complaints)
    channels = {}
    for name, inner in _named(values.get("channels"), "stock.channels", STOCK_CHANNEL_WORDS, complaints):
        what = f"stock channel {name!r}"
        values_of = {"locations": tuple(locations), "markets": tuple(markets) or ("",)}
        channels[name] = Channel(name, **{**values_of, **_values(inner, what, STOCK_CHANNEL_WORDS, complaints)})
        _check(inner.get("locations"), locations, f"{what}: locations", complaints)
        _check(inner.get("markets"), markets, f"{what}: markets", complaints)
    known = {each.name for each in fields(StockPlan)}
    plan = {name: value for name, value in rules.items() if name in known}
    return StockPlan(**{**plan, "locations": locations, "channels": channels, "markets": markets})


def _named(
    node: Node | None, what: str, words: dict[str, Word], complaints: Complaints
) -> list[tuple[str, dict[str, Node]]]:
    if node is None:
        return []
    return [
        (key.value, section(value, f"{what}.{key.value}", words, complaints))
        for key, value in pairs(node, what, complaints) or []
    ]


def _check(node: Node | None, known: dict[str, Any], what: str, complaints: Complaints) -> None:
    for item in items_of(node, what, complaints) if node is not None else []:
        if isinstance(item, ScalarNode) and item.value not in known:
            complaints.add(item, f"{what}: unknown {item.value!r} {nearest(item.value, known)}")


def _values(values: dict[str, Node], what: str, words: dict[str, Word], complaints: Complaints) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, node in values.items():
        shape, here = words[name].shape, f"{what}: {name}"
        value: Any = None
        if shape is Shape.SECTION:
            continue
        if shape is Shape.LIST:
            texts = [text_of(item, here, complaints) for item in items_of(node, here, complaints)]
            value = tuple(text for text in texts if text is not None)
        elif shape is Shape.QUANTITY:
            value = _quantity(node, here, complaints)
        elif shape is Shape.NUMBER:
            number = number_of(node, here, complaints)
            value = None if number is None else number * _UNITS_S.get(name, 1)
        else:
            value = text_of(node, here, complaints, words[name])
        if value is not None:
            found[_NAMES.get(name, name)] = value
    return found


def _quantity(node: Node, what: str, complaints: Complaints) -> int | None:
    if isinstance(node, ScalarNode) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,4})?", node.value):
        return int(Decimal(node.value) * UNIT)
    complaints.add(node, f"{what}: no quantity (expected a number, 0 or more, with at most four decimals)")
    return None
