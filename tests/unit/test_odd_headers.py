"""Headers of Kafka decide nothing, so no header costs its message: in both sources, on librdkafka's own mock broker."""

from __future__ import annotations

import ctypes
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from nurt.adapters.kafka import drain as kafka_drain
from nurt.adapters.kafka.drain import Drain
from nurt.adapters.kafka.messages import HEADERS_MAX, LEFT_OUT, UNREADABLE, LibraryMessages, MessageSource
from nurt.model.raw import Headers

Source = tuple[MessageSource, str]

_TOPIC, _PARTITION, _VALUE, _FLAGS, _HEADER, _COPY = 1, 3, 4, 7, 9, 2
"""Of rdkafka.h: rd_kafka_vtype_t, RD_KAFKA_MSG_F_COPY."""


def send_raw(producer: Any, topic: str, value: bytes, name: bytes) -> None:
    """Send a message by librdkafka itself, because its Python library makes a text of every name."""
    library, size = kafka_drain._find_library(), ctypes.c_size_t
    handle = ctypes.c_void_p.from_address(id(producer) + kafka_drain._HANDLE_AT)
    whole = (_TOPIC, topic.encode(), _PARTITION, 0, _VALUE, value, size(len(value)), _FLAGS, _COPY)
    assert library.rd_kafka_producev(handle, *whole, _HEADER, name, b"1", size(1), 0) == 0


@pytest.fixture(scope="module")
def broker() -> Iterator[Any]:
    yield Producer({"bootstrap.servers": "simulated", "test.mock.num.brokers": 1, "log_level": 0})


@pytest.fixture(params=[True, False], ids=["drained", "by_the_library"])
def source(request: pytest.FixtureRequest, broker: Any) -> Iterator[Source]:
    (address,) = (f"{one.host}:{one.port}" for one in broker.list_topics(timeout=10).brokers.values())
    consumer = Consumer({"bootstrap.servers": address, "group.id": "g", "log_level": 0})
    drain = Drain.of(consumer)
    assert drain is not None
    made: MessageSource = drain if request.param else LibraryMessages(consumer)
    topic = uuid.uuid4().hex
    broker.list_topics(topic, timeout=10)
    broker.produce(topic, b"first", partition=0)
    assert broker.flush(20) == 0
    made.forward([(topic, 0)])
    consumer.assign([TopicPartition(topic, 0, 1)])
    yield made, topic
    made.close()
    consumer.close()


def sent(broker: Any, source: Source, messages: Sequence[Any]) -> list[tuple[bytes | None, Headers | None]]:
    """Send a message for each of these headers (bytes: one header of this name); return what the source gives."""
    reader, topic = source
    for number, headers in enumerate(messages):
        if isinstance(headers, bytes):
            send_raw(broker, topic, b"%d" % number, headers)
        else:
            broker.produce(topic, b"%d" % number, partition=0, headers=headers)
    assert broker.flush(20) == 0
    found: list[tuple[bytes | None, Headers | None]] = []
    deadline = time.monotonic() + 30
    while len(found) < len(messages):
        assert time.monotonic() < deadline, f"{len(found)} messages came"
        for batch in reader.take(1000, 50)[0]:
            found += zip(batch.values, batch.headers, strict=True)
    return found


def test_a_header_whose_name_is_no_utf_8_stops_nothing(broker: Any, source: Source) -> None:
    found = sent(broker, source, [[("a", b"1")], b"\xff\xfe-name", None, [("ż", None)]])
    assert [value for value, _ in found] == [b"0", b"1", b"2", b"3"]
    shown = [("\\xff\\xfe-name", b"1")] if isinstance(source[0], Drain) else [(UNREADABLE, None)]
    assert [headers for _, headers in found] == [[("a", b"1")], shown, None, [("ż", None)]]


def test_such_a_header_stops_nothing_behind_many_usual_ones(broker: Any, source: Source) -> None:
    # (by then Python has specialised the call that reads headers, and no longer checks its result)
    found = sent(broker, source, [*[[("a", b"1")]] * 500, b"\xff\xfe-name", None])
    assert [value for value, _ in found] == [b"%d" % number for number in range(502)]
    assert all(headers == [("a", b"1")] for _, headers in found[:500]) and found[501][1] is None


def test_a_message_keeps_its_first_headers_and_says_how_many_it_had(broker: Any, source: Source) -> None:
    many: Headers = [("n", b"%d" % number) for number in range(HEADERS_MAX + 500)]
    ((_, found), (_, other)) = sent(broker, source, [many, many[:HEADERS_MAX]])
    assert found == [*many[:HEADERS_MAX], (LEFT_OUT, b"500")]
    assert other == many[:HEADERS_MAX]
