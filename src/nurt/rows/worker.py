"""The base of every flow's worker: rows over a store, epochs, the clock, and what earlier runs left pending."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from nurt.control.logs import NO_LOGS, KnownLogs
from nurt.model.fence import pending_score
from nurt.model.keys import Keys
from nurt.model.state_write import StateWrite
from nurt.model.tick import Tick
from nurt.model.units import Now
from nurt.ports.store import Store
from nurt.rows.children.renormalising import Renormaliser
from nurt.rows.stage import RowEmitter, RowsStage
from nurt.rows.sweeps import Sweep

PENDING_MAX = 10_000
"""How many pending publications of earlier runs one write marks as pending again."""

JOINED = b"\x01"
"""What pending rows that are made of several begin with; names of realms and the stock's letters never do."""

T = TypeVar("T")


class RowsWorker(Generic[T, Now]):
    """One worker's rows; a flow's subclass adds the later stages.

    Args:
        unit: of the flow's clock.
        renormaliser: of the identifiers of rows; None: the flow has none.
        normalisation: number of today's rules of normalisation; 0: stored rows are not read again.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        emitter: RowEmitter[T],
        sweeps: Sequence[Sweep],
        unit: Callable[[int], Now],
        logs: KnownLogs = NO_LOGS,
        renormaliser: Renormaliser | None = None,
        normalisation: int = 0,
    ) -> None:
        self.store, self.keys = store, keys
        self.epoch = 0
        self.as_of: Now = unit(0)
        self.rows = RowsStage[T](store, keys, emitter, sweeps, logs, renormaliser, normalisation)
        self._unit: Callable[[int], Now] = unit
        self._resumed = False
        self._again: tuple[list[bytes], list[bytes]] = [], []
        self._told = False
        self._knows_clock = False

    def begin_epoch(self, tick: Tick[Now]) -> bool:
        """Advance the fences: from now on they vouch for all earlier epochs. False: the epoch has begun already.

        A pending publication is forgotten only after this run marked it as pending: an earlier run that died at its
        start has not published it.
        """
        if tick.epoch <= self.epoch:
            return False
        self.epoch = tick.epoch
        self.store.advance_epoch(tick.epoch, tick.horizon if self._resumed else 0)
        self._advance_clock(tick.as_of)
        return True

    def _advance_clock(self, now: Now) -> None:
        """Advance the clock; time never goes back, not even when a run's clock is behind that of the run before."""
        names = [self.keys.day_of(place) for place in self.store.places]
        if not self._knows_clock:
            self._knows_clock = True
            told = [int(value) for value in self.store.read(names) if value is not None]
            self.as_of = self._unit(max(told, default=0))
        if now > self.as_of:
            self.as_of = now
            self.store.write(StateWrite(put=dict.fromkeys(names, str(now).encode())))

    def owe_again(self) -> list[bytes] | None:
        """Mark what earlier runs left pending as pending in this epoch; return it. None: this run has done so."""
        if self._told:
            return None
        self._told = True
        self._resume()
        return self._again[0]

    def owed_joins(self) -> list[bytes]:
        """Return what earlier runs left pending of rows that are made of several; all is pending in this epoch."""
        self._resume()
        return self._again[1]

    def _resume(self) -> None:
        if self._resumed:
            return
        self._resumed = True
        pending = {place: members for place, members in self.store.pending().items() if members}
        score = pending_score(self.store.run, self.epoch)
        for place, members in pending.items():
            for at in range(0, len(members), PENDING_MAX):
                self.store.write(StateWrite(pending={place: dict.fromkeys(members[at : at + PENDING_MAX], score)}))
        for members in pending.values():
            for member in members:
                self._again[member.startswith(JOINED)].append(member)
