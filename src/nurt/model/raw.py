"""Messages of a topic before decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nurt.columnar.types import Int64s

Headers = list[tuple[str, bytes | None]]
Numbers = list[int] | Int64s


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Messages of one topic in reading order, as columns of one length.

    A large batch has arrays of numbers, keys and values as `debezium.payloads.Payloads`, and sparse headers; single
    values can be read, too. A small batch may have lists.

    Messages of one partition are in offset order. `values[i] is None` is a tombstone. `schemas` names the archive
    of the schema ids; empty: the registry.
    """

    topic: str
    partitions: Numbers
    offsets: Numbers
    timestamps_ms: Numbers
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers | None]
    schemas: str = ""

    def __len__(self) -> int:
        return len(self.offsets)


class RawRows:
    """Messages of one topic, added one at a time: for readers of files and for generators."""

    __slots__ = ("_columns", "schemas", "topic")

    def __init__(self, topic: str, schemas: str = "") -> None:
        self.topic = topic
        self.schemas = schemas
        self._columns: tuple[list[Any], ...] = ([], [], [], [], [], [])

    def add(
        self,
        partition: int,
        offset: int,
        timestamp_ms: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None,
    ) -> None:
        """Add one message at the end."""
        for column, one in zip(self._columns, (partition, offset, timestamp_ms, key, value, headers), strict=True):
            column.append(one)

    def batch(self) -> RawBatch:
        """Return the messages as a batch."""
        partitions, offsets, timestamps_ms, keys, values, headers = self._columns
        return RawBatch(self.topic, partitions, offsets, timestamps_ms, keys, values, headers, self.schemas)


REQUEUED_HEADER = "nurt-requeued"
"""Header of a message that was put on the input again: its first place, as topic:partition:offset."""


def is_requeued(batch: RawBatch, row: int) -> bool:
    """Return whether a message was put on the input again: then it may be older than the messages before it."""
    return any(name == REQUEUED_HEADER for name, _ in batch.headers[row] or ())


DAMAGED_TOPIC = "nurt.damaged"
"""Topic of damaged entries of an archive: refused unread, whatever the mapping says.

The value is the original bytes, the offset their byte position in the file, the header `nurt-file` the file's path.
"""
