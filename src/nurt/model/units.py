"""Units of time and money. All of them are whole numbers, so only their types keep them apart.

The types are for the type checker only: at run time each is a number. Arrays and kernels name their unit in words; a
length of time has the unit in its name (`linger_ms`, `reservation_s`).
"""

from __future__ import annotations

from typing import NewType, TypeVar

Day = NewType("Day", int)
"""A calendar day in UTC: days since 1970-01-01."""
Millis = NewType("Millis", int)
"""A moment: milliseconds since 1970-01-01, UTC."""
Micros = NewType("Micros", int)
"""A moment: microseconds since 1970-01-01, UTC."""
Amount = NewType("Amount", int)
"""An amount of money, or a quantity: ten-thousandths."""

NO_TIME = Millis(0)
"""The beginning of 1970, before anything that happens here."""
NO_AMOUNT = Amount(0)

Now = TypeVar("Now", Day, Millis)
"""A flow's current time: a day for profiles, a moment for stock."""

_DAY_MS, _MILLI_US = 86_400_000, 1_000


def day_of(moment: Millis) -> Day:
    """Give the day of a moment."""
    return Day(moment // _DAY_MS)


def in_micros(moment: Millis) -> Micros:
    """Give a moment in microseconds."""
    return Micros(moment * _MILLI_US)
