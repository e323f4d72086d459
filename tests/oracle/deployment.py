"""What a stream must offer so that histories, plans of mishaps and the oracle can judge it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from nurt.model.entity_frame import EntityFrame, Truncated

Published = dict[str, dict[str, Any]]
"""Profile id in hex -> its newest record, redirects included, tombstones left out."""


class Killed(Exception):
    """The stream died at the write where it was told to."""


class Stream(Protocol):
    """Takes micro-batches, gives profiles."""

    def feed(self, batch: Sequence[EntityFrame | Truncated]) -> None:
        """Take one micro-batch."""
        ...

    def drain(self, as_of: int) -> Published:
        """Finish all work, bring every profile to the day and return what is published."""
        ...


class Deployment(Protocol):
    """A stream with a store that outlives it: may be killed, started again, and given an older store.

    Arrivals are counted from 0; a commit says that all arrivals before a number are done.
    """

    def start(self, workers: int) -> int:
        """Start a run over the store as it is; return the arrival from which it wants to be fed."""
        ...

    def feed_until(self, batch: Sequence[EntityFrame | Truncated], done: int) -> None:
        """Take the batch that ends before the arrival `done`. Raises Killed where `crash_after_writes` said."""
        ...

    def commit(self) -> None:
        """Commit what was fed, and write a checkpoint."""
        ...

    def crash_after_writes(self, writes: int) -> None:
        """Let the next write but `writes` raise Killed instead: to the store, or to the topic of profiles."""
        ...

    def kill(self) -> None:
        """Drop everything that only the process knew."""
        ...

    def save(self) -> Any:
        """Copy the store."""
        ...

    def restore(self, saved: Any) -> None:
        """Put an older copy of the store in place of the present one; the process is dead."""
        ...

    def drain(self, as_of: int) -> Published:
        """Finish all work, bring every profile to the day and return what is published."""
        ...
