"""The clock and the input as every stage hears of them: the first item of an epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

from nurt.model.units import Now


@dataclass(frozen=True, slots=True)
class Tick(Generic[Now]):
    """The first item of an epoch, for every stage of every worker.

    Attributes:
        epoch: that begins now; all before it are done.
        as_of: what the flow calls now.
        horizon: pending_score below which nothing can be rewound to.
        caught_up: nothing waits to be read.
        near: hardly anything waits to be read by the part that says so.
        part, parts: which part of the input says so, and of how many.
    """

    epoch: int
    as_of: Now
    horizon: int
    caught_up: bool = False
    near: bool = False
    part: int = 0
    parts: int = 1
