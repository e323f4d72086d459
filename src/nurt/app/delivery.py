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
    message_reader_of,
    rules_of,
    state_reader_of,
    table_targets_of,
)
from nurt.app.delivery_input import DeliveryInput
from nurt.app.running import cause_of
from nurt.delivery.mapping import DestinationMapping
from nurt.delivery.ports import Destination
from nurt.delivery.run.deliverer import Deliverer
from nurt.delivery.run.key_locks import KeyLocks, Stopping
from nurt.delivery.run.table_deliverer import TableDeliverer
from nurt.model.keys import Keys
from nurt.model.log import Offsets
from nurt.ports.log import MessageLog
from nurt.runtime.deliver_source import DeliveryShare, DeliverySource, DeliverySourceOptions
from nurt.runtime.deliver_steps import DeliverySink, MessageDeliverer
from nurt.settings import Settings

EPOCH_MS = 100
ROWS_MAX = 5_000
LINGER_MS = 50
LOOK_S = 1.0

_logger = logging.getLogger(__name__)


def open_store(settings: Settings, name: str, part: int = 0) -> DeliveryStore:
    """Open a destination's memory, for a command or for a worker of a run."""
    return DeliveryStore(open_redis(settings.redis_url), Keys(settings.prefix, settings.shards), name, part)


@dataclass(frozen=True, slots=True)
class DeliveryStart:
    """Start of a delivery: its generation, and whether a back-fill goes on."""

    generation: int
    backfilling: bool


class Delivery:
    """Delivery of one destination; its pieces are opened when they are asked for.

    Args:
        until_end: end when everything that was there at the start is delivered.
        from_scratch: deliver everything again.
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
        settings.ids_secret()  # the secret is made here, before there are threads
        self._stop = stop
        self._workers = int(mapping.options.get("workers", 1))
        self._store = open_store(settings, mapping.name)
        self._store.begin()
        self._stores: list[DeliveryStore] = []
        self._key_locks = KeyLocks()
        self._logs: list[MessageLog] = []
        self._backfills: list[MessageLog] = []
        self._destination: Destination | None = None
        self._lock = threading.Lock()
        self._filled = 0
        self._warn_of_new_mapping(from_scratch)
        self.start = self._begin(from_scratch)
        purpose = f"backfill-{self.start.generation}"
        self._live = DeliveryInput(settings, mapping, workers=self._workers, ends=until_end)
        self._backfill = DeliveryInput(settings, mapping, purpose, workers=self._workers, ends=True)

    @property
    def workers(self) -> int:
        """Number of delivering worker threads."""
        return self._workers

    def source(self) -> DeliverySource:
        """Make the source."""
        options, kind = self.mapping.options, self.mapping.kind
        return DeliverySource(
            DeliverySourceOptions(
                self._workers,
                self._share,
                int(options.get("rows_max", TABLE_ROWS_MAX if kind in TABLE_KINDS else ROWS_MAX)),
                float(options.get("linger_ms", TABLE_LINGER_MS.get(kind, LINGER_MS))) / 1000,
                self._stop.is_set,
            )
        )

    def sink(self) -> DeliverySink:
        """Make the sink."""
        return DeliverySink(self._open_deliverer, message_reader_of(self.settings, self.mapping))

    def destination(self) -> Destination:
        """Open the receiver, once for all workers."""
        with self._lock:
            if self._destination is None:
                self._destination = KINDS[self.mapping.kind](self.mapping)
            return self._destination

    def deliverer(self) -> Deliverer:
        """Make the deliverer of one worker."""
        to = self.destination()
        return Deliverer(
            to,
            rules_of(self.settings, self.mapping, to, self.start.generation),
            self._open_store(),
            state_reader_of(self.settings, self.mapping),
            key_locks=self._key_locks,
            stopping=self._stop.is_set,
        )

    def _open_deliverer(self, _index: int) -> MessageDeliverer:
        kind = self.mapping.kind
        if kind not in TABLE_KINDS:
            return self.deliverer()
        store = self._open_store()
        with self._lock:
            targets = table_targets_of(self.settings, self.mapping)
        return TableDeliverer(targets, store, self.start.generation, stopping=self._stop.is_set)

    def _open_store(self) -> DeliveryStore:
        """Open a store for one worker."""
        with self._lock:
            store = open_store(self.settings, self.mapping.name, len(self._stores))
            store.run = self._store.run
            self._stores.append(store)
            return store

    def _warn_of_new_mapping(self, from_scratch: bool) -> None:
        """Warn that unchanged rows keep values of an earlier mapping."""
        parts: list[tuple[Any, ...]] = []
        for one in self.mapping.objects:
            parts.append((one.plan, one.type, one.key_field, one.key.text, one.when and one.when.text, one.each))
            parts.append(tuple((name, each.text) for name, each in one.fields.items()))
        # the hash is stored, so the text of a plan stays as the first version wrote it
        found = hashlib.blake2b(repr(parts).replace("<DeletePolicy.", "<Parting.").encode(), digest_size=8).hexdigest()
        before = self._store.get("mapping")
        if before not in (None, found) and not from_scratch:
            _logger.warning(
                "delivering to %s: its mapping changed; rows follow when they change, all of them with --from-scratch",
                self.mapping.name,
            )
        self._store.put("mapping", found)

    def _begin(self, from_scratch: bool) -> DeliveryStart:
        """Decide whether everything is delivered again: on request, or when Redis is older than the commits."""
        store = self._store
        generation = store.get("generation") or {"number": 0, "done": True}
        older = self._is_older(store)
        if older:
            _logger.warning(
                "delivering to %s: Redis came back older than what was delivered; everything is told again",
                self.mapping.name,
            )
        if from_scratch or older:
            generation = {"number": generation["number"] + 1, "done": False}
            store.put("generation", generation)
        return DeliveryStart(int(generation["number"]), not generation["done"])

    def _is_older(self, store: DeliveryStore) -> bool:
        """Compare Kafka's commits with the offsets that were stored before them, beside the last known states."""
        log = DeliveryInput(self.settings, self.mapping).open()
        try:
            committed = log.committed()
        finally:
            log.close()
        if committed is None or not committed.offsets:
            return False
        stored_offsets = store.get("live") or {}
        return any(
            stored_offsets.get(f"{topic}:{number}", -1) < at for (topic, number), at in committed.offsets.items()
        )

    def _share(self, index: int) -> DeliveryShare:
        live = self._live.open(index)
        committed = live.committed()
        live.start(committed.offsets if committed else None)
        backfill = None
        if self.start.backfilling:
            backfill = self._backfill.open(index)
            backfilled = backfill.committed()
            backfill.start(backfilled.offsets if backfilled else None)
            self._backfills.append(backfill)
        self._logs.append(live)
        return DeliveryShare(live, backfill, self._note, partial(self._done, index), self._store.is_left)

    def _note(self, which: str, offsets: Offsets) -> None:
        with self._lock:
            stored_offsets = self._store.get(which) or {}
            stored_offsets |= {f"{topic}:{number}": at for (topic, number), at in offsets.items()}
            self._store.note(which, stored_offsets, self._stores)

    def _done(self, _index: int) -> None:
        if all(log.exhausted() for log in self._backfills):
            generation = self._store.get("generation")
            if generation and not generation["done"]:
                self._store.put("generation", {**generation, "done": True})
                name = self.mapping.name
                look = f"`nurt deliver sweep {name}` shows what it did not tell"
                _logger.info("delivering to %s: the back-fill is done; %s", name, look)

    def look(self) -> dict[str, int | float | str]:
        """Return the progress: what waits, and how much of a back-fill is left."""
        status: dict[str, int | float | str] = {"lag": sum(log.lag() for log in self._logs), "at": int(time.time())}
        if self._backfills:
            status["backfill_left"] = sum(log.lag() for log in self._backfills)
        return status

    @contextmanager
    def reporting(self, seen: Callable[[dict[str, int | float | str]], None] = lambda _status: None) -> Iterator[None]:
        """Write the status every second while the delivery runs."""
        ended = threading.Event()
        store = open_store(self.settings, self.mapping.name)
        store.set_status(state="running", since=int(time.time()), run=self._store.run)

        def report() -> None:
            most = 0
            while not ended.wait(LOOK_S):
                try:
                    status = self.look()
                    left = int(status.get("backfill_left", 0))
                    most = max(most, left)
                    status |= {"backfill_total": most} if most else {}
                    store.set_status(**status)
                    seen(status)
                except Exception as failed:
                    _logger.debug("telling the status: %s", type(failed).__name__)

        reporter = threading.Thread(target=report, name="nurt-deliver-status", daemon=True)
        reporter.start()
        try:
            yield
        finally:
            ended.set()
            reporter.join(5.0)
            store.set_status(state="stopped", at=int(time.time()))


def run_delivery(
    layout: Callable[[Delivery], Dataflow],
    delivery: Delivery,
    seen: Callable[[dict[str, int | float | str]], None] = lambda _status: None,
) -> None:
    """Run a delivery in this process, one thread a worker, until its input ends or it must stop.

    Raises the NurtError that stopped it.
    """
    with delivery.reporting(seen):
        try:
            cli_main(
                layout(delivery), epoch_interval=timedelta(milliseconds=EPOCH_MS), workers_per_process=delivery.workers
            )
        except Exception as failed:
            cause = cause_of(failed)
            if not isinstance(cause, Stopping):
                raise cause from failed
