"""One worker's stages of stock over one store: run by a Bytewax worker, or by a test without Bytewax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from nurt.assemble.worker import assembling
from nurt.columnar.types import ID_BYTES
from nurt.control.logs import NO_LOGS, KnownLogs
from nurt.limits import DUE_PROFILES_MAX
from nurt.mapping.joins.plan import NO_JOINS, Joins
from nurt.model.keys import Keys
from nurt.model.state_write import StateWrite
from nurt.model.tick import Tick
from nurt.model.units import Millis
from nurt.normalise.context import FoldContext
from nurt.ports.store import Store
from nurt.rows.sweeps import Sweep
from nurt.rows.worker import PENDING_MAX, RowsWorker
from nurt.stock.from_rows import StockContributions, StockEmitter, nothing
from nurt.stock.ledger import open_call, sweep_call
from nurt.stock.routes import SalesRoutes
from nurt.stock.stages.backlog import Backlog, Keeper
from nurt.stock.stages.publisher import StockPublisher
from nurt.stock.stages.stage import DirtyKeys, StockStage, read_dirty_keys
from nurt.stock.stages.view import POSITION

PLAN = b"f"


class StockWorker(RowsWorker[StockContributions, Millis]):
    """Stages of one worker: rows, sales documents and positions, publications."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        context: FoldContext,
        routes: SalesRoutes,
        sweeps: Sequence[Sweep] = (),
        keeper: Keeper | None = None,
        logs: KnownLogs = NO_LOGS,
        joins: Joins = NO_JOINS,
    ) -> None:
        emitter, self.levels = assembling(StockEmitter(context), store, keys, joins, context, lambda: self.epoch)
        super().__init__(store, keys, emitter, sweeps, Millis, logs)
        self.realms = sorted(
            realm for realm in {*context.realm.values()} if keys.realm_place(realm) in set(store.places)
        )
        self.stage = StockStage(store, keys, context, routes, self.moment)
        self.publisher = StockPublisher(
            store, keys, context, routes, self.moment, self._stale, lambda: self.near, self.stage.recent
        )
        self._routes, self.realm_of = routes, context.realm
        self.backlog = Backlog(store, keys, self.stage, self.realms, keeper)
        self._opened = False
        self._near: dict[int, bool] = {}
        self._parts = 0

    def _stale(self, realm: str) -> frozenset[str]:
        return self.stage.feeds(realm).stale

    def moment(self) -> tuple[int, Millis]:
        """Return the epoch, and the moment of the computation."""
        return self.epoch, self.as_of

    def hear(self, tick: Tick[Millis]) -> None:
        """Note how near each part of the input is to its end."""
        self._near[tick.part] = tick.near or tick.caught_up
        self._parts = tick.parts

    @property
    def near(self) -> bool:
        """Return whether every part of the input is near its end."""
        return len(self._near) == self._parts and all(self._near.values())

    def resume(self) -> tuple[dict[str, DirtyKeys], list[dict[str, Any]]]:
        """Return, once a run, pending positions, documents and events of earlier runs; all are marked as pending again.

        The plan is written for the ledger's script; when the plan changed, all positions are netted again.
        """
        everything = self.owe_again()
        if everything is None:
            return {}, []
        dirty = read_dirty_keys(everything)
        self.backlog.begin()
        for realm, more in self._net_again().items():
            dirty.setdefault(realm, DirtyKeys()).add(more)
        return dirty, [orjson.loads(member[1:]) for member in everything if member[:1] == b"E"]

    def _net_again(self) -> dict[str, DirtyKeys]:
        text = self._routes.text()
        net_stock: dict[str, DirtyKeys] = {}
        for realm in self.realms:
            start = self.keys.realm_place(realm)
            (stored,) = self.store.read([start + PLAN])
            if stored == text:
                continue
            dirty = net_stock[realm] = DirtyKeys()
            for ids in list(self.store.scan(POSITION, start)):
                for at in range(0, len(ids), PENDING_MAX):
                    some = [one for one in ids[at : at + PENDING_MAX] if len(one) == ID_BYTES]
                    dirty.add(self.stage.fold(realm, nothing(), DirtyKeys(positions=dict.fromkeys(some))))
            self.store.write(StateWrite(put={start + PLAN: text}))
        return net_stock

    def due(self) -> dict[str, DirtyKeys]:
        """Return keys that the clock or a reservation changed: some of them, the others wait for the next tick."""
        return read_dirty_keys(self.store.due_timers(self.as_of, DUE_PROFILES_MAX))

    def sweep(self, now_ms: Millis | None) -> None:
        """End expired reservations."""
        change = StateWrite()
        for realm in self.realms:
            sweep_call(change, self.keys.realm_place(realm), now_ms)
        self.store.write(change)

    def open(self, now_ms: Millis | None) -> None:
        """Allow reservations: all waiting input has been read."""
        if not self._opened:
            self._opened = True
            change = StateWrite()
            for realm in self.realms:
                open_call(change, self.keys.realm_place(realm), now_ms)
            self.store.write(change)
