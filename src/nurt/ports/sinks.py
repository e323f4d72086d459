"""What the flows of profiles and stock write to."""

from __future__ import annotations

from typing import Protocol

from nurt.model.published import PublishedBatch
from nurt.model.stock_published import StockBatch


class ProfileSink(Protocol):
    """Takes published profiles; absorbs repeats and late-comers by revision."""

    def write(self, batch: PublishedBatch) -> None:
        """Store the batch durably before returning; an id's older revision never replaces a newer one."""
        ...

    def close(self) -> None:
        """Let go of connections and files; never raises."""
        ...


class StockSink(Protocol):
    """Takes what is published of stock; absorbs repeats by revision and events by their id."""

    def write(self, batch: StockBatch) -> None:
        """Store the batch durably before returning."""
        ...

    def close(self) -> None:
        """Let go of connections and files; never raises."""
        ...
