"""The rate that workers share in Redis is the one that is written in Python: a script on a real server against it."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from nurt.adapters.redis.delivery import store as delivery_store
from nurt.delivery import rate_limit as delivery_rate
from nurt.model.delivery import RateLimit

BEGAN_US = 1_700_000_000_000_000

intervals_us = st.integers(1, 2_000_000)
limits = st.lists(st.tuples(intervals_us, st.one_of(st.just(0), st.integers(0, 5_000_000))), min_size=0, max_size=3)
moments_us = st.lists(st.one_of(st.just(0), st.integers(0, 3_000_000)), min_size=1, max_size=30)


def at_given_times(script: str) -> str:
    """Let a script take the time from its last argument, in microseconds, instead of the server's clock."""
    asked = "local now_us = now[1] * 1000000 + now[2]"
    assert script.count("local now = redis.call('TIME')") == script.count(asked) == 1
    return script.replace(asked, "now_us = tonumber(ARGV[#ARGV])").replace("local now = ", "local now_us; local now = ")


@given(limits, moments_us, st.integers(0, 1_000_000))
def test_the_script_takes_calls_as_the_arithmetic_does(
    redis_url: str, some: list[tuple[int, int]], apart_us: list[int], pause_us: int
) -> None:
    client = Redis.from_url(redis_url)
    take = client.register_script(at_given_times(delivery_store._TAKE))
    name = f"rate-{uuid.uuid4().hex}"
    paused, *keys = [f"{name}:{part}" for part in ("until", *range(len(some)))]
    client.set(paused, BEGAN_US + pause_us)
    buckets = [delivery_rate.Bucket(*map(float, one)) for one in some]  # its unit is the caller's: microseconds
    debts, now_us = [0.0] * len(some), BEGAN_US
    for step_us in apart_us:
        now_us += step_us
        expected, wait_us = delivery_rate.take_all(buckets, debts, float(now_us))
        pause_left_us = BEGAN_US + pause_us - now_us
        with client.pipeline() as together:  # nothing may expire in between, as this clock is not the server's
            take(keys=[paused, *keys], args=[*(part for one in some for part in one), now_us], client=together)
            for key in keys:
                together.get(key)
                together.pttl(key)
                together.persist(key)
            said, *kept = together.execute()
        assert said == max(wait_us, pause_left_us, 0)
        if said == 0:
            debts = expected
        held = kept[0::3]
        assert [float(debt or 0) for debt in held] == debts
        for debt, left_ms in zip(debts, kept[1::3], strict=True):
            if said == 0:
                assert left_ms >= (debt - now_us) / 1000, "a debt is remembered until it is paid"
    client.delete(paused, *keys)


@given(st.integers(1, 200), st.floats(0.1, 100.0), st.lists(st.floats(0.0, 1.0), min_size=1, max_size=300))
def test_no_window_holds_more_calls_than_the_limit(calls: int, seconds: float, apart: list[float]) -> None:
    bucket = delivery_rate.bucket_for(RateLimit(calls, seconds))
    debt_s, now_s, taken = 0.0, 1_000.0, []
    for step in apart:
        now_s += step * seconds / calls
        debt_s, wait_s = delivery_rate.take(bucket, debt_s, now_s)
        if not wait_s:
            taken.append(now_s)
    for at, first in enumerate(taken):
        assert sum(first <= other < first + seconds for other in taken[at:]) <= calls
