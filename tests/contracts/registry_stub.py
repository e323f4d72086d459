"""A schema registry of a few lines over HTTP: what the real one cannot be made to do (fail on demand)."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Stub:
    port: int = 0
    schemas: dict[int, dict[str, Any]] = field(default_factory=dict)  # id -> the answer's body
    answers: list[tuple[int, bytes]] = field(default_factory=list)  # given first, in order, whatever is asked
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    levels: dict[str, str] = field(default_factory=dict)
    register: tuple[int, dict[str, Any]] = (200, {"id": 7})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
        if self.answers:
            return self.answers.pop(0)
        status, content = self._answer(method, path, body)
        return status, json.dumps(content).encode()

    def _answer(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        parts = path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["schemas", "ids"]:
            found = self.schemas.get(int(parts[2]))
            return (200, found) if found else (404, {"error_code": 40403, "message": "Schema not found"})
        if parts[0] == "config" and method == "PUT":
            self.levels[parts[1]] = (body or {})["compatibility"]
            return 200, body
        if parts[0] == "config":
            level = self.levels.get(parts[1])
            return (200, {"compatibilityLevel": level}) if level else (404, {"error_code": 40408, "message": "none"})
        if parts[-1] == "versions" and method == "POST":
            return self.register
        if parts[0] == "subjects" and "versions" in parts:
            return 200, {"subject": parts[1], "id": 1, "version": 1, "schema": json.dumps(REFERENCED)}
        return 404, {"error_code": 40401, "message": "Subject not found"}


REFERENCED = {
    "type": "record",
    "name": "Block",
    "namespace": "shared",
    "fields": [{"name": "x", "type": "long"}],
}


@contextmanager
def running_stub(port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Stub]:
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            stub.requests.append((self.command, self.path, self.headers.get("Authorization")))
            status, content = stub.answer(self.command, self.path, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    stub.port = server.server_port
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
