"""The third stage of stock: what is said of skus and orders, conflated, and each crossing of a threshold once.

What waits here is owed by the write that caused it, so a restart says it again. A shelf's side of its thresholds, the
events of crossing them and the read model change in one write; events are owed as they are, for no replay makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson
import polars as pl

from nurt.core.context import FoldContext
from nurt.core.stock.figures import PUBLISHED, crossing, levels_of
from nurt.core.stock.papers import DONE_ORDER, SHARE
from nurt.core.stock.promise import HOLD
from nurt.core.stock.routes import Routes
from nurt.core.stock.said import LEVEL
from nurt.core.tables import OWNER
from nurt.model.change import Change
from nurt.model.head import owed_score
from nurt.model.keys import Keys
from nurt.model.stock_plan import UNIT
from nurt.model.stock_published import StockBatch
from nurt.operators.stock_view import SHARES, Looked, StockView
from nurt.ports import Store

SHOWN, SAID, STUCK = b"v", b"b", b"n"
SEARCH_MS = 5_000
"""How often at most orders are searched that hold what is oversold; an event in between names none."""
ORDERS_NAMED_MAX = 100
"""Orders that an event of oversold stock names."""


class StockPublisher:
    """Publishes for a worker's realms.

    Args:
        moment: tells the epoch and what the time is, in milliseconds.
        stale_of: names a realm's stale locations.
        near: says whether hardly anything waits to be read.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        context: FoldContext,
        routes: Routes,
        moment: Callable[[], tuple[int, int]],
        stale_of: Callable[[str], frozenset[str]],
        near: Callable[[], bool],
    ) -> None:
        self._near, self._searched_ms = near, 0
        self._store, self._keys, self._routes, self._moment = store, keys, routes, moment
        self.view = StockView(store.read, keys, context, routes, stale_of)

    def publish(self, realm: str, shelves: Sequence[bytes], papers: Sequence[bytes]) -> StockBatch:
        """Say how shelves and orders are now."""
        epoch, as_of_ms = self._moment()
        change = Change()
        revision = self._store.next_stamp()
        events: list[dict[str, Any]] = []
        figures = pl.DataFrame()
        if shelves:
            figures = self._figures(realm, shelves, as_of_ms, revision, change, events)
        orders = self.view.orders(realm, papers, as_of_ms) if papers else {}
        self._stuck(realm, orders, as_of_ms, change, events)
        for event in events:
            event |= {"realm": realm, "at_ms": as_of_ms}
        if events:
            score, place = owed_score(self._store.run, epoch), self._keys.realm_place(realm)
            change.owed[place] = {b"E" + orjson.dumps(event): score for event in events}
        self._store.write(change)
        if figures.height:
            figures = figures.with_columns(pl.lit(realm).alias("realm"))
        return StockBatch(revision, as_of_ms, figures, orders, tuple(events))

    def _figures(
        self,
        realm: str,
        shelves: Sequence[bytes],
        as_of_ms: int,
        revision: int,
        change: Change,
        events: list[dict[str, Any]],
    ) -> pl.DataFrame:
        values = dict(zip(shelves, self._store.read(self._keys.in_realm(SAID, realm, shelves)), strict=True))
        told = PUBLISHED.unpack(list(values.values()), ("sku",)).unique(OWNER)
        texts = {shelves[owner]: sku for owner, sku in told.iter_rows()}
        looked = self.view.look(realm, shelves, as_of_ms, texts)
        names = self._keys.in_realm(SAID, realm, looked.ids)
        said = PUBLISHED.unpack([values[one] for one in looked.ids])
        now = looked.figures.join(
            said.select(OWNER, "channel", "market", *(pl.col(name).alias(f"was_{name}") for name in _SIDES)),
            on=[OWNER, "channel", "market"],
            how="left",
            maintain_order="left",
        )
        plan = self._routes.plan
        level = levels_of(plan, pl.col("available"), pl.col("was_level").fill_null(0))
        now = self._with_drift(now.with_columns(level.alias("level")), looked)
        change.store(names, PUBLISHED.pack(now, len(looked.ids)))
        self._cross(now, looked, realm, revision, events)
        self._show(looked, now, realm, change)
        return now

    def _with_drift(self, now: pl.DataFrame, looked: Looked) -> pl.DataFrame:
        """Compare with what channels show themselves: `drifts` is the difference, 0 within the tolerance."""
        plan = self._routes.plan
        shown = {one.name: one.shown for one in plan.channels.values() if one.shown is not None}
        if plan.drift is None or not shown:
            return now.with_columns(pl.lit(0, pl.Int64).alias("drifts"))
        levels = looked.rows.filter((pl.col("part") == LEVEL) & pl.col("location").is_in(list(shown.values())))
        theirs = levels.group_by(OWNER, pl.col("location").alias("shown")).agg(pl.col("quantity").sum().alias("theirs"))
        where = pl.col("channel").replace_strict(shown, default=None, return_dtype=pl.String)
        now = now.with_columns(where.alias("shown")).join(
            theirs, on=[OWNER, "shown"], how="left", maintain_order="left"
        )
        apart = (pl.col("theirs") - pl.col("available")).fill_null(0)
        return now.with_columns(pl.when(apart.abs() > plan.drift).then(apart).otherwise(0).alias("drifts")).drop(
            "shown", "theirs"
        )

    def _cross(
        self, now: pl.DataFrame, looked: Looked, realm: str, revision: int, events: list[dict[str, Any]]
    ) -> None:
        apart = (
            (pl.col("level") != pl.col("was_level"))
            | ((pl.col("oversold") > 0) != (pl.col("was_oversold").fill_null(0) > 0))
            | ((pl.col("drifts") != 0) != (pl.col("was_drifts").fill_null(0) != 0))
        )
        oversold: dict[int, dict[str, Any]] = {}
        for row in now.filter(apart.fill_null(True)).iter_rows(named=True):
            place = {name: row[name] for name in ("sku", "channel", "market")}
            name = crossing(row["was_level"], row["level"])
            if name is not None:
                events.append(_event(name, revision, place, quantity=row["available"]))
            if (row["drifts"] != 0) != bool(row["was_drifts"]):
                name = "drift" if row["drifts"] else "drift_over"
                events.append(_event(name, revision, place, quantity=row["drifts"]))
            if (row["oversold"] > 0) != bool(row["was_oversold"]) and row[OWNER] not in oversold:
                name = "oversold" if row["oversold"] > 0 else "oversold_over"
                event = _event(name, revision, {**place, "channel": "", "market": ""}, quantity=row["oversold"])
                oversold[row[OWNER]] = event
                events.append(event)
        short = {row["sku"]: row for row in oversold.values() if row["kind"] == "oversold"}
        if short:
            self._name_holders(realm, short)

    def _name_holders(self, realm: str, short: dict[str, dict[str, Any]]) -> None:
        """Let events say who holds; not while there is much to read, and once in a while: it is a long search."""
        _, as_of_ms = self._moment()
        if self._near() and as_of_ms - self._searched_ms >= SEARCH_MS:
            self._searched_ms = as_of_ms
            for sku, orders in self._holders(realm, list(short)).items():
                short[sku]["orders"] = orders

    def _holders(self, realm: str, skus: list[str]) -> dict[str, list[str]]:
        """Find open orders that hold skus: a walk over all open orders, for what is oversold is rare."""
        found: dict[str, list[str]] = {sku: [] for sku in skus}
        start = self._keys.realm_place(realm)
        for ids in self._store.scan(SHARES):
            values = self._store.read([start + SHARES + one for one in ids])
            rows = SHARE.unpack(values, ("part", "sku", "quantity"))
            rows = rows.filter((pl.col("part") == HOLD) & pl.col("sku").is_in(skus))
            for owner, sku in rows.select(OWNER, "sku").unique(maintain_order=True).iter_rows():
                found[sku].append(ids[owner].hex())
        return {sku: sorted(orders)[:ORDERS_NAMED_MAX] for sku, orders in found.items()}

    def _show(self, looked: Looked, now: pl.DataFrame, realm: str, change: Change) -> None:
        """Write the read model: one text a sku, `{"channel/market": pieces}`."""
        place = self._keys.realm_place(realm) + SHOWN
        pieces = pl.col("available") / UNIT
        whole = (
            pl.when(pl.col("available") % UNIT == 0)
            .then((pl.col("available") // UNIT).cast(pl.String))
            .otherwise(pieces.cast(pl.String))
        )
        texts = now.group_by(OWNER, maintain_order=True).agg(
            pl.concat_str(pl.lit('"'), pl.col("channel"), pl.lit("/"), pl.col("market"), pl.lit('":'), whole).str.join(
                ","
            )
        )
        for owner, text in texts.iter_rows():
            change.put[place + looked.skus[owner].encode()] = b"{" + text.encode() + b"}"

    def _stuck(
        self,
        realm: str,
        orders: dict[bytes, dict[str, Any] | None],
        as_of_ms: int,
        change: Change,
        events: list[dict[str, Any]],
    ) -> None:
        stuck_s = self._routes.plan.stuck_s
        if stuck_s is None or not orders:
            return
        ids = list(orders)
        names = self._keys.in_realm(STUCK, realm, ids)
        for one, name, told in zip(ids, names, self._store.read(names), strict=True):
            order = orders[one]
            is_stuck = (
                order is not None
                and order["stage"] == "placed"
                and order["placed_at"] is not None
                and order["status"] not in DONE_ORDER
                and order["placed_at"] // 1000 + stuck_s * 1000 <= as_of_ms
            )
            if is_stuck and told is None and order is not None:
                change.put[name] = b"1"
                place = {"sku": "", "channel": order["channel"], "market": order["market"]}
                event = _event("stuck_order", one.hex(), place)
                event["orders"] = [one.hex()]
                events.append(event)
            elif not is_stuck and told is not None:
                change.drop.append(name)


_SIDES = ("level", "oversold", "drifts")


def _event(kind: str, mark: int | str, place: dict[str, Any], quantity: int = 0) -> dict[str, Any]:
    name = "/".join([kind, place["sku"], place["channel"] or "", place["market"] or "", str(mark)])
    return {"id": name, "kind": kind, "location": "", **place, "quantity": quantity, "orders": []}
