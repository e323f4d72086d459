"""A target that the harness is tried with: some of its inputs raise, crash or hang."""

from __future__ import annotations

import os
import signal
from random import Random

COUNT = 100
BAD = {7: "raise", 23: "crash", 41: "crash"}


def prepare() -> dict[str, int]:
    """Number the inputs: this target's are told apart by their first draw."""
    return {repr(Random(f"crashing {number}").random()): number for number in range(COUNT)}


def attempt(random: Random, shared: dict[str, int]) -> str:
    """Do what BAD says of this input."""
    what = BAD.get(shared[repr(random.random())])
    if what == "raise":
        raise ValueError("raised")
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    return "fine"
