"""The state of clock and input, for every stage: the first item of an epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

from nurt.model.units import Now


@dataclass(frozen=True, slots=True)
class Tick(Generic[Now]):
    """First item of an epoch, for every stage of every worker.

    Attributes:
        epoch: the epoch that begins; all earlier ones are done.
        as_of: the flow's current time.
        horizon: no rewind reaches an epoch below this pending_score.
        caught_up: no input waits.
        near: hardly any input waits in this part.
        part, parts: which part of the input, and of how many.
    """

    epoch: int
    as_of: Now
    horizon: int
    caught_up: bool = False
    near: bool = False
    part: int = 0
    parts: int = 1
