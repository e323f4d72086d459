"""Keyed state, as one worker sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from nurt.columnar.types import KeyRows
from nurt.columnar.values import Values
from nurt.model.state_write import StateWrite
from nurt.model.units import Day, Millis


class Store(Protocol):
    """Keyed state, as one worker sees it: many keys at once, and writes that only the owner of the heads can make.

    Every write carries the new heads of all the worker's places and is refused when a head is not what this
    owner wrote last: a second cluster took over, or the store came back older.
    """

    run: int
    places: Sequence[bytes]

    def next_stamp(self) -> int:
        """Return run << 40 | sequence of the next write; larger than that of every write before."""
        ...

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of keys, in order; one round trip.

        Raises Fenced when a head is not what this owner wrote last.
        """
        ...

    def load(self, keys: Sequence[KeyRows]) -> list[Values]:
        """Return the values of blocks of keys, by block; one round trip: `read` for the hot path."""
        ...

    def write(self, change: StateWrite) -> None:
        """Apply a change atomically with new heads; it may be on its way still when this returns.

        Every later call of this store sees it. A write that is refused changes nothing, and that call, or already
        this one, raises Fenced: a head was not what this owner wrote last.
        """
        ...

    def settle(self) -> None:
        """Wait until what was written is done: before anything that depends on it leaves this worker.

        Raises Fenced when it was refused.
        """
        ...

    def advance_epoch(self, epoch: int, horizon: int) -> None:
        """Raise all heads to `epoch`, and forget what is owed with a score below `horizon`.

        A head (run, epoch) vouches for all epochs before it.
        """
        ...

    def pending(self) -> dict[bytes, list[bytes]]:
        """Return what is owed, by place of this worker."""
        ...

    def due_timers(self, by: Day | Millis, rows_max: int) -> list[bytes]:
        """Return what the clock changes by now in this worker's places, in the unit in which it was noted."""
        ...

    def watermarks(self) -> dict[bytes, bytes]:
        """Return table -> encoded truncate floor, over this worker's shards."""
        ...

    def counted(self) -> dict[bytes, dict[str, int]]:
        """Return, by place of this worker, what is counted of -> highest counted offset."""
        ...

    def scan(self, kind: bytes, place: bytes | None = None) -> Iterator[list[bytes]]:
        """Yield the ids under which this worker's places, or one of them, hold keys of one kind, some at a time."""
        ...

    def close(self) -> None:
        """Let go of connections; never raises."""
        ...
