"""One worker's stages of stock over one store: what a Bytewax worker runs, and what a test runs without Bytewax."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import orjson

from nurt.columnar.types import ID_BYTES
from nurt.limits import DUE_PROFILES_MAX, PUBLISH_SKUS_MAX
from nurt.model.entity_frame import Translated
from nurt.model.fence import owed_score
from nurt.model.keys import Keys
from nurt.model.state_write import Change
from nurt.model.stock_published import StockBatch
from nurt.model.units import Millis
from nurt.normalise.context import FoldContext
from nurt.ports import Store
from nurt.profiles.worker import Tick
from nurt.rows.stage import RowsStage
from nurt.rows.sweeps import Sweep
from nurt.runtime.routing import Routes
from nurt.stock.from_rows import StockSaid, StockVoice, join_said, nothing
from nurt.stock.ledger import open_call, sweep_call
from nurt.stock.routes import Routes as StockRoutes
from nurt.stock.stages.backlog import Backlog, Keeper
from nurt.stock.stages.publisher import StockPublisher
from nurt.stock.stages.stage import StockStage, Touched, read_touched
from nurt.stock.stages.view import SHELF

OWED_MAX = 10_000
BEHIND = 20
"""How many times longer what is published waits while there is more to read: it is out of date in any case."""
PLAN = b"f"


class StockWorker:
    """Rows, papers and shelves, and what is published, of one worker."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        context: FoldContext,
        routes: StockRoutes,
        sweeps: Sequence[Sweep] = (),
        keeper: Keeper | None = None,
    ) -> None:
        self.store, self.keys = store, keys
        self.epoch = 0
        self.as_of_ms = Millis(0)
        self.realms = sorted(
            realm for realm in {*context.realm.values()} if keys.realm_place(realm) in set(store.places)
        )
        self.rows = RowsStage[StockSaid](store, keys, StockVoice(context), sweeps)
        self.stage = StockStage(store, keys, context, routes, self.moment)
        self.publisher = StockPublisher(
            store, keys, context, routes, self.moment, self._stale, lambda: self.near, self.stage.recent
        )
        self._routes, self.realm_of = routes, context.realm
        self.backlog = Backlog(store, keys, self.stage, self.realms, keeper)
        self._resumed = self._knows_day = self._opened = False
        self._near: dict[int, bool] = {}
        self._parts = 0

    def _stale(self, realm: str) -> frozenset[str]:
        return self.stage.feeds(realm).stale

    def moment(self) -> tuple[int, Millis]:
        """Tell the epoch, and the moment that it is computed for."""
        return self.epoch, self.as_of_ms

    def hear(self, tick: Tick[Millis]) -> None:
        """Note how near the end of the input each part of it is."""
        self._near[tick.part] = tick.near or tick.caught_up
        self._parts = tick.parts

    @property
    def near(self) -> bool:
        """Say whether every part of the input is near its end."""
        return len(self._near) == self._parts and all(self._near.values())

    def begin_epoch(self, tick: Tick[Millis]) -> bool:
        """Lift the heads, let the time come. False: the epoch has begun already."""
        if tick.epoch <= self.epoch:
            return False
        self.epoch = tick.epoch
        self.store.lift(tick.epoch, tick.horizon if self._resumed else 0)
        names = [self.keys.day_of(place) for place in self.store.places]
        if not self._knows_day:
            self._knows_day = True
            self.as_of_ms = max(
                (Millis(int(value)) for value in self.store.read(names) if value is not None), default=Millis(0)
            )
        if tick.as_of > self.as_of_ms:
            self.as_of_ms = tick.as_of
            self.store.write(Change(put=dict.fromkeys(names, str(tick.as_of).encode())))
        return True

    def resume(self) -> tuple[dict[str, Touched], list[dict[str, Any]]]:
        """Return, once a run, what earlier runs owed: shelves and papers by realm, and events; it is owed again.

        The plan is written down for the ledger's script; when it is another than before, all shelves are weighed anew.
        """
        if self._resumed:
            return {}, []
        self._resumed = True
        owed = {place: members for place, members in self.store.owed().items() if members}
        score = owed_score(self.store.run, self.epoch)
        for place, members in owed.items():
            for at in range(0, len(members), OWED_MAX):
                self.store.write(Change(owed={place: dict.fromkeys(members[at : at + OWED_MAX], score)}))
        everything = [member for members in owed.values() for member in members]
        touched = read_touched(everything)
        self.backlog.begin()
        for realm, more in self._weigh_anew().items():
            touched.setdefault(realm, Touched()).add(more)
        return touched, [orjson.loads(member[1:]) for member in everything if member[:1] == b"E"]

    def _weigh_anew(self) -> dict[str, Touched]:
        text = self._routes.text()
        weighed: dict[str, Touched] = {}
        for realm in self.realms:
            start = self.keys.realm_place(realm)
            (held,) = self.store.read([start + PLAN])
            if held == text:
                continue
            touched = weighed[realm] = Touched()
            for ids in list(self.store.scan(SHELF, start)):
                for at in range(0, len(ids), OWED_MAX):
                    some = [one for one in ids[at : at + OWED_MAX] if len(one) == ID_BYTES]
                    touched.add(self.stage.fold(realm, nothing(), Touched(shelves=dict.fromkeys(some))))
            self.store.write(Change(put={start + PLAN: text}))
        return weighed

    def due(self) -> dict[str, Touched]:
        """Say what the clock, or a reservation, has changed: some of it, the rest waits for the next tick."""
        return read_touched(self.store.due(self.as_of_ms, DUE_PROFILES_MAX))

    def sweep(self, now_ms: Millis | None) -> None:
        """End reservations that have expired."""
        change = Change()
        for realm in self.realms:
            sweep_call(change, self.keys.realm_place(realm), now_ms)
        self.store.write(change)

    def open(self, now_ms: Millis | None) -> None:
        """Let reservations begin: all that was there to read has been read."""
        if not self._opened:
            self._opened = True
            change = Change()
            for realm in self.realms:
                open_call(change, self.keys.realm_place(realm), now_ms)
            self.store.write(change)


class StockSteps:
    """What the stages of one worker do with the parcels of a moment.

    Args:
        conflate_ms: how long what was published waits for more of the same skus and orders; 0: not at all.
        server_clock: whether reservations expire by the server's clock, or by the ticks'.
    """

    def __init__(
        self,
        worker: StockWorker,
        routes: Routes,
        index: int,
        conflate_ms: int = 0,
        server_clock: bool = True,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker, self._routes, self._me = worker, routes, index
        self._conflate_s, self._now_s = conflate_ms / 1000, now_s
        self._server_clock = server_clock
        self._waiting: dict[str, Touched] = {}
        self._said_at_s = 0.0

    def rows(self, items: Sequence[Translated | Tick[Millis]]) -> Iterator[tuple[int, Any]]:
        """Fold rows; the first tick of an epoch lifts the heads and goes on down the same worker."""
        for _, some in groupby(items, _is_tick):
            batches: list[Translated] = []
            for item in some:
                if isinstance(item, Tick):
                    self._worker.hear(item)
                    if self._worker.begin_epoch(item):
                        yield self._me, item
                        swept = self._worker.rows.sweep(item.epoch)
                        if swept is not None:
                            yield from self._split(swept)
                else:
                    batches.append(item)
            if batches:
                yield from self._split(self._worker.rows.fold(batches))

    def stock(self, items: Sequence[tuple[str, StockSaid] | Tick[Millis]]) -> Iterator[StockBatch]:
        """Fold papers and shelves, look at what is due, and publish what has waited long enough."""
        worker = self._worker
        ticks = [item for item in items if isinstance(item, Tick)]
        events: list[dict[str, Any]] = []
        if ticks:
            owed, events = worker.resume()
            for realm, touched in owed.items():
                self._wait(realm, touched)
        by_realm: dict[str, list[StockSaid]] = {}
        for item in items:
            if not isinstance(item, Tick):
                by_realm.setdefault(item[0], []).append(item[1])
        for realm, said in by_realm.items():
            self._wait(realm, worker.stage.fold(realm, join_said(said)))
        if ticks:
            worker.sweep(None if self._server_clock else worker.as_of_ms)
            for realm, touched in worker.due().items():
                self._wait(realm, worker.stage.fold(realm, nothing(), touched))
            for realm in worker.realms:
                touched, told = worker.stage.watch_feeds(realm)
                self._wait(realm, touched)
                events += told
            self._take_backlog()
            if worker.near:
                worker.open(None if self._server_clock else worker.as_of_ms)
        if events:
            yield StockBatch(worker.store.next_stamp(), worker.as_of_ms, events=tuple(events))
        yield from self._publish(worker.near)

    def flush(self) -> Iterator[StockBatch]:
        """Publish everything that waits."""
        while self._waiting or self._take_backlog():
            self._said_at_s = float("-inf")
            yield from self._publish(True)

    def _split(self, said: StockSaid) -> Iterator[tuple[int, tuple[str, StockSaid]]]:
        for realm, part in sorted(said.by_realm(self._worker.realm_of).items()):
            yield self._routes.of_realm(realm), (realm, part)

    def _take_backlog(self) -> bool:
        """Let more of what has never been kept wait; False: there is nothing."""
        some = self._worker.backlog.some({*self._waiting})
        for realm, touched in some.items():
            self._wait(realm, touched)
        return bool(some)

    def _wait(self, realm: str, touched: Touched) -> None:
        if not touched.shelves and not touched.papers:
            return
        self._waiting.setdefault(realm, Touched()).add(touched)

    def _publish(self, near: bool) -> Iterator[StockBatch]:
        now_s = self._now_s()
        if not self._waiting or now_s - self._said_at_s < self._conflate_s * (1 if near else BEHIND):
            return
        self._said_at_s = now_s
        for realm in list(self._waiting):
            waiting = self._waiting[realm]
            shelves = list(waiting.shelves)[:PUBLISH_SKUS_MAX]
            papers = list(waiting.papers)[:PUBLISH_SKUS_MAX]
            for one in shelves:
                del waiting.shelves[one]
            for one in papers:
                del waiting.papers[one]
            if not waiting.shelves and not waiting.papers:
                del self._waiting[realm]
            batch = self._worker.publisher.publish(realm, shelves, papers)
            if batch:
                self._worker.store.settle()
                yield batch


def _is_tick(item: Any) -> bool:
    return isinstance(item, Tick)
