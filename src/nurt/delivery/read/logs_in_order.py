"""Several logs read as one, some of them first: profiles before the orders that name profiles.

All workers read and settle what the leading logs held at the start, before they read the other logs. So a back-fill, or
a delivery after a long pause, does not write an order before its profile, only to link the order later.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from nurt.model.log import Committed, Leaders, Offsets
from nurt.model.raw import RawBatch
from nurt.ports.log import MessageLog


class LeadingLog(MessageLog, Protocol):
    """Log that other logs wait for."""

    def caught_up(self) -> bool:
        """Say whether all that the log held at `start` has been polled; once true, always true."""
        ...


class Gate:
    """Gate that opens when every worker has settled what its leading logs held at the start."""

    def __init__(self, workers: int) -> None:
        self._missing = set(range(workers))
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Say whether the other logs may be read."""
        return not self._missing

    def pass_by(self, worker: int) -> None:
        """Note that a worker has settled its leading logs."""
        with self._lock:
            self._missing.discard(worker)


class LogsInOrder:
    """One worker's part of several logs; implements ports.log.MessageLog. No two logs have a topic in common."""

    def __init__(
        self, leading: Sequence[LeadingLog], others: Sequence[MessageLog], gate: Gate, worker: int = 0
    ) -> None:
        self._leading, self._gate, self._worker = leading, gate, worker
        self._all: tuple[MessageLog, ...] = (*leading, *others)
        self._has_led = False
        self._unsettled: Offsets = {}  # where the leading logs stood when all they held at the start was read

    def committed(self) -> Committed | None:
        """See ports.log.MessageLog."""
        found = [one for one in (log.committed() for log in self._all) if one is not None]
        if not found:
            return None
        offsets = {part: at for one in found for part, at in one.offsets.items()}
        return Committed(offsets, *max((one.run, one.epoch) for one in found))

    def start(self, offsets: Offsets | None, leaders: Leaders | None = None) -> None:
        """See ports.log.MessageLog."""
        for log in self._all:
            log.start(offsets, leaders)

    def poll(self, rows_max: int) -> list[RawBatch]:
        """See ports.log.MessageLog."""
        if self._gate.is_open:
            return _polled(self._all, rows_max)
        batches = _polled(self._leading, rows_max)
        if not self._has_led:
            self._has_led = all(log.caught_up() for log in self._leading)
            if batches:
                self._unsettled = _offsets(self._leading)
        if self._has_led and not self._unsettled:
            self._gate.pass_by(self._worker)
        return batches

    def offsets(self) -> Offsets:
        """See ports.log.MessageLog."""
        return _offsets(self._all)

    def leaders(self) -> Leaders:
        """See ports.log.MessageLog."""
        return {part: one for log in self._all for part, one in log.leaders().items()}

    def exhausted(self) -> bool:
        """See ports.log.MessageLog."""
        return all(log.exhausted() for log in self._all)

    def commit(self, committed: Committed) -> None:
        """See ports.log.MessageLog; each log takes the offsets of its own topics."""
        for log in self._all:
            log.commit(committed)
        if all(committed.offsets.get(part, -1) >= at for part, at in self._unsettled.items()):
            self._unsettled = {}

    def lag(self) -> int:
        """See ports.log.MessageLog."""
        return sum(log.lag() for log in self._all)

    def close(self) -> None:
        """See ports.log.MessageLog."""
        for log in self._all:
            log.close()


def _polled(logs: Sequence[MessageLog], rows_max: int) -> list[RawBatch]:
    batches: list[RawBatch] = []
    for log in logs:
        left = rows_max - sum(map(len, batches))
        if left > 0:
            batches += log.poll(left)
    return batches


def _offsets(logs: Sequence[MessageLog]) -> Offsets:
    return {part: at for log in logs for part, at in log.offsets().items()}
