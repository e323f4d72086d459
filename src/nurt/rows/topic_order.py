"""The mapping's order of topics that hold one table, by the codes that stored rows have."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from nurt.model.entity_frame import topic_code


class TopicOrder:
    """Places of topics in the orders of their tables."""

    def __init__(self) -> None:
        self._orders: set[tuple[str, ...]] = set()
        self._names: set[str] = set()
        self._ranks: dict[int, int] = {}

    def learn(self, orders: Iterable[tuple[str, ...]], names: Iterable[str]) -> None:
        """Take in orders as the mapping has them, and names of topics that were read, now or earlier."""
        new_orders = {order for order in orders if order} - self._orders
        if not new_orders and not self._orders:
            return
        new_names = set(names) - self._names
        self._orders |= new_orders
        self._names |= new_names
        for name in self._names if new_orders else new_names:
            for order in self._orders:
                if rank := rank_of(name, order):
                    self._ranks[topic_code(name)] = rank

    def __call__(self, code: int) -> int:
        """Return the place of a topic by its code; 0: no order names it."""
        return self._ranks.get(code, 0)


def rank_of(topic: str, order: tuple[str, ...]) -> int:
    """Return the place of a topic in an order, from 1; 0: the order does not name it."""
    return next((at for at, name in enumerate(order, 1) if fnmatchcase(topic, name)), 0)
