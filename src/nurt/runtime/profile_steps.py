"""The Bytewax steps: every stage as a step with one routing key a worker, and the sink.

A step takes all items that wait for its worker at once, so a stage's round trips are shared by them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from nurt.control.source_records import epoch_record, halted_by, halted_record, sights_record
from nurt.model.entity_frame import Translated
from nurt.model.published import PublishedBatch
from nurt.model.raw import RawBatch
from nurt.model.tick import Tick
from nurt.model.units import Day
from nurt.ports.log import Register
from nurt.ports.sinks import ProfileSink
from nurt.profiles.identity.resolve import Touched
from nurt.profiles.profiles_stage import Touch
from nurt.profiles.worker import Worker
from nurt.rows.contributions import Said, join_said
from nurt.runtime import pickling as _crossing  # noqa: F401 - how frames are pickled
from nurt.runtime.failures import failures
from nurt.runtime.routing import Routes
from nurt.translate.translator import Translator

Parcel = tuple[int, Any]
"""(worker that it is for, item)."""

_logger = logging.getLogger(__name__)


class Stage(StatefulBatchLogic[Parcel, Any, None]):
    """A stage of one worker: parcels in, parcels out. Its state is in the store, not here."""

    def __init__(self, name: str, steps_of: Callable[[int], Steps]) -> None:
        self._name = name
        self._steps_of = steps_of
        self._mine: Steps | None = None

    def on_batch(self, values: list[Parcel]) -> tuple[list[Any], bool]:
        """Run the stage; Bytewax shows no text of an exception in a cluster, so it is logged here."""
        try:
            with failures.noting():
                self._mine = self._steps_of(values[0][0])
                step = getattr(self._mine, self._name)
                return list(step([item for _, item in values])), False
        except Exception:
            _logger.exception("running stage %s: failed; this run stops", self._name)
            raise

    def on_eof(self) -> tuple[list[Any], bool]:
        """Say what still lingers, when the input has ended."""
        last = self._mine.flush() if self._mine is not None and self._name == "profiles" else None
        return [last] if last is not None else [], False

    def snapshot(self) -> None:
        """Keep nothing: the store has it."""


class Steps:
    """What the stages of one worker do with the parcels of a moment."""

    def __init__(self, worker: Worker, routes: Routes, index: int, linger_ms: int = 0) -> None:
        self._worker = worker
        self._routes = routes
        self._me = index
        self._linger_s = linger_ms / 1000
        self._lingering: dict[Touch, None] = {}
        self._since_s = 0.0

    def rows(self, items: Sequence[Translated | Tick[Day]]) -> Iterator[Parcel]:
        """Fold rows; the first tick of an epoch lifts the heads and goes on down the same worker."""
        for _, some in groupby(items, _is_tick):
            ticks, batches = [], []
            for item in some:
                if isinstance(item, Tick):
                    ticks.append(item)
                else:
                    batches.append(item)
            for tick in ticks:
                if self._worker.begin_epoch(tick):
                    yield self._me, tick
                    swept = self._worker.rows.sweep(tick.epoch)
                    if swept is not None:
                        yield from self._routes.split_said(swept)
            if batches:
                yield from self._routes.split_said(self._worker.rows.fold(batches))

    def orders(self, items: Sequence[Said | Tick[Day]]) -> Iterator[Parcel]:
        """Fold orders; what rows said to accounts of this worker goes along."""
        said = join_said([item for item in items if isinstance(item, Said)])
        if len(said.slots) or len(said.shares):
            yield self._me, said
        yield from self._routes.split_said(self._worker.orders.fold(said.to_orders))
        yield from self._ticks(items)

    def accounts(self, items: Sequence[Said | Tick[Day]]) -> Iterator[Parcel]:
        """Fold accounts, and touch identity by realm."""
        said = join_said([item for item in items if isinstance(item, Said)])
        for realm, touched in self._worker.accounts.fold(said).items():
            yield self._routes.of_realm(realm), (realm, touched)
        yield from self._ticks(items)

    def identity(self, items: Sequence[tuple[str, list[Touched]] | Tick[Day]]) -> Iterator[Parcel]:
        """Resolve the realms of this worker, and touch profiles by name."""
        if any(map(_is_tick, items)):
            for worker, touches in self._routes.split_touches(list(dict.fromkeys(self._worker.owed_touches()))):
                yield worker, Owed(touches)
        by_realm: dict[str, list[Touched]] = {}
        for item in items:
            if not isinstance(item, Tick):
                by_realm.setdefault(item[0], []).extend(item[1])
        for realm, touched in by_realm.items():
            profiles = self._worker.identity.resolve(realm, touched)
            yield from self._routes.split_touches([(realm, profile) for profile in profiles])
        yield from self._ticks(items)

    def profiles(self, items: Sequence[list[Touch] | Owed | Tick[Day]]) -> Iterator[PublishedBatch]:
        """Recompute what was touched, what was owed, and what the clock changed."""
        touched: dict[Touch, None] = {}
        owed: dict[Touch, None] = {}
        for item in items:
            if isinstance(item, Owed):
                owed.update(dict.fromkeys(item))
            elif not isinstance(item, Tick):
                touched.update(dict.fromkeys(item))
        stage = self._worker.profiles
        touches = [touch for touch in touched if touch not in owed]
        yield stage.materialise(touches) if not self._linger_s else self._linger(touches)
        yield from stage.materialise_owed(owed)
        if any(map(_is_tick, items)):
            yield self._worker.due_profiles()
        if any(isinstance(item, Tick) and item.caught_up for item in items):
            yield from self._worker.strays()

    def _linger(self, touches: Sequence[Touch]) -> PublishedBatch:
        """Let touches wait for more of the same profiles; meanwhile they are owed, for no replay would make them."""
        now_s = time.monotonic()
        if not self._lingering:
            self._since_s = now_s
        fresh = [touch for touch in touches if touch not in self._lingering]
        if fresh:
            self._worker.owe(fresh)
            self._lingering.update(dict.fromkeys(fresh))
        return self.flush() if now_s - self._since_s >= self._linger_s else PublishedBatch([], [], [])

    def flush(self) -> PublishedBatch:
        """Recompute what lingers."""
        touches, self._lingering = list(self._lingering), {}
        return self._worker.profiles.materialise(touches)

    def _ticks(self, items: Sequence[Any]) -> Iterator[Parcel]:
        for item in items:
            if isinstance(item, Tick):
                yield self._me, item


class Owed(list[Touch]):
    """Touches that no replay would make again."""


def _is_tick(item: Any) -> bool:
    return isinstance(item, Tick)


class Translate:
    """Translates raw batches on the worker that read them, and sends rows to their owners."""

    def __init__(self, translator: Translator, routes: Routes, home: int, register: Register) -> None:
        self._translator = translator
        self._routes = routes
        self._home = home
        self._register = register

    def __call__(self, item: RawBatch | Tick[Any]) -> list[Parcel]:
        """Translate one batch; a source epoch that it begins is in the register before its rows are used.

        Raises SourceHalted, before anything of the batch is used, when its source's order may have started again.
        """
        if isinstance(item, Tick):
            return [(worker, item) for worker in range(self._routes.workers)]
        with failures.noting():
            return self._translated(item)

    def _translated(self, item: RawBatch) -> list[Parcel]:
        translated = self._translator.translate(item)
        epochs = self._translator.epochs
        for notice in epochs.notices():
            self._register.append(halted_record(notice))
            raise halted_by(notice)
        for begin in epochs.begun():
            self._register.append(epoch_record(begin, epochs.word_of(begin)))
        if sights := epochs.sights():
            self._register.append(sights_record(sights))
        return self._routes.split_translated(translated, self._home)


class Published(DynamicSink[PublishedBatch]):
    """Writes to every configured sink, on the worker that owns the profiles."""

    def __init__(self, open_sinks: Callable[[int], list[ProfileSink]]) -> None:
        self._open_sinks = open_sinks

    def build(self, step_id: str, worker_index: int, worker_count: int) -> PublishedPart:
        """Open a worker's sinks."""
        try:
            with failures.noting():
                return PublishedPart(self._open_sinks(worker_index))
        except Exception:
            _logger.exception("opening the outputs: failed; this run stops")
            raise


class PublishedPart(StatelessSinkPartition[PublishedBatch]):
    """The sinks of one worker; a batch is durable in all of them before `write_batch` returns."""

    def __init__(self, sinks: list[ProfileSink]) -> None:
        self._sinks = sinks

    def write_batch(self, items: list[PublishedBatch]) -> None:
        """Write all items as one batch."""
        batch = PublishedBatch(
            [id_ for item in items for id_ in item.ids],
            [revision for item in items for revision in item.revisions],
            [value for item in items for value in item.values],
        )
        if not len(batch):
            return
        for sink in self._sinks:
            try:
                with failures.noting():
                    sink.write(batch)
            except Exception:
                _logger.exception("publishing %d profiles: failed; this run stops", len(batch))
                raise

    def close(self) -> None:
        """Close every sink; never raises."""
        for sink in self._sinks:
            sink.close()
