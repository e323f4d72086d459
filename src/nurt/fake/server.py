"""The common part of fake receivers: an HTTP server, faults on demand, and enforced limits."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import orjson


@dataclass(slots=True)
class Faults:
    """Faults on purpose; rates are shares of calls.

    Attributes:
        cut_before, cut_after: the connection is cut before the call was done, or in the middle of its answer.
        windows: (calls, seconds) that may not be exceeded in any window; one more is answered by 429.
        drip_s: an answer comes byte by byte, with this pause between two bytes; 0: at once.
    """

    down: bool = False
    error_rate: float = 0.0
    cut_before: float = 0.0
    cut_after: float = 0.0
    throttle_rate: float = 0.0
    latency_s: float = 0.0
    drip_s: float = 0.0
    retry_after: str = "1"
    windows: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Request:
    """Request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Parse the body; None where it is not JSON."""
        try:
            return orjson.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Response:
    """Response: JSON, text or bytes."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Fake:
    """Fake receiver. Subclasses implement `answer`; one thread at a time calls it."""

    def __init__(self, seed: int = 0) -> None:
        self.faults = Faults()
        self.calls: deque[tuple[float, str, str]] = deque(maxlen=200_000)  # when, method, path
        self.throttled = 0
        self.lock = threading.RLock()
        self.port = 0
        self._random = Random(seed)
        self._recent: deque[float] = deque()

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self.port}"

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        raise NotImplementedError

    def delete_by_hand(self, _key: str) -> bool:
        """Take a row away as somebody at the receiver does; return whether there was one that can be."""
        return False

    def merge_by_hand(self, _key: str, _into: str) -> bool:
        """Merge a row into another as somebody at the receiver does; return whether this was done."""
        return False

    def make_anew_by_hand(self, _key: str) -> bool:
        """Delete a row and make another one under its key, with nothing else in it; return whether this was done."""
        return False

    def too_many(self) -> Response:
        """Answer a call above the limits."""
        return Response(429, {"message": "too many requests"}, {"Retry-After": self.faults.retry_after})

    def respond(self, request: Request) -> tuple[Response | None, bool]:
        """Answer with the configured faults: (response or None: cut at once; whether to cut in the middle)."""
        faults = self.faults
        if faults.latency_s:
            time.sleep(faults.latency_s)
        with self.lock:
            now = time.monotonic()
            if faults.down:
                return None, False
            self.calls.append((now, request.method, request.path))
            chance = self._random.random
            if chance() < faults.cut_before:
                return None, False
            if self._exceeds(now) or chance() < faults.throttle_rate:
                self.throttled += 1
                return self.too_many(), False
            if chance() < faults.error_rate:
                return Response(self._random.choice((500, 502, 503)), {"message": "internal error"}), False
            return self.answer(request), chance() < faults.cut_after

    def _exceeds(self, now: float) -> bool:
        if not self.faults.windows:
            return False
        self._recent.append(now)
        longest = max(seconds for _, seconds in self.faults.windows)
        while self._recent[0] <= now - longest:
            self._recent.popleft()
        return any(sum(at > now - seconds for at in self._recent) > calls for calls, seconds in self.faults.windows)

    def left(self, calls: int, seconds: float) -> int:
        """Return how many calls the current window still takes."""
        now = time.monotonic()
        return max(0, calls - sum(at > now - seconds for at in self._recent))

    def busiest(self, seconds: float) -> int:
        """Count the calls of the busiest window."""
        times = sorted(at for at, _, _ in self.calls)
        most = first = 0
        for last, at in enumerate(times):
            while times[first] <= at - seconds:
                first += 1
            most = max(most, last - first + 1)
        return most


AnyFake = TypeVar("AnyFake", bound=Fake)


@contextmanager
def running(fake: AnyFake, port: int = 0, host: str = "127.0.0.1") -> Iterator[AnyFake]:
    """Serve a fake until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _any(self) -> None:
            length = self.headers.get("Content-Length")
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                body = self._chunked()
            else:
                body = self.rfile.read(int(length)) if length else b""
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(
                self.command, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), headers, body
            )
            response, cut = fake.respond(request)
            if response is None:
                self._cut()
                return
            content, kind = _content(response)
            head = {"Content-Type": kind, **response.headers, "Content-Length": str(len(content))}
            self.send_response_only(response.status)
            for name, value in head.items():
                self.send_header(name, value)
            self.end_headers()
            for byte in content if fake.faults.drip_s else ():
                self.wfile.write(bytes([byte]))
                time.sleep(fake.faults.drip_s)
            if not fake.faults.drip_s:
                self.wfile.write(content[: len(content) // 2] if cut else content)
            if cut:
                self.wfile.flush()
                self._cut()

        def _chunked(self) -> bytes:
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _cut(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_arguments: object) -> None:
            pass

    server = Server((host, port), Handler)
    fake.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()


def _content(response: Response) -> tuple[bytes, str]:
    if response.body is None:
        return b"", "application/json"
    if isinstance(response.body, bytes):
        return response.body, "application/octet-stream"
    if isinstance(response.body, str):
        return response.body.encode(), "text/plain; charset=utf-8"
    return orjson.dumps(response.body, default=str), "application/json"
