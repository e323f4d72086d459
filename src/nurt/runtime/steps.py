"""The Bytewax shells that all flows share: a stage as a step with one routing key a worker, and the outputs.

A step takes all items that wait for its worker at once, so these items share a stage's round trips.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from nurt.errors import frames_of
from nurt.model.tick import Tick
from nurt.runtime import pickling as _crossing  # noqa: F401 - how frames are pickled
from nurt.runtime.failures import Reader, failures, naming_damage

Parcel = tuple[int, Any]
"""(worker that it is for, item)."""

_logger = logging.getLogger(__name__)


class Steps(Protocol):
    """Steps of one worker's stages, over the parcels of a moment: one method a stage, by its name."""

    @property
    def store(self) -> Reader:
        """Return the worker's store."""
        ...

    @property
    def forms(self) -> Mapping[bytes, str]:
        """Return the forms of the store's values, by kind of key: see `model.value_forms`."""
        ...

    def flush(self) -> Iterable[Any]:
        """Publish what still waits, when the input has ended."""
        ...


class Stage(StatefulBatchLogic[Parcel, Any, None]):
    """Stage of one worker: parcels in, parcels or published batches out. Its state is in the store, not here.

    Args:
        name: of the stage's method.
        of: the flow, for the log.
        is_last: whether what waits is published here when the input ends.
    """

    def __init__(self, name: str, steps_of: Callable[[int], Steps], of: str = "", is_last: bool = False) -> None:
        self._name = name
        self._steps_of = steps_of
        self._of = of
        self._is_last = is_last
        self._mine: Steps | None = None

    def on_batch(self, values: list[Parcel]) -> tuple[list[Any], bool]:
        """Run the stage; Bytewax shows no text of an exception in a cluster, so it is logged here."""
        try:
            with failures.noting():
                self._mine = self._steps_of(values[0][0])
                step = getattr(self._mine, self._name)
                with naming_damage(self._mine.store, self._mine.forms):
                    return list(step([item for _, item in values])), False
        except Exception as failed:
            _logger.error("running stage %s%s: failed; this run stops\n%s", self._name, self._of, frames_of(failed))
            raise

    def on_eof(self) -> tuple[list[Any], bool]:
        """Publish what still waits, when the input has ended."""
        if self._mine is None or not self._is_last:
            return [], False
        return list(self._mine.flush()), False

    def snapshot(self) -> None:
        """Keep nothing: the store has it."""


def is_tick(item: Any) -> bool:
    """Say whether an item is a tick."""
    return isinstance(item, Tick)


Batch = TypeVar("Batch")
Written = TypeVar("Written", contravariant=True)


class Sink(Protocol[Written]):
    """Sink of what a flow publishes; see ports.sinks."""

    def write(self, batch: Written) -> None:
        """Store the batch durably before returning."""
        ...

    def close(self) -> None:
        """Let go of connections and files; never raises."""
        ...


class Outputs(DynamicSink[Batch], Generic[Batch]):
    """Outputs of a flow: every configured output is written on the worker that owns what is published.

    Args:
        joined: makes the batches that are written from the items of a moment.
        what: names batches, for the log.
        of: the flow, for the log.
    """

    def __init__(
        self,
        open_sinks: Callable[[int], Sequence[Sink[Batch]]],
        joined: Callable[[list[Batch]], list[Batch]],
        what: Callable[[list[Batch]], str],
        of: str = "",
    ) -> None:
        self._open_sinks = open_sinks
        self._joined = joined
        self._what = what
        self._of = of

    def build(self, step_id: str, worker_index: int, worker_count: int) -> OutputsPart[Batch]:
        """Open a worker's outputs."""
        try:
            with failures.noting():
                return OutputsPart(self._open_sinks(worker_index), self._joined, self._what)
        except Exception as failed:
            _logger.error("opening the outputs%s: failed; this run stops\n%s", self._of, frames_of(failed))
            raise


class OutputsPart(StatelessSinkPartition[Batch], Generic[Batch]):
    """Outputs of one worker; a batch is durable in all of them before `write_batch` returns."""

    def __init__(
        self,
        sinks: Sequence[Sink[Batch]],
        joined: Callable[[list[Batch]], list[Batch]],
        what: Callable[[list[Batch]], str],
    ) -> None:
        self._sinks = sinks
        self._joined = joined
        self._what = what

    def write_batch(self, items: list[Batch]) -> None:
        """Write the batches of the items, in order, to one output after the other."""
        batches = self._joined(items)
        for sink in self._sinks:
            try:
                with failures.noting():
                    for batch in batches:
                        sink.write(batch)
            except Exception as failed:
                _logger.error("publishing %s: failed; this run stops\n%s", self._what(batches), frames_of(failed))
                raise

    def close(self) -> None:
        """Close every output; never raises."""
        for sink in self._sinks:
            sink.close()
