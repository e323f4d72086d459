"""Positions in message logs, and a run's last commit in the control log."""

from __future__ import annotations

from dataclasses import dataclass

Offsets = dict[tuple[str, int], int]
"""(topic, partition) -> the offset of the next message to read."""


@dataclass(frozen=True, slots=True)
class KeyPlaces:
    """Where a topic's keys lie.

    Attributes:
        partitions: how many there are; 0: unknown.
        hashed: recent messages lie where Kafka's default partitioner puts their keys.
    """

    partitions: int = 0
    hashed: bool = False


@dataclass(frozen=True, slots=True)
class Committed:
    """Last commit: the offsets to continue at, and the (run, epoch) that had done everything before them."""

    offsets: Offsets
    run: int
    epoch: int
