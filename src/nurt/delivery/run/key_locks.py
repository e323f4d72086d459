"""What is under way in one run, over all its worker threads: no two write one external id, or one record, at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from nurt.errors import NurtError
from nurt.model.delivery import Call, Op

LOCK_WAIT_S = 0.02


class Stopping(NurtError):
    """The run was asked to end while it waited for a receiver; what was not settled comes again at the next start."""

    exit_code = 0


@dataclass(slots=True)
class KeyLocks:
    """Keys and subjects that are taken, and how many calls are under way."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    taken: set[tuple[str, str]] = field(default_factory=set)
    subjects: set[str] = field(default_factory=set)
    calls: int = 0

    def enter(self, subjects: Iterable[str]) -> set[str]:
        """Take those subjects that are free; returns them."""
        with self.lock:
            free = {*subjects} - self.subjects
            self.subjects |= free
            return free

    def enter_all(self, subjects: Iterable[str], stopping: Callable[[], bool]) -> set[str]:
        """Take all of these subjects, waiting until they are free; the ones taken so far are given back meanwhile."""
        wanted = {*subjects}
        while (free := self.enter(wanted)) != wanted:
            self.leave(free)
            if stopping():
                raise Stopping("delivering: ended while it waited for another worker; start it again")
            time.sleep(LOCK_WAIT_S)
        return free

    def leave(self, subjects: Iterable[str]) -> None:
        """Give subjects back."""
        with self.lock:
            self.subjects -= {*subjects}

    def claim(self, call: Call, calls_max: int) -> bool:
        """Take the keys of a call, all or none; none while so many calls of all workers are under way."""
        keys = _keys(call)
        with self.lock:
            if self.calls >= calls_max or keys & self.taken:
                return False
            self.taken |= keys
            self.calls += 1
            return True

    def release(self, call: Call) -> None:
        """Give them back."""
        with self.lock:
            self.taken -= _keys(call)
            self.calls -= 1


def _keys(call: Call) -> set[tuple[str, str]]:
    """Name the rows that a call writes; a merge writes the survivor's too."""
    keys = {(write.object, write.key) for write in call.writes}
    if call.op is Op.MERGE:
        keys |= {(ref.object, ref.key) for write in call.writes for ref in write.refs}
    return keys
