"""The simulated days: the time, the next events, and the ids of people in each database."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from nurt.simulate.company.people import Person
from nurt.simulate.connector.columns import moment
from nurt.simulate.connector.debezium import Connector

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

Deed = Callable[[int], None]
"""An event at a moment (us since 1970 UTC)."""


@dataclass(slots=True)
class Life:
    """Life of a person, with the person's ids in the databases."""

    person: Person
    customer_id: int | None = None  # in their land's shop
    subscriber_id: int | None = None
    contractor_id: int | None = None
    document_ids: list[int] = field(default_factory=list)


class World:
    """World of databases, a clock and a list of planned events; the same seed gives the same days."""

    def __init__(self, rng: random.Random, connectors: dict[str, Connector], start_us: int, end_us: int) -> None:
        self.rng = rng
        self.connectors = connectors
        self.start_us, self.end_us = start_us, end_us
        self.ids: Counter[tuple[str, str]] = Counter()
        self.deeds: Counter[str] = Counter()
        self._queue: list[tuple[int, int, Deed]] = []
        self._arrivals = 0

    def later(self, at_us: int, deed: Deed) -> None:
        """Plan an event at a moment, unless the moment is after the last day."""
        if at_us < self.end_us:
            self._arrivals += 1
            heapq.heappush(self._queue, (at_us, self._arrivals, deed))

    def within(self, at_us: int, shortest_us: int, longest_us: int) -> int:
        """Return a moment between two waits after another."""
        return at_us + self.rng.randrange(shortest_us, longest_us)

    def run_until(self, at_us: int, wait: Deed | None = None) -> None:
        """Run all events before a moment, in order; `wait` may delay each event."""
        while self._queue and self._queue[0][0] < at_us:
            due_us, _, deed = heapq.heappop(self._queue)
            if wait is not None:
                wait(due_us)
            deed(due_us)

    def next_id(self, system: str, table: str) -> int:
        """Return a table's next id, like a sequence; the systems' ids begin far apart."""
        self.ids[system, table] += 1
        return self.ids[system, table] + {"shop_pl": 0, "shop_de": 40_000, "erp": 700}[system]

    def shop_of(self, life: Life) -> Connector:
        """Return the shop of a person's land."""
        return self.connectors[life.person.country.shop]

    def customer(self, life: Life) -> dict[str, Any] | None:
        """Return the person's row in their shop, or None when there is none (any more)."""
        return None if life.customer_id is None else self.shop_of(life).rows("customer_entity").get((life.customer_id,))


def local_time(at_us: int) -> datetime:
    """Return a moment as local time of Warsaw or Berlin, without zone.

    Summer time: from 01:00 UTC on the last Sunday of March to that of October. Source: Directive 2000/84/EC.
    """
    at = moment(at_us).replace(tzinfo=None)
    begin, end = (datetime.combine(_last_sunday(at.year, month), datetime.min.time()) for month in (3, 10))
    hours = 2 if begin + timedelta(hours=1) <= at < end + timedelta(hours=1) else 1
    return at + timedelta(hours=hours)


def _last_sunday(year: int, month: int) -> date:
    last = date(year, month, 31)
    return last - timedelta(days=(last.weekday() + 1) % 7)
