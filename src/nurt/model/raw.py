"""Messages as a topic holds them, before anything is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nurt.columnar.types import Int64s

Headers = list[tuple[str, bytes | None]]
Numbers = list[int] | Int64s


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Messages of one topic in the order they were read, as columns of one length.

    Where there are many, the numbers are arrays, keys and values `debezium.payloads.Payloads`, headers sparse: what
    reads all of them reads them so, and may ask for single ones. Whoever makes few may give lists.

    Messages of one partition are in offset order. `values[i] is None` is a tombstone. `schemas` names the archive
    that gave the schema ids their meaning; empty: the registry did.
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
    """Messages of one topic as they are met, one at a time: what reads files or makes messages up begins so."""

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
        """Put one message behind the others."""
        for column, one in zip(self._columns, (partition, offset, timestamp_ms, key, value, headers), strict=True):
            column.append(one)

    def batch(self) -> RawBatch:
        """Give what was met as a batch."""
        partitions, offsets, timestamps_ms, keys, values, headers = self._columns
        return RawBatch(self.topic, partitions, offsets, timestamps_ms, keys, values, headers, self.schemas)


REQUEUED_HEADER = "nurt-requeued"
"""Header of a message that was put on the input again: where it first stood, as topic:partition:offset."""


def is_requeued(batch: RawBatch, row: int) -> bool:
    """Say whether a message was put on the input again, so that it may be older than what came before it."""
    return any(name == REQUEUED_HEADER for name, _ in batch.headers[row] or ())


DAMAGED_TOPIC = "nurt.damaged"
"""Topic of what an archive holds but cannot read as a message: refused as it is, whatever the mapping says.

The value is the original bytes, the offset their byte position in the file, the header `nurt-file` the file's path.
"""
