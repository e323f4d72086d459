"""The translating step: both flows begin with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nurt.control.source_records import epoch_record, halted_by, halted_record, sights_record
from nurt.control.source_watch import NewOrder
from nurt.model.raw import RawBatch
from nurt.model.tick import Tick
from nurt.ports.log import ControlLog
from nurt.runtime.failures import failures
from nurt.runtime.routing import WorkerRoutes
from nurt.runtime.steps import Parcel
from nurt.translate.translator import Translator


class Translate:
    """Step that translates raw batches on the worker that read them, and sends rows to their owners."""

    def __init__(self, translator: Translator, routes: WorkerRoutes, home: int, register: ControlLog) -> None:
        self._translator = translator
        self._routes = routes
        self._home = home
        self._register = register

    def __call__(self, item: Sequence[RawBatch] | Tick[Any]) -> list[Parcel]:
        """Translate the batches of a poll; a source epoch that one begins is in the control log before rows are used.

        Raises SourceHalted, before any part of a batch is used, when its source's order may have started again.
        """
        if isinstance(item, Tick):
            return [(worker, item) for worker in range(self._routes.workers)]
        with failures.noting():
            return self._translated(item)

    def _translated(self, batches: Sequence[RawBatch]) -> list[Parcel]:
        """Translate batches; one that shows a new order waits, for another topic's may bring the snapshot behind it."""
        parcels: list[Parcel] = []
        waiting: list[RawBatch] = []
        for batch in batches:
            try:
                parcels += self._one(batch)
            except NewOrder:
                waiting.append(batch)
        for batch in waiting:
            try:
                parcels += self._one(batch)
            except NewOrder as found:
                self._note()
                self._register.append(halted_record(found.notice))
                raise halted_by(found.notice) from None
        return parcels

    def _one(self, batch: RawBatch) -> list[Parcel]:
        translated = self._translator.translate(batch)
        self._note()
        return self._routes.split_translated(translated, self._home)

    def _note(self) -> None:
        """Write down what the translator has learnt of sources."""
        epochs = self._translator.epochs
        for begin in epochs.begun():
            self._register.append(epoch_record(begin, epochs.cause_of(begin)))
        if sights := epochs.sights():
            self._register.append(sights_record(sights))
