"""The Bytewax steps of the flow of stock."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from nurt.limits import PUBLISH_SKUS_MAX
from nurt.model.entity_frame import Translated
from nurt.model.stock_published import StockBatch
from nurt.model.tick import Tick
from nurt.model.units import Millis
from nurt.ports.sinks import StockSink
from nurt.runtime import pickling as _crossing  # noqa: F401 - how frames are pickled
from nurt.runtime.failures import failures
from nurt.runtime.profile_steps import Parcel
from nurt.runtime.routing import Routes
from nurt.stock.from_rows import StockSaid, join_said, nothing
from nurt.stock.stages.stage import Touched
from nurt.stock.stages.worker import StockWorker

BEHIND = 20
"""How many times longer what is published waits while there is more to read: it is out of date in any case."""

_logger = logging.getLogger(__name__)


class StockStep(StatefulBatchLogic[Parcel, Any, None]):
    """A stage of one worker: parcels in, parcels or what is published out. Its state is in the store, not here."""

    def __init__(self, name: str, steps_of: Callable[[int], StockSteps]) -> None:
        self._name = name
        self._steps_of = steps_of
        self._mine: StockSteps | None = None

    def on_batch(self, values: list[Parcel]) -> tuple[list[Any], bool]:
        """Run the stage; Bytewax shows no text of an exception in a cluster, so it is logged here."""
        try:
            with failures.noting():
                self._mine = self._steps_of(values[0][0])
                return list(getattr(self._mine, self._name)([item for _, item in values])), False
        except Exception:
            _logger.exception("running stage %s of stock: failed; this run stops", self._name)
            raise

    def on_eof(self) -> tuple[list[Any], bool]:
        """Publish what still waits, when the input has ended."""
        if self._mine is None or self._name != "stock":
            return [], False
        return list(self._mine.flush()), False

    def snapshot(self) -> None:
        """Keep nothing: the store has it."""


class PublishedStock(DynamicSink[StockBatch]):
    """Writes to every configured output, on the worker that owns the realm."""

    def __init__(self, open_sinks: Callable[[int], list[StockSink]]) -> None:
        self._open_sinks = open_sinks

    def build(self, step_id: str, worker_index: int, worker_count: int) -> PublishedStockPart:
        """Open a worker's outputs."""
        try:
            return PublishedStockPart(self._open_sinks(worker_index))
        except Exception:
            _logger.exception("opening the outputs of stock: failed; this run stops")
            raise


class PublishedStockPart(StatelessSinkPartition[StockBatch]):
    """The outputs of one worker; a batch is durable in all of them before `write_batch` returns."""

    def __init__(self, sinks: list[StockSink]) -> None:
        self._sinks = sinks

    def write_batch(self, items: list[StockBatch]) -> None:
        """Write every batch, in order."""
        for sink in self._sinks:
            try:
                for item in items:
                    sink.write(item)
            except Exception:
                _logger.exception("publishing stock: failed; this run stops")
                raise

    def close(self) -> None:
        """Close every output; never raises."""
        for sink in self._sinks:
            sink.close()


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
            worker.sweep(None if self._server_clock else worker.as_of)
            for realm, touched in worker.due().items():
                self._wait(realm, worker.stage.fold(realm, nothing(), touched))
            for realm in worker.realms:
                touched, told = worker.stage.watch_feeds(realm)
                self._wait(realm, touched)
                events += told
            self._take_backlog()
            if worker.near:
                worker.open(None if self._server_clock else worker.as_of)
        if events:
            yield StockBatch(worker.store.next_stamp(), worker.as_of, events=tuple(events))
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
