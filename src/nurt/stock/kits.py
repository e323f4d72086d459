"""Kits, whose parts may be kits: resolve a kit into parts that are no kits. Pure.

A kit that contains itself, or is nested deeper than KITS_DEEP_MAX, is refused as a value: it cannot be sold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from nurt.model.stock.plan import UNIT
from nurt.model.units import Amount

KITS_DEEP_MAX = 4
"""How deep kits may be nested."""

Sku = TypeVar("Sku")


def leaves_of(kit: Sku, parts_of: Callable[[Sku], Mapping[Sku, Amount] | None]) -> dict[Sku, Amount] | None:
    """Resolve a kit into its final parts, in ten-thousandths of a piece; None: the kit is refused.

    Args:
        parts_of: direct parts of a kit; None or empty: the sku is no kit.
    """
    found: dict[Sku, Amount] = {}

    def add(one: Sku, quantity: Amount, path: tuple[Sku, ...]) -> bool:
        parts = parts_of(one)
        if not parts:
            found[one] = Amount(found.get(one, 0) + quantity)
            return True
        if one in path or len(path) >= KITS_DEEP_MAX:
            return False
        return all(add(part, Amount(quantity * pieces // UNIT), (*path, one)) for part, pieces in parts.items())

    return found if add(kit, UNIT, ()) else None


def below(kit: Sku, parts_of: Callable[[Sku], Mapping[Sku, Amount] | None]) -> set[Sku]:
    """Name every part within a kit, at whatever depth."""
    found: set[Sku] = set()
    waiting = [kit]
    while waiting:
        for part in parts_of(waiting.pop()) or ():
            if part not in found:
                found.add(part)
                waiting.append(part)
    return found


def above(part: Sku, kits: Mapping[Sku, Mapping[Sku, Amount]]) -> set[Sku]:
    """Name every kit that contains a part, at whatever depth."""
    found: set[Sku] = set()
    waiting = {part}
    while waiting:
        waiting = {kit for kit, parts in kits.items() if kit not in found and not waiting.isdisjoint(parts)}
        found |= waiting
    return found
