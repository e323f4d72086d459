"""How fast a receiver may be called: buckets as arithmetic, and a concurrency that falls when throttled.

A bucket is one number, the *debt*: the moment until which earlier calls have used up the rate (GCRA). A bucket needs no
tick, and several workers can share it wherever one number can be changed atomically.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nurt.model.delivery import RateLimit

MARGIN = 0.95
"""Part of a limit that is used: calls that were sent apart may arrive together."""

BURST_SHARE = 0.2
"""Part of a window's calls that may be made at once."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Bucket of a rate: a call costs `interval_s` of time; `burst_s` of time may be used in advance."""

    interval_s: float
    burst_s: float


def bucket_for(limit: RateLimit) -> Bucket:
    """Make the bucket that never lets more than `limit.calls` through in any window of `limit.seconds`.

    At most the burst and what the rate adds meanwhile pass in a window, so both together are the limit.
    """
    calls = max(1.0, limit.calls * MARGIN)
    burst = max(1.0, calls * BURST_SHARE)
    if calls - burst < 1.0:
        return Bucket(limit.seconds / calls * (2.0 if calls > 1.0 else 1.0), 0.0)
    interval_s = limit.seconds / (calls - burst)
    return Bucket(interval_s, (burst - 1.0) * interval_s)


def take(bucket: Bucket, debt_s: float, now_s: float) -> tuple[float, float]:
    """Take a call out of a bucket: (new debt, 0.0), or (the same debt, how long to wait)."""
    start_s = max(debt_s, now_s)
    wait_s = start_s - bucket.burst_s - now_s
    if wait_s > 1e-9:
        return debt_s, wait_s
    return start_s + bucket.interval_s, 0.0


def take_all(buckets: Sequence[Bucket], debts_s: Sequence[float], now_s: float) -> tuple[list[float], float]:
    """Take a call out of every bucket, or out of none."""
    taken = [take(bucket, debt_s, now_s) for bucket, debt_s in zip(buckets, debts_s, strict=True)]
    wait_s = max((wait for _, wait in taken), default=0.0)
    return (list(debts_s) if wait_s > 0 else [debt for debt, _ in taken]), wait_s


@dataclass(frozen=True, slots=True)
class Concurrency:
    """Number of calls that may be under way: halved when the receiver throttles, one more after a calm round."""

    allowed: float
    most: int

    @property
    def calls(self) -> int:
        """Return the number of calls, at least one."""
        return max(1, int(self.allowed))

    def throttled(self) -> Concurrency:
        """Halve the number of calls."""
        return Concurrency(max(1.0, self.allowed / 2), self.most)

    def accepted(self) -> Concurrency:
        """Grow by one after as many accepted calls as may be under way."""
        return Concurrency(min(float(self.most), self.allowed + 1.0 / self.allowed), self.most)
