"""Which locations' news of stock are too old. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from nurt.model.stock_plan import StockPlan
from nurt.model.units import Millis


@dataclass(slots=True)
class Feeds:
    """News of the locations that may become stale.

    Attributes:
        news: location -> commit time of its newest stock level that was ever seen, in ms.
        stale: what counts as stale now.
    """

    news: dict[str, int] = field(default_factory=dict)
    stale: frozenset[str] = frozenset()

    def watches(self, plan: StockPlan) -> bool:
        """Say whether any location's news may become too old."""
        return any(one.stale_s is not None for one in plan.locations.values())

    def hear(self, plan: StockPlan, written_ms: Mapping[str, int]) -> bool:
        """Take in when levels were written, by location; says whether anything is newer."""
        newer = False
        for place, ts_ms in written_ms.items():
            if plan.locations[place].stale_s is not None and ts_ms > self.news.get(place, -1):
                self.news[place] = ts_ms
                newer = True
        return newer

    def stale_at(self, plan: StockPlan, as_of_ms: Millis) -> frozenset[str]:
        """Name the locations whose news are too old; one that was never heard of has none."""
        return frozenset(
            name
            for name, ts_ms in self.news.items()
            if name in plan.locations
            and (limit := plan.locations[name].stale_s) is not None
            and as_of_ms - ts_ms > limit * 1000
        )

    def encode(self) -> bytes:
        """Write it down."""
        return orjson.dumps({"news": self.news, "stale": sorted(self.stale)}, option=orjson.OPT_SORT_KEYS)

    @staticmethod
    def decode(value: bytes | None) -> Feeds:
        """Read it; nothing is known where there is nothing."""
        stored = orjson.loads(value) if value is not None else {"news": {}, "stale": []}
        return Feeds(stored["news"], frozenset(stored["stale"]))
