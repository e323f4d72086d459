"""The clock of a delivery: in a rehearsal its seconds may pass faster than a wall clock's."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeliveryClock:
    """Clock with a speed: at a speed of 60, a second of the wall clock is a minute of this clock."""

    speed: float = 1.0

    def now_s(self) -> float:
        """Return this clock's time; only differences mean something."""
        return time.monotonic() * self.speed

    def real_s(self, seconds: float) -> float:
        """Return how long that is on the wall clock."""
        return seconds / self.speed

    def sleep(self, seconds: float) -> None:
        """Sleep for that much time of this clock."""
        time.sleep(self.real_s(seconds))
