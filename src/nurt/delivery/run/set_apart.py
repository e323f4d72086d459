"""Messages that no receiver can be told go to quarantine by themselves; the others of their batch go on."""

from __future__ import annotations

import time
from collections.abc import Sequence

from nurt.delivery.journal import JournalEntry, Message
from nurt.delivery.ports import DeliveryMemory
from nurt.model.delivery import Refusal
from nurt.model.units import Millis

MESSAGE, READ = "message", "read"
"""What the quarantine calls a message that was not read, and what was tried with it."""


def set_apart(messages: Sequence[Message], store: DeliveryMemory) -> list[Message]:
    """Put messages with a flaw into quarantine, by their reason alone, and return the others.

    A repeat replaces its entry. Such a message is not kept: mending it means to write it to the topic again.
    """
    flawed = [one for one in messages if one.flaw]
    if not flawed:
        return list(messages)
    entry = JournalEntry()
    at_ms = Millis(int(time.time() * 1000))
    for one in flawed:
        name = f"{one.of} {one.place[0]}:{one.place[1]}"
        refusal = Refusal(store.destination, one.subject, MESSAGE, READ, name, 0, one.flaw, "", {}, at_ms)
        entry.refused.append(refusal)
        entry.count("refused")
    store.write(entry)
    return [one for one in messages if not one.flaw]
