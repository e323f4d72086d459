"""Keyed state, as one worker sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from nurt.columnar.types import KeyRows
from nurt.columnar.values import Values
from nurt.model.state_write import StateWrite
from nurt.model.units import Day, Millis


class Store(Protocol):
    """Keyed state, as one worker sees it: many keys at once, and writes that only the owner of the fences can make.

    Every write carries new fences for all places of the worker and is refused when a fence differs from this
    owner's last one: a second cluster took over, or the store came back older.
    """

    run: int
    places: Sequence[bytes]

    def next_stamp(self) -> int:
        """Return run << 40 | sequence of the next write; larger than that of every write before."""
        ...

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of keys, in order; one round trip.

        Raises Fenced when a fence differs from this owner's last one.
        """
        ...

    def load(self, keys: Sequence[KeyRows]) -> list[Values]:
        """Return the values of blocks of keys, by block; one round trip: `read` for the hot path."""
        ...

    def last_read(self) -> tuple[Sequence[bytes], Sequence[bytes | None]]:
        """Return keys and values of the last `read` or `load`: after a failure, to name a damaged value."""
        ...

    def write(self, change: StateWrite) -> None:
        """Apply a change atomically with new fences; the write may still be in flight when this method returns.

        Every later call of this store sees the change. A refused write changes nothing, and this call or a later one
        raises Fenced: a fence differed from this owner's last one.
        """
        ...

    def settle(self) -> None:
        """Wait until all writes are done: before anything that depends on a write leaves this worker.

        Raises Fenced when a write was refused.
        """
        ...

    def advance_epoch(self, epoch: int, horizon: int) -> None:
        """Raise all fences to `epoch`, and forget pending publications with a score below `horizon`.

        A fence (run, epoch) vouches for all earlier epochs of its run.
        """
        ...

    def pending(self) -> dict[bytes, list[bytes]]:
        """Return pending publications, by place of this worker."""
        ...

    def due_timers(self, by: Day | Millis, rows_max: int) -> list[bytes]:
        """Return timers of this worker's places that are due; `by` has the unit in which timers were stored."""
        ...

    def watermarks(self) -> dict[bytes, bytes]:
        """Return table -> encoded truncate watermarks, over this worker's shards."""
        ...

    def counted(self) -> dict[bytes, dict[str, int]]:
        """Return, by place of this worker, name of a count -> highest counted offset."""
        ...

    def scan(self, kind: bytes, place: bytes | None = None) -> Iterator[list[bytes]]:
        """Yield the ids under which this worker's places, or one of them, hold keys of one kind, some at a time."""
        ...

    def close(self) -> None:
        """Close connections; never raises."""
        ...
