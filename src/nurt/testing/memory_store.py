"""State in memory, for tests and rehearsals: the same contract as Redis, with crashes on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from nurt.columnar.types import KeyRows
from nurt.columnar.values import Values
from nurt.errors import Fenced
from nurt.model.fence import FencingToken, stamp
from nurt.model.refusal import Refused
from nurt.model.state_write import StateWrite, cut_keys
from nurt.model.units import NO_TIME, Day, Millis
from nurt.testing.ledger import Ledger


@dataclass(slots=True)
class Memory:
    """A server's data; several stores may share one."""

    values: dict[bytes, bytes] = field(default_factory=dict)
    fences: dict[bytes, FencingToken] = field(default_factory=dict)
    pending: dict[bytes, dict[bytes, int]] = field(default_factory=dict)
    timers: dict[bytes, dict[bytes, int]] = field(default_factory=dict)
    watermarks: dict[bytes, dict[bytes, bytes]] = field(default_factory=dict)
    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    counted: dict[bytes, dict[str, int]] = field(default_factory=dict)
    refused: dict[tuple[str, int, int], Refused] = field(default_factory=dict)
    reservations: dict[bytes, dict[bytes, Any]] = field(default_factory=dict)
    now_ms: Millis = NO_TIME
    """Time of the server's clock."""

    def ledger(self, place: bytes) -> Ledger:
        """Open the ledger of a place."""
        timers, orders = self.timers.setdefault(place, {}), self.reservations.setdefault(place, {})
        return Ledger(place, self.values, timers, orders)

    def claim(self, run: int, places: Sequence[bytes]) -> None:
        """Take all fences for a run; raises Fenced when a later run holds a fence."""
        for place in places:
            fence = self.fences.get(place)
            if fence is not None and fence.run >= run:
                raise Fenced(
                    f"claiming state: run {fence.run} holds it (this is run {run}); stop one of the two clusters"
                )
        for place in places:
            self.fences[place] = FencingToken(run, 0, 0)

    def copy(self) -> Memory:
        """Copy the data, as a server's dump does."""
        return Memory(
            dict(self.values),
            dict(self.fences),
            {place: dict(members) for place, members in self.pending.items()},
            {place: dict(members) for place, members in self.timers.items()},
            {place: dict(watermarks) for place, watermarks in self.watermarks.items()},
            dict(self.counts),
            {place: dict(offsets) for place, offsets in self.counted.items()},
            dict(self.refused),
            deepcopy(self.reservations),
            self.now_ms,
        )


class MemoryStore:
    """A ports.store.Store over a Memory."""

    def __init__(
        self,
        memory: Memory,
        run: int,
        places: Sequence[bytes],
        before_write: Callable[[], None] = lambda: None,
        after_write: Callable[[], None] = lambda: None,
    ) -> None:
        self.run = run
        self.round_trips = 0
        self._memory = memory
        self._last: list[bytes] = []
        self.places: Sequence[bytes] = list(places)
        self._before_write = before_write
        self._after_write = after_write
        self._fence = FencingToken(run, 0, 0)

    def next_stamp(self) -> int:
        """See ports.store.Store."""
        return stamp(self.run, self._fence.sequence + 1)

    def _check(self) -> None:
        for place in self.places:
            if self._memory.fences.get(place) != self._fence:
                raise Fenced(
                    f"writing state: the head of {place.decode()} is not what this run wrote last; "
                    "another cluster took over or the store came back older: this run stops, start it anew"
                )

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See ports.store.Store."""
        self.round_trips += 1
        self._check()
        self._last = list(keys)
        return [self._memory.values.get(key) for key in keys]

    def load(self, keys: Sequence[KeyRows]) -> list[Values]:
        """See ports.store.Store."""
        self.round_trips += 1
        self._check()
        fence = self._memory.values
        cut = [cut_keys(block) for block in keys]
        self._last = [key for block in cut for key in block]
        return [Values.of([fence.get(key) for key in block]) for block in cut]

    def last_read(self) -> tuple[Sequence[bytes], Sequence[bytes | None]]:
        """See ports.store.Store."""
        return self._last, [self._memory.values.get(key) for key in self._last]

    def write(self, change: StateWrite) -> None:
        """See ports.store.Store."""
        self.round_trips += 1
        self._before_write()
        self._check()
        memory = self._memory
        change.flatten()
        for key in change.drop:
            memory.values.pop(key, None)
        memory.values.update(change.put)
        for place, pending in change.pending.items():
            memory.pending.setdefault(place, {}).update(pending)
        for place, days in change.timers.items():
            index = memory.timers.setdefault(place, {})
            for member, day in days.items():
                if day is None:
                    index.pop(member, None)
                else:
                    index[member] = day
        for place, watermarks in change.watermarks.items():
            memory.watermarks.setdefault(place, {}).update(watermarks)
        for place, offsets in change.counted.items():
            memory.counted.setdefault(place, {}).update(offsets)
        for counted, messages in change.counts.items():
            memory.counts[counted] = memory.counts.get(counted, 0) + messages
        for refused in change.refused:
            memory.refused[refused.topic, refused.partition, refused.offset] = refused
        for call in change.calls:
            now_ms = memory.now_ms if call.now_ms is None else call.now_ms
            memory.ledger(call.place).call(call.what, call.arguments, now_ms)
        self._put_fences(FencingToken(self.run, self._fence.epoch, self._fence.sequence + 1))
        self._after_write()

    def settle(self) -> None:
        """See ports.store.Store."""

    def _put_fences(self, fence: FencingToken) -> None:
        self._fence = fence
        for place in self.places:
            self._memory.fences[place] = fence

    def advance_epoch(self, epoch: int, horizon: int) -> None:
        """See ports.store.Store."""
        self.round_trips += 1
        self._before_write()
        self._check()
        self._put_fences(FencingToken(self.run, epoch, self._fence.sequence + 1))
        for place in self.places:
            pending = self._memory.pending.get(place, {})
            for member in [member for member, score in pending.items() if score < horizon]:
                del pending[member]
        self._after_write()

    def pending(self) -> dict[bytes, list[bytes]]:
        """See ports.store.Store."""
        return {place: sorted(self._memory.pending.get(place, {})) for place in self.places}

    def due_timers(self, by: Day | Millis, rows_max: int) -> list[bytes]:
        """See ports.store.Store."""
        found = [
            (when, member)
            for place in self.places
            for member, when in self._memory.timers.get(place, {}).items()
            if when <= by
        ]
        return [member for _, member in sorted(found)[:rows_max]]

    def watermarks(self) -> dict[bytes, bytes]:
        """See ports.store.Store."""
        return {
            table: watermark
            for place in self.places
            for table, watermark in self._memory.watermarks.get(place, {}).items()
        }

    def counted(self) -> dict[bytes, dict[str, int]]:
        """See ports.store.Store."""
        return {place: dict(self._memory.counted.get(place, {})) for place in self.places}

    def scan(self, kind: bytes, place: bytes | None = None) -> Iterator[list[bytes]]:
        """See ports.store.Store."""
        for one in self.places if place is None else [place]:
            start = one + kind
            ids = [key[len(start) :] for key in list(self._memory.values) if key.startswith(start)]
            if ids:
                yield ids

    def close(self) -> None:
        """See ports.store.Store."""
