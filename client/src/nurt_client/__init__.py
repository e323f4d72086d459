"""The shop's side of nurt: what can be sold right now, and reservations while customers pay.

    from nurt_client import Line, Stock

    with Stock.open("redis://redis:6379/0", secret="file:nurt-data/secret") as stock:
        stock.available(["A-1", "B-2"], channel="shop_pl", market="PL")  # {"A-1": Decimal(3), ...}
        held = stock.reserve("100017", [Line("1", "A-1", 2)], channel="shop_pl", market="PL")
        if not held:
            print(held.status, held.sku, held.available)

`AsyncStock` is the same for asyncio. A reservation ends by itself: when the order's own rows arrive through the flow of
stock, when it is released, or when it expires. Asking again for the same line of the same order holds nothing more, so
a call whose answer was lost may be repeated.

What is public is listed in `__all__`. The modules belong to nurt, too: it shares the ledger's script, the key names and
the errors. Each name is imported when it is first asked for, so that the errors alone do not import redis-py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nurt_client.errors import ConfigurationError, ConnectionFailed, NurtError
    from nurt_client.ledger import EXPIRES_S
    from nurt_client.questions import Held, Line
    from nurt_client.stock import AsyncStock, Stock

__all__ = [
    "EXPIRES_S",
    "AsyncStock",
    "ConfigurationError",
    "ConnectionFailed",
    "Held",
    "Line",
    "NurtError",
    "Stock",
]

_MODULES = {
    "EXPIRES_S": "ledger",
    "AsyncStock": "stock",
    "ConfigurationError": "errors",
    "ConnectionFailed": "errors",
    "Held": "questions",
    "Line": "questions",
    "NurtError": "errors",
    "Stock": "stock",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
