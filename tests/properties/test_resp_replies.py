"""Replies are read as hiredis reads them, however the bytes arrive."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import hiredis
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from nurt.adapters.redis import replies as resp_replies
from nurt.adapters.redis.replies import ReplyParser, StrangeReply
from nurt.columnar.types import Int64s


class Lines:
    """A socket whose peer said everything already, and is heard a few bytes at a time."""

    def __init__(self, said: bytes, cuts: list[int]) -> None:
        self.said, self.cuts, self.at = said, cuts, 0

    def recv_into(self, buffer: memoryview) -> int:
        size = self.cuts.pop() if self.cuts else len(buffer)
        piece = self.said[self.at : self.at + min(size, len(buffer))]
        buffer[: len(piece)] = piece
        self.at += len(piece)
        return len(piece)


def parser_of(said: bytes, cuts: list[int]) -> ReplyParser:
    parser = ReplyParser()
    parser.on_connect(SimpleNamespace(_sock=Lines(said, cuts)))
    return parser


def sizes(*values: int) -> Int64s:
    return np.array(values, dtype=np.int64)


def bulk(value: bytes | None) -> bytes:
    return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)


LINES = st.text("abc XYZ09", max_size=12).map(str.encode)
VALUES = st.none() | st.binary(min_size=1, max_size=30) | st.sampled_from([b"\r\n", b"*1\r\n$1\r\n", b"x" * 5_000])
SIMPLE = st.one_of(
    LINES.map(lambda line: b"+%s\r\n" % line),
    LINES.map(lambda line: b"-ERR %s\r\n" % line),
    st.integers(-(2**63), 2**63 - 1).map(lambda number: b":%d\r\n" % number),
    VALUES.map(bulk),
    st.sampled_from([b"*-1\r\n", b"*0\r\n"]),
)
REPLIES = st.recursive(
    SIMPLE, lambda inner: st.lists(inner, max_size=6).map(lambda some: b"*%d\r\n%s" % (len(some), b"".join(some)))
)
CUTS = st.lists(st.integers(1, 40), max_size=60)


def plain(reply: Any) -> Any:
    if isinstance(reply, list):
        return [plain(one) for one in reply]
    return ("error", str(reply)) if isinstance(reply, Exception) else reply


@given(st.lists(REPLIES, min_size=1, max_size=8), CUTS)
@example([b"+OK\r\n"] * 5_000, [])
def test_replies_are_what_hiredis_says_they_are(replies: list[bytes], cuts: list[int]) -> None:
    said = b"".join(replies)
    reader = hiredis.Reader(replyError=lambda text: ResponseError(text.removeprefix("ERR ")))
    reader.feed(said)
    parser = parser_of(said, cuts)
    half = len(replies) // 2
    found = [*parser.read_replies(half), *parser.read_replies(len(replies) - half)]
    assert plain(found) == [plain(reader.gets()) for _ in replies]


@given(st.lists(st.lists(st.lists(VALUES, min_size=1, max_size=9), max_size=4), min_size=1, max_size=4), CUTS)
def test_values_lie_in_their_blocks(blocks: list[list[list[bytes | None]]], cuts: list[int]) -> None:
    said = b"".join(b"*%d\r\n%s" % (len(one), b"".join(map(bulk, one))) for block in blocks for one in block)
    parser = parser_of(b"+OK\r\n" + said + b":7\r\n", cuts)
    assert parser.read_replies(1) == [b"OK"]
    found = parser.read_values([sizes(*map(len, block)) for block in blocks])
    assert [values.plain() for values in found] == [[value for one in block for value in one] for block in blocks]
    assert parser.read_replies(1) == [7]


@given(st.integers(0, 2), CUTS)
def test_an_error_among_values_is_raised_when_all_replies_are_read(place: int, cuts: list[int]) -> None:
    replies = [b"*1\r\n$1\r\na\r\n"] * 2
    replies.insert(place, b"-WRONGTYPE no\r\n")
    parser = parser_of(b"".join(replies) + b"+next\r\n", cuts)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        parser.read_values([sizes(1, 1, 1)])
    assert parser.read_replies(1) == [b"next"]


@pytest.mark.parametrize("said", [b"*2\r\n$1\r\na\r\n", b"+O", b"$10\r\nabc", b""])
def test_a_reply_that_ends_in_the_middle_is_a_broken_connection(said: bytes) -> None:
    with pytest.raises(RedisConnectionError):
        parser_of(said, []).read_replies(1)
    with pytest.raises(StrangeReply if said[:1] in (b"$", b"+") else RedisConnectionError):
        parser_of(said, []).read_values([sizes(2)])


def test_a_server_that_is_loading_is_away() -> None:
    with pytest.raises(RedisConnectionError):
        parser_of(b"-LOADING Redis is loading the dataset in memory\r\n", []).read_replies(1)


def test_a_large_buffer_is_not_kept() -> None:
    value = b"x" * (2 * resp_replies.BUFFER_KEPT_BYTES)
    parser = parser_of(b"*1\r\n" + bulk(value) + b"+OK\r\n", [])
    assert parser.read_values([sizes(1)])[0].plain() == [value]
    assert parser.read_replies(1) == [b"OK"]
    parser._socket = Lines(b"+OK\r\n", [])
    assert parser.read_replies(1) == [b"OK"]
    assert len(parser._buffer) <= resp_replies.BUFFER_BYTES


TOO_DEEP, NO_NUMBER = b"*1\r\n" * 3_000 + b":1\r\n", [b"", b"-", b"-2", b"1x", b" 1", b"9" * 19, b"9223372036854775807"]
NO_REPLIES = [
    TOO_DEEP,
    b"HTTP/1.1 400 Bad Request\r\n",
    b"%1\r\n+a\r\n+b\r\n",
    b":1x\r\n",
    b":" + b"9" * 5_000 + b"\r\n",
    b"$1\r\nab\r\n",
    b"$1\r\na\n\n",
    b"+OK\r+OK\r\n",
    b"*99999999999\r\n",
    b"*2\r\n*16777216\r\n",
    b"-MOVED\r\n",
    b"+" + b"x" * (1 << 17),
    *(b"$%s\r\n" % number for number in NO_NUMBER),
    *(b"*%s\r\n" % number for number in NO_NUMBER),
]
NO_VALUES = [
    b"*6\r\n" + 6 * b"$1\r\na\r\n",
    b"*1\r\n$1\r\na\r\n",
    b"*60000\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"$1\r\na\r\n",
    b"*2\r\n:1\r\n:2\r\n",
    b"*2\r\n*1\r\n$1\r\na\r\n$1\r\nb\r\n",
    *(b"*2\r\n$%s\r\n" % number + bytes(64) for number in NO_NUMBER),
]


@pytest.mark.parametrize("said", NO_REPLIES, ids=range(len(NO_REPLIES)))
def test_what_is_no_reply_is_said_at_once(said: bytes) -> None:
    with pytest.raises(StrangeReply, match="reading replies of Redis"):
        parser_of(said, []).read_replies(1)


@pytest.mark.parametrize("said", [*NO_VALUES, *NO_REPLIES[1:]], ids=range(len(NO_VALUES) + len(NO_REPLIES) - 1))
def test_values_are_as_many_as_were_asked_for_or_the_run_ends(said: bytes) -> None:
    with pytest.raises((StrangeReply, ResponseError)):
        parser_of(said + b"+OK\r\n", []).read_values([sizes(2)])


@given(st.lists(REPLIES, min_size=1, max_size=8), st.data())
def test_damaged_replies_are_read_whole_or_refused(replies: list[bytes], data: st.DataObject) -> None:
    said = bytearray(b"".join(replies))
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, len(said) - 1), st.integers(0, 255)), max_size=4)):
        said[at] = byte
    with contextlib.suppress(StrangeReply, RedisConnectionError, ResponseError):
        assert len(parser_of(bytes(said), []).read_replies(len(replies))) == len(replies)
    with contextlib.suppress(StrangeReply, RedisConnectionError, ResponseError):
        values = parser_of(bytes(said), []).read_values([sizes(2, 3)])
        assert [len(one) for one in values] == [5]
        assert all(one in bytes(said) for one in values[0].plain() if one is not None)
