"""The Bytewax source of a delivery: live changes first, a back-fill beside them, commits when everything is delivered.

Bytewax asks for more after a `snapshot` only when every output of that epoch is done (see runtime/source.py), and
the sink returns only when every row is settled. So the next `next_batch` commits what was read before the snapshot.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from nurt.model.log import Committed, Offsets
from nurt.model.raw import RawBatch
from nurt.ports.log import MessageLog

IDLE = timedelta(milliseconds=5)
LEFT = timedelta(milliseconds=100)
PULSE_S = 1.0
EPOCHS_TO_DRAIN = 2


@dataclass(frozen=True, slots=True)
class Work:
    """Work for a delivering sink: messages, or, without any, a pulse to look at parked desired states."""

    batches: tuple[RawBatch, ...] = ()
    is_backfill: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryShare:
    """Input of one worker.

    Attributes:
        live: the log of changes; started.
        backfill: the log that is delivered again from the beginning; started.
        note: stores offsets beside the last known states before they are committed; by "live" or "backfill".
        done: called when the back-fill has been delivered.
        is_left: says whether a parked desired state can be settled soon; called before a run ends by itself.
    """

    live: MessageLog
    backfill: MessageLog | None
    note: Callable[[str, Offsets], None]
    done: Callable[[], None]
    is_left: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class DeliverySourceOptions:
    """Options of how a delivery reads.

    Attributes:
        linger_s: how long a change may wait for others, while there are fewer than `rows_max`.
    """

    workers: int
    open_share: Callable[[int], DeliveryShare]
    rows_max: int
    linger_s: float
    stopping: Callable[[], bool]


class DeliverySource(FixedPartitionedSource[Work, None]):
    """Source with one part a worker."""

    def __init__(self, options: DeliverySourceOptions) -> None:
        self._options = options

    def list_parts(self) -> list[str]:
        """Name one part a worker."""
        return [f"{index:04d}" for index in range(self._options.workers)]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> DeliveryPart:
        """Open a worker's part."""
        return DeliveryPart(self._options, self._options.open_share(int(for_part)))


class DeliveryPart(StatefulSourcePartition[Work, None]):
    """Reader of one worker's part."""

    def __init__(self, options: DeliverySourceOptions, share: DeliveryShare) -> None:
        self._options = options
        self._share = share
        self._buffered: list[RawBatch] = []  # read, not passed on yet
        self._buffered_since_s = 0.0
        self._handed_on = share.live.offsets()
        self._filled = share.backfill.offsets() if share.backfill else {}
        self._closed: list[tuple[Offsets, Offsets]] = []
        self._committed: tuple[Offsets, Offsets] = ({}, {})
        self._fresh = False
        self._empty_epochs = 0
        self._pulsed_s = 0.0
        self._awake: datetime | None = None

    def next_batch(self) -> list[Work]:
        """Commit what is delivered, then pass on what is there."""
        if self._fresh:
            self._settle()
            self._fresh = False
        ending = self._options.stopping() or self._exhausted()
        is_noted = self._committed == (self._handed_on, self._filled)
        if ending and self._empty_epochs >= EPOCHS_TO_DRAIN and is_noted and not self._buffered:
            if self._options.stopping() or not self._share.is_left():
                raise StopIteration
            self._awake = datetime.now(UTC) + LEFT
            return [Work()]
        works = [] if self._options.stopping() else [*self._live(), *self._backfill()]
        if works:
            self._empty_epochs = -1
        if time.monotonic() - self._pulsed_s >= PULSE_S:
            self._pulsed_s = time.monotonic()
            works.append(Work())
        self._awake = None if works else datetime.now(UTC) + IDLE
        if self._options.stopping():
            self._buffered = []
        return works

    def _live(self) -> list[Work]:
        buffered_rows = sum(map(len, self._buffered))
        batches = (
            self._share.live.poll(self._options.rows_max - buffered_rows)
            if buffered_rows < self._options.rows_max
            else []
        )
        if batches and not self._buffered:
            self._buffered_since_s = time.monotonic()
        self._buffered += batches
        buffered_rows += sum(map(len, batches))
        waited_s = time.monotonic() - self._buffered_since_s
        if not buffered_rows or (buffered_rows < self._options.rows_max and waited_s < self._options.linger_s):
            return []
        works = [Work(tuple(self._buffered))]
        self._buffered = []
        self._handed_on = self._share.live.offsets()
        return works

    def _backfill(self) -> list[Work]:
        log = self._share.backfill
        if log is None:
            return []
        batches = log.poll(self._options.rows_max)
        self._filled = log.offsets()
        return [Work(tuple(batches), is_backfill=True)] if batches else []

    def _exhausted(self) -> bool:
        return self._share.live.exhausted() and (self._share.backfill is None or self._share.backfill.exhausted())

    def next_awake(self) -> datetime | None:
        """Say when to look again."""
        return self._awake

    def snapshot(self) -> None:
        """Close the epoch: keep the offsets of what it has passed on."""
        self._closed.append((dict(self._handed_on), dict(self._filled)))
        self._fresh = True
        self._empty_epochs += 1

    def _settle(self) -> None:
        if not self._closed:
            return
        live, filled = self._closed[-1]
        self._closed = []
        before_live, before_filled = self._committed
        if live != before_live:
            self._share.note("live", live)
            self._share.live.commit(Committed(live, 0, 0))
        backfill = self._share.backfill
        if backfill is not None:
            if filled != before_filled:
                self._share.note("backfill", filled)
                backfill.commit(Committed(filled, 0, 0))
            if backfill.exhausted() and filled == backfill.offsets():
                self._share.done()
        self._committed = (live, filled)

    def close(self) -> None:
        """Let go of the logs; never raises."""
        self._share.live.close()
        if self._share.backfill is not None:
            self._share.backfill.close()
