"""Positions in message logs, and what the register remembers of a run."""

from __future__ import annotations

from dataclasses import dataclass

Offsets = dict[tuple[str, int], int]
"""(topic, partition) -> the offset of the next message to read."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What was last committed: where to go on, and the (run, epoch) that had done everything before it."""

    offsets: Offsets
    run: int
    epoch: int
