"""Ask from a shop: what can be sold right now, and hold it while the customer pays.

    from nurt.stock import Line, Stock

    with Stock.open("nurt.yaml") as stock:
        stock.available(["A-1", "B-2"], channel="shop_pl", market="PL")  # {"A-1": 3, ...}
        held = stock.reserve("100017", [Line("1", "A-1", 2)], channel="shop_pl", market="PL")
        if not held:
            print(held.status, held.sku, held.available)

A reservation ends by itself: when the order's own rows arrive through the flow of stock, when it is released, or when
it expires. Asking again for the same line of the same order holds nothing more, so a call whose answer was lost may be
repeated.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import orjson

from nurt.adapters.stock_reading import LedgerClient
from nurt.core.ids import Ids
from nurt.core.stock.ledger import read_held
from nurt.core.stock.tokens import ledger_token
from nurt.errors import ConfigurationError
from nurt.model.keys import Keys
from nurt.model.stock_plan import UNIT
from nurt.settings import Settings, load_settings
from nurt.wiring import open_redis, read_mapping
from nurt.wiring_stock import stock_settings

EXPIRES_S = 900
"""How long a reservation holds when nobody says otherwise."""
KITS_KNOWN_S = 2.0
LINES_MAX = 500
"""Lines of one reservation."""
STALE_TRIES = 50

Quantity = int | Decimal | str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an order: its name within the order, a sku and how many."""

    line: str
    sku: str
    quantity: Quantity


@dataclass(frozen=True, slots=True)
class Held:
    """Answer to `reserve`; true when the lines may be sold.

    Attributes:
        status: `accepted`; `known`: the order's own rows are here already and hold by themselves; `refused`: `sku` is
            short; `differs`: a line was reserved otherwise before, release it first; `closed`: the flow of stock does
            not run, or has not caught up; `unknown route`: no such channel and market; `stale`: a new plan is being
            weighed, ask again.
        sku: which is short.
        available: how many of it can still be had.
        until_ms: when it expires, milliseconds since 1970 by the server's clock.
    """

    status: str
    sku: str | None = None
    available: Decimal | None = None
    until_ms: int | None = None

    def __bool__(self) -> bool:
        return self.status in ("accepted", "known")


class Stock:
    """A shop's connection; not for several threads at once, but as many as you like may be open."""

    def __init__(self, ledger: LedgerClient, ids: Ids, place: bytes) -> None:
        self._ledger, self._ids, self._place = ledger, ids, place
        self._plan: dict[str, Any] | None = None
        self._names: dict[str, bytes] = {}
        self._kits: dict[str, tuple[float, list[tuple[str, int]]]] = {}

    @classmethod
    def open(cls, settings: str | Path | Settings = "nurt.yaml", realm: str = "default") -> Stock:
        """Open the deployment that a settings file describes.

        Raises ConfigurationError when it cannot be read, or has no such realm.
        """
        own = settings if isinstance(settings, Settings) else load_settings(Path(settings))
        realms = {system.realm for system in read_mapping(own).systems.values()}
        if realm not in realms:
            raise ConfigurationError(
                f"opening stock of realm {realm!r}: the mapping has no system of it (expected one of "
                f"{', '.join(sorted(realms))}); name one"
            )
        derived = stock_settings(own)
        place = Keys(derived.prefix, derived.shards).realm_place(realm)
        return cls(LedgerClient(open_redis(derived), place), Ids(derived.ids_secret()), place)

    def available(self, skus: Sequence[str], channel: str, market: str = "") -> dict[str, Decimal]:
        """Say how many of each sku can be sold, reservations and kits counted in; one round trip, two with kits."""
        promises = self._promises(skus)
        parts = [part for _, kit in promises.values() for part, _ in kit if part not in promises]
        promises |= self._promises(parts)
        plan, route = self._told(), f"{channel}/{market}"
        if route not in plan["around"]:
            known = ", ".join(sorted(name for name in plan["around"] if "*" not in name))
            raise ConfigurationError(f"asking for stock of {route}: no such channel and market (expected {known})")
        free: dict[str, int] = {}
        for sku, (slack, _) in promises.items():
            around = plan["around"][route]
            free[sku] = 0 if slack is None else max(0, int(slack[around].min()) - plan["buffers"][route])
        for sku, (_, kit) in promises.items():
            if kit:
                free[sku] = min(free[part] // pieces for part, pieces in kit if pieces > 0) * UNIT
        return {sku: _decimal(free[sku]) for sku in skus}

    def reserve(
        self, order: str, lines: Sequence[Line], channel: str, market: str = "", expires_s: float = EXPIRES_S
    ) -> Held:
        """Hold all lines of an order, or none.

        Args:
            order: the order's number or reference, as its row will have it.
            lines: what it sells; a kit holds its parts.
            channel, market: as the order's row will have them.
        """
        if not 0 < len(lines) <= LINES_MAX:
            raise ConfigurationError(f"reserving for an order: {len(lines)} lines (expected 1 to {LINES_MAX})")
        arguments: list[bytes | str | int] = []
        by_id: dict[bytes, str] = {}
        for line in lines:
            quantity = _units(line.quantity)
            if quantity <= 0:
                raise ConfigurationError("reserving for an order: a quantity that is not above zero; leave it out")
            for sku, pieces in self._parts(line.sku) or [(line.sku, UNIT)]:
                one = self._id(sku)
                by_id[one] = sku
                arguments += [line.line, one, quantity * pieces // UNIT]
        token = ledger_token(self._ids, channel, order)
        for attempt in range(STALE_TRIES):
            answer = self._ledger.call("reserve", token, f"{channel}/{market}", int(expires_s * 1000), *arguments)
            status = answer[0].decode()
            if status != "stale":
                break
            time.sleep(0.01 * (attempt + 1))
        if status == "refused":
            return Held(status, by_id[answer[1]], _decimal(int(answer[2])))
        return Held(status, until_ms=int(answer[1]) if status == "accepted" else None)

    def release(self, order: str, channel: str) -> bool:
        """Let go of what an order reserved; False: it held nothing."""
        return self._ledger.call("release", ledger_token(self._ids, channel, order))[0] == b"released"

    def close(self) -> None:
        """Let go of the connection."""
        self._ledger.close()

    def __enter__(self) -> Stock:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.close()

    def _id(self, sku: str) -> bytes:
        if sku not in self._names:
            if len(self._names) > 100_000:
                self._names.clear()
            self._names[sku] = self._ids.one(f"sku\x1f{sku}")
        return self._names[sku]

    def _told(self) -> dict[str, Any]:
        if self._plan is None:
            (text,) = self._ledger.read([self._place + b"f"])
            if text is None:
                raise ConfigurationError(
                    "asking for stock: nothing is known yet (the flow of stock has not run); start `nurt run --flow "
                    "stock`"
                )
            self._plan = orjson.loads(text)
        return self._plan

    def _promises(self, skus: Sequence[str]) -> dict[str, tuple[Any, list[tuple[str, int]]]]:
        """Read (what is left by union, parts of the kit) of skus."""
        ids = [self._id(sku) for sku in skus]
        keys = [self._place + kind + one for kind in (b"q", b"m") for one in ids]
        values = self._ledger.read(keys)
        found: dict[str, tuple[Any, list[tuple[str, int]]]] = {}
        for sku, promise, held in zip(skus, values[: len(ids)], values[len(ids) :], strict=True):
            if promise is None:
                found[sku] = None, []
                continue
            version, texts, kit = promise.decode().split(";", 2)
            if self._plan is None or self._plan["version"] != version:
                self._plan = None
            plan = self._told()
            slack = np.array([int(text) for text in texts.split(",")], dtype=np.int64)
            for route, quantity in read_held(held).items():
                slack[plan["around"].get(route, plan["around"]["*/*"])] -= quantity
            found[sku] = slack, [(part, pieces) for part, pieces in orjson.loads(kit)] if kit else []
        return found

    def _parts(self, sku: str) -> list[tuple[str, int]]:
        known = self._kits.get(sku)
        now = time.monotonic()
        if known is None or now - known[0] > KITS_KNOWN_S:
            if len(self._kits) > 100_000:
                self._kits.clear()
            known = self._kits[sku] = now, self._promises([sku])[sku][1]
        return known[1]


def _units(quantity: Quantity) -> int:
    units = Decimal(quantity) * UNIT
    if units != units.to_integral_value():
        raise ConfigurationError("reserving for an order: a quantity with more than four decimals; round it")
    return int(units)


def _decimal(units: int) -> Decimal:
    whole = Decimal(units) / UNIT
    return whole.quantize(Decimal(1)) if whole == whole.to_integral_value() else whole


def decimals(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Turn quantities of a row into decimals, for people."""
    return {**row, **{name: _decimal(row[name]) for name in names}}
