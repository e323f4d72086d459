"""The Bytewax source over any message log: micro-batches, epochs, and commits when everything is done.

Bytewax closes an epoch by `snapshot`, and does not ask for more before every output of that epoch, on every worker,
is done. So the first `next_batch` after the n-th snapshot knows that epoch n is done. Its offsets are committed one
epoch later, when all fences are above it: a fence proves only epochs before its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from nurt.control.launch import checkpoint_record
from nurt.limits import CHECKPOINT_EPOCHS, CHECKPOINTS_KEPT
from nurt.model.fence import pending_score
from nurt.model.log import Committed, Leaders, Offsets
from nurt.model.raw import RawBatch
from nurt.model.tick import Tick
from nurt.model.units import Now
from nurt.ports.log import ControlLog, MessageLog
from nurt.runtime.failures import failures

IDLE = timedelta(milliseconds=5)
NEAR_ROWS = 5_000
"""Messages that are left when a part is near the end of its input, even if more keep coming."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reading(Generic[Now]):
    """Options of how the input of one run is read.

    Attributes:
        open_log: opens one worker's log, by index.
        offsets: where the launch decided to begin.
        leaders: under which leader epochs the messages before `offsets` were read.
        horizon: what the launch knows of the rewind horizon.
        now: returns the time that the flow calls now.
        stopping: says whether the run was asked to end.
    """

    run: int
    workers: int
    rows_max: int
    open_log: Callable[[int], MessageLog]
    offsets: Offsets | None
    leaders: Leaders
    horizon: int
    control_log: ControlLog
    now: Callable[[], Now]
    stopping: Callable[[], bool]


class TopicSource(FixedPartitionedSource[list[RawBatch] | Tick[Now], None], Generic[Now]):
    """Source with one part a worker; each part reads some partitions of all topics."""

    def __init__(self, reading: Reading[Now]) -> None:
        self._reading: Reading[Now] = reading

    def list_parts(self) -> list[str]:
        """Name one part a worker."""
        return [f"{index:04d}" for index in range(self._reading.workers)]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> SourcePart[Now]:
        """Open a worker's part of the log."""
        with failures.noting():
            return SourcePart(self._reading, int(for_part))


class SourcePart(StatefulSourcePartition[list[RawBatch] | Tick[Now], None], Generic[Now]):
    """Part that reads its partitions, and begins every epoch with a Tick for all workers.

    Every part sends ticks: a part may end before the others, and the fences must still prove the others' epochs.
    """

    def __init__(self, reading: Reading[Now], index: int) -> None:
        self._reading: Reading[Now] = reading
        self._index = index
        self._log = reading.open_log(index)
        self._log.start(reading.offsets, reading.leaders)
        self._log.commit(Committed(self._log.offsets(), reading.run, 0))
        self._epoch = 1  # the epoch that runs now
        self._closed: list[tuple[int, Offsets]] = []  # epochs whose snapshot was taken, oldest first
        self._fresh = True  # nothing of this epoch has been passed on yet
        self._last_committed = self._log.offsets()
        self._horizon = reading.horizon
        self._checkpoints: list[int] = []
        self._empty_epochs = 0
        self._awake: datetime | None = None

    def next_batch(self) -> list[list[RawBatch] | Tick[Now]]:
        """Commit what is done, then pass on what is there; end when everything is read and committed."""
        with failures.noting():
            return self._next_batch()

    def _next_batch(self) -> list[list[RawBatch] | Tick[Now]]:
        items: list[list[RawBatch] | Tick[Now]] = []
        if self._fresh:
            self._settle()
            self._fresh = False
            now, near = self._reading.now(), self._log.exhausted() or self._log.lag() <= NEAR_ROWS
            place = self._index, self._reading.workers
            items.append(Tick(self._epoch, now, self._horizon, self._caught_up(), near, *place))
        ending = self._reading.stopping() or self._log.exhausted()
        if ending and self._empty_epochs >= EPOCHS_TO_DRAIN:
            raise StopIteration
        batches = [] if ending else self._log.poll(self._reading.rows_max)
        if batches:
            self._empty_epochs = -1
            items.append(batches)
        self._awake = None if batches else datetime.now(UTC) + IDLE
        return items

    def _caught_up(self) -> bool:
        return self._empty_epochs > 0 and (self._log.exhausted() or self._log.lag() == 0)

    def next_awake(self) -> datetime | None:
        """Say when to look again."""
        return self._awake

    def snapshot(self) -> None:
        """Close the epoch: keep the offsets where it ended. Its last batch may still be under way."""
        self._closed.append((self._epoch, self._log.offsets()))
        self._epoch += 1
        self._fresh = True
        self._empty_epochs += 1

    def _settle(self) -> None:
        """Commit every epoch but the newest closed one; all closed ones are done."""
        done = self._closed[:-1]
        self._closed = self._closed[-1:]
        if not done:
            return
        epoch, offsets = done[-1]
        if offsets != self._last_committed:
            self._log.commit(Committed(offsets, self._reading.run, epoch))
            self._last_committed = offsets
        if epoch % CHECKPOINT_EPOCHS == 0:
            self._checkpoint(epoch, offsets)

    def _checkpoint(self, epoch: int, offsets: Offsets) -> None:
        reading = self._reading
        place = self._index, reading.workers
        reading.control_log.append(checkpoint_record(reading.run, epoch, *place, offsets, self._log.leaders()))
        self._checkpoints = [*self._checkpoints, epoch][-CHECKPOINTS_KEPT:]
        if len(self._checkpoints) == CHECKPOINTS_KEPT:
            self._horizon = pending_score(reading.run, self._checkpoints[0])

    def close(self) -> None:
        """Let go of the log; never raises."""
        self._log.close()


EPOCHS_TO_DRAIN = 3
"""Epochs without input until the last input is committed: its own ends, one advances the fences, one commits."""
