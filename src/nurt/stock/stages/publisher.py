"""The third stage of stock: publish conflated figures and orders, and each crossing of a threshold once.

The write that causes a publication marks it as pending, so a restart publishes it again. One write changes a position's
side of its thresholds, its crossing events and the read model; whole events are pending, because no replay makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import polars as pl

from nurt.columnar.types import Int64s
from nurt.model.fence import pending_score
from nurt.model.keys import Keys, words_of
from nurt.model.state_write import StateWrite
from nurt.model.stock.published import StockBatch
from nurt.model.units import Millis
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.state.table import OWNER
from nurt.stock.from_rows import LEVEL, POSITIONS
from nurt.stock.holders import Holders
from nurt.stock.holds import HOLD
from nurt.stock.last_published import Codec, LastPublished
from nurt.stock.levels import StockFigures, crossing, levels_of
from nurt.stock.matching.documents import DOCUMENT_HOLDS, DONE_ORDER
from nurt.stock.routes import SalesRoutes
from nurt.stock.stages.view import HOLDS_OF_DOCUMENT, Looked, StockView
from nurt_client.ids import sku_id

SHOWN, LAST_PUBLISHED, STUCK = b"v", b"b", b"n"
SEARCH_MS = 300_000
"""Least time between two searches for holders of oversold skus; an event in between may name no order."""
SKUS_NAMED_MAX = 200
"""For how many oversold skus of one moment orders are named."""
ORDERS_NAMED_MAX = 100
"""How many orders an event of oversold stock names."""


class StockPublisher:
    """The stage that publishes for a worker's realms.

    Args:
        moment: gives the epoch, and the moment of the computation.
        stale_of: names a realm's stale locations.
        near: returns whether hardly any input waits.
        recent: recent holders of skus, by realm.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        context: FoldContext,
        routes: SalesRoutes,
        moment: Callable[[], tuple[int, Millis]],
        stale_of: Callable[[str], frozenset[str]],
        near: Callable[[], bool],
        recent: Mapping[str, Holders],
    ) -> None:
        self._near, self._searched_ms, self._recent = near, -SEARCH_MS, recent
        self._store, self._keys, self._routes, self._moment = store, keys, routes, moment
        self._context, self._codec = context, Codec(routes)
        self.view = StockView(store.load, keys, context, routes, stale_of)

    def publish(self, realm: str, positions: Sequence[bytes], sales_documents: Sequence[bytes]) -> StockBatch:
        """Publish the current state of positions and orders."""
        epoch, as_of_ms = self._moment()
        change = StateWrite()
        revision = self._store.next_stamp()
        events: list[dict[str, Any]] = []
        figures = pl.DataFrame()
        if positions:
            figures = self._figures(realm, positions, as_of_ms, revision, change, events)
        orders = self.view.orders(realm, sales_documents, as_of_ms) if sales_documents else {}
        self._stuck(realm, orders, as_of_ms, change, events)
        for event in events:
            event |= {"realm": realm, "at_ms": as_of_ms}
        if events:
            score, place = pending_score(self._store.run, epoch), self._keys.realm_place(realm)
            change.pending[place] = {b"E" + orjson.dumps(event): score for event in events}
        self._store.write(change)
        if figures.height:
            figures = figures.with_columns(pl.lit(realm).alias("realm"))
        return StockBatch(revision, as_of_ms, figures, orders, tuple(events), realm)

    def _figures(
        self,
        realm: str,
        positions: Sequence[bytes],
        as_of_ms: Millis,
        revision: int,
        change: StateWrite,
        events: list[dict[str, Any]],
    ) -> pl.DataFrame:
        ids = words_of(positions)
        (contributions,) = self._store.load([self._keys.rows_in(LAST_PUBLISHED, realm, ids)])
        looked = self.view.look(realm, ids, as_of_ms, lambda: self._codec.skus(contributions))
        before = self._codec.read(contributions)
        if len(looked.ids) < len(ids):
            before = before.take(looked.at)
        figures = looked.figures
        level = levels_of(self._routes.plan, figures.available, before.level)
        now = LastPublished(before.there, figures.available, level, self._oversold(figures), self._drifts(looked))
        apart = now.differs(before)
        names = self._keys.rows_in(LAST_PUBLISHED, realm, looked.ids)
        change.keep(names, self._codec.write(looked.skus, now), apart)
        self._show(realm, looked.skus, figures.available, np.flatnonzero(apart), change)
        self._cross(before, now, looked.skus, realm, revision, events)
        return figures.frame(self._routes, looked.skus)

    def _oversold(self, figures: StockFigures) -> Int64s:
        return np.repeat(figures.oversold[:, None], self._routes.sold, axis=1)

    def _drifts(self, looked: Looked) -> Int64s:
        """Compare with the channels' own figures: the difference, 0 within the tolerance."""
        plan, sold = self._routes.plan, self._routes.sold
        apart = np.zeros((len(looked.skus), sold), dtype=np.int64)
        shown = {one.name: one.shown for one in plan.channels.values() if one.shown is not None}
        if plan.drift is None or not shown:
            return apart
        rows = POSITIONS.unpack(looked.positions.plain(), ("part", "location", "quantity"))
        levels = rows.filter((pl.col("part") == LEVEL) & pl.col("location").is_in(list(shown.values())))
        theirs = levels.group_by(OWNER, "location").agg(pl.col("quantity").sum())
        of_route = [shown.get(channel) for channel, _ in self._routes.names[:sold]]
        for owner, location, quantity in theirs.iter_rows():
            for route in range(sold):
                if of_route[route] == location:
                    apart[owner, route] = quantity - looked.figures.available[owner, route]
        return np.where(np.abs(apart) > plan.drift, apart, 0)

    def _cross(
        self,
        before: LastPublished,
        now: LastPublished,
        skus: list[str],
        realm: str,
        revision: int,
        events: list[dict[str, Any]],
    ) -> None:
        """List the events of crossed thresholds, in order of skus and routes."""
        apart = ((now.level != before.level) & before.there) | ((now.drifts != 0) != (before.drifts != 0))
        over = (now.oversold > 0) != (before.oversold > 0)
        short: dict[str, dict[str, Any]] = {}
        for row in np.flatnonzero((apart | over).any(axis=1)).tolist():
            for route in np.flatnonzero(apart[row]).tolist():
                channel, market = self._routes.names[route]
                place = {"sku": skus[row], "channel": channel, "market": market}
                was = int(before.level[row, route]) if before.there[row, route] else None
                name = crossing(was, int(now.level[row, route]))
                if name is not None:
                    events.append(_event(name, revision, place, quantity=int(now.available[row, route])))
                drifts = int(now.drifts[row, route])
                if (drifts != 0) != bool(before.drifts[row, route]):
                    events.append(_event("drift" if drifts else "drift_over", revision, place, quantity=drifts))
            if over[row].any():
                name = "oversold" if now.oversold[row, 0] > 0 else "oversold_over"
                place = {"sku": skus[row], "channel": "", "market": ""}
                event = _event(name, revision, place, quantity=int(now.oversold[row, 0]))
                events.append(event)
                if name == "oversold":
                    short[skus[row]] = event
        if short:
            self._name_holders(realm, short)

    def _name_holders(self, realm: str, short: dict[str, dict[str, Any]]) -> None:
        """Name holders in events: recent holders, or else those that a search finds.

        A search reads every open order, so it runs rarely, and not while much input waits.
        """
        _, as_of_ms = self._moment()
        unknown = []
        for sku, event in list(short.items())[:SKUS_NAMED_MAX]:
            event["orders"] = self._recent_holders(realm, sku)
            if not event["orders"]:
                unknown.append(sku)
        if unknown and self._near() and as_of_ms - self._searched_ms >= SEARCH_MS:
            self._searched_ms = as_of_ms
            for sku, orders in self._holders(realm, unknown).items():
                short[sku]["orders"] = orders

    def _recent_holders(self, realm: str, sku: str) -> list[str]:
        recent = self._recent.get(realm)
        if recent is None:
            return []
        sales_documents = recent.of(sku_id(self._context.ids, sku), ORDERS_NAMED_MAX)
        values = (
            self._store.read(self._keys.in_realm(HOLDS_OF_DOCUMENT, realm, sales_documents)) if sales_documents else []
        )
        rows = DOCUMENT_HOLDS.unpack(values, ("part", "sku"))
        still = rows.filter((pl.col("part") == HOLD) & (pl.col("sku") == sku))[OWNER].unique().to_list()
        return sorted(sales_documents[owner].hex() for owner in still)

    def _holders(self, realm: str, skus: list[str]) -> dict[str, list[str]]:
        """Find open orders that hold skus: a walk over all open orders."""
        found: dict[str, list[str]] = {sku: [] for sku in skus}
        start = self._keys.realm_place(realm)
        for ids in self._store.scan(HOLDS_OF_DOCUMENT, start):
            values = self._store.read([start + HOLDS_OF_DOCUMENT + one for one in ids])
            rows = DOCUMENT_HOLDS.unpack(values, ("part", "sku", "quantity"))
            rows = rows.filter((pl.col("part") == HOLD) & pl.col("sku").is_in(skus))
            for owner, sku in rows.select(OWNER, "sku").unique(maintain_order=True).iter_rows():
                found[sku].append(ids[owner].hex())
        return {sku: sorted(orders)[:ORDERS_NAMED_MAX] for sku, orders in found.items()}

    def _show(self, realm: str, skus: list[str], available: Int64s, rows: Int64s, change: StateWrite) -> None:
        """Write the read model: one text a sku, `{"channel/market": pieces}`."""
        if not len(rows):
            return
        texts = self._codec.shown(available[rows])
        place = self._keys.realm_place(realm) + SHOWN
        names = [skus[row].encode() for row in rows.tolist()]
        sizes = np.fromiter(map(len, names), dtype=np.int64, count=len(names))
        for size in np.unique(sizes).tolist():  # keys of one length are written together
            some = np.flatnonzero(sizes == size)
            keys = b"".join([place + names[at] for at in some.tolist()])
            mine = sizes == size
            every = np.zeros((len(names), len(place) + size), dtype=np.uint8)
            every[some] = np.frombuffer(keys, dtype=np.uint8).reshape(len(some), -1)
            change.keep(every, texts, mine)

    def _stuck(
        self,
        realm: str,
        orders: dict[bytes, dict[str, Any] | None],
        as_of_ms: Millis,
        change: StateWrite,
        events: list[dict[str, Any]],
    ) -> None:
        stuck_s = self._routes.plan.stuck_s
        if stuck_s is None or not orders:
            return
        ids = list(orders)
        names = self._keys.in_realm(STUCK, realm, ids)
        for one, name, stored in zip(ids, names, self._store.read(names), strict=True):
            order = orders[one]
            is_stuck = (
                order is not None
                and order["stage"] == "placed"
                and order["placed_at"] is not None
                and order["status"] not in DONE_ORDER
                and order["placed_at"] // 1000 + stuck_s * 1000 <= as_of_ms
            )
            if is_stuck and stored is None and order is not None:
                change.put[name] = b"1"
                place = {"sku": "", "channel": order["channel"], "market": order["market"]}
                event = _event("stuck_order", one.hex(), place)
                event["orders"] = [one.hex()]
                events.append(event)
            elif not is_stuck and stored is not None:
                change.drop.append(name)


def _event(kind: str, mark: int | str, place: dict[str, Any], quantity: int = 0) -> dict[str, Any]:
    name = "/".join([kind, place["sku"], place["channel"] or "", place["market"] or "", str(mark)])
    return {"id": name, "kind": kind, "location": "", **place, "quantity": quantity, "orders": []}
