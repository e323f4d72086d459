"""Read messages of a consumer by confluent_kafka's own interface: an object for each, then columns."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import methodcaller
from typing import Any, Protocol

import numpy as np
from confluent_kafka import KafkaError, Message

from nurt.debezium.payloads import Payloads, SparseHeaders
from nurt.model.raw import Headers, RawBatch

CONSUME_MAX = 1_000_000
"""The client library refuses more messages in one call."""
HEADERS_MAX = 1_000
"""Headers of one message that are kept: a megabyte holds 300,000 headers, which take 50 MB as objects."""
LEFT_OUT, UNREADABLE = "nurt-headers-left-out", "nurt-headers-unreadable"
"""Headers that nurt puts in place of those that it does not keep, or cannot read."""


class ErrorCarrier(Protocol):
    """Error of the consumer or of a partition."""

    def error(self) -> KafkaError:
        """Return the error."""
        ...

    def topic(self) -> str:
        """Return the topic; empty for an error of the consumer."""
        ...

    def partition(self) -> int:
        """Return the partition."""
        ...

    def offset(self) -> int:
        """Return the offset."""
        ...


class MessageSource(Protocol):
    """Source of a consumer's messages."""

    def forward(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Prepare for partitions, before they are assigned."""
        ...

    def take(self, rows_max: int, wait_ms: int) -> tuple[list[RawBatch], list[ErrorCarrier]]:
        """Return arrived messages, one batch a topic, and errors; wait for the first message, not for more.

        The consumer's callbacks run in here.
        """
        ...

    def close(self) -> None:
        """Release resources, before the consumer is closed."""
        ...


class LibraryMessages:
    """Source of messages as the library returns them."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def forward(self, partitions: Iterable[tuple[str, int]]) -> None:
        """See MessageSource."""

    def take(self, rows_max: int, wait_ms: int) -> tuple[list[RawBatch], list[ErrorCarrier]]:
        """See MessageSource."""
        rows_max = min(rows_max, CONSUME_MAX)
        messages = self._consumer.consume(rows_max, 0)
        if not messages and wait_ms:
            messages = self._consumer.consume(1, wait_ms / 1000)
            if messages and rows_max > 1:
                messages += self._consumer.consume(rows_max - 1, 0)
        failed = [message for message in messages if message.error() is not None]
        if failed:
            messages = [message for message in messages if message.error() is None]
        by_topic: dict[str, list[Any]] = {}
        for topic, run in groupby(messages, key=Message.topic):
            by_topic.setdefault(topic, []).extend(run)
        return [_batch(topic, some) for topic, some in by_topic.items()], failed

    def close(self) -> None:
        """See MessageSource."""


def name_of(raw: bytes) -> str:
    """Return a header's name, which any producer chooses; bytes that are no UTF-8 are written as `\\xff`."""
    return raw.decode("utf-8", "backslashreplace")


_read_headers = methodcaller("headers")
"""Reads headers by a call whose result Python checks. A call that it has specialised would let an error pass unseen."""


def _headers(message: Any) -> Headers | None:
    """Read headers; a name that the library cannot decode costs all of them, but not the message.

    A second look at such headers would meet holes in the library's list, so there is none.
    """
    try:
        headers: Headers | None = _read_headers(message)
    except (SystemError, UnicodeDecodeError):
        return [(UNREADABLE, None)]
    if headers is None or len(headers) <= HEADERS_MAX:
        return headers
    return [*headers[:HEADERS_MAX], (LEFT_OUT, b"%d" % (len(headers) - HEADERS_MAX))]


def _batch(topic: str, messages: list[Any]) -> RawBatch:
    headers = {row: found for row, found in enumerate(map(_headers, messages)) if found is not None}
    return RawBatch(
        topic,
        np.array([message.partition() for message in messages], dtype=np.int64),
        np.array([message.offset() for message in messages], dtype=np.int64),
        np.array([message.timestamp()[1] for message in messages], dtype=np.int64),
        Payloads.of([message.key() for message in messages]),
        Payloads.of([message.value() for message in messages]),
        SparseHeaders(len(messages), headers),
    )
