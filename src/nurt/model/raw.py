"""Messages as a topic holds them, before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass

Headers = list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Messages of one topic in the order they were read; all lists have one length.

    Messages of one partition are in offset order. `values[i] is None` is a tombstone. `schemas` names the archive
    that gave the schema ids their meaning; empty: the registry did.
    """

    topic: str
    partitions: list[int]
    offsets: list[int]
    timestamps_ms: list[int]
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[Headers | None]
    schemas: str = ""

    def __len__(self) -> int:
        return len(self.offsets)


REQUEUED_HEADER = "nurt-requeued"
"""Header of a message that was put on the input again: where it first stood, as topic:partition:offset."""


def is_requeued(batch: RawBatch, row: int) -> bool:
    """Say whether a message was put on the input again, so that it may be older than what came before it."""
    return any(name == REQUEUED_HEADER for name, _ in batch.headers[row] or ())


DAMAGED_TOPIC = "nurt.damaged"
"""Topic of what an archive holds but cannot read as a message: refused as it is, whatever the mapping says.

The value is the original bytes, the offset their byte position in the file, the header `nurt-file` the file's path.
"""
