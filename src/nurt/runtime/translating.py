"""The translating step: both flows begin with it."""

from __future__ import annotations

from typing import Any

from nurt.control.source_records import epoch_record, halted_by, halted_record, sights_record
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

    def __call__(self, item: RawBatch | Tick[Any]) -> list[Parcel]:
        """Translate one batch; a source epoch that the batch begins is in the control log before its rows are used.

        Raises SourceHalted, before any part of the batch is used, when its source's order may have started again.
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
