"""Read messages from librdkafka's queue as columns, without an object for each.

Hot path: 0.25 us a message where confluent_kafka's Message objects, one by one, take 2.5. The consumer stays
confluent_kafka's: settings, TLS, login, assignment, commits and callbacks. Partitions are forwarded to our own queue.
It holds only messages and errors of partitions, so no callback of the library runs in our calls; all other events come
by `Consumer.consume` as usual.

Where the consumer's handle cannot be found with certainty, there is no drain, and messages come only by the library.

Source: librdkafka `rdkafka.h`: rd_kafka_message_t, rd_kafka_queue_forward, rd_kafka_consume_batch_queue.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pyarrow as pa
from confluent_kafka import KafkaError
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nurt.adapters.kafka.messages import HEADERS_MAX, LEFT_OUT, ErrorCarrier, LibraryMessages, name_of
from nurt.avro.reader import JoinedMessages
from nurt.columnar.memory import copy_bytes, peek_half, peek_word
from nurt.columnar.types import Bytes, Int64s
from nurt.columnar.values import PADDING_BYTES
from nurt.debezium.payloads import Payloads, SparseHeaders
from nurt.model.raw import Headers, RawBatch

FORWARD_S = 1.0
"""How often partitions are forwarded again: then messages that a partition held back come, too."""
BESIDE_MAX = 100
"""How many events without a partition are taken at a time."""

_LIBRARY = "librdkafka"
_HANDLE_AT = 16  # in confluent_kafka's Consumer: behind the header of a Python object
_HANDLE_BYTES, _NAME = 1 << 14, b"#consumer-"
"""librdkafka's handle holds the client's name, `<client.id>#consumer-<number>`, in its first kilobytes."""

_ERROR, _TOPIC, _PARTITION, _VALUE, _VALUE_BYTES, _KEY, _KEY_BYTES, _OFFSET, _TIME, _HEADERS = range(10)
"""Fields that are read of a message; values, keys, topics and headers as addresses."""


@dataclass(frozen=True, slots=True)
class PartitionError:
    """Error of a partition, with the methods of confluent_kafka's Message."""

    at: tuple[str, int, int]
    code: int

    def error(self) -> KafkaError:
        """Return the error."""
        return KafkaError(self.code)

    def topic(self) -> str:
        """Return the topic."""
        return self.at[0]

    def partition(self) -> int:
        """Return the partition."""
        return self.at[1]

    def offset(self) -> int:
        """Return the offset."""
        return self.at[2]


class Drain:
    """Queue at a consumer, to which its partitions are forwarded. Implements MessageSource."""

    def __init__(self, consumer: Any, library: Any, handle: int) -> None:
        self._library, self._handle = library, handle
        self._beside = LibraryMessages(consumer)
        self._queue: int | None = library.rd_kafka_queue_new(handle)
        self._partitions: set[tuple[str, int]] = set()
        self._forwarded_s = 0.0
        self._topics: dict[int, str] = {}
        self._calls = tuple(
            ctypes.cast(getattr(library, name), ctypes.c_void_p).value
            for name in ("rd_kafka_message_timestamp", "rd_kafka_message_headers", "rd_kafka_message_destroy")
        )

    @classmethod
    def of(cls, consumer: Any) -> Drain | None:
        """Make a queue at a consumer; None: its handle cannot be found, or is not at the known place."""
        found = _find_library()
        handle = _handle_of(consumer) if found is not None else None
        return None if found is None or handle is None else cls(consumer, found, handle)

    def forward(self, partitions: Iterable[tuple[str, int]]) -> None:
        """See MessageSource: messages of these partitions come here."""
        self._partitions.update(partitions)
        self._forward()

    def _forward(self) -> None:
        """Forward all partitions again: librdkafka drops a forwarding when it takes a partition back, at any moment."""
        self._forwarded_s = time.monotonic()
        for topic, partition in self._partitions:
            partition_queue = self._library.rd_kafka_queue_get_partition(self._handle, topic.encode(), partition)
            if partition_queue:
                self._library.rd_kafka_queue_forward(partition_queue, self._queue)
                self._library.rd_kafka_queue_destroy(partition_queue)

    def take(self, rows_max: int, wait_ms: int) -> tuple[list[RawBatch], list[ErrorCarrier]]:
        """See MessageSource."""
        beside, failed = self._beside.take(BESIDE_MAX, 0)
        if self._queue is None:
            return beside, failed
        if time.monotonic() - self._forwarded_s > FORWARD_S:
            self._forward()
        pointers = np.empty(rows_max, dtype=np.int64)
        count = self._poll(pointers, rows_max, 0)
        if not count and wait_ms and not beside and not failed:
            count = self._poll(pointers, 1, wait_ms)
            if count and rows_max > 1:
                count += self._poll(pointers[1:], rows_max - 1, 0)
        if not count:
            return beside, failed
        pointers = pointers[:count]
        heads = np.empty((count, 10), dtype=np.int64)
        timestamp, headers, destroy = self._calls
        try:
            _look(pointers, heads, timestamp, headers, np.zeros(2, dtype=np.int64))
            batches, wrong = self._sorted(heads)
        finally:
            _destroy(pointers, destroy)
        return beside + batches, [*failed, *wrong]

    def _poll(self, pointers: Int64s, rows_max: int, wait_ms: int) -> int:
        found = self._library.rd_kafka_consume_batch_queue(self._queue, wait_ms, pointers.ctypes.data, rows_max)
        return max(0, int(found))

    def _sorted(self, heads: Int64s) -> tuple[list[RawBatch], list[PartitionError]]:
        """Copy the contents of messages, topic by topic, in order."""
        failed = [
            PartitionError((self._topic(head[_TOPIC]), head[_PARTITION], head[_OFFSET]), head[_ERROR])
            for head in heads[heads[:, _ERROR] != 0].tolist()
        ]
        if failed:
            heads = heads[heads[:, _ERROR] == 0]
        topics = heads[:, _TOPIC]
        batches: dict[str, RawBatch] = {}
        for topic in np.unique(topics).tolist():
            mine = heads if (topics == topic).all() else heads[topics == topic]
            batches[self._topic(topic)] = self._batch(self._topic(topic), mine)
        return [batches[name] for name in dict.fromkeys(map(self._topic, topics[_firsts(topics)].tolist()))], failed

    def _batch(self, topic: str, heads: Int64s) -> RawBatch:
        with_headers = np.flatnonzero(heads[:, _HEADERS]).tolist()
        return RawBatch(
            topic,
            heads[:, _PARTITION].copy(),
            heads[:, _OFFSET].copy(),
            heads[:, _TIME].copy(),
            _payloads(heads, _KEY),
            _payloads(heads, _VALUE),
            SparseHeaders(len(heads), {row: self._headers(int(heads[row, _HEADERS])) for row in with_headers}),
        )

    def _headers(self, headers_handle: int) -> Headers:
        name, value, size = ctypes.c_char_p(), ctypes.c_void_p(), ctypes.c_size_t()
        found: Headers = []
        get = self._library.rd_kafka_header_get_all
        while not get(headers_handle, len(found), ctypes.byref(name), ctypes.byref(value), ctypes.byref(size)):
            if len(found) == HEADERS_MAX:
                count = int(self._library.rd_kafka_header_cnt(headers_handle))
                return [*found, (LEFT_OUT, b"%d" % (count - HEADERS_MAX))]
            content = None if value.value is None else ctypes.string_at(value.value, size.value)
            found.append((name_of(name.value or b""), content))
        return found

    def _topic(self, handle: int) -> str:
        if not handle:
            return ""
        if handle not in self._topics:
            self._topics[handle] = self._library.rd_kafka_topic_name(handle).decode()
        return self._topics[handle]

    def close(self) -> None:
        """Destroy the queue, before the consumer is closed."""
        if self._queue is not None:
            self._library.rd_kafka_queue_destroy(self._queue)
            self._queue = None


def _firsts(topics: Int64s) -> Int64s:
    """Find where each sequence of one topic begins."""
    return np.flatnonzero(np.append(True, topics[1:] != topics[:-1])) if len(topics) else np.empty(0, dtype=np.int64)


def _payloads(heads: Int64s, column: int) -> Payloads:
    """Lay the keys or values end to end."""
    ends = np.cumsum(heads[:, column + 1])
    data: Any = pa.allocate_buffer(int(ends[-1]) + PADDING_BYTES)
    _copy(heads, column, ends, np.frombuffer(data, dtype=np.uint8))
    nulls = heads[:, column] == 0
    return Payloads(JoinedMessages(data, ends - heads[:, column + 1], ends), nulls if nulls.any() else None)


# --- finding librdkafka and the consumer's handle, without touching memory that may not be there -----------------


def _find_library() -> Any:
    """Open the library that confluent_kafka has loaded; None where it cannot be determined."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
        paths = {line.split()[-1] for line in lines if _LIBRARY in line.rpartition("/")[2]}
        (path,) = paths
        library: Any = ctypes.CDLL(path)
        for name, returned, taken in _FUNCTIONS:
            function = getattr(library, name)
            function.restype, function.argtypes = returned, taken
    except (OSError, ValueError, AttributeError):
        return None
    return library


_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int
_FUNCTIONS: Sequence[tuple[str, Any, list[Any]]] = (
    ("rd_kafka_queue_new", _POINTER, [_POINTER]),
    ("rd_kafka_queue_destroy", None, [_POINTER]),
    ("rd_kafka_queue_forward", None, [_POINTER, _POINTER]),
    ("rd_kafka_queue_get_partition", _POINTER, [_POINTER, ctypes.c_char_p, ctypes.c_int32]),
    ("rd_kafka_consume_batch_queue", ctypes.c_ssize_t, [_POINTER, _NUMBER, _POINTER, ctypes.c_size_t]),
    ("rd_kafka_topic_name", ctypes.c_char_p, [_POINTER]),
    ("rd_kafka_header_cnt", ctypes.c_size_t, [_POINTER]),
    ("rd_kafka_header_get_all", _NUMBER, [_POINTER, ctypes.c_size_t, _POINTER, _POINTER, _POINTER]),
    ("rd_kafka_message_timestamp", ctypes.c_int64, [_POINTER, _POINTER]),
    ("rd_kafka_message_headers", _NUMBER, [_POINTER, _POINTER]),
    ("rd_kafka_message_destroy", None, [_POINTER]),
)


def _handle_of(consumer: Any) -> int | None:
    """Read a Consumer's handle through a file: a file reports a bad address where a pointer would crash."""
    try:
        memory = os.open("/proc/self/mem", os.O_RDONLY)
    except OSError:
        return None
    try:
        handle = int.from_bytes(os.pread(memory, 8, id(consumer) + _HANDLE_AT), "little")
        return handle if handle and _NAME in os.pread(memory, _HANDLE_BYTES, handle) else None
    except (OSError, OverflowError):
        return None
    finally:
        os.close(memory)


# --- kernels ------------------------------------------------------------------------------------------------------


@intrinsic
def _call(typingctx, function, argument):  # type: ignore[no-untyped-def]
    """Call the C function at an address (int64) with an address (int64)."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)])
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), [arguments[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def _ask(typingctx, function, argument, into):  # type: ignore[no-untyped-def]
    """Call the C function at an address (int64) with two addresses (int64); returns a 64-bit integer (int64)."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word = ir.IntType(64)
        kind = ir.FunctionType(word, [word, word])
        return builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), list(arguments[1:]))

    return types.int64(types.int64, types.int64, types.int64), codegen


@numba.njit(nogil=True, cache=True)
def _look(pointers, heads, timestamp, headers, cells):  # type: ignore[no-untyped-def]
    """Note what lies in each rd_kafka_message_t, and where.

    pointers            (n,)     int64  addresses of the messages
    heads               (n, 10)  int64  written: what _ERROR to _HEADERS name; sizes in bytes, time in ms since 1970
    timestamp, headers  scalar   int64  addresses of rd_kafka_message_timestamp and rd_kafka_message_headers
    cells               (2,)     int64  used up: what these functions write to
    The time and the headers of an error are 0, as are the headers of a message without any.
    """
    cell = np.int64(cells.ctypes.data)
    for row in range(len(pointers)):
        at = pointers[row]
        heads[row, _ERROR] = np.int32(peek_half(at))
        heads[row, _TOPIC] = np.int64(peek_word(at + 8))
        heads[row, _PARTITION] = np.int32(peek_half(at + 16))
        heads[row, _VALUE] = np.int64(peek_word(at + 24))
        heads[row, _VALUE_BYTES] = np.int64(peek_word(at + 32))
        heads[row, _KEY] = np.int64(peek_word(at + 40))
        heads[row, _KEY_BYTES] = np.int64(peek_word(at + 48))
        heads[row, _OFFSET] = np.int64(peek_word(at + 56))
        heads[row, _TIME], heads[row, _HEADERS] = 0, 0
        if heads[row, _ERROR] == 0:
            heads[row, _TIME] = _ask(timestamp, at, cell)
            cells[1] = 0
            found = _ask(headers, at, cell + 8)
            if found & 0xFFFFFFFF == 0:
                heads[row, _HEADERS] = cells[1]


@numba.njit(nogil=True, cache=True)
def _copy(heads: Int64s, column: int, ends: Int64s, out: Bytes) -> None:
    """Copy keys or values end to end.

    heads   (n, 10)  int64  as `_look` wrote them
    column  scalar   int64  _KEY or _VALUE; the size in bytes is in the column behind it
    ends    (n,)     int64  where each one ends in `out`
    out     (b,)     uint8  written, but for the padding behind the last one
    """
    to = np.int64(out.ctypes.data)
    for row in range(len(heads)):
        size = heads[row, column + 1]
        copy_bytes(to + ends[row] - size, heads[row, column], size)


@numba.njit(nogil=True, cache=True)
def _destroy(pointers: Int64s, destroy: int) -> None:
    """Give messages back to librdkafka.

    pointers  (n,)    int64  addresses of the messages; no longer valid afterwards
    destroy   scalar  int64  address of the function rd_kafka_message_destroy
    """
    for row in range(len(pointers)):
        _call(destroy, pointers[row])
