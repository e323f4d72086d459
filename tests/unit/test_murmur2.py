"""Keys hash as Kafka's default partitioner hashes them, and a topic's keys show whether they lie where they hash."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nurt.columnar.murmur2 import murmur2
from nurt.translate.key_places import are_hashed


def hashed(*keys: bytes) -> list[int]:
    ends = np.cumsum([len(key) for key in keys], dtype=np.int64)
    body = np.frombuffer(b"".join(keys) + bytes(16), dtype=np.uint8)
    return murmur2(body, np.concatenate(([0], ends[:-1])), ends).tolist()


def plainly(key: bytes) -> int:
    """Hash a key in plain Python, as the published algorithm says."""
    factor, bits = 0x5BD1E995, 0xFFFFFFFF
    mixed = 0x9747B28C ^ len(key)
    whole = len(key) - len(key) % 4
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * factor & bits
        mixed = (mixed * factor & bits) ^ ((word ^ word >> 24) * factor & bits)
    if rest := key[whole:]:
        mixed = (mixed ^ int.from_bytes(rest, "little")) * factor & bits
    mixed = (mixed ^ mixed >> 13) * factor & bits
    return (mixed ^ mixed >> 15) & 0x7FFFFFFF


@pytest.mark.parametrize(("key", "java"), [(b"21", -973932308), (b"foobar", -790332482), (b"abc", 479470107)])
def test_a_key_has_the_hash_that_kafkas_own_tests_expect(key: bytes, java: int) -> None:
    assert hashed(key) == [java & 0x7FFFFFFF] == [plainly(key)]


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5))
def test_every_key_has_its_hash(keys: list[bytes]) -> None:
    assert hashed(*keys) == [plainly(key) for key in keys]


KEYS = [b"%d" % number for number in range(40)]


@pytest.mark.parametrize("former", [1, 2, 3])
def test_keys_that_lie_where_they_hash_are_recognised_though_the_topic_grew(former: int) -> None:
    keys: dict[int, list[bytes]] = {}
    for at, key in enumerate(KEYS):
        keys.setdefault(plainly(key) % (former if at < 20 else 3), []).append(key)
    assert are_hashed(keys, 3)


def test_keys_that_lie_elsewhere_are_not_hashed() -> None:
    assert not are_hashed({0: KEYS[:20], 1: KEYS[20:]}, 2)
    assert not are_hashed({}, 2), "nobody can tell"
