"""What waits is counted from the beginning of a state, and stays when messages begin to count anew."""

from __future__ import annotations

from typing import Any

import pytest

from nurt.adapters.redis.store import begin_counting_waiting, forget_counts, has_counted_waiting
from nurt.inspect.counters import WAITING, CounterReader
from nurt.model.keys import Keys
from tests.services.stack.redis_server import RedisServer

KEYS = Keys("t", 4)


@pytest.fixture
def client(shared_redis: RedisServer) -> Any:
    with shared_redis.client() as client:
        client.flushall()
        yield client


def counts(client: Any) -> dict[tuple[str, str, str], int]:
    return {(one.topic, one.outcome, one.reason): one.messages for one in CounterReader(client, KEYS, []).counts()}


def test_what_waits_in_older_state_is_the_base(client: Any) -> None:
    assert not has_counted_waiting(client, KEYS)
    begin_counting_waiting(client, KEYS, {"order_line of order": 3})
    assert has_counted_waiting(client, KEYS)
    assert counts(client) == {("", WAITING, "order_line of order"): 3}


def test_a_state_in_which_nothing_waits_is_known_to_be_counted(client: Any) -> None:
    begin_counting_waiting(client, KEYS, {})
    assert has_counted_waiting(client, KEYS)
    assert counts(client) == {}


def test_messages_begin_to_count_anew_and_what_waits_still_waits(client: Any) -> None:
    begin_counting_waiting(client, KEYS, {"payment of order": 2})
    client.hset(KEYS.named("counts"), "shop.orders\x1ffolded\x1f", 7)
    forget_counts(client, KEYS)
    assert counts(client) == {("", WAITING, "payment of order"): 2}
    assert has_counted_waiting(client, KEYS)
