"""One sink for several worker threads of a process, for files that only one writer may have open."""

from __future__ import annotations

import threading

from nurt.model.published import PublishedBatch
from nurt.ports.sinks import ProfileSink


class SharedSink:
    """Sink that threads use in turn; the last thread's `close` closes it. Implements ports.sinks.ProfileSink."""

    def __init__(self, sink: ProfileSink, users: int) -> None:
        self._sink = sink
        self._users = users
        self._lock = threading.Lock()

    def write(self, batch: PublishedBatch) -> None:
        """See ports.sinks.ProfileSink."""
        with self._lock:
            self._sink.write(batch)

    def close(self) -> None:
        """See ports.sinks.ProfileSink."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._sink.close()
