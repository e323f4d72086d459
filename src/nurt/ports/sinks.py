"""Sinks of the flows of profiles and stock."""

from __future__ import annotations

from typing import Protocol

from nurt.model.published import PublishedBatch
from nurt.model.stock.published import StockBatch


class ProfileSink(Protocol):
    """A sink of published profiles; absorbs repeats and late messages by revision."""

    def write(self, batch: PublishedBatch) -> None:
        """Store the batch durably before returning; an id's older revision never replaces a newer one."""
        ...

    def close(self) -> None:
        """Close connections and files; never raises."""
        ...


class StockSink(Protocol):
    """A sink of published stock; absorbs repeats by revision, and repeated events by id."""

    def write(self, batch: StockBatch) -> None:
        """Store the batch durably before returning."""
        ...

    def close(self) -> None:
        """Close connections and files; never raises."""
        ...
