"""A circuit breaker: a receiver that is down gets no calls; one probing call asks whether it is back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

FAILURES_MAX = 5
"""Calls in a row that may fail before the circuit opens."""

OPEN_S = 1.0
OPEN_S_MAX = 60.0


class Circuit(StrEnum):
    """closed: calls pass. open: none does. probing: one is under way to see."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


@dataclass(frozen=True, slots=True)
class Breaker:
    """Circuit to one receiver; every method returns the next state."""

    circuit: Circuit = Circuit.CLOSED
    failures: int = 0
    opened: int = 0  # times in a row
    until_s: float = 0.0

    def wait_s(self, now_s: float) -> float | None:
        """Return how long a call must wait: 0.0: it may go; None: until the probe has its result."""
        if self.circuit is Circuit.CLOSED:
            return 0.0
        if self.circuit is Circuit.PROBING:
            return None
        return max(0.0, self.until_s - now_s)

    def sent(self) -> Breaker:
        """Take note that a call goes out; through an open circuit the call is the probe."""
        return replace(self, circuit=Circuit.PROBING) if self.circuit is Circuit.OPEN else self

    def answered(self) -> Breaker:
        """Take note that the receiver answered, with any result."""
        return Breaker()

    def failed(self, now_s: float, wait_s: float | None = None) -> Breaker:
        """Count a call without answer; a failed probe or many failures in a row open the circuit, longer each time."""
        failures = self.failures + 1
        if self.circuit is Circuit.CLOSED and failures < FAILURES_MAX:
            return replace(self, failures=failures)
        if self.circuit is Circuit.OPEN:
            return self  # an answer to a call from before it opened
        pause_s = max(wait_s or 0.0, min(OPEN_S_MAX, OPEN_S * 2**self.opened))
        return Breaker(Circuit.OPEN, failures, self.opened + 1, now_s + pause_s)
