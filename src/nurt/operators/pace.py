"""How long a source should rest after the call that ends an epoch.

Bytewax asks a source for nothing more until the epoch is done on every worker. A source that is due by then is looked
at without a pause, which takes a worker's time and the interpreter's lock from those that have work. So it says to be
due somewhat before the shortest of the last waits.
"""

from __future__ import annotations

from collections import deque

WAITS_KEPT = 4
REST_SHARE = 0.8
REST_S_MAX = 0.1


class Pace:
    """Foresees how long Bytewax will hold the source back, from how long it did so at the ends of the last epochs.

    Too long a rest is measured as a wait, of which the next rest is a part only: it shrinks by itself.

    Args:
        epoch_s: how long an epoch is, at least.
    """

    def __init__(self, epoch_s: float) -> None:
        self._epoch_s = epoch_s
        self._waits_s: deque[float] = deque(maxlen=WAITS_KEPT)
        self._called_s = self._began_s = float("-inf")
        self._waiting = False

    def call(self, now_s: float) -> float:
        """Note a call of the source; return how long it should rest after this one, 0: not at all."""
        if self._waiting:
            self._waits_s.append(now_s - self._called_s)
            self._waiting = False
        self._called_s = now_s
        ends = now_s - self._began_s >= self._epoch_s  # as Bytewax looks at it: from the call that ended the last
        return min(REST_S_MAX, REST_SHARE * min(self._waits_s)) if ends and self._waits_s else 0.0

    def close(self) -> None:
        """Note that the epoch ended with the last call."""
        self._began_s = self._called_s
        self._waiting = True
