"""Settings and ports that the batches of a delivery share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from nurt.delivery.diff import DeliveryRules
from nurt.delivery.ports import DeliveryMemory, DesiredStateReader
from nurt.delivery.run.clock import DeliveryClock
from nurt.delivery.run.sender import Sender
from nurt.model.delivery import Limits, Refusal, Write
from nurt.model.units import Millis


@dataclass(frozen=True, slots=True)
class DeliveryContext:
    """Settings and ports of the batches of one delivery."""

    store: DeliveryMemory
    rules: DeliveryRules
    limits: Limits
    state_reader: DesiredStateReader
    sender: Sender
    clock: DeliveryClock
    fault: Callable[[str], None]

    def refusal(
        self, subject: str, object_: str, op: str, revision: int, code: str, write: Write | None, words: str = ""
    ) -> Refusal:
        """Make a quarantine entry."""
        key, fields = (write.key, dict(write.fields)) if write is not None else ("", {})
        at_ms = Millis(int(time.time() * 1000))
        return Refusal(self.store.destination, subject, object_, op, key, revision, code, words, fields, at_ms)
