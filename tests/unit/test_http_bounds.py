"""Answers of a hostile receiver: they cost bounded memory and time, and none of them ends a delivery."""

from __future__ import annotations

import gzip
import resource
import socket
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from redis import Redis

from nurt.adapters.http import HttpClient, Reply, fetch_token
from nurt.adapters.http_bounds import ANSWER_BYTES_MAX, REST_S_MAX, retry_after_s, text_of_answer
from nurt.adapters.kafka.schema_registry import ConfluentRegistry
from nurt.adapters.receivers.dataverse import Dataverse, _at, _multipart
from nurt.adapters.redis.delivery.store import DeliveryStore
from nurt.app.delivery_config import KINDS, read_preset
from nurt.delivery.journal import Message
from nurt.delivery.mapping import DestinationMapping
from nurt.delivery.read.families import FAMILIES, tables_of
from nurt.delivery.run.key_locks import Stopping
from nurt.delivery.run.sender import NOT_UNDERSTOOD
from nurt.delivery.run.table_deliverer import TableDeliverer, TableTarget
from nurt.delivery.table_family import TableBatch
from nurt.errors import ConnectionFailed
from nurt.model.delivery import Call, CallFailure, CallResult, Op, Write
from nurt.model.keys import Keys
from tests.delivery.scene import mapping_of

Say = Callable[[socket.socket], None]
GROWN_MAX_KB = 150_000


def _whole(body: bytes, *headers: str, status: str = "200 OK") -> Say:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers])
    return lambda to: to.sendall(head.encode() + b"\r\n\r\n" + body)


def _until_closed(begin: bytes, again: bytes) -> Say:
    """Say a little every moment, for ever."""

    def say(to: socket.socket) -> None:
        to.sendall(begin)
        while True:
            to.sendall(again)
            time.sleep(0.02)

    return say


class Hostile:
    """A server that reads a request and says whatever it is told to."""

    def __init__(self) -> None:
        self.say: Say = _whole(b"")
        self.asked: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                to, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(to,), daemon=True).start()

    def _answer(self, to: socket.socket) -> None:
        with to:
            try:
                asked = b""
                while b"\r\n\r\n" not in asked:
                    asked += to.recv(65_536)
                self.asked.append(asked)
                self.say(to)
            except OSError:
                pass

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    made = Hostile()
    yield made
    made.close()


def _asked(hostile: Hostile, **options: Any) -> Reply | CallResult:
    client = HttpClient(hostile.url, timeout_s=options.pop("timeout_s", 20.0), **options)
    try:
        return client.send("GET", "/x")
    finally:
        client.close()


def _bomb(layers: int) -> bytes:
    squeezed = zlib.compressobj(9, wbits=31)
    parts = [squeezed.compress(bytes(1 << 20)) for _ in range(1_024)]
    body = b"".join([*parts, squeezed.flush()])
    for _ in range(layers - 1):
        body = gzip.compress(body)
    return body


@pytest.mark.parametrize("layers", [1, 2])
def test_a_bomb_costs_little_memory(hostile: Hostile, layers: int) -> None:
    body = _bomb(layers)
    hostile.say = _whole(body, f"Content-Encoding: {', '.join(['gzip'] * layers)}", "Content-Type: application/json")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = _asked(hostile)
    assert isinstance(found, CallResult) and (found.failure, found.code) == (CallFailure.DOWN, "TooLarge")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWN_MAX_KB


def test_an_answer_without_compression_is_bounded_too(hostile: Hostile) -> None:
    hostile.say = _whole(b"x" * (ANSWER_BYTES_MAX + 1))
    found = _asked(hostile)
    assert isinstance(found, CallResult) and found.code == "TooLarge"


def test_a_large_answer_passes(hostile: Hostile) -> None:
    hostile.say = _whole(gzip.compress(b"x" * ANSWER_BYTES_MAX), "Content-Encoding: gzip")
    found = _asked(hostile)
    assert isinstance(found, Reply) and len(found.text) == ANSWER_BYTES_MAX


@pytest.mark.parametrize(
    ("begin", "again"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["body", "chunks", "headers", "continue"],
)
def test_an_answer_that_never_ends_is_none(hostile: Hostile, begin: bytes, again: bytes) -> None:
    """Without the bound it would go on for ever, byte by byte."""
    hostile.say = _until_closed(begin, again)
    found = _asked(hostile, timeout_s=0.3)
    assert isinstance(found, CallResult) and found.failure is CallFailure.DOWN


def test_a_token_service_is_bounded_too(hostile: Hostile) -> None:
    def logged_in(client: Any) -> tuple[str, float]:
        return str(fetch_token(client, hostile.url + "/token", {"a": "b"})["access_token"]), 60.0

    hostile.say = _whole(_bomb(1), "Content-Encoding: gzip")
    found = _asked(hostile, token=logged_in)
    assert isinstance(found, CallResult) and (found.failure, found.code) == (CallFailure.DOWN, "TooLarge")
    hostile.say = _until_closed(b"HTTP/1.1 200 OK\r\nX: ", b"x")
    found = _asked(hostile, token=logged_in, timeout_s=0.3)
    assert isinstance(found, CallResult) and found.failure is CallFailure.DOWN


@pytest.mark.parametrize("say", ["bomb", "large", "endless"])
def test_a_registry_is_bounded_too(hostile: Hostile, say: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nurt.adapters.kafka.schema_registry.WHOLE_S", 0.5)
    hostile.say = {
        "bomb": _whole(_bomb(1), "Content-Encoding: gzip", "Content-Type: application/json"),
        "large": _whole(b"[" + b"1," * ANSWER_BYTES_MAX, "Content-Type: application/json"),
        "endless": _until_closed(b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    }[say]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConnectionFailed, match="no answer"):
        ConfluentRegistry(hostile.url, seconds_max=0.3).schema(7)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWN_MAX_KB


def test_a_registry_that_answers_is_read(hostile: Hostile) -> None:
    hostile.say = _whole(b'{"schema": "\\"string\\""}', "Content-Type: application/vnd.schemaregistry.v1+json")
    assert ConfluentRegistry(hostile.url, seconds_max=3).schema(7) == {"type": "string"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-1", 0.0),
        ("nan", 0.0),
        ("1e400", REST_S_MAX),
        ("inf", REST_S_MAX),
        ("9" * 5_000, REST_S_MAX),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", REST_S_MAX),
        ("Fri, 31 Dec 9999 23:59:59 -2359", REST_S_MAX),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
        ("Mon, 01 Jan 1990 00:00:00 GMT", 0.0),
        ("Mon, 01 Jan 2300 00:00:00", None),
        ("Mon", None),
        (",", None),
        ("Mon, 99 Foo 2026 99:99:99 +999999999999999999999", None),
        ("\u0663", 3.0),
    ],
)
def test_a_rest_is_a_bounded_number_or_none(text: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": text}) == seconds


@pytest.mark.parametrize(
    "charset", ["hex", "zip", "undefined", "idna", "punycode", "rot13", "base64", "unicode_escape", "\x00", "utf-7", ""]
)
def test_a_charset_that_is_none_is_read_as_utf_8(hostile: Hostile, charset: str) -> None:
    assert text_of_answer("żółw\x00".encode(), charset) == "żółw\x00"
    hostile.say = _whole("żółw".encode(), f"Content-Type: text/plain; charset={charset}".replace("\x00", "%00"))
    found = _asked(hostile)
    assert isinstance(found, Reply) and found.text == "żółw"


def test_a_charset_of_texts_is_obeyed() -> None:
    assert text_of_answer("żółw".encode("utf-16"), "UTF-16") == "żółw"
    assert text_of_answer(b"caf\xe9", "ISO-8859-1") == "café"


@pytest.mark.parametrize("path", ["http://example.com/x", "//example.com/x", "x", "ftp://a/"])
def test_no_answer_leads_a_token_elsewhere(hostile: Hostile, path: str) -> None:
    client = HttpClient(hostile.url, token=lambda _client: ("secret", 60.0))
    found = client.send("GET", path)
    assert isinstance(found, CallResult) and found.code == "answer_leads_elsewhere"
    assert hostile.asked == []


KEYS = ["a\nb", "a\r\nHost: b", "\x00", "'", "''", "ż" * 100, "a/../b", "%0d%0a", "a b?c#d&e+f", "\u2028", "x" * 70_000]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: repr(key[:12]))
def test_a_key_stays_within_its_address(hostile: Hostile, key: str) -> None:
    hostile.say = _whole(b'{"access_token": "t"}', "Content-Type: application/json")
    to = Dataverse(_mapping("dataverse", hostile.url))
    writes = tuple(Write("s", 1, "contact", Op.UPSERT, one, {"firstname": "Anna"}) for one in (key, "plain"))
    to.send(Call("contact", Op.UPSERT, writes[:1]))
    result = to.send(Call("contact", Op.DELETE, writes))
    assert result.failure in (None, CallFailure.DOWN, CallFailure.REFUSED)
    sent = [asked for asked in hostile.asked if b"/token" not in asked.split(b"\r\n")[0]]
    for asked in sent:
        line, *headers = asked.partition(b"\r\n\r\n")[0].split(b"\r\n")
        assert len(line.split(b" ")) == 3
        assert sum(header.lower().startswith(b"host:") for header in headers) == 1
    if len(key) > 65_536:
        assert to.send(Call("contact", Op.UPSERT, writes[:1])).failure is CallFailure.REFUSED


def test_a_batch_holds_one_request_line_a_row() -> None:
    one = _mapping("dataverse", "http://127.0.0.1").object("contact")
    for key in KEYS:
        batch = _multipart(
            "batch_x", [("DELETE", "/" + _at(one, key), None), ("DELETE", "/" + _at(one, "b"), None)], {}
        )
        lines = [line for line in batch.split(b"\r\n") if line.startswith(b"DELETE ")]
        assert len(lines) == 2 and all(len(line.split(b" ")) == 3 for line in lines)
        assert batch.count(b"\r\n\r\n") == 4 and b"\n" not in batch.replace(b"\r\n", b"")


ANSWERS: list[bytes] = [
    *(b"", b"null", b"[]", b"{}", b"0", b'"x"', b"[null]", b'{"results": null}', b'{"results": [null]}'),
    *(b'{"results": {"a": 1}}', b'{"errors": "x"}', b'{"errors": [1]}', b"[" * 100_000, b'{"a":' * 5_000, b"\xff\xfe"),
    *(b'{"id": {"$x": 1}, "state": 7}', b'{"members": 3, "total_items": "a"}', b"<html>", b"1e999", b"-" * 100),
    *(b'{"results": [{"id": null, "properties": 7}]}', b'{"value": [{}]}', b'{"access_token": ["a\\r\\nX: y"]}'),
    b'{"access_token": "a\\r\\nX: y", "expires_in": "nan"}',
]
HEADERS = [
    "X-HubSpot-RateLimit-Remaining: 0\r\nX-HubSpot-RateLimit-Interval-Milliseconds: inf",
    "X-HubSpot-RateLimit-Remaining: 0\r\nX-HubSpot-RateLimit-Interval-Milliseconds: x",
    "Sforce-Limit-Info: api-usage=99/0",
    "x-ms-ratelimit-burst-remaining-xrm-requests: nan",
    "Retry-After: Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
]


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("status", ["200 OK", "207 Multi", "400 Bad", "404 Gone", "429 Slow", "500 Oh"])
def test_no_answer_of_any_receiver_ends_a_delivery(hostile: Hostile, kind: str, status: str) -> None:
    """What an adapter cannot read may only raise what the sender takes for no answer."""
    to = KINDS[kind](_mapping(kind, hostile.url))
    one = to._mapping.objects[0]  # type: ignore[attr-defined]
    for at, answer in enumerate(ANSWERS):
        headers = HEADERS[at % len(HEADERS)]
        hostile.say = _whole(answer, "Content-Type: application/json", headers, status=status)
        for op in (Op.UPSERT, Op.DELETE, Op.ERASE):
            writes = (Write("s", 1, one.name, op, "k", dict.fromkeys(list(one.fields)[:1], "v")),)
            try:
                result = to.send(Call(one.name, op, writes))
            except NOT_UNDERSTOOD:
                continue
            assert result.wait_s is None or 0 <= result.wait_s <= REST_S_MAX
    to.close()


def _mapping(kind: str, url: str) -> DestinationMapping:
    known = {"dataverse", "hubspot", "mailchimp", "marketing_cloud", "salesforce", "webhook"}
    secrets = dict.fromkeys(("token", "tenant", "client_id", "client_secret", "audience", "api_key"), "a-us1")
    written = {**secrets, "kind": kind, "url": url, "login_url": url, "auth_url": url, "bulk_poll_s": 0, "timeout_s": 5}
    assert kind in known
    return mapping_of(yaml.safe_dump(written), read_preset(kind))


def test_a_table_sink_whose_answer_is_not_understood_is_asked_again(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    class Strange:
        def __init__(self) -> None:
            self.asked = 0

        def write(self, _batch: TableBatch) -> CallResult:
            self.asked += 1
            raise [OverflowError, LookupError, UnicodeDecodeError("x", b"", 0, 1, "y"), RecursionError][self.asked % 4]

        def close(self) -> None:
            pass

    sink = Strange()
    with Redis.from_url(redis_url) as client:
        store = DeliveryStore(client, Keys(f"t{uuid.uuid4().hex[:8]}", 4), "ch")
        store.begin()
        targets = {"profiles": TableTarget(FAMILIES["profiles"], sink, tables_of)}
        deliverer = TableDeliverer(targets, store, 0, stopping=lambda: sink.asked > 2)
        with pytest.raises(Stopping):
            deliverer.deliver([Message("0a" * 16, (0, 1), None, None)])
    assert sink.asked == 3
