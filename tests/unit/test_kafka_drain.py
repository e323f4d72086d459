"""A drain is made of a consumer whose handle is where it is known to be, and of nothing else."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer

from nurt.adapters.kafka import drain as kafka_drain
from nurt.adapters.kafka.drain import Drain


class Lookalike:
    """An object with something else where a consumer has its handle."""

    __slots__ = ("first",)

    def __init__(self, first: object) -> None:
        self.first = first


@pytest.mark.parametrize("other", [object(), Lookalike(7), Lookalike(b"x" * 100), 2**70, "text"])
def test_what_is_no_consumer_has_no_drain(other: object) -> None:
    assert Drain.of(other) is None


def test_a_producer_has_no_drain() -> None:
    assert Drain.of(Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})) is None


def test_a_consumer_has_one() -> None:
    consumer = Consumer({"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "log_level": 0})
    drain = Drain.of(consumer)
    assert drain is not None, "confluent_kafka keeps its handle elsewhere now: see _HANDLE_AT"
    assert drain.take(10, 1)[0] == []
    drain.close()
    assert drain.take(10, 1)[0] == []
    consumer.close()


def test_without_the_library_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_drain, "_LIBRARY", "libno-such-thing")
    consumer = Consumer({"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "log_level": 0})
    assert Drain.of(consumer) is None
    consumer.close()
