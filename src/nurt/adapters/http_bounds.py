"""Bounds of every answer over HTTP: how long a request may take as a whole, and how much an answer may hold.

A client's own timeouts begin again with every byte, and its size is whatever the other side sends. So the time is
bounded where bytes are read (`within`), and the size where they are decoded (`read_bounded`).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore2
import httpx2 as httpx

ANSWER_BYTES_MAX = 32 << 20
"""Bytes of an answer, decoded."""

REST_S_MAX = 86_400.0
"""Longest rest that a receiver gets, even if it asks for more: a day."""

TEXT_CODECS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "windows-1252", "utf-16"})
"""Charsets of texts that are decoded as they say; others are read as UTF-8. Some of Python's codecs are no charsets."""

_now = threading.local()


class TooLarge(httpx.DecodingError):
    """Answer that holds more than an answer may."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let the requests of this thread end within a time, whatever the other side sends meanwhile."""
    before = getattr(_now, "until_s", math.inf)
    _now.until_s = min(before, time.monotonic() + seconds)
    try:
        yield
    finally:
        _now.until_s = before


def bound_time(client: httpx.Client) -> None:
    """Let a client obey `within`. httpx has no word for it, so its pools get a network of ours."""
    for transport in (client._transport, *client._mounts.values()):
        pool: Any = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _BoundNetwork(pool._network_backend)


class _BoundNetwork(httpcore2.NetworkBackend):
    """Network whose streams know the time that is left."""

    def __init__(self, inner: httpcore2.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
        """See httpcore2.NetworkBackend."""
        return _BoundStream(self._inner.connect_tcp(*args, **kwargs))

    def connect_unix_socket(self, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
        """See httpcore2.NetworkBackend."""
        return _BoundStream(self._inner.connect_unix_socket(*args, **kwargs))

    def sleep(self, seconds: float) -> None:
        """See httpcore2.NetworkBackend."""
        self._inner.sleep(seconds)


class _BoundStream(httpcore2.NetworkStream):
    """Stream that ends a read, or a write, when the time of its request is over."""

    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """See httpcore2.NetworkStream."""
        return self._inner.read(max_bytes, _left(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """See httpcore2.NetworkStream."""
        self._inner.write(buffer, _left(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        """See httpcore2.NetworkStream."""
        self._inner.close()

    def start_tls(self, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
        """See httpcore2.NetworkStream."""
        return _BoundStream(self._inner.start_tls(*args, **kwargs))

    def get_extra_info(self, info: str) -> Any:
        """See httpcore2.NetworkStream."""
        return self._inner.get_extra_info(info)


def _left(timeout: float | None, over: type[Exception]) -> float | None:
    left_s = getattr(_now, "until_s", math.inf) - time.monotonic()
    if left_s <= 0:
        raise over("an answer that does not end")
    return timeout if left_s == math.inf else min(left_s, timeout or left_s)


def read_bounded(response: httpx.Response) -> bytes:
    """Read a whole answer. Raises TooLarge."""
    parts, size = [], 0
    for part in response.iter_bytes():
        size += len(part)
        if size > ANSWER_BYTES_MAX:
            raise TooLarge(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
        parts.append(part)
    return b"".join(parts)


def bound_size(client: httpx.Client) -> None:
    """Bound answers of a client that is not ours to read: they come as they are, uncompressed, and end somewhere."""
    client.headers["Accept-Encoding"] = "identity"
    client.event_hooks = {"request": [], "response": [_bound_answer]}


def _bound_answer(response: httpx.Response) -> None:
    if response.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
        raise TooLarge("an answer that is compressed, though that was not asked for")
    response.stream = _BoundAnswer(response.stream)


class _BoundAnswer(httpx.SyncByteStream):
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for part in self._inner:
            size += len(part)
            if size > ANSWER_BYTES_MAX:
                raise TooLarge(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
            yield part

    def close(self) -> None:
        self._inner.close()


def text_of_answer(content: bytes, charset: str | None) -> str:
    """Decode an answer by its charset where that is one of texts, else as UTF-8; never raises."""
    known = charset if charset is not None and charset.lower() in TEXT_CODECS else "utf-8"
    return content.decode(known, "replace")


def bounded_rest_s(seconds: float | None) -> float:
    """Bound a rest that a receiver asks for; what is no number is none."""
    return 0.0 if seconds is None or math.isnan(seconds) else min(REST_S_MAX, max(0.0, seconds))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After`: seconds, or a date; at most REST_S_MAX. Source: RFC 9110, 10.2.3."""
    text = headers.get("retry-after")
    if not text:
        return None
    try:
        return bounded_rest_s(float(text))
    except ValueError:
        pass
    try:
        return bounded_rest_s((parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, LookupError, ArithmeticError):
        return None
