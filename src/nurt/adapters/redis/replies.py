"""Read Redis replies from the server's bytes: many at once, values directly into one array.

Hot path. A connection of redis-py takes this as its parser (`Connection.set_parser`), so address, TLS and login stay
the library's. The library's parser makes an object of every value; here a compiled loop finds the places of values.

Source: RESP2, "RESP protocol description": simple strings, errors, integers, bulk strings, arrays.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from redis.connection import DefaultParser
from redis.exceptions import ConnectionError as RedisConnectionError

from nurt.adapters.redis.outage import raise_away
from nurt.columnar.memory import copy_bytes
from nurt.columnar.types import Bytes, Int64s
from nurt.columnar.values import PADDING_BYTES, Values

BUFFER_BYTES, BUFFER_KEPT_BYTES = 1 << 18, 1 << 22
"""Size of the receive buffer: at first, and at most between two batches."""

TOKENS = 4_096
"""Parts of replies that one call of the loop finds."""

_ERROR, _NUMBER, _BULK, _ARRAY = (np.int64(ord(sign)) for sign in "-:$*")
_CR, _NULL = 13, -1


_Base: Any = DefaultParser  # redis-py decides between two classes when it is imported


class ReplyParser(_Base):
    """Parser of one connection's replies, in order.

    Args:
        socket_read_size: redis-py passes it to parsers; not used.
    """

    def __init__(self, socket_read_size: int = 0) -> None:
        super().__init__(socket_read_size=socket_read_size or BUFFER_BYTES)
        self._socket: Any = None
        self._buffer = np.empty(BUFFER_BYTES, dtype=np.uint8)
        self._begin = self._fill = 0

    def on_connect(self, connection: Any, **_: Any) -> None:
        """Begin with a new socket."""
        self._socket = connection._sock  # every parser of the library does this
        self._begin = self._fill = 0

    def on_disconnect(self) -> None:
        """Forget the socket and received bytes."""
        self._socket = None
        self._begin = self._fill = 0

    def can_read(self, timeout: float = 0) -> bool:
        """Say whether bytes were received, or the other side has closed."""
        if self._fill > self._begin or getattr(self._connected(), "pending", int)():
            return True
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return bool(poller.poll(None if timeout is None else timeout * 1000))

    def read_response(self, *_: Any, **__: Any) -> Any:
        """Read one reply, for the library."""
        return self.read_replies(1)[0]

    def read_replies(self, count: int) -> list[Any]:
        """Read some replies as plain values; an error is a value, too.

        Raises OSError or redis' ConnectionError when the connection breaks, or the server says that nobody can use it
        now.
        """
        tokens = np.empty((TOKENS, 3), dtype=np.int64)
        waiting = np.zeros(2, dtype=np.int64)  # parts of the current reply that are missing, tokens found
        self._settle()
        at, done = self._begin, 0
        tokens_held: list[tuple[int, int, int]] = []
        while done < count:
            waiting[1] = 0
            at, ended = _scan(self._buffer, at, self._fill, count - done, waiting, tokens)
            tokens_held += tokens[: waiting[1]].tolist()
            done += ended
            if done < count and waiting[1] < len(tokens):
                self._receive()
        parts = iter(tokens_held)
        found = [self._build(part, parts) for part in parts]
        self._begin = at
        for reply in found:
            if isinstance(reply, Exception):
                raise_away(reply)
        return found

    def _build(self, part: Sequence[int], parts: Any) -> Any:
        sign, start, stop = part
        if sign == _ARRAY:
            return None if start == _NULL else [self._build(next(parts), parts) for _ in range(start)]
        if sign == _BULK and start == _NULL:
            return None
        text = self._buffer[start:stop].tobytes()
        if sign == _ERROR:
            return self.parse_error(text.decode(errors="replace"))
        return int(text) if sign == _NUMBER else text

    def read_values(self, replies: Sequence[int], keys: Sequence[int]) -> list[Values]:
        """Read replies of MGET, each an array of bulk strings.

        Args:
            replies: by block: how many replies hold it.
            keys: by block: how many values it has.

        Raises:
            Exception: the server's error, when all replies have been read; OSError or redis' ConnectionError as
                `read_replies`.
        """
        places = np.empty((sum(keys), 2), dtype=np.int64)
        state = np.zeros(3, dtype=np.int64)  # replies that ended, values found, values missing of the current reply
        self._settle()
        at, error = self._begin, None
        while state[0] < sum(replies):
            at = _find_values(self._buffer, at, self._fill, sum(replies), state, places)
            if state[0] == sum(replies):
                break
            if state[2] == _STRANGE:
                self._begin = at
                (error,) = self.read_replies(1)
                at, state[2] = self._begin, 0
                state[0] += 1
            else:
                self._receive()
        self._begin = at
        if error is not None:
            raise error if isinstance(error, Exception) else RedisConnectionError("a reply was not a list of values")
        ends = np.cumsum([0, *keys]).tolist()
        return [_gathered(self._buffer, places[first:stop]) for first, stop in pairwise(ends)]

    def _connected(self) -> Any:
        if self._socket is None:
            raise RedisConnectionError("the connection is gone")
        return self._socket

    def _settle(self) -> None:
        """Begin again at the front of the buffer when all was read: places stay valid while replies are read."""
        if self._begin == self._fill:
            self._begin = self._fill = 0
            if len(self._buffer) > BUFFER_KEPT_BYTES:
                self._buffer = np.empty(BUFFER_BYTES, dtype=np.uint8)

    def _receive(self) -> None:
        """Wait for more bytes."""
        if self._fill == len(self._buffer):
            wider = np.empty(2 * len(self._buffer), dtype=np.uint8)
            wider[: self._fill] = self._buffer
            self._buffer = wider
        got = self._connected().recv_into(self._buffer.data[self._fill :])
        if not got:
            raise RedisConnectionError("the server closed the connection")
        self._fill += got


_STRANGE = -2
"""Code: the next reply is no array of bulk strings."""


def _gathered(buffer: Bytes, places: Int64s) -> Values:
    cuts = np.zeros(len(places) + 1, dtype=np.int64)
    np.cumsum(places[:, 1], out=cuts[1:])
    body = np.empty(int(cuts[-1]) + PADDING_BYTES, dtype=np.uint8)
    _gather(buffer, places, cuts, body)
    return Values(body, cuts)


@numba.njit(nogil=True, cache=True)
def _gather(buffer: Bytes, places: Int64s, cuts: Int64s, body: Bytes) -> None:
    """Copy values out of what was received, one after another.

    buffer  (b,)    uint8  what was received
    places  (n, 2)  int64  by value: index in `buffer` and bytes
    cuts    (n+1,)  int64  value i goes to body[cuts[i]:cuts[i+1]]
    body    (m,)    uint8  written, but for the padding behind the last value
    """
    to, source = body.ctypes.data, buffer.ctypes.data
    for row in range(len(places)):
        copy_bytes(to + cuts[row], source + places[row, 0], places[row, 1])


@numba.njit(nogil=True, cache=True)
def _line_end(buffer, at, fill):  # type: ignore[no-untyped-def]
    """Find the end of a line.

    buffer    (b,)    uint8  what was received
    at, fill  scalar  int64  index where the search begins, and where what was received ends
    Returns the index of its CR, or -1: CR and LF have not come yet.
    """
    while at + 1 < fill:
        if buffer[at] == _CR:
            return at
        at += 1
    return -1


@numba.njit(nogil=True, cache=True)
def _number(buffer, at, end):  # type: ignore[no-untyped-def]
    """Read a number in digits.

    buffer   (b,)    uint8  what was received
    at, end  scalar  int64  the number is buffer[at:end]
    Returns the number, or -1: it is negative, which says null.
    """
    if buffer[at] == 45:
        return -1
    number = 0
    for place in range(at, end):
        number = 10 * number + buffer[place] - 48
    return number


@numba.njit(nogil=True, cache=True)
def _scan(buffer, at, fill, replies, waiting, tokens):  # type: ignore[no-untyped-def]
    """Find the parts of replies, as far as they have come.

    buffer    (b,)    uint8  what was received
    at, fill  scalar  int64  index where to begin, and where what was received ends
    replies   scalar  int64  how many are looked for
    waiting   (2,)    int64  read and written: parts of the current reply that are missing, tokens found
    tokens    (t, 3)  int64  written from waiting[1] on: a part's sign, and where it lies: buffer[start:stop]
    Of an array, start and stop are how many parts it has; of a null they are _NULL. The loop stops when all tokens are
    used.
    Returns the index where to go on, and how many replies ended.
    """
    ended = 0
    while ended < replies and waiting[1] < len(tokens) and at < fill:
        sign = buffer[at]
        end = _line_end(buffer, at + 1, fill)
        if end < 0:
            break
        start, stop, after = at + 1, end, end + 2
        if sign in (_BULK, _ARRAY):
            size = _number(buffer, at + 1, end)
            if size < 0:
                start, stop = -1, -1
            elif sign == _ARRAY:
                start, stop = size, size
            else:
                start, stop = after, after + size
                after = stop + 2
                if after > fill:
                    break
        if waiting[0] == 0:
            waiting[0] = 1
        waiting[0] -= 1
        if sign == _ARRAY and start > 0:
            waiting[0] += start
        place = waiting[1]
        tokens[place, 0], tokens[place, 1], tokens[place, 2] = sign, start, stop
        waiting[1] = place + 1
        at = after
        if waiting[0] == 0:
            ended += 1
    return at, ended


@numba.njit(nogil=True, cache=True)
def _find_values(buffer, at, fill, replies, state, places):  # type: ignore[no-untyped-def]
    """Find where the values of arrays lie, as far as they have come.

    buffer    (b,)    uint8  what was received
    at, fill  scalar  int64  index where to begin, and where what was received ends
    replies   scalar  int64  how many are looked for, those that ended before among them
    state     (3,)    int64  read and written: replies that ended, values found, values missing of the current reply
    places    (v, 2)  int64  written from state[1] on: a value's index in `buffer` and bytes; a null has none
    Where the next reply is no array, or one without values, state[2] becomes _STRANGE, and the loop stops.
    Returns the index where to go on.
    """
    while state[0] < replies and at < fill:
        end = _line_end(buffer, at + 1, fill)
        if end < 0:
            break
        sign = buffer[at]
        if state[2] == 0:
            size = _number(buffer, at + 1, end) if sign == _ARRAY else 0
            if size <= 0:
                state[2] = _STRANGE
                break
            state[2] = size
            at = end + 2
            continue
        size = _number(buffer, at + 1, end)
        after = end + 2
        if size >= 0:
            after += size + 2
            if after > fill:
                break
        places[state[1], 0] = end + 2
        places[state[1], 1] = max(size, 0)
        state[1] += 1
        state[2] -= 1
        at = after
        if state[2] == 0:
            state[0] += 1
    return at
