"""One sink for several worker threads of a process: files that only one writer may have open."""

from __future__ import annotations

import threading

from nurt.model.published import PublishedBatch
from nurt.ports.sinks import ProfileSink


class SharedSink:
    """Lets threads take turns at a sink; the last one to close closes it. Implements ports.sinks.ProfileSink."""

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
