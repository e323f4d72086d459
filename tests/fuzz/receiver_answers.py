"""Answers of receivers and stores as no service would give them: none ends a delivery, or makes it wait for ever."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx2 as httpx
import yaml

from nurt.adapters.analytics.clickhouse import ClickhouseSink
from nurt.adapters.http_bounds import REST_S_MAX
from nurt.app.delivery_config import KINDS, read_preset
from nurt.delivery.mapping import DestinationMapping
from nurt.delivery.read.families import FAMILIES, tables_of
from nurt.delivery.run.sender import NOT_UNDERSTOOD
from nurt.delivery.table_family import TableBatch
from nurt.model.delivery import Call, CallResult, Op, Ref, Write
from tests.delivery.scene import mapping_of
from tests.fuzz.harness import mutated

COUNT = 100_000
SOUND = [
    b'{"results":[{"id":"7","properties":{"nurt_id":"k"},"objectWriteTraceId":"0"}],"errors":[]}',
    b'{"errors":[{"category":"CONFLICT","message":"x","context":{"objectWriteTraceId":["0"]}}]}',
    b'[{"id":"001","success":true,"errors":[],"created":true}]',
    b'[{"success":false,"errors":[{"statusCode":"DUPLICATE_VALUE","message":"x","fields":[]}]}]',
    b'{"new_members":[],"updated_members":[{"email_address":"k"}],"errors":[{"email_address":"k","error":"x"}]}',
    b'{"members":[{"email_address":"k"}],"total_items":1}',
    b'{"email_address":"k","status":"subscribed","id":"x"}',
    b'{"error":{"code":"0x80040237","message":"x"}}',
    b'{"contactid":"7","accountid":"7","merged":false,"value":[{"LogicalName":"x","KeyAttributes":["y"]}]}',
    b'{"access_token":"t","expires_in":3600}',
    b"--batch_x\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n--batch_x--\r\n",
    b'[{"keys":{"x":"k"},"values":{}}]',
    b"",
    b"null",
    b"<html>",
]
HEADERS = [
    *("retry-after", "x-hubspot-ratelimit-remaining", "x-hubspot-ratelimit-interval-milliseconds"),
    *("x-hubspot-ratelimit-daily-remaining", "sforce-limit-info", "x-ms-ratelimit-time-remaining-xrm-requests"),
    *("x-ms-ratelimit-burst-remaining-xrm-requests", "x-clickhouse-exception-code", "location", "set-cookie"),
]
VALUES = [
    "0",
    "1",
    "-1",
    "nan",
    "inf",
    "1e400",
    "9" * 400,
    "x",
    "",
    "Mon, 01 Jan 99999999999 00:00:00 GMT",
    "api-usage=9/0",
]
KINDS_OF_TEXT = [
    "application/json",
    "text/html",
    "application/json; charset=hex",
    "text/plain; charset=undefined",
    "x",
    "",
]
STATUSES = [200, 200, 200, 201, 204, 207, 301, 400, 401, 403, 404, 405, 409, 412, 413, 422, 425, 429, 500, 503, 599]
OPTIONS = {"kind": "", "url": "http://127.0.0.1", "timeout_s": 5, "bulk_poll_s": 0}
SECRETS = ("token", "tenant", "client_id", "client_secret", "audience", "api_key")
ADDRESSES = ("login_url", "auth_url")


@dataclass
class Shared:
    """Receivers, a store, and what they hear next."""

    receivers: list[Any]
    store: ClickhouseSink
    answer: Callable[[], httpx.Response]


def prepare() -> Shared:
    """Open every receiver over a network that only says what an attempt wants."""
    logging.disable(logging.CRITICAL)
    time.sleep = lambda _seconds: None
    receivers = [KINDS[kind](_mapping(kind)) for kind in sorted(KINDS)]
    clickhouse = DestinationMapping("ch", "clickhouse", (), {"url": "http://127.0.0.1"})
    shared = Shared(receivers, ClickhouseSink(clickhouse, FAMILIES["profiles"]), lambda: httpx.Response(204))
    for one in (*receivers, shared.store):
        one._http._client = httpx.Client(
            base_url="http://127.0.0.1", transport=httpx.MockTransport(lambda _request: shared.answer())
        )
    return shared


def _mapping(kind: str) -> DestinationMapping:
    secrets = dict.fromkeys(SECRETS, "a-us1") | dict.fromkeys(ADDRESSES, "http://127.0.0.1")
    return mapping_of(yaml.safe_dump({**OPTIONS, **secrets, "kind": kind}), read_preset(kind))


def attempt(random: Random, shared: Shared) -> str:
    """Make one call, or write one batch, whose requests are answered at random."""
    asked = 0

    def answer() -> httpx.Response:
        nonlocal asked
        asked += 1
        assert asked < 200, "a call that goes on and on"
        sound = random.choice(SOUND)
        headers = [(random.choice(HEADERS), random.choice(VALUES)) for _ in range(random.randrange(3))]
        kind = "application/json" if random.random() < 0.7 else random.choice(KINDS_OF_TEXT)
        body = sound if random.random() < 0.4 else mutated(random, sound)
        return httpx.Response(random.choice(STATUSES), headers=[*headers, ("content-type", kind)], content=body)

    shared.answer = answer
    try:
        result = _asked(random, shared)
    except NOT_UNDERSTOOD:
        return "not understood"
    assert result.wait_s is None or 0 <= result.wait_s <= REST_S_MAX, result
    return str(result.failure or "accepted")


def _asked(random: Random, shared: Shared) -> CallResult:
    if random.random() < 0.1:
        erased = [(f"{random.getrandbits(128):032x}", 1)]
        shared.store._prepared = random.random() < 0.8
        return shared.store.write(TableBatch({}, tables_of([], []).nested, erased))
    to = random.choice(shared.receivers)
    to._http._good_until_s = float("inf") if random.random() < 0.8 else 0.0  # a token is there, or is asked for
    if hasattr(to, "_is_alone"):
        to._is_alone = random.random() < 0.8
    one = random.choice(to._mapping.objects)
    is_link = one.plan.link is not None
    op = random.choice([Op.LINK, Op.DELETE] if is_link else [Op.UPSERT, Op.UPSERT, Op.DELETE, Op.ERASE, Op.MERGE])
    refs = (Ref(one.name, "a", None), Ref(one.name, "b", "7"))[: 2 if is_link else op is Op.MERGE]
    rows = 1 if op in (Op.MERGE, Op.ERASE) else random.choice((1, 2, 3))
    fields = dict.fromkeys(list(one.fields)[:2], "v")
    writes = tuple(Write("s", 1, one.name, op, f"k{at}", fields, refs=refs) for at in range(rows))
    result: CallResult = to.send(Call(one.name, op, writes))
    return result
