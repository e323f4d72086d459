"""Settings and ports that the batches of a delivery share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nurt.delivery.diff import DeliveryRules
from nurt.delivery.journal import JournalEntry, Message
from nurt.delivery.ports import DeliveryMemory, DesiredStateReader
from nurt.delivery.run.clock import DeliveryClock
from nurt.delivery.run.sender import Sender
from nurt.model.delivery import Limits, Refusal, Write
from nurt.model.units import Millis

MESSAGE = "message"
"""Object of a refusal that concerns a whole message of nurt's topics."""


def refused_messages(destination: str, messages: Sequence[Message]) -> JournalEntry:
    """Refuse messages that nurt did not write: a quarantine entry for each, named by its place."""
    entry, at_ms = JournalEntry(), Millis(int(time.time() * 1000))
    for one in messages:
        entry.refused.append(Refusal(destination, one.subject, MESSAGE, "read", "", 0, one.flaw, "", {}, at_ms))
        entry.count("refused")
    return entry


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
