"""Find locations with stale news of stock. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from nurt.model.stock.plan import StockPlan
from nurt.model.units import Millis


@dataclass(slots=True)
class Feeds:
    """News of the locations that may become stale.

    Attributes:
        news: location -> commit time of its newest stock level so far, in ms.
        stale: locations that are stale now.
    """

    news: dict[str, int] = field(default_factory=dict)
    stale: frozenset[str] = frozenset()

    def watches(self, plan: StockPlan) -> bool:
        """Return whether any location's news may become stale."""
        return any(one.stale_s is not None for one in plan.locations.values())

    def hear(self, plan: StockPlan, written_ms: Mapping[str, int]) -> bool:
        """Note the times of levels, by location; returns whether any is newer."""
        newer = False
        for place, ts_ms in written_ms.items():
            if plan.locations[place].stale_s is not None and ts_ms > self.news.get(place, -1):
                self.news[place] = ts_ms
                newer = True
        return newer

    def stale_at(self, plan: StockPlan, as_of_ms: Millis) -> frozenset[str]:
        """Name the locations with stale news; a location without news is not stale."""
        return frozenset(
            name
            for name, ts_ms in self.news.items()
            if name in plan.locations
            and (limit := plan.locations[name].stale_s) is not None
            and as_of_ms - ts_ms > limit * 1000
        )

    def encode(self) -> bytes:
        """Write the feeds' news."""
        return orjson.dumps({"news": self.news, "stale": sorted(self.stale)}, option=orjson.OPT_SORT_KEYS)

    @staticmethod
    def decode(value: bytes | None) -> Feeds:
        """Read the feeds' news; empty where nothing is stored."""
        stored = orjson.loads(value) if value is not None else {"news": {}, "stale": []}
        return Feeds(stored["news"], frozenset(stored["stale"]))
