"""What everything that is reached over HTTP shares: one client, tokens, and what a bad answer means."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2 as httpx
import orjson

from nurt.adapters.http_logs import silence_http_clients
from nurt.adapters.secrets import secret
from nurt.model.delivery import Answer, Call, Fate, Trouble, Verdict

TIMEOUT_S = 30.0
WORDS_MAX = 2_000
"""Characters of a receiver's words that are kept with a refusal."""

REST_S_MAX = 86_400.0
"""However long a receiver asks to be left alone, it is asked again after a day."""

TOKEN_MARGIN_S = 60.0
WHOLE = 4.0
silence_http_clients()


@dataclass(frozen=True, slots=True)
class Reply:
    """A receiver's answer: status, headers and the JSON (None where there is none)."""

    status: int
    headers: Mapping[str, str]
    json: Any
    text: str


class Http:
    """One receiver's HTTP client; several threads may use it at once.

    Args:
        token: fetches (token, seconds that it is good for) when there is none; None: calls go without.
        scheme: what stands before the token in `Authorization`.
        timeout_s: how long the receiver may be silent; a whole answer may take `WHOLE` times as long.
        quota: reads from an answer's headers how long to rest, where few calls are left; None: go on.
        any_answer: whether a web page is an answer too; else it comes from something that stands before the receiver.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[httpx.Client], tuple[str, float]] | None = None,
        scheme: str = "Bearer",
        timeout_s: float = TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
        quota: Callable[[Mapping[str, str]], float | None] = lambda _headers: None,
        any_answer: bool = False,
    ) -> None:
        self.spend: Callable[[], None] = lambda: None  # before every request of a call but its first
        self._quota = quota
        self._any_answer = any_answer
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

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Reply | Answer:
        """Make one request; an Answer instead of a reply where it could not be made, or what came is no answer."""
        if getattr(self._rest, "requests", 0):
            self.spend()
        self._rest.requests = getattr(self._rest, "requests", 0) + 1
        sent = {"Accept": "application/json", **(headers or {})}
        if body is not None:
            content = dumps(body)
            sent.setdefault("Content-Type", "application/json")
        try:
            if self._token_of is not None:
                sent["Authorization"] = f"{self._scheme} {self._fresh_token(self._token_of)}"
            with self._client.stream(method, path, content=content, headers=sent, params=params) as response:
                whole = self._read(response)
        except Unauthorised as refused:
            return refused.answer
        except httpx.HTTPError as failed:
            return Answer(trouble=Trouble.DOWN, code=type(failed).__name__)
        self._rest.s = max(getattr(self._rest, "s", 0.0), self._quota(response.headers) or 0.0)
        kind = response.headers.get("content-type", "")
        if whole and response.is_success and kind.startswith("text/html") and not self._any_answer:
            return Answer(trouble=Trouble.DOWN, code="answer_is_a_web_page")
        is_json = "json" in kind
        try:
            parsed = orjson.loads(whole) if whole and is_json else None
        except ValueError:
            return Answer(trouble=Trouble.DOWN, code="answer_is_no_json")
        text = whole.decode(response.encoding or "utf-8", "replace")
        return Reply(response.status_code, response.headers, parsed, text)

    def _read(self, response: httpx.Response) -> bytes:
        """Read an answer whole; one that trickles for too long is none."""
        until_s = time.monotonic() + self._whole_s
        parts = []
        for part in response.iter_bytes():
            parts.append(part)
            if time.monotonic() > until_s:
                raise httpx.ReadTimeout("an answer that does not end")
        return b"".join(parts)

    def rested(self, answer: Answer) -> Answer:
        """End a call of this thread: add to its answer how long its requests were asked to rest."""
        rest_s, self._rest.s, self._rest.requests = getattr(self._rest, "s", 0.0), 0.0, 0
        return replace(answer, wait_s=max(answer.wait_s or 0.0, rest_s)) if rest_s else answer

    def refresh(self) -> None:
        """Forget the token."""
        with self._lock:
            self._good_until_s = 0.0

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _fresh_token(self, fetch: Callable[[httpx.Client], tuple[str, float]]) -> str:
        with self._lock:
            if time.monotonic() >= self._good_until_s:
                self._token, good_s = fetch(self._client)
                self._good_until_s = time.monotonic() + max(1.0, good_s - TOKEN_MARGIN_S)
            return self._token


class Unauthorised(Exception):
    """The place that gives tokens refused ours, or did not answer; `answer` says which."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


def fetch_token(client: httpx.Client, url: str, form: Mapping[str, str], as_json: bool = False) -> dict[str, Any]:
    """Ask for an OAuth token. Raises Unauthorised."""
    try:
        response = client.post(url, json=dict(form)) if as_json else client.post(url, data=dict(form))
    except httpx.HTTPError as failed:
        raise Unauthorised(Answer(trouble=Trouble.DOWN, code=type(failed).__name__)) from None
    if response.status_code >= 500 or response.status_code == 429:
        trouble = Trouble.THROTTLED if response.status_code == 429 else Trouble.DOWN
        raise Unauthorised(Answer(trouble=trouble, code=f"token_http_{response.status_code}"))
    try:
        given = orjson.loads(response.content)
    except ValueError:
        given = {}
    if response.status_code != 200 or not isinstance(given, dict) or "access_token" not in given:
        raise Unauthorised(Answer(trouble=Trouble.UNAUTHORISED, code=f"token_http_{response.status_code}"))
    return given


def fixed_token(where: str, written: Any) -> Callable[[httpx.Client], tuple[str, float]]:
    """Give a token that does not change; read anew after a refresh, for its file may."""
    return lambda _client: (secret(where, written), 3600.0)


def trouble_of(reply: Reply) -> Answer | None:
    """Say what a status means that concerns the whole call; None where the receiver said something of the rows."""
    status = reply.status
    if status == 429:
        return Answer(trouble=Trouble.THROTTLED, code="http_429", wait_s=retry_after_s(reply.headers) or 1.0)
    if status == 401:
        return Answer(trouble=Trouble.UNAUTHORISED, code="http_401")
    if status >= 500 or status in (408, 425):
        after_s = retry_after_s(reply.headers)
        return Answer(trouble=Trouble.DOWN, code=f"http_{status}", wait_s=after_s)
    if 300 <= status < 400:
        return Answer(trouble=Trouble.DOWN, code=f"http_{status}_elsewhere")
    return None


def refused(reply: Reply, code: str = "") -> Answer:
    """Say that a call was refused as a whole."""
    return Answer(trouble=Trouble.REFUSED, code=code or f"http_{reply.status}", words=reply.text[:WORDS_MAX])


def all_accepted(call: Call) -> Answer:
    """Say yes to every row."""
    return Answer(tuple(Verdict(Fate.ACCEPTED) for _ in call.writes))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After`: seconds, or a date; at most REST_S_MAX. Source: RFC 9110, 10.2.3."""
    text = headers.get("retry-after")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return None
    return min(REST_S_MAX, max(0.0, seconds))


def dumps(value: Any) -> bytes:
    """Write JSON; a decimal as a number with every digit."""
    return orjson.dumps(value, default=_number)


def _number(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    raise TypeError(f"no JSON for {type(value).__name__}")


def text_of(value: Any) -> str:
    """Write a value as text, as receivers want it that know nothing else; None is the empty text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds") + "Z"
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
