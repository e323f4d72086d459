"""The Bytewax steps of the flow of stock."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from nurt.model.stock_published import StockBatch
from nurt.ports import StockSink
from nurt.runtime import pickling as _crossing  # noqa: F401 - how frames are pickled
from nurt.runtime.failures import failures
from nurt.runtime.profile_steps import Parcel
from nurt.stock.stages.worker import StockSteps

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
