"""Where messages come from, and the list of records that all workers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from nurt.model.log import Committed, Offsets
from nurt.model.raw import RawBatch


class MessageLog(Protocol):
    """One worker's share of the input: some partitions of some topics (Kafka), or files (an archive)."""

    def committed(self) -> Committed | None:
        """Return what was last committed for this share, or None for a first start."""
        ...

    def start(self, offsets: Offsets | None) -> None:
        """Begin to read at `offsets`; partitions that it does not name begin at their earliest message.

        None: everything from the earliest. Raises OffsetLost when an offset is no longer there.
        """
        ...

    def poll(self, rows_max: int) -> list[RawBatch]:
        """Return what is there now, one batch a topic, at most `rows_max` messages in all; [] when there is nothing."""
        ...

    def offsets(self) -> Offsets:
        """Return the next offset of every partition of this share, as of the last poll."""
        ...

    def exhausted(self) -> bool:
        """Say whether all input has been polled and none can come (an archive, or a log asked to stop at its end)."""
        ...

    def commit(self, committed: Committed) -> None:
        """Record that everything before these offsets is done; the caller has made sure of it."""
        ...

    def lag(self) -> int:
        """Return how many messages are known to wait behind the last poll."""
        ...

    def close(self) -> None:
        """Let go of connections and files; never raises."""
        ...


class ControlLog(Protocol):
    """An append-only list of small JSON records that all workers share: runs, checkpoints, source epochs."""

    def append(self, record: Mapping[str, Any]) -> int:
        """Store one record durably; return its number, larger than every earlier one."""
        ...

    def records(self) -> Sequence[tuple[int, dict[str, Any]]]:
        """Return every record with its number, oldest first."""
        ...
