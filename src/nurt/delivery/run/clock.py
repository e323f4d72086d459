"""The clock of a delivery: seconds that a rehearsal may let pass faster than a wall clock's."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeliveryClock:
    """How fast time passes: at a speed of 60 a second of the wall clock is a minute of this one."""

    speed: float = 1.0

    def now_s(self) -> float:
        """Say what time it is; only differences mean something."""
        return time.monotonic() * self.speed

    def real_s(self, seconds: float) -> float:
        """Say how long that is on the wall."""
        return seconds / self.speed

    def sleep(self, seconds: float) -> None:
        """Let that much pass."""
        time.sleep(self.real_s(seconds))
