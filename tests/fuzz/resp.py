"""Replies of a server that may be anybody: read as they are, or refused at once."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from nurt.adapters.redis.replies import StrangeReply
from nurt.columnar.types import Int64s
from tests.fuzz.harness import mutated
from tests.properties.test_resp_replies import bulk, parser_of

COUNT = 1_000_000
ASKED = np.array([3, 2], dtype=np.int64)


def prepare() -> None:
    """Share nothing."""


def attempt(random: Random, shared: Any) -> str:
    """Read damaged replies, in pieces of any size."""
    del shared
    for_values = random.random() < 0.6
    said = b"".join(_values(random, int(one)) for one in ASKED) if for_values else _replies(random)
    if random.random() < 0.9:
        said = mutated(random, said)
    if random.random() < 0.2:
        said = said.replace(b"\r\n", b"\r\n" + random.choice([b"$99999999999\r\n", b"*7\r\n", b"$-1\r\n"]), 1)
    cuts = [random.randint(1, 30) for _ in range(random.choice((0, 0, 3)))]
    parser = parser_of(said, cuts)
    try:
        if for_values:
            asked: list[Int64s] = [ASKED[:1], ASKED[1:]]
            sizes = [len(values) for values in parser.read_values(asked)]
            assert sizes == [3, 2]
        else:
            assert len(parser.read_replies(2)) == 2
    except StrangeReply:
        return "refused"
    except RedisConnectionError:
        return "waits for more"
    except RedisError:
        return "an error"
    return "read"


def _values(random: Random, count: int) -> bytes:
    values = [None if random.random() < 0.2 else random.randbytes(random.randrange(20)) for _ in range(count)]
    return b"*%d\r\n" % count + b"".join(map(bulk, values))


def _replies(random: Random, depth: int = 0) -> bytes:
    kind = random.randrange(6 if depth < 3 else 5)
    if kind == 0:
        return b"+OK\r\n"
    if kind == 1:
        return b"-%s no\r\n" % random.choice([b"ERR", b"WRONGTYPE", b"MOVED", b"LOADING", b"READONLY", b""])
    if kind == 2:
        return b":%d\r\n" % random.choice([0, 1, -1, 2**63 - 1])
    if kind < 5:
        return bulk(None if kind == 4 else random.randbytes(random.randrange(12)))
    count = random.randrange(4)
    return b"*%d\r\n" % count + b"".join(_replies(random, depth + 1) for _ in range(count))
