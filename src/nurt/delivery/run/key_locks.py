"""What is under way in one run: no two worker threads write one external id, or one last known state, at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from nurt.errors import NurtError
from nurt.model.delivery import Call, Op

LOCK_WAIT_S = 0.02


class Stopping(NurtError):
    """Stop of a run that waited for a receiver; the next start reads again what was not settled."""

    exit_code = 0


@dataclass(slots=True)
class KeyLocks:
    """Locks on keys and subjects, and the number of calls under way."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    taken: set[tuple[str, str]] = field(default_factory=set)
    subjects: set[str] = field(default_factory=set)
    calls: int = 0

    def enter(self, subjects: Iterable[str]) -> set[str]:
        """Lock the subjects that are free; return these."""
        with self.lock:
            free = {*subjects} - self.subjects
            self.subjects |= free
            return free

    def enter_all(self, subjects: Iterable[str], stopping: Callable[[], bool]) -> set[str]:
        """Lock all of these subjects, waiting until they are free; while this waits, it holds none of them."""
        wanted = {*subjects}
        while (free := self.enter(wanted)) != wanted:
            self.leave(free)
            if stopping():
                raise Stopping("delivering: ended while it waited for another worker; start it again")
            time.sleep(LOCK_WAIT_S)
        return free

    def leave(self, subjects: Iterable[str]) -> None:
        """Unlock subjects."""
        with self.lock:
            self.subjects -= {*subjects}

    def claim(self, call: Call, calls_max: int) -> bool:
        """Lock the keys of a call, all or none; none while so many calls of all workers are under way."""
        keys = _keys(call)
        with self.lock:
            if self.calls >= calls_max or keys & self.taken:
                return False
            self.taken |= keys
            self.calls += 1
            return True

    def release(self, call: Call) -> None:
        """Unlock the keys of a call."""
        with self.lock:
            self.taken -= _keys(call)
            self.calls -= 1


def _keys(call: Call) -> set[tuple[str, str]]:
    """Name the rows that a call writes; a merge writes the survivor's too."""
    keys = {(write.object, write.key) for write in call.writes}
    if call.op is Op.MERGE:
        keys |= {(ref.object, ref.key) for write in call.writes for ref in write.refs}
    return keys
