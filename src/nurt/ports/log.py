"""The input of messages, and the control log that all workers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from nurt.model.log import Committed, KeyPlaces, Leaders, Offsets
from nurt.model.raw import RawBatch


class MessageLog(Protocol):
    """One worker's part of the input: some partitions of some topics (Kafka), or files (an archive)."""

    def committed(self) -> Committed | None:
        """Return the last commit of this worker's part, or None for a first start."""
        ...

    def start(self, offsets: Offsets | None, leaders: Leaders | None = None) -> None:
        """Begin to read at `offsets`; partitions without an offset begin at their earliest message.

        None: every partition begins at its earliest message. `leaders`: under which leader epochs the messages before
        the offsets were read; a log that was cut there is noticed. Raises OffsetLost when an offset no longer exists.
        """
        ...

    def poll(self, rows_max: int) -> list[RawBatch]:
        """Return waiting messages, one batch a topic, at most `rows_max` messages in all; [] when none waits."""
        ...

    def offsets(self) -> Offsets:
        """Return the next offset of every partition of this part, as of the last poll."""
        ...

    def leaders(self) -> Leaders:
        """Return under which leader epoch the newest message of each partition was read, where brokers tell it."""
        ...

    def exhausted(self) -> bool:
        """Return whether all input is polled and no more can come (an archive, or a log that stops at its end)."""
        ...

    def commit(self, committed: Committed) -> None:
        """Record that everything before these offsets is done; the caller guarantees that."""
        ...

    def lag(self) -> int:
        """Return how many messages are known to wait behind the last poll."""
        ...

    def close(self) -> None:
        """Close connections and files; never raises."""
        ...


class Partitioning(Protocol):
    """What is known of the partitions of topics, by whoever reads them."""

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has now; 0: unknown, or it costs too much to ask."""
        ...

    def key_places(self, topic: str, partition: int) -> KeyPlaces:
        """Say where keys lie in a topic that has this partition; may read some messages of it, once."""
        ...

    def offsets_at(self, topic: str, time_ms: int) -> tuple[int, ...]:
        """Return, by partition, the offset from which on messages were written at a time or later; (): unknown."""
        ...


class ControlLog(Protocol):
    """An append-only list of small JSON records that all workers share: runs, checkpoints, source epochs."""

    def append(self, record: Mapping[str, Any]) -> int:
        """Store one record durably; return its number, larger than every earlier one."""
        ...

    def records(self) -> Sequence[tuple[int, dict[str, Any]]]:
        """Return every record with its number, oldest first."""
        ...
