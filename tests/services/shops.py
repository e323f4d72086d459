"""Both clients of a shop behind the same calls, so that each claim is made of both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal

from nurt_client import EXPIRES_S, AsyncStock, Line, Reservation, Stock


class AwaitedStock:
    """An AsyncStock on an event loop of its own, called as a Stock is."""

    def __init__(self, stock: AsyncStock) -> None:
        self.stock = stock
        self.runner = asyncio.Runner()

    def available(self, skus: Sequence[str], channel: str, market: str = "") -> dict[str, Decimal]:
        return self.runner.run(self.stock.available(skus, channel, market))

    def reserve(
        self, order: str, lines: Sequence[Line], channel: str, market: str = "", expires_s: float = EXPIRES_S
    ) -> Reservation:
        return self.runner.run(self.stock.reserve(order, lines, channel, market, expires_s))

    def release(self, order: str, channel: str) -> bool:
        return self.runner.run(self.stock.release(order, channel))

    def close(self) -> None:
        self.runner.run(self.stock.aclose())
        self.runner.close()


Shop = Stock | AwaitedStock
Opens = Callable[..., Shop]

SHOPS: dict[str, Opens] = {
    "sync": Stock.open,
    "async": lambda *arguments, **named: AwaitedStock(AsyncStock.open(*arguments, **named)),
}
