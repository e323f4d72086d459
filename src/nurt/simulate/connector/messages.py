"""The output port of simulated connectors, and its simplest implementation: a list."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from nurt.model.raw import Headers, RawBatch, RawRows


class MessageWriter(Protocol):
    """Writer of messages in a producer's order."""

    def write(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers, timestamp_ms: int
    ) -> object:
        """Append one message to a partition; the return value is not used."""
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """Message as it was written; its offset is its place in its partition.

    `positioned`: it has a complete position of the source's order, so it may come again alone, late.
    """

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int
    positioned: bool = False


@dataclass(slots=True)
class MemoryWriter:
    """Writer that keeps messages in a list, in the order written."""

    messages: list[Message] = field(default_factory=list)

    def write(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers, timestamp_ms: int
    ) -> None:
        """Append one message."""
        self.messages.append(Message(topic, partition, key, value, headers, timestamp_ms))


def partition_of(key: bytes | None, partitions: int) -> int:
    """Choose the partition of a Confluent key by its body (not by its schema id), as librdkafka's `consistent` does."""
    return 0 if key is None else zlib.crc32(key[5:]) % partitions


def batches_of(messages: Iterable[Message], rows_max: int = 1000) -> list[RawBatch]:
    """Cut messages into the results of a message log's polls, with offsets from 0.

    `rows_max` messages are one poll; it holds one batch a topic, topics in order of appearance.
    """
    offsets: Counter[tuple[str, int]] = Counter()
    result: list[RawBatch] = []
    poll: dict[str, RawRows] = {}
    for number, message in enumerate(messages):
        if number % rows_max == 0:
            result.extend(rows.batch() for rows in poll.values())
            poll = {}
        place = (message.topic, message.partition)
        poll.setdefault(message.topic, RawRows(message.topic)).add(
            message.partition,
            offsets[place],
            message.timestamp_ms,
            message.key,
            message.value,
            message.headers or None,
        )
        offsets[place] += 1
    result.extend(rows.batch() for rows in poll.values())
    return result
