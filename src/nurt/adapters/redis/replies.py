"""Read Redis replies from the server's bytes: many at once, values directly into one array.

Hot path. A connection of redis-py takes this as its parser (`Connection.set_parser`), so address, TLS and login stay
the library's. The library's parser makes an object of every value; here a compiled loop finds the places of values.

Whoever stands between may answer anything, so a reply is measured against what was asked, and every length is bounded
before it is used. What is no reply ends the run: nobody can tell what the bytes behind it belong to.

Source: RESP2, "RESP protocol description": simple strings, errors, integers, bulk strings, arrays.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from redis.connection import DefaultParser
from redis.exceptions import ConnectionError as RedisConnectionError

from nurt.adapters.redis.outage import raise_away
from nurt.columnar.memory import copy_bytes, peek_byte
from nurt.columnar.types import Bytes, Int64s
from nurt.columnar.values import PADDING_BYTES, Values
from nurt.errors import ConnectionFailed

BUFFER_BYTES, BUFFER_KEPT_BYTES = 1 << 18, 1 << 22
"""Size of the receive buffer: at first, and at most between two batches."""

TOKENS = 4_096
"""Parts of replies that one call of the loop finds."""

DIGITS_MAX = 18
VALUE_BYTES_MAX, LINE_BYTES_MAX, BUFFER_BYTES_MAX = 1 << 30, 1 << 16, 1 << 34
"""Of a value (Redis itself stops at half of this), of a line, and of all that was received and not read yet."""
PARTS_MAX, DEPTH_MAX = 1 << 24, 16
"""Of one reply: how many parts it has, and how deep its arrays lie in each other."""

_ERROR, _NUMBER, _BULK, _ARRAY = (np.int64(ord(sign)) for sign in "-:$*")
_STATUS = np.int64(ord("+"))
_CR, _LF, _MINUS, _ONE = 13, 10, 45, 49
_NULL, _WRONG, _MORE = -1, -3, -4


class StrangeReply(ConnectionFailed):
    """Failure of the server to answer by its protocol."""


def strange(what: str) -> StrangeReply:
    """Make the error of bytes that are no reply to what was asked."""
    return StrangeReply(
        f"reading replies of Redis: {what}; look what answers at `state.url`, and reach it by TLS (`rediss://`)"
    )


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
        now; StrangeReply when what came is no reply: the connection is then of no use.
        """
        tokens = np.empty((TOKENS, 3), dtype=np.int64)
        waiting = np.zeros(2, dtype=np.int64)  # parts of the current reply that are missing, tokens found
        self._settle()
        at, done = self._begin, 0
        tokens_held: list[tuple[int, int, int]] = []
        while done < count:
            waiting[1] = 0
            at, ended = _scan(self._buffer, at, self._fill, count - done, waiting, tokens)
            if at < 0:
                raise strange("bytes that are none (RESP2)")
            tokens_held += tokens[: waiting[1]].tolist()
            done += ended
            if done < count and waiting[1] < len(tokens):
                self._receive()
        parts = iter(tokens_held)
        found = [self._build(part, parts, 0) for part in parts]
        self._begin = at
        for reply in found:
            if isinstance(reply, Exception):
                raise_away(reply)
        return found

    def _build(self, part: Sequence[int], parts: Any, depth: int) -> Any:
        sign, start, stop = part
        if sign == _ARRAY:
            if depth == DEPTH_MAX:
                raise strange(f"arrays more than {DEPTH_MAX} deep")
            return None if start == _NULL else [self._build(next(parts), parts, depth + 1) for _ in range(start)]
        if sign == _BULK and start == _NULL:
            return None
        text = self._buffer[start:stop].tobytes()
        if sign not in (_ERROR, _NUMBER):
            return text
        try:
            return int(text) if sign == _NUMBER else self.parse_error(text.decode(errors="replace"))
        except ValueError:  # the library reads what stands in some errors
            raise strange("a number or an error that cannot be read") from None

    def read_values(self, asked: Sequence[Int64s]) -> list[Values]:
        """Read replies of MGET, each an array of bulk strings.

        Args:
            asked: by block: how many values each of its replies must have.

        Raises:
            Exception: the server's error, when all replies have been read; OSError or redis' ConnectionError as
                `read_replies`.
        """
        wanted = np.concatenate([np.empty(0, dtype=np.int64), *asked])
        places = np.empty((int(wanted.sum()), 2), dtype=np.int64)
        state = np.zeros(3, dtype=np.int64)  # replies that ended, values found, values missing of the current reply
        self._settle()
        at, error = self._begin, None
        while state[0] < len(wanted):
            at = _find_values(self._buffer, at, self._fill, wanted, state, places)
            if state[0] == len(wanted):
                break
            if state[2] == _WRONG:
                raise strange("not as many values as keys were asked for, or values that are none (RESP2)")
            if state[2] == _STRANGE:
                self._begin = at
                (error,) = self.read_replies(1)
                at, state[2] = self._begin, 0
                state[0] += 1
            else:
                self._receive()
        self._begin = at
        if error is not None:
            raise error
        stops = np.cumsum([one.sum() for one in asked]).tolist()
        return [
            _gathered(self._buffer, places[stop - int(one.sum()) : stop])
            for one, stop in zip(asked, stops, strict=True)
        ]

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
            if self._fill >= BUFFER_BYTES_MAX:
                raise strange(f"more than {BUFFER_BYTES_MAX >> 30} GB at once")
            wider = np.empty(2 * len(self._buffer), dtype=np.uint8)
            wider[: self._fill] = self._buffer
            self._buffer = wider
        got = self._connected().recv_into(self._buffer.data[self._fill :])
        if not got:
            raise RedisConnectionError("the server closed the connection")
        self._fill += got


_STRANGE = -2
"""Code: the next reply is an error."""


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
def _size(at, fill):  # type: ignore[no-untyped-def]
    """Read a line that holds a size.

    at, fill  scalar  int64  address of the line's sign, and where what was received ends
    Returns the size and the address behind the line; or as size _NULL: it is -1, which says null; _MORE: the line has
    not come yet; _WRONG: it holds something else, or more than DIGITS_MAX digits. By address, because numba counts
    references whenever an array is passed to a function.
    """
    place = at + 1
    size = 0
    while place < fill:
        digit = peek_byte(place) - 48
        if digit < 0 or digit > 9:
            break
        size = 10 * size + digit
        place += 1
    digits = place - at - 1
    if digits > DIGITS_MAX:
        return _WRONG, place
    if digits == 0 and place < fill:
        if peek_byte(place) != _MINUS or (place + 1 < fill and peek_byte(place + 1) != _ONE):
            return _WRONG, place
        size = _NULL
        place += 2
    if place + 1 >= fill:
        return _MORE, place
    return (size if _is_end(place) else _WRONG), place + 2


@numba.njit(nogil=True, cache=True)
def _is_end(at):  # type: ignore[no-untyped-def]
    """Return whether CR and LF stand at an address (int64) where both have come."""
    return peek_byte(at) == _CR and peek_byte(at + 1) == _LF


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
    Returns the index where to go on, or _WRONG: what came is no reply; and how many replies ended.
    """
    base = np.int64(buffer.ctypes.data)
    ended = 0
    while ended < replies and waiting[1] < len(tokens) and at < fill:
        sign = peek_byte(base + at)
        if sign in (_BULK, _ARRAY):
            size, behind = _size(base + at, base + fill)
            after = behind - base
            if size == _MORE:
                break
            if size == _WRONG or size > (VALUE_BYTES_MAX if sign == _BULK else PARTS_MAX):
                return _WRONG, ended
            start, stop = size, size
            if sign == _BULK and size >= 0:
                start, stop = after, after + size
                after = stop + 2
                if after > fill:
                    break
                if not _is_end(base + stop):
                    return _WRONG, ended
        else:
            end = _line_end(buffer, at + 1, fill)
            if sign not in (_STATUS, _ERROR, _NUMBER) or (fill if end < 0 else end) - at > LINE_BYTES_MAX:
                return _WRONG, ended
            if end < 0:
                break
            start, stop, after = at + 1, end, end + 2
            if not _is_end(base + end):
                return _WRONG, ended
        if waiting[0] == 0:
            waiting[0] = 1
        waiting[0] -= 1
        if sign == _ARRAY and start > 0:
            waiting[0] += start
            if waiting[0] > PARTS_MAX:
                return _WRONG, ended
        place = waiting[1]
        tokens[place, 0], tokens[place, 1], tokens[place, 2] = sign, start, stop
        waiting[1] = place + 1
        at = after
        if waiting[0] == 0:
            ended += 1
    return at, ended


@numba.njit(nogil=True, cache=True)
def _find_values(buffer, at, fill, wanted, state, places):  # type: ignore[no-untyped-def]
    """Find where the values of arrays lie, as far as they have come.

    buffer    (b,)    uint8  what was received
    at, fill  scalar  int64  index where to begin, and where what was received ends
    wanted    (r,)    int64  by reply, those that ended before among them: how many values it must have
    state     (3,)    int64  read and written: replies that ended, values found, values missing of the current reply
    places    (v, 2)  int64  written from state[1] on: a value's index in `buffer` and bytes; a null has none; v is the
                             sum of `wanted`
    Where the next reply is an error, state[2] becomes _STRANGE; where what came is no reply, or another number of
    values, it becomes _WRONG. Then the loop stops.
    Returns the index where to go on.
    """
    base = np.int64(buffer.ctypes.data)
    ended, found, missing = state[0], state[1], state[2]
    while ended < len(wanted) and at < fill:
        sign = peek_byte(base + at)
        if missing == 0 and sign == _ERROR:
            missing = _STRANGE
            break
        size, behind = _size(base + at, base + fill)
        after = behind - base
        if size == _MORE:
            break
        if missing == 0:
            if sign != _ARRAY or size != wanted[ended]:
                missing = _WRONG
                break
            missing = size
            at = after
            continue
        if sign != _BULK or size == _WRONG or size > VALUE_BYTES_MAX:
            missing = _WRONG
            break
        start = after
        if size >= 0:
            after += size + 2
            if after > fill:
                break
            if not _is_end(base + after - 2):
                missing = _WRONG
                break
        places[found, 0] = start
        places[found, 1] = max(size, 0)
        found += 1
        missing -= 1
        at = after
        if missing == 0:
            ended += 1
    state[0], state[1], state[2] = ended, found, missing
    return at
