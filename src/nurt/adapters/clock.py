"""The machine's clock."""

from __future__ import annotations

import time

from nurt.model.units import Day, Millis, day_of


class SystemClock:
    """Machine's clock, in UTC; implements ports.clock.DayClock and ports.clock.MomentClock."""

    def today(self) -> Day:
        """See ports.clock.DayClock."""
        return day_of(self.now())

    def now(self) -> Millis:
        """See ports.clock.MomentClock."""
        return Millis(time.time_ns() // 1_000_000)
