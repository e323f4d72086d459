"""What a delivery's batches work with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from nurt.delivery.diff import Rules
from nurt.delivery.ports import DeliveryMemory, WishReader
from nurt.delivery.run.clock import Pace
from nurt.delivery.run.sender import Flight
from nurt.model.delivery import Limits, Refusal, Write
from nurt.model.units import Millis


@dataclass(frozen=True, slots=True)
class Means:
    """What a batch works with."""

    store: DeliveryMemory
    rules: Rules
    limits: Limits
    wishes: WishReader
    flight: Flight
    pace: Pace
    fault: Callable[[str], None]

    def refusal(
        self, subject: str, object_: str, op: str, revision: int, code: str, write: Write | None, words: str = ""
    ) -> Refusal:
        """Make an entry of the quarantine."""
        key, fields = (write.key, dict(write.fields)) if write is not None else ("", {})
        at_ms = Millis(int(time.time() * 1000))
        return Refusal(self.store.destination, subject, object_, op, key, revision, code, words, fields, at_ms)
