"""The HTTP part of all adapters over HTTP: one client, tokens, and the meaning of bad answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx2 as httpx
import orjson

from nurt.adapters.http_bounds import (
    bound_time,
    bounded_rest_s,
    read_bounded,
    retry_after_s,
    text_of_answer,
    within,
)
from nurt.adapters.http_logs import silence_http_clients
from nurt.adapters.secrets import secret
from nurt.model.delivery import Call, CallFailure, CallResult, RowOutcome, RowResult

TIMEOUT_S = 30.0
WORDS_MAX = 2_000
"""Characters of a receiver's words that are kept with a refusal."""

TOKEN_MARGIN_S = 60.0
WHOLE = 4.0
silence_http_clients()


@dataclass(frozen=True, slots=True)
class Reply:
    """Reply of a receiver: status, headers and the JSON (None where there is none)."""

    status: int
    headers: Mapping[str, str]
    json: Any
    text: str


class HttpClient:
    """HTTP client of one receiver; several threads may use it at once.

    Args:
        token: fetches (token, seconds that it is valid) when there is none; None: calls have no token.
        scheme: text before the token in `Authorization`.
        timeout_s: how long the receiver may be silent; a whole answer may take `WHOLE` times as long.
        quota: reads from a reply's headers how long to rest, where few calls are left; None: go on.
        any_result: whether a web page is a reply too; else a web page comes from a proxy before the receiver.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[httpx.Client], tuple[str, float]] | None = None,
        scheme: str = "Bearer",
        timeout_s: float = TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
        quota: Callable[[Mapping[str, str]], float | None] = lambda _headers: None,
        any_result: bool = False,
    ) -> None:
        self.spend: Callable[[], None] = lambda: None  # before every request of a call except the first
        self._quota = quota
        self._any_result = any_result
        self._rest = threading.local()
        self._whole_s = WHOLE * timeout_s
        self._token_of = token
        self._scheme = scheme
        self._lock = threading.Lock()
        self._token = ""
        self._good_until_s = 0.0
        self._client = httpx.Client(
            base_url=url.rstrip("/"),
            timeout=httpx.Timeout(timeout_s, connect=min(10.0, timeout_s)),
            headers={"User-Agent": "nurt", **(headers or {})},
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=64),
            follow_redirects=False,
        )
        bound_time(self._client)

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Reply | CallResult:
        """Make one request; return a CallResult instead of a Reply where it failed or no valid reply came."""
        if getattr(self._rest, "requests", 0):
            self.spend()
        self._rest.requests = getattr(self._rest, "requests", 0) + 1
        sent = {"Accept": "application/json", **(headers or {})}
        if body is not None:
            content = dumps(body)
            sent.setdefault("Content-Type", "application/json")
        if path and (not path.startswith("/") or path.startswith("//")):
            return CallResult(failure=CallFailure.DOWN, code="answer_leads_elsewhere")  # with our token
        try:
            with within(self._whole_s):
                if self._token_of is not None:
                    sent["Authorization"] = f"{self._scheme} {self._fresh_token(self._token_of)}"
                with self._client.stream(method, path, content=content, headers=sent, params=params) as response:
                    whole = read_bounded(response)
        except Unauthorised as refused:
            return refused.call_result
        except httpx.HTTPError as failed:
            return CallResult(failure=CallFailure.DOWN, code=type(failed).__name__)
        except httpx.InvalidURL:
            return CallResult(failure=CallFailure.REFUSED, code="key_fits_no_address")
        self._rest.s = max(getattr(self._rest, "s", 0.0), bounded_rest_s(self._quota(response.headers)))
        kind = response.headers.get("content-type", "")
        if whole and response.is_success and kind.startswith("text/html") and not self._any_result:
            return CallResult(failure=CallFailure.DOWN, code="answer_is_a_web_page")
        is_json = "json" in kind
        try:
            parsed = orjson.loads(whole) if whole and is_json else None
        except ValueError:
            return CallResult(failure=CallFailure.DOWN, code="answer_is_no_json")
        return Reply(response.status_code, response.headers, parsed, text_of_answer(whole, response.charset_encoding))

    def rested(self, call_result: CallResult) -> CallResult:
        """End a call of this thread: add to its result how long its requests were asked to rest."""
        rest_s, self._rest.s, self._rest.requests = getattr(self._rest, "s", 0.0), 0.0, 0
        return replace(call_result, wait_s=max(call_result.wait_s or 0.0, rest_s)) if rest_s else call_result

    def refresh(self) -> None:
        """Forget the token."""
        with self._lock:
            self._good_until_s = 0.0

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def _fresh_token(self, fetch: Callable[[httpx.Client], tuple[str, float]]) -> str:
        with self._lock:
            if time.monotonic() >= self._good_until_s:
                self._token, good_s = fetch(self._client)
                self._good_until_s = time.monotonic() + max(1.0, good_s - TOKEN_MARGIN_S)
            return self._token


class Unauthorised(Exception):
    """Failure to get a token: the token service refused us, or did not answer; `call_result` says which."""

    def __init__(self, call_result: CallResult) -> None:
        self.call_result = call_result


def fetch_token(client: httpx.Client, url: str, form: Mapping[str, str], as_json: bool = False) -> dict[str, Any]:
    """Ask for an OAuth token. Raises Unauthorised."""
    try:
        sent: dict[str, Any] = {"json": dict(form)} if as_json else {"data": dict(form)}
        with client.stream("POST", url, **sent) as response:
            content = read_bounded(response)
    except (httpx.HTTPError, httpx.InvalidURL) as failed:
        raise Unauthorised(CallResult(failure=CallFailure.DOWN, code=type(failed).__name__)) from None
    if response.status_code >= 500 or response.status_code == 429:
        failure = CallFailure.THROTTLED if response.status_code == 429 else CallFailure.DOWN
        raise Unauthorised(CallResult(failure=failure, code=f"token_http_{response.status_code}"))
    try:
        token = orjson.loads(content)
    except ValueError:
        token = {}
    if response.status_code != 200 or not isinstance(token, dict) or "access_token" not in token:
        raise Unauthorised(CallResult(failure=CallFailure.UNAUTHORISED, code=f"token_http_{response.status_code}"))
    return token


def fixed_token(where: str, written: Any) -> Callable[[httpx.Client], tuple[str, float]]:
    """Return a fixed token; it is read again after a refresh, because its file may change."""
    return lambda _client: (secret(where, written), 3600.0)


def failure_of(reply: Reply) -> CallResult | None:
    """Return the failure of a whole call by its status; None where the reply is about rows."""
    status = reply.status
    if status == 429:
        return CallResult(failure=CallFailure.THROTTLED, code="http_429", wait_s=retry_after_s(reply.headers) or 1.0)
    if status == 401:
        return CallResult(failure=CallFailure.UNAUTHORISED, code="http_401")
    if status >= 500 or status in (408, 425):
        after_s = retry_after_s(reply.headers)
        return CallResult(failure=CallFailure.DOWN, code=f"http_{status}", wait_s=after_s)
    if 300 <= status < 400:
        return CallResult(failure=CallFailure.DOWN, code=f"http_{status}_elsewhere")
    return None


def refused(reply: Reply, code: str = "") -> CallResult:
    """Make the result of a call that was refused as a whole."""
    return CallResult(failure=CallFailure.REFUSED, code=code or f"http_{reply.status}", words=reply.text[:WORDS_MAX])


def all_accepted(call: Call) -> CallResult:
    """Make the result of a call whose rows were all accepted."""
    return CallResult(tuple(RowResult(RowOutcome.ACCEPTED) for _ in call.writes))


def dumps(value: Any) -> bytes:
    """Write JSON; a decimal as a number with every digit."""
    return orjson.dumps(value, default=_number)


def _number(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    raise TypeError(f"no JSON for {type(value).__name__}")


def text_of(value: Any) -> str:
    """Write a value as text, for receivers that take only text; None is the empty text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds") + "Z"
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
