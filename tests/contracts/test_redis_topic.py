"""A topic that is kept in Redis: by key the newest, in the order in which they were said, whatever is repeated."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from nurt.adapters.redis.delivery.topic import RedisTopic
from nurt.adapters.redis.delivery.topic_log import RedisTopicLog
from nurt.errors import Fenced
from nurt.model.fence import stamp
from nurt.model.keys import Keys
from nurt.model.log import Committed
from nurt.model.published import PublishedBatch

OLD_RUN, RUN = 3, 9_000
"""Stamps of the second are beyond what a double holds."""


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    client = Redis.from_url(redis_url)
    yield client
    client.close()


@pytest.fixture
def keys() -> Keys:
    return Keys(f"t{uuid.uuid4().hex[:8]}-stock", 4)


@pytest.fixture
def topic(client: Any, keys: Keys) -> RedisTopic:
    return RedisTopic(client, keys.realm_place("default"), "nurt.orders")


def said(*told: tuple[bytes, int, bytes | None]) -> PublishedBatch:
    return PublishedBatch(*map(list, zip(*told, strict=True)))  # type: ignore[arg-type]


def held(topic: RedisTopic) -> dict[bytes, bytes | None]:
    return {one.key: one.body for one in topic.read(0, None, 10_000)}


def test_the_newest_revision_of_each_key_stays_and_comes_last(topic: RedisTopic) -> None:
    topic.append(said((b"a", stamp(RUN, 1), b"1"), (b"b", stamp(RUN, 1), b"1")), 2)
    topic.append(said((b"a", stamp(RUN, 2), b"2")), 2)
    assert [(one.key, one.body) for one in topic.read(0, None, 10)] == [(b"b", b"1"), (b"a", b"2")]
    assert {one.version for one in topic.read(0, None, 10)} == {2}


def test_an_older_revision_and_a_repeat_change_nothing(topic: RedisTopic) -> None:
    topic.append(said((b"a", stamp(RUN, 2), b"2"), (b"b", stamp(RUN, 2), None)), 2)
    before = topic.read(0, None, 10)
    topic.append(said((b"a", stamp(RUN, 1), b"1"), (b"b", stamp(OLD_RUN, 9), b"old")), 2)
    topic.append(said((b"a", stamp(RUN, 2), b"2"), (b"b", stamp(RUN, 2), None)), 2)
    assert topic.read(0, None, 10) == before
    assert held(topic) == {b"a": b"2", b"b": None}, "a tombstone stays"


def test_numbers_grow_over_runs_even_when_everything_was_forgotten(topic: RedisTopic) -> None:
    topic.append(said((b"a", stamp(OLD_RUN, 1), b"1"), (b"b", stamp(OLD_RUN, 2), b"1")), 2)
    read_to = topic.end()
    topic.clear()
    topic.append(said((b"a", stamp(OLD_RUN + 1, 1), b"1")), 2)
    assert [one.key for one in topic.read(read_to, None, 10)] == [b"a"]


def test_a_writer_notices_that_redis_came_back_older(client: Any, keys: Keys, topic: RedisTopic) -> None:
    topic.append(said((b"a", stamp(RUN, 1), b"1")), 2)
    topic.append(said((b"a", stamp(RUN, 1), b"1")), 2)
    topic.append(said((b"b", stamp(RUN, 2), b"1")), 2)
    place = keys.realm_place("default")
    client.zrem(place + b"inurt.orders", b"b")
    client.hdel(place + b"znurt.orders", b"b")
    with pytest.raises(Fenced, match="came back older"):
        topic.append(said((b"a", stamp(RUN, 3), b"2")), 2)
    assert held(topic) == {b"a": b"1"}, "nothing is written over the gap"
    RedisTopic(client, place, "nurt.orders").append(said((b"a", stamp(RUN + 1, 1), b"2")), 2)
    assert held(topic) == {b"a": b"2"}, "the next run says what is owed"


def test_reading_goes_on_where_it_ended_and_stops_where_it_is_told(topic: RedisTopic) -> None:
    topic.append(said(*((b"%04d" % number, stamp(RUN, 1), b"x") for number in range(2_500))), 2)
    first = topic.read(0, None, 1_000)
    assert len(first) == 1_000 and topic.waiting(first[-1].number) == 1_500
    rest = topic.read(first[-1].number, topic.end(), 10_000)
    assert [one.key for one in (*first, *rest)] == [b"%04d" % number for number in range(2_500)]
    assert topic.read(first[-1].number, first[-1].number + 3, 10_000) == rest[:3]


def test_whoever_reads_while_it_is_written_ends_with_the_newest_of_every_key(topic: RedisTopic) -> None:
    chosen = random.Random(7)
    truth: dict[bytes, bytes | None] = {}
    seen: dict[bytes, bytes | None] = {}
    at, batches = 0, []
    for sequence in range(1, 120):
        names = {b"%d" % chosen.randrange(30) for _ in range(chosen.randrange(1, 8))}
        batch = said(*((name, stamp(RUN, sequence), chosen.choice([None, b"%d" % sequence])) for name in sorted(names)))
        truth |= dict(zip(batch.ids, batch.values, strict=True))
        topic.append(batch, 2)
        batches.append(batch)
        if chosen.random() < 0.3:
            topic.append(chosen.choice(batches), 2)
        for one in topic.read(at, None, chosen.randrange(1, 20)):
            at, seen[one.key] = one.number, one.body
    for one in topic.read(at, None, 1_000):
        seen[one.key] = one.body
    assert seen == truth


def log(client: Any, of: Keys, **options: Any) -> RedisTopicLog:
    keys = Keys(of.prefix.decode().removesuffix("-stock"), 4)
    return RedisTopicLog(client, of, ["default", "hu"], ["nurt.orders", "nurt.stock"], keys, "crm", **options)


def test_a_log_says_all_contracts_of_all_realms_and_goes_on_where_it_was_committed(client: Any, keys: Keys) -> None:
    for realm in ("default", "hu"):
        for name in ("nurt.orders", "nurt.stock"):
            RedisTopic(client, keys.realm_place(realm), name).append(said((realm.encode(), stamp(RUN, 1), b"x")), 2)
    one = log(client, keys, stop_at_end=True)
    assert one.committed() is None
    one.start(None)
    batches = one.poll(100)
    assert sorted((batch.topic, key) for batch in batches for key in batch.keys) == [
        (name, b"\x00\x00\x00\x00\x02" + realm)
        for name in ("nurt.orders", "nurt.stock")
        for realm in (b"default", b"hu")
    ]
    assert one.exhausted() and one.lag() == 0
    one.commit(Committed(one.offsets(), 0, 0))
    RedisTopic(client, keys.realm_place("hu"), "nurt.stock").append(said((b"new", stamp(RUN, 2), None)), 2)
    two = log(client, keys)
    committed = two.committed()
    assert committed is not None
    two.start(committed.offsets)
    assert two.lag() == 1
    (batch,) = two.poll(100)
    assert (batch.topic, list(batch.values)) == ("nurt.stock", [None])
    assert not two.exhausted()


def test_a_log_that_ends_does_not_follow_what_comes_meanwhile(client: Any, keys: Keys) -> None:
    topic = RedisTopic(client, keys.realm_place("default"), "nurt.stock")
    topic.append(said((b"a", stamp(RUN, 1), b"x"), (b"b", stamp(RUN, 1), b"x")), 2)
    one = log(client, keys, stop_at_end=True)
    one.start(None)
    topic.append(said((b"a", stamp(RUN, 2), b"y")), 2)
    assert [key for batch in one.poll(10) for key in batch.keys] == [b"\x00\x00\x00\x00\x02b"]
    assert one.exhausted()


def test_each_part_is_read_by_one_worker(client: Any, keys: Keys) -> None:
    shares = [set(log(client, keys, worker=worker, workers=3)._topics) for worker in range(3)]
    assert sum(map(len, shares)) == len(set.union(*shares)) == 4
