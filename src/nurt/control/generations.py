"""Number the generations of a topic's source epochs: a new log, a rebuild.

A source epoch is one integer: its generation, then its number within a partition. Numbers are counted by partition, so
they compare events of one partition only. A generation is counted by topic: it began in all partitions at once, so it
compares any two events of a topic. State of versions without generations has generation 0.
"""

from __future__ import annotations

NUMBER_BITS = 20
"""Low bits of a source epoch: its number within a partition. A partition with a million snapshots does not exist."""


def generation_of(epoch: int) -> int:
    """Return the generation of a source epoch."""
    return epoch >> NUMBER_BITS


def first_epoch(generation: int) -> int:
    """Return the first source epoch of a generation, in every partition: that of a full snapshot."""
    return generation << NUMBER_BITS
