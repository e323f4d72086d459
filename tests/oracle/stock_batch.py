"""What stock should be: a plain recomputation over the final rows. Shares nothing with the product but its words."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nurt.model.stock.plan import UNIT, StockPlan
from tests.oracle.naming import DEPLOYMENT_IDS

DAY_MS = 86_400_000
DEEP_MAX = 4


@dataclass(frozen=True, slots=True)
class StockRow:
    """A row as its database holds it at the end, and its last event."""

    system: str
    kind: str
    key: str
    fields: dict[str, Any]
    parent: str | None
    position: tuple[int | None, ...]
    ts_ms: int

    @property
    def id(self) -> bytes:
        return DEPLOYMENT_IDS.one(f"{self.system}\x1f{self.kind}\x1f{self.key}")

    def get(self, name: str) -> Any:
        return self.fields.get(name)


@dataclass(frozen=True, slots=True)
class Expected:
    """available by (sku, channel, market); remaining by (order system, order key, sku); parcels by order's id: system,
    status, tracking numbers."""

    available: dict[tuple[str, str, str], int]
    remaining: dict[tuple[str, str, str], int]
    parcels: dict[bytes, list[tuple[Any, ...]]]


def expected_stock(
    rows: Sequence[StockRow], plan: StockPlan, priority: dict[str, int], markets: dict[str, str], as_of_ms: int
) -> Expected:
    """Compute everything from the final rows."""
    by_kind: dict[str, list[StockRow]] = defaultdict(list)
    for row in rows:
        by_kind[row.kind].append(row)
    remaining, holds, parcels = _orders(by_kind, plan, markets, as_of_ms)
    kits: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in by_kind["kit_part"]:
        if row.get("kit") is not None and row.get("sku") is not None:
            kits[row.get("kit")][row.get("sku")] += UNIT if row.get("quantity") is None else row.get("quantity")
    spread = []
    for sku, *rest, quantity in holds:
        spread.append((sku, *rest, quantity))
        spread += [(part, *rest, quantity * pieces // UNIT) for part, pieces in _within(sku, kits, (sku,))]
    skus = {row.get("sku") for kind in ("stock_level", "supply") for row in by_kind[kind]} | set(kits)
    skus |= {part for parts in kits.values() for part in parts} | {hold[0] for hold in spread}
    skus |= {row.get("sku") for row in by_kind["order_line"]}
    available = {}
    for sku in skus - {None}:
        for name, channel in plan.channels.items():
            for market in channel.markets:
                route = (name, market)
                if sku in kits:
                    parts = _made_of(sku, kits, ())
                    most = [
                        _free(part, route, by_kind, spread, plan, priority, as_of_ms) // pieces if pieces > 0 else 2**40
                        for part, pieces in (parts or {}).items()
                    ]
                    available[sku, name, market] = min(most, default=0) * UNIT
                else:
                    available[sku, name, market] = _free(sku, route, by_kind, spread, plan, priority, as_of_ms)
    return Expected(available, remaining, parcels)


def _within(sku: str, kits: dict[str, dict[str, int]], path: tuple[str, ...]) -> list[tuple[str, int]]:
    """List what holding a kit holds, part by part; a way that leads back to where it has been ends there."""
    found = []
    for part, pieces in kits.get(sku, {}).items():
        if part not in path and len(path) <= DEEP_MAX:
            found.append((part, pieces))
            deeper = _within(part, kits, (*path, part))
            found += [(other, pieces * more // UNIT) for other, more in deeper]
    return found


def _made_of(sku: str, kits: dict[str, dict[str, int]], path: tuple[str, ...]) -> dict[str, int] | None:
    """Say what a kit is made of; None: it contains itself, or is too deep."""
    if sku in path or len(path) >= DEEP_MAX:
        return None
    found: dict[str, int] = defaultdict(int)
    for part, pieces in kits[sku].items():
        inner = {part: UNIT} if part not in kits else _made_of(part, kits, (*path, sku))
        if inner is None:
            return None
        for one, more in inner.items():
            found[one] += pieces * more // UNIT
    return found


def _pieces(row: StockRow, name: str) -> int:
    quantity = row.get(name) or 0
    return quantity if row.get("pack_size") is None else quantity * row.get("pack_size") // UNIT


def _bins(plan: StockPlan, channel: str, market: str) -> frozenset[tuple[str, int | None]]:
    known = plan.channels.get(channel)
    if known is None:
        return frozenset((name, None) for name in plan.locations)
    allowed = None
    if market in known.markets and market in plan.markets:
        allowed = plan.markets[market].locations
    names = [name for name in known.locations if allowed is None or name in allowed]
    bins: set[tuple[str, int | None]] = {(name, None) for name in names}
    for other in plan.channels.values():
        days = other.inbound_days
        if known.inbound_days is not None and days is not None and days <= known.inbound_days:
            bins |= {(name, days) for name in names}
    return frozenset(bins)


def _free(
    sku: str,
    route: tuple[str, str],
    by_kind: dict[str, list[StockRow]],
    holds: Iterable[tuple[Any, ...]],
    plan: StockPlan,
    priority: dict[str, int],
    as_of_ms: int,
) -> int:
    levels = [row for row in by_kind["stock_level"] if row.get("sku") == sku]
    caps: dict[tuple[str, int | None], int] = defaultdict(int)
    held = [hold for hold in holds if hold[0] == sku and _counts(hold, levels, as_of_ms)]
    for name, location in plan.locations.items():
        here = [row for row in levels if row.get("location") == name]
        if location.system is not None:
            here = [row for row in here if row.system == location.system]
        first = min(((priority[row.system], row.system) for row in here), default=(0, ""))[1]
        there = sum(_pieces(row, "quantity") - _pieces(row, "reserved_quantity") for row in here if row.system == first)
        there -= sum(hold[-1] for hold in held if hold[3] == name)
        caps[name, None] = max(0, there - location.buffer)
    days = sorted({one.inbound_days for one in plan.channels.values() if one.inbound_days is not None})
    for row in by_kind["supply"]:
        if row.get("sku") == sku and row.get("location") in plan.locations and row.get("expected_on") is not None:
            ahead = row.get("expected_on") - as_of_ms // DAY_MS
            fits = [day for day in days if ahead <= day]
            if ahead >= 0 and fits and row.get("status") not in ("cancelled", "complete"):
                left = _pieces(row, "quantity") - _pieces(row, "received_quantity")
                caps[row.get("location"), fits[0]] += max(0, left)
    demands: dict[frozenset[tuple[str, int | None]], int] = defaultdict(int)
    for hold in held:
        if hold[3] not in plan.locations:
            demands[_bins(plan, hold[1], hold[2])] += hold[-1]
    own = _bins(plan, *route)
    every = {_bins(plan, name, market) for name, one in plan.channels.items() for market in (*one.markets, "no such")}
    every |= {_bins(plan, "no such", ""), *demands}
    least = None
    for count in range(1, len(every) + 1):
        for some in itertools.combinations(list(every), count):
            union = frozenset().union(*some)
            if not own <= union or not _hangs_together(some):
                continue
            inside = sum(quantity for bins, quantity in demands.items() if bins <= union)
            free = sum(caps[one] for one in union) - inside
            least = free if least is None else min(least, free)
    assert least is not None
    market = plan.markets.get(route[1])
    return max(0, least - plan.channels[route[0]].buffer - (market.buffer if market else 0))


def _hangs_together(some: Sequence[frozenset[Any]]) -> bool:
    joined, left = set(some[0]), list(some[1:])
    while left:
        near = [one for one in left if joined & one]
        if not near:
            return False
        for one in near:
            joined |= one
            left.remove(one)
    return True


def _counts(hold: tuple[Any, ...], levels: Sequence[StockRow], as_of_ms: int) -> bool:
    """hold: sku, channel, market, location, booking (system, position, due) or None, quantity."""
    booking = hold[4]
    if booking is None:
        return True
    system, position, due = booking
    if due <= as_of_ms:
        return False
    for row in levels:
        if row.system == system and hold[3] in (None, row.get("location")) and _reached(row.position, position):
            return False
    return True


def _reached(level: Sequence[int | None], booked: Sequence[int | None]) -> bool:
    """Compare part by part: an unknown one decides nothing."""
    for one, other in zip(level, booked, strict=True):
        if one is None or other is None:
            return False
        if one != other:
            return one > other
    return True


def _refs(text: str | None) -> list[str]:
    return [ref for ref in re.split(r"[,;|\s]+", text or "") if ref]


def _orders(
    by_kind: dict[str, list[StockRow]], plan: StockPlan, markets: dict[str, str], as_of_ms: int
) -> tuple[dict[tuple[str, str, str], int], list[tuple[Any, ...]], dict[bytes, list[tuple[Any, ...]]]]:
    orders = sorted(by_kind["order"], key=lambda row: (row.get("placed_at") or 0, row.id))
    lines = _children(by_kind["order_line"])
    need: dict[tuple[bytes, str, str | None], int] = defaultdict(int)
    returned: dict[tuple[bytes, str, str | None], int] = defaultdict(int)
    for order in orders:
        done = order.get("status") in ("cancelled", "returned", "complete")
        for line in lines[order.system, order.key]:
            if line.get("sku") is not None:
                entry = (order.id, line.get("sku"), line.get("location"))
                wanted = max(0, _pieces(line, "quantity") - _pieces(line, "cancelled_quantity"))
                need[entry] += 0 if done else wanted
                returned[entry] += _pieces(line, "returned_quantity")
    documents = [row for row in by_kind["document"] if row.get("status") != "cancelled"]
    of_document: dict[bytes, list[StockRow]] = {}
    booked_gifts, booked_holds = [], []
    document_lines = _children(by_kind["document_line"])
    all_targets: dict[bytes, set[bytes]] = {}
    for document in sorted(documents, key=lambda row: row.id):
        named = _named(document, document.get("order_ref"), orders)
        of_document[document.id] = named
        all_targets[document.id] = {row.id for row in named}
        groups: dict[tuple[str, str | None, tuple[bytes, ...]], list[StockRow]] = defaultdict(list)
        for line in document_lines[document.system, document.key]:
            own = line.get("order_ref")
            targets = named if own is None else _by_refs(_refs(own), document.get("order_system"), orders)
            if own is not None:
                all_targets[document.id] |= {row.id for row in targets}
            if line.get("sku") is not None:
                place = line.get("location") or document.get("location")
                groups[line.get("sku"), place, tuple(sorted(row.id for row in targets))].append(line)
        for (sku, place, targets), some in groups.items():
            quantity = sum(max(0, _pieces(line, "quantity")) for line in some)
            if quantity > 0:
                booked_gifts.append(((len(targets), document.id, sku, place or "", targets), quantity))
                booked_holds.append((document, sku, place, targets, some, quantity))
    booked = _pour(booked_gifts, need, orders)
    shipped_gifts, shipped_holds, whole = [], [], set()
    shipment_lines, tracking = _children(by_kind["shipment_line"]), _children(by_kind["tracking"])
    parcels: dict[bytes, list[tuple[Any, ...]]] = {order.id: [] for order in orders}
    has_paper = {one for targets in all_targets.values() for one in targets}
    for shipment in by_kind["shipment"]:
        if shipment.get("status") not in ("shipped", "delivered", "returned"):
            continue
        found = {row.id for row in _named(shipment, shipment.get("order_ref"), orders)}
        found |= {row.id for row in orders if row.system == shipment.system and row.key == shipment.parent}
        numbers = set(_refs(shipment.get("document_ref")))
        for document in documents:
            if document.get("number") in numbers:
                found |= all_targets[document.id]
        has_paper |= found
        numbers_beside = {row.get("number") for row in tracking[shipment.system, shipment.key]} - {None}
        own = shipment.get("tracking")
        shown = own if own is not None else ", ".join(sorted(numbers_beside)) or None
        for one in found:
            parcels[one].append((shipment.system, shipment.get("status"), shown))
        targets = tuple(sorted(found))
        mine = shipment_lines[shipment.system, shipment.key]
        if not mine:
            whole |= found
        for sku in sorted({line.get("sku") for line in mine if line.get("sku") is not None}):
            some = [line for line in mine if line.get("sku") == sku]
            quantity = sum(max(0, _pieces(line, "quantity")) for line in some)
            place = shipment.get("location")
            if quantity > 0:
                shipped_gifts.append(((len(targets), shipment.id, sku, place or "", targets), quantity))
                shipped_holds.append((shipment, sku, place, targets, some, quantity))
    shipped = _pour(shipped_gifts, need, orders, whole)
    by_id = {order.id: order for order in orders}
    remaining: dict[tuple[str, str, str], int] = defaultdict(int)
    holds: list[tuple[Any, ...]] = []
    at_booking = plan.reduced_by == "booking"
    for entry, wanted in need.items():
        order, sku, location = by_id[entry[0]], entry[1], entry[2]
        ended = max(shipped[entry], returned[entry], booked[entry] if at_booking else 0)
        placed = order.get("placed_at")
        expired = plan.reservation_s is not None and placed is not None
        expired = expired and placed // 1000 + (plan.reservation_s or 0) * 1000 <= as_of_ms
        left = 0 if expired and order.id not in has_paper else max(0, wanted - ended)
        remaining[order.system, order.key, sku] += left
        if left:
            channel, market = _route(order, markets)
            holds.append((sku, channel, market, location, None, left))
    booked_orders = {one for some in all_targets.values() for one in some}
    unbooked = [one for one in shipped_holds if one[3] and booked_orders.isdisjoint(one[3])]
    for paper, sku, place, targets, some, quantity in booked_holds + unbooked if at_booking else shipped_holds:
        stamps = [(line.position, line.ts_ms) for line in some]
        since = paper.get("booked_at" if paper.kind == "document" else "shipped_at")
        moments = [max(ts, paper.ts_ms) for _, ts in stamps]
        start = since // 1000 if since is not None else max(moments)
        positions = [_later(position, paper.position) for position, _ in stamps]
        unknown = any(None in position for position in positions)
        position = (None,) * 4 if unknown else max(positions)
        first = min(targets, default=None)
        channel, market = ("", "") if first is None else _route(by_id[first], markets)
        booking = (paper.system, position, start + plan.grace_s * 1000)
        holds.append((sku, channel, market, place, booking, quantity))
    if not at_booking:
        for paper, sku, place, targets, _, quantity in booked_holds:
            if not targets and paper.get("status") not in ("shipped", "complete"):
                holds.append((sku, "", "", place, None, quantity))
    return dict(remaining), holds, parcels


def _later(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
    return (None,) * 4 if None in (*one, *other) else max(one, other)


def _route(order: StockRow, markets: dict[str, str]) -> tuple[str, str]:
    market = order.get("market")
    if market is None:
        market = markets.get(order.system, "")
    return order.get("sales_channel") or order.system, market


def _children(rows: Sequence[StockRow]) -> dict[tuple[str, str], list[StockRow]]:
    found: dict[tuple[str, str], list[StockRow]] = defaultdict(list)
    for row in rows:
        if row.parent is not None:
            found[row.system, row.parent].append(row)
    return found


def _named(paper: StockRow, ref: str | None, orders: Sequence[StockRow]) -> list[StockRow]:
    system = paper.get("order_system")
    if ref is not None:
        return _by_refs(_refs(ref), system, orders)
    key = paper.get("match_key")
    if key is None:
        return []
    return [row for row in orders if row.get("match_key") == key and system in (None, row.system)]


def _by_refs(refs: Sequence[str], system: str | None, orders: Sequence[StockRow]) -> list[StockRow]:
    return [
        row
        for row in orders
        if (row.get("number") in refs or row.get("reference") in refs) and system in (None, row.system)
    ]


def _pour(
    gifts: list[tuple[tuple[int, bytes, str, str, tuple[bytes, ...]], int]],
    need: dict[tuple[bytes, str, str | None], int],
    orders: Sequence[StockRow],
    whole: Iterable[bytes] = (),
) -> dict[tuple[bytes, str, str | None], int]:
    got: dict[tuple[bytes, str, str | None], int] = defaultdict(int)
    for entry, wanted in need.items():
        if entry[0] in set(whole):
            got[entry] = wanted
    for (_, _, sku, _, targets), quantity in sorted(gifts):
        left = quantity
        for order in orders:
            if order.id not in targets:
                continue
            for entry in sorted((e for e in need if e[:2] == (order.id, sku)), key=lambda e: e[2] or ""):
                take = min(left, need[entry] - got[entry])
                got[entry] += max(0, take)
                left -= max(0, take)
    return got
