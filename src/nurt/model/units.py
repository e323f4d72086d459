"""Units of time and money. All of them are whole numbers, so only their types keep them apart.

They are types for a checker alone: at run time each is its number. Arrays and kernels say their unit in words, and a
length of time in its name (`linger_ms`, `reservation_s`).
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
"""What a flow calls now: the day where profiles are made, the moment where stock is."""

_DAY_MS, _MILLI_US = 86_400_000, 1_000


def day_of(moment: Millis) -> Day:
    """Give the day that a moment lies in."""
    return Day(moment // _DAY_MS)


def in_micros(moment: Millis) -> Micros:
    """Give a moment in microseconds."""
    return Micros(moment * _MILLI_US)
