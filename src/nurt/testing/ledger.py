"""The ledger of reservations over plain values: for stores in memory, and as the oracle of the Lua script."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nurt.model.units import NO_TIME, Millis
from nurt.stock.ledger import SEEN_MAX_MS, Argument
from nurt_client.ledger import read_held


@dataclass(slots=True)
class _Order:
    route: str
    until_ms: Millis = NO_TIME
    done: bool = False
    lines: dict[bytes, int] = field(default_factory=dict)
    booked: dict[bytes, int] = field(default_factory=dict)

    def holds(self) -> dict[bytes, int]:
        sums: dict[bytes, int] = {}
        if self.done:
            return sums
        for name, quantity in self.lines.items():
            sums[name[-16:]] = sums.get(name[-16:], 0) + quantity
        return {one: max(0, quantity - self.booked.get(one, 0)) for one, quantity in sums.items()}


class Ledger:
    """A ledger of one place over plain values.

    Args:
        values: the place's other keys, and `m`.
        due: member -> score, as the worker's index of timers `u`.
    """

    def __init__(self, place: bytes, values: dict[bytes, bytes], due: dict[bytes, int], orders: dict[bytes, _Order]):
        self._place, self._values, self._due, self._orders = place, values, due, orders
        self._realm = place[place.index(b"{r:") + 3 : -1]

    def call(self, what: str, arguments: Sequence[Argument], now_ms: Millis) -> list[bytes]:
        """Do the script's work, and return its answer."""
        plain = [one if isinstance(one, bytes) else str(one).encode() for one in arguments]
        if what == "reserve":
            return self._reserve(plain, now_ms)
        if what == "book":
            return self._book(plain)
        if what == "release":
            there = plain[0] in self._orders
            self._forget(plain[0])
            return [b"released" if there else b"nothing"]
        if what == "open":
            self._values[self._place + b"o"] = str(now_ms).encode()
            return [b"open"]
        if what == "sweep":
            if self._place + b"o" in self._values:
                self._values[self._place + b"o"] = str(now_ms).encode()
            return [str(self._sweep(now_ms)).encode()]
        assert what == "free", "the ledger has no such call"
        self._sweep(now_ms)
        plan = json.loads(self._values[self._place + b"f"])
        return [str(self._free(plan, plain[0].decode(), one) or 0).encode() for one in plain[1:]]

    def _reserve(self, plain: list[bytes], now_ms: Millis) -> list[bytes]:
        token, route, ttl = plain[0], plain[1].decode(), int(plain[2])
        seen = self._values.get(self._place + b"o")
        if seen is None or now_ms - int(seen) > SEEN_MAX_MS:
            return [b"closed"]
        plan = json.loads(self._values[self._place + b"f"])
        if route not in plan["around"]:
            return [b"unknown route"]
        self._sweep(now_ms)
        known = self._values.get(self._place + b"j" + token, b"")[:1] == b"B"
        held = self._orders.get(token)
        if (held is not None and held.done) or (known and held is None):
            return [b"known"]
        order = held or _Order(route)
        if order.route != route:
            return [b"differs"]
        lines = dict(order.lines)
        for at in range(3, len(plain), 3):
            name, quantity = plain[at] + b"\x1f" + plain[at + 1], int(plain[at + 2])
            if lines.setdefault(name, quantity) != quantity:
                return [b"differs"]
        after = _Order(route, order.until_ms, False, lines, order.booked)
        before_held, after_held = order.holds(), after.holds()
        for at in range(3, len(plain), 3):
            one = plain[at + 1]
            more = after_held.get(one, 0) - before_held.get(one, 0)
            if more > 0:
                left = self._free(plan, route, one)
                if left is None:
                    return [b"stale"]
                if left < more:
                    return [b"refused", one, str(left).encode()]
        after.until_ms = max(Millis(now_ms + ttl), order.until_ms)
        self._orders[token] = after
        self._shift(route, before_held, after_held)
        return [b"accepted", str(after.until_ms).encode()]

    def _book(self, plain: list[bytes]) -> list[bytes]:
        at = 0
        while at < len(plain):
            token, done, skus = plain[at], plain[at + 1] == b"1", int(plain[at + 2])
            at += 3
            known = {plain[n]: int(plain[n + 1]) for n in range(at, at + 2 * skus, 2)}
            at += 2 * skus
            order = self._orders.get(token)
            if order is not None:
                before = order.holds()
                order.booked, order.done = known, done
                self._shift(order.route, before, order.holds())
        return [b"booked"]

    def _forget(self, token: bytes) -> None:
        order = self._orders.pop(token, None)
        if order is not None:
            self._shift(order.route, order.holds(), {})

    def _sweep(self, now_ms: Millis) -> int:
        over = [token for token, order in self._orders.items() if order.until_ms <= now_ms]
        for token in over:
            self._forget(token)
        return len(over)

    def _free(self, plan: dict[str, Any], route: str, one: bytes) -> int | None:
        promise = self._values.get(self._place + b"q" + one)
        if promise is None:
            return 0
        version, texts, _ = promise.decode().split(";", 2)
        if version != plan["version"]:
            return None
        slack = [int(text) for text in texts.split(",")]
        for other, quantity in read_held(self._values.get(self._place + b"m" + one)).items():
            for union in plan["around"].get(other, plan["around"]["*/*"]):
                slack[union] -= quantity
        least: int = min(slack[union] for union in plan["around"][route]) - plan["buffers"][route]
        return max(0, least)

    def _shift(self, route: str, before: Mapping[bytes, int], after: Mapping[bytes, int]) -> None:
        for one in {**before, **after}:
            change = after.get(one, 0) - before.get(one, 0)
            if not change:
                continue
            held = read_held(self._values.get(self._place + b"m" + one))
            held[route] = max(0, held.get(route, 0) + change)
            text = "".join(f"{name}\t{held[name]}\n" for name in sorted(held) if held[name] > 0)
            if text:
                self._values[self._place + b"m" + one] = text.encode()
            else:
                self._values.pop(self._place + b"m" + one, None)
            self._due[b"S" + one + self._realm] = 0
