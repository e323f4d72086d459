"""Put a delivery together: a destination's section becomes a flow with its log, its memory and its receiver."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

from nurt.adapters.redis.client import open_redis
from nurt.adapters.redis.delivery.store import DeliveryStore
from nurt.app.delivery_config import (
    KINDS,
    TABLE_KINDS,
    TABLE_LINGER_MS,
    TABLE_ROWS_MAX,
    reader_of,
    rules_of,
    shelves_of,
    wishes_of,
)
from nurt.app.delivery_input import DeliveryInput
from nurt.app.running import cause_of
from nurt.delivery.mapping import DestinationMapping
from nurt.delivery.ports import Destination
from nurt.delivery.run.deliverer import Deliverer
from nurt.delivery.run.key_locks import Lanes, Stopping
from nurt.delivery.run.table_deliverer import TableDeliverer
from nurt.model.keys import Keys
from nurt.model.log import Offsets
from nurt.ports.log import MessageLog
from nurt.runtime.deliver_source import DeliveryReading, DeliverySource, Share
from nurt.runtime.deliver_steps import Delivered, Delivers
from nurt.settings import Settings

EPOCH_MS = 100
ROWS_MAX = 5_000
LINGER_MS = 50
LOOK_S = 1.0

_logger = logging.getLogger(__name__)


def open_store(settings: Settings, name: str, part: int = 0) -> DeliveryStore:
    """Open a destination's memory, for looking at it or for a worker of a run."""
    return DeliveryStore(open_redis(settings.redis_url), Keys(settings.prefix, settings.shards), name, part)


@dataclass(frozen=True, slots=True)
class Start:
    """How a delivery begins: its generation, and whether a back-fill goes on."""

    generation: int
    backfilling: bool


class Delivery:
    """One destination's pieces, opened when they are asked for.

    Args:
        until_end: end when everything that was there at the start is told.
        from_scratch: tell everything again.
    """

    def __init__(
        self,
        settings: Settings,
        mapping: DestinationMapping,
        stop: threading.Event,
        *,
        until_end: bool = False,
        from_scratch: bool = False,
    ) -> None:
        self.settings = settings
        self.mapping = mapping
        settings.ids_secret()  # made here where it is not there yet, before there are threads
        self._stop = stop
        self._workers = int(mapping.options.get("workers", 1))
        self._store = open_store(settings, mapping.name)
        self._store.begin()
        self._stores: list[DeliveryStore] = []
        self._lanes = Lanes()
        self._logs: list[MessageLog] = []
        self._backfills: list[MessageLog] = []
        self._destination: Destination | None = None
        self._lock = threading.Lock()
        self._filled = 0
        self._tell_of_mapping(from_scratch)
        self.start = self._begin(from_scratch)
        purpose = f"backfill-{self.start.generation}"
        self._live = DeliveryInput(settings, mapping, workers=self._workers, ends=until_end)
        self._backfill = DeliveryInput(settings, mapping, purpose, workers=self._workers, ends=True)

    @property
    def workers(self) -> int:
        """How many worker threads deliver."""
        return self._workers

    def source(self) -> DeliverySource:
        """Make the source."""
        options, kind = self.mapping.options, self.mapping.kind
        return DeliverySource(
            DeliveryReading(
                self._workers,
                self._share,
                int(options.get("rows_max", TABLE_ROWS_MAX if kind in TABLE_KINDS else ROWS_MAX)),
                float(options.get("linger_ms", TABLE_LINGER_MS.get(kind, LINGER_MS))) / 1000,
                self._stop.is_set,
            )
        )

    def sink(self) -> Delivered:
        """Make the sink."""
        return Delivered(self._delivers, reader_of(self.settings, self.mapping))

    def destination(self) -> Destination:
        """Open the receiver, once for all workers."""
        with self._lock:
            if self._destination is None:
                self._destination = KINDS[self.mapping.kind](self.mapping)
            return self._destination

    def deliverer(self) -> Deliverer:
        """Make what delivers for one worker."""
        to = self.destination()
        return Deliverer(
            to,
            rules_of(self.settings, self.mapping, to, self.start.generation),
            self._open_store(),
            wishes_of(self.settings, self.mapping),
            lanes=self._lanes,
            stopping=self._stop.is_set,
        )

    def _delivers(self, _index: int) -> Delivers:
        kind = self.mapping.kind
        if kind not in TABLE_KINDS:
            return self.deliverer()
        store = self._open_store()
        with self._lock:
            shelves = shelves_of(self.settings, self.mapping)
        return TableDeliverer(shelves, store, self.start.generation, stopping=self._stop.is_set)

    def _open_store(self) -> DeliveryStore:
        """Open a store for one worker."""
        with self._lock:
            store = open_store(self.settings, self.mapping.name, len(self._stores))
            store.run = self._store.run
            self._stores.append(store)
            return store

    def _tell_of_mapping(self, from_scratch: bool) -> None:
        """Say that rows which do not change keep what an earlier mapping gave them."""
        said: list[tuple[Any, ...]] = []
        for one in self.mapping.objects:
            said.append((one.plan, one.type, one.key_field, one.key.text, one.when and one.when.text, one.each))
            said.append(tuple((name, each.text) for name, each in one.fields.items()))
        found = hashlib.blake2b(repr(said).encode(), digest_size=8).hexdigest()
        before = self._store.get("mapping")
        if before not in (None, found) and not from_scratch:
            _logger.warning(
                "delivering to %s: its mapping changed; rows follow when they change, all of them with --from-scratch",
                self.mapping.name,
            )
        self._store.put("mapping", found)

    def _begin(self, from_scratch: bool) -> Start:
        """Decide whether everything is told again: when asked, and when Redis came back older than the commits."""
        store = self._store
        held = store.get("generation") or {"number": 0, "done": True}
        older = self._is_older(store)
        if older:
            _logger.warning(
                "delivering to %s: Redis came back older than what was delivered; everything is told again",
                self.mapping.name,
            )
        if from_scratch or older:
            held = {"number": held["number"] + 1, "done": False}
            store.put("generation", held)
        return Start(int(held["number"]), not held["done"])

    def _is_older(self, store: DeliveryStore) -> bool:
        """Compare what Kafka has committed with what was noted beside the records before it."""
        log = DeliveryInput(self.settings, self.mapping).open()
        try:
            committed = log.committed()
        finally:
            log.close()
        if committed is None or not committed.offsets:
            return False
        noted = store.get("live") or {}
        return any(noted.get(f"{topic}:{number}", -1) < at for (topic, number), at in committed.offsets.items())

    def _share(self, index: int) -> Share:
        live = self._live.open(index)
        committed = live.committed()
        live.start(committed.offsets if committed else None)
        backfill = None
        if self.start.backfilling:
            backfill = self._backfill.open(index)
            told = backfill.committed()
            backfill.start(told.offsets if told else None)
            self._backfills.append(backfill)
        self._logs.append(live)
        return Share(live, backfill, self._note, partial(self._done, index), self._store.is_left)

    def _note(self, which: str, offsets: Offsets) -> None:
        with self._lock:
            noted = self._store.get(which) or {}
            noted |= {f"{topic}:{number}": at for (topic, number), at in offsets.items()}
            self._store.note(which, noted, self._stores)

    def _done(self, _index: int) -> None:
        if all(log.exhausted() for log in self._backfills):
            held = self._store.get("generation")
            if held and not held["done"]:
                self._store.put("generation", {**held, "done": True})
                name = self.mapping.name
                look = f"`nurt deliver sweep {name}` shows what it did not tell"
                _logger.info("delivering to %s: the back-fill is done; %s", name, look)

    def look(self) -> dict[str, int | float | str]:
        """Say how far it is: what waits, and how much of a back-fill is left."""
        status: dict[str, int | float | str] = {"lag": sum(log.lag() for log in self._logs), "at": int(time.time())}
        if self._backfills:
            status["backfill_left"] = sum(log.lag() for log in self._backfills)
        return status

    @contextmanager
    def told(self, seen: Callable[[dict[str, int | float | str]], None] = lambda _status: None) -> Iterator[None]:
        """Tell the status every second while it runs."""
        ended = threading.Event()
        store = open_store(self.settings, self.mapping.name)
        store.tell(state="running", since=int(time.time()), run=self._store.run)

        def tell() -> None:
            most = 0
            while not ended.wait(LOOK_S):
                try:
                    status = self.look()
                    left = int(status.get("backfill_left", 0))
                    most = max(most, left)
                    status |= {"backfill_total": most} if most else {}
                    store.tell(**status)
                    seen(status)
                except Exception as failed:
                    _logger.debug("telling the status: %s", type(failed).__name__)

        teller = threading.Thread(target=tell, name="nurt-deliver-status", daemon=True)
        teller.start()
        try:
            yield
        finally:
            ended.set()
            teller.join(5.0)
            store.tell(state="stopped", at=int(time.time()))


def run_delivery(
    layout: Callable[[Delivery], Dataflow],
    delivery: Delivery,
    seen: Callable[[dict[str, int | float | str]], None] = lambda _status: None,
) -> None:
    """Run a delivery in this process, one thread a worker, until it is told to end or its input does.

    Raises the NurtError that stopped it.
    """
    with delivery.told(seen):
        try:
            cli_main(
                layout(delivery), epoch_interval=timedelta(milliseconds=EPOCH_MS), workers_per_process=delivery.workers
            )
        except Exception as failed:
            cause = cause_of(failed)
            if not isinstance(cause, Stopping):
                raise cause from failed
