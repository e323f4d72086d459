"""The flows' current time."""

from __future__ import annotations

from typing import Protocol

from nurt.model.units import Day, Millis


class DayClock(Protocol):
    """The calendar, as a value that a test can choose: the current time of the flow of profiles."""

    def today(self) -> Day:
        """Return the current day in UTC."""
        ...


class MomentClock(Protocol):
    """The time of day, as a value that a test can choose: the current time of the flow of stock."""

    def now(self) -> Millis:
        """Return the current moment."""
        ...
