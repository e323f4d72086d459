"""Deliver to Microsoft Dataverse (Dynamics 365): UpsertMultiple by alternate key, `$batch` where a row fails.

On standard tables UpsertMultiple is all or nothing, so a refused batch is sent again as single requests in one
`$batch`. What is believed to be there goes in such requests from the start, with `If-Match: *`, which makes nothing.

Source: Dataverse Web API (UpsertMultiple, alternate keys, $batch, Merge, service protection limits); Entra.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx2 as httpx
import orjson

from nurt.adapters.http import WORDS_MAX, HttpClient, Reply, all_accepted, dumps, failure_of, fetch_token, refused
from nurt.adapters.receivers.base import Receiver
from nurt.adapters.secrets import secret
from nurt.delivery.mapping import DestinationMapping, ObjectMapping
from nurt.errors import ConfigurationError
from nurt.model.delivery import Call, CallFailure, CallResult, Limits, Op, RateLimit, RowOutcome, RowResult, Write

LOGIN = "https://login.microsoftonline.com"
BASE = "/api/data/v9.2"
ODATA = {"OData-Version": "4.0", "OData-MaxVersion": "4.0", "If-None-Match": "null"}
LIMITS = Limits(rows_max=100, concurrency=4, rates=(RateLimit(6_000, 300.0),), one_row_ops=frozenset({Op.MERGE}))
TRANSIENT = frozenset(
    {
        "0x80044151",  # SQL timed out
        "0x80072321",
        "0x80072322",
        "0x80072326",
    }
)
CONFLICTS = frozenset({"0x80040237", "0x80060892"})
"""Codes of conflicts: another row has a value that must be unique, or was just created."""

REQUESTS_LEFT_MIN, TIME_LEFT_S_MIN, REST_S = 10.0, 10.0, 10.0
"""With fewer requests, or seconds of execution, left in the window of five minutes, calls rest meanwhile."""

MERGEABLE = frozenset({"account", "contact", "lead", "incident"})
IF_THERE = {"If-Match": "*"}
ENTITY_ID = "odata-entityid"
_STATUS = re.compile(r"HTTP/1\.1 (\d{3})")
_ENTITY_ID = re.compile(r"\(([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\)")


class Dataverse(Receiver):
    """Dataverse as a receiver; implements delivery.ports.Destination.

    An object's `type` is the table's logical name, `options.set` its entity set.
    """

    def __init__(self, mapping: DestinationMapping) -> None:
        super().__init__(mapping, LIMITS)
        options = mapping.options
        for one in mapping.objects:
            if one.plan.link:
                raise ConfigurationError(
                    f"reading {self._where}.objects.{one.name}: Dataverse has no `link`; "
                    "write a field like `parentcustomerid_account@odata.bind`"
                )
        self._url = secret(f"{self._where}.url", options.get("url")).rstrip("/")
        timeout_s = float(options.get("timeout_s", 120))
        self._http = HttpClient(self._url, self._login(), timeout_s=timeout_s, headers=ODATA, quota=_rest_s)

    def _login(self) -> Callable[[httpx.Client], tuple[str, float]]:
        options, where = self._mapping.options, self._where

        def log_in(client: httpx.Client) -> tuple[str, float]:
            tenant = secret(f"{where}.tenant", options.get("tenant"))
            form = {
                "grant_type": "client_credentials",
                "client_id": secret(f"{where}.client_id", options.get("client_id")),
                "client_secret": secret(f"{where}.client_secret", options.get("client_secret")),
                "scope": f"{self._url}/.default",
            }
            token = fetch_token(client, f"{options.get('login_url', LOGIN)}/{tenant}/oauth2/v2.0/token", form)
            return str(token["access_token"]), float(token.get("expires_in", 3600))

        return log_in

    def _send(self, call: Call) -> CallResult:
        one = self._mapping.object(call.object)
        if call.op is Op.MERGE:
            return self._merge(call, one)
        if call.op is not Op.UPSERT or call.believed or len(call.writes) == 1:
            return self._singly(call, one)
        targets = [
            {
                "@odata.type": f"Microsoft.Dynamics.CRM.{one.type}",
                "@odata.id": _at(one, write.key),
                **self._bound(one, write),
            }
            for write in call.writes
        ]
        path = f"{BASE}/{_set(one)}/Microsoft.Dynamics.CRM.UpsertMultiple"
        reply = self._http.send("POST", path, {"Targets": targets})
        if isinstance(reply, CallResult):
            return reply
        if reply.status == 204 or (reply.status < 300 and isinstance(reply.json, dict)):
            return all_accepted(call)
        call_result = _failure(reply)
        return (
            self._singly(call, one)
            if call_result is not None and call_result.failure is CallFailure.REFUSED
            else call_result or CallResult()
        )

    def _singly(self, call: Call, one: ObjectMapping) -> CallResult:
        """Send every row as its own request, several requests in one `$batch`."""
        requests = [self._request(call.op, one, write) for write in call.writes]
        if len(requests) == 1:
            method, path, body = requests[0]
            reply = self._http.send(method, path, body, headers=IF_THERE if call.believed else None)
            if isinstance(reply, CallResult):
                return reply
            call_result = _failure(reply)
            if call_result is not None and call_result.failure is not CallFailure.REFUSED:
                return call_result
            id_ = _id_in(reply.headers.get(ENTITY_ID, ""))
            return self._without_gone(call, one, [_row_result(reply.status, reply.text, call.op, id_)], [reply.status])
        boundary = f"batch_{uuid.uuid4().hex}"
        headers = {"Content-Type": f"multipart/mixed; boundary={boundary}", "Prefer": "odata.continue-on-error"}
        content = _multipart(boundary, requests, IF_THERE if call.believed else {})
        reply = self._http.send("POST", f"{BASE}/$batch", content=content, headers=headers)
        if isinstance(reply, CallResult):
            return reply
        if (call_result := _failure(reply)) is not None:
            return call_result
        parts = _parts(reply.text)
        row_results = [_row_result(status, text, call.op, id_) for status, text, id_ in parts]
        return self._without_gone(call, one, row_results, [status for status, _, _ in parts])

    def _without_gone(
        self, call: Call, one: ObjectMapping, row_results: Sequence[RowResult], statuses: Sequence[int]
    ) -> CallResult:
        """Find the rows that are gone: a 404 may be about a parent instead, so the row is asked for."""
        if not call.believed or len(row_results) != len(call.writes):
            return CallResult(tuple(row_results))
        judged = list(row_results)
        for at, (write, status) in enumerate(zip(call.writes, statuses, strict=True)):
            if status not in (404, 412):
                continue
            if status == 404:
                reply = self._http.send("GET", f"{BASE}/{_at(one, write.key)}?$select={one.key_field}")
                if isinstance(reply, CallResult):
                    return reply
                if reply.status != 404:
                    if (call_result := _failure(reply)) is not None:
                        return call_result
                    continue
            judged[at] = RowResult(RowOutcome.GONE, judged[at].code, judged[at].words)
        return CallResult(tuple(judged))

    def _request(self, op: Op, one: ObjectMapping, write: Write) -> tuple[str, str, Any]:
        if op is Op.UPSERT:
            return "PATCH", f"{BASE}/{_at(one, write.key)}", self._bound(one, write)
        return "DELETE", f"{BASE}/{_at(one, write.key)}", None

    def _bound(self, one: ObjectMapping, write: Write) -> dict[str, Any]:
        """Name parents by their alternate key, in the form of `@odata.bind`."""
        fields: dict[str, Any] = dict(write.fields)
        for field, object_ in one.plan.parents:
            if fields.get(field) is not None:
                fields[field] = f"/{_at(self._mapping.object(object_), str(fields[field]))}"
        return fields

    def _merge(self, call: Call, one: ObjectMapping) -> CallResult:
        if one.type not in MERGEABLE:
            return CallResult(failure=CallFailure.REFUSED, code="table_cannot_be_merged")
        (write,) = call.writes
        (into,) = write.refs
        ids = []
        for key in (into.key, write.key):
            reply = self._http.send("GET", f"{BASE}/{_at(one, key)}?$select={one.type}id,merged")
            if isinstance(reply, CallResult):
                return reply
            if reply.status == 404:
                is_loser = key == write.key
                return (
                    all_accepted(call) if is_loser else CallResult((RowResult(RowOutcome.TRANSIENT, "heir_not_found"),))
                )
            if (call_result := _failure(reply)) is not None:
                return call_result
            if key == write.key and reply.json.get("merged"):
                return all_accepted(call)
            ids.append(reply.json[f"{one.type}id"])
        kind = f"Microsoft.Dynamics.CRM.{one.type}"
        target, subordinate = ({"@odata.type": kind, f"{one.type}id": id_} for id_ in ids)
        body = {"Target": target, "Subordinate": subordinate, "PerformParentingChecks": False}
        reply = self._http.send("POST", f"{BASE}/Merge", body)
        if isinstance(reply, CallResult):
            return reply
        return _failure(reply) or all_accepted(call)

    def verify(self) -> list[str]:
        """Compare fields with the metadata of their tables."""
        complaints = []
        for one in self._mapping.objects:
            base = f"{BASE}/EntityDefinitions(LogicalName='{one.type}')"
            found = []
            for what in ("/Attributes?$select=LogicalName,IsValidForUpdate", "/Keys?$select=KeyAttributes"):
                reply = self._http.send("GET", base + what)
                if isinstance(reply, CallResult) or reply.status != 200:
                    code = reply.code if isinstance(reply, CallResult) else f"http_{reply.status}"
                    complaints.append(f"{one.name}: the metadata of {one.type} cannot be read ({code})")
                    break
                found.append(reply.json["value"])
            if len(found) < 2:
                continue
            attributes = {each["LogicalName"]: each for each in found[0]}
            if [one.key_field] not in [each["KeyAttributes"] for each in found[1]]:
                complaints.append(f"{one.name}: {one.type} has no alternate key over {one.key_field}; make one")
            for name in one.written:
                described = attributes.get(name)
                if "@" not in name and described is None:
                    complaints.append(f"{one.name}: {one.type} has no column {name}; create it, or take it out")
                elif described is not None and not described.get("IsValidForUpdate", True):
                    complaints.append(f"{one.name}: column {name} cannot be written; take it out")
        return complaints


def _set(one: ObjectMapping) -> str:
    return str(one.options.get("set", one.type + "s"))


def _at(one: ObjectMapping, key: str) -> str:
    """Name a row by its alternate key, in an address."""
    text = quote(key.replace("'", "''"), safe="")
    return f"{_set(one)}({one.key_field}='{text}')"


def _multipart(boundary: str, requests: Sequence[tuple[str, str, Any]], headers: Mapping[str, str]) -> bytes:
    out = []
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    for method, path, body in requests:
        out.append(
            f"--{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n".encode()
        )
        out.append(f"{method} {path} HTTP/1.1\r\nContent-Type: application/json; type=entry\r\n{more}\r\n".encode())
        out.append((dumps(body) if body is not None else b"") + b"\r\n")
    out.append(f"--{boundary}--\r\n".encode())
    return b"".join(out)


def _parts(text: str) -> list[tuple[int, str, str | None]]:
    """Read a batch's answer: (status, body, id of the row) of each request, in order."""
    boundary = text.lstrip().partition("\r\n")[0].strip()
    found = []
    for part in text.split(boundary)[1:]:
        status = _STATUS.search(part)
        if status is not None:
            at = part.find("{")
            body = part[at:].strip() if at >= 0 else ""
            found.append((int(status.group(1)), body, _id_in(part[: at if at >= 0 else len(part)])))
    return found


def _id_in(head: str) -> str | None:
    """Read a row's id in `OData-EntityId`, which a write is answered with."""
    found = _ENTITY_ID.search(head)
    return None if found is None else found.group(1).lower()


def _code(text: str) -> tuple[str, str]:
    try:
        error = orjson.loads(text)["error"]
        return str(error.get("code", "")), str(error.get("message", ""))
    except (ValueError, KeyError, TypeError):
        return "", text


def _row_result(status: int, text: str, op: Op, id_: str | None = None) -> RowResult:
    if 200 <= status < 300 or (status == 404 and op in (Op.DELETE, Op.ERASE)):
        return RowResult(RowOutcome.ACCEPTED, receiver_id=id_, made=status == 201)
    code, words = _code(text)
    if code.lower() in CONFLICTS:
        return RowResult(RowOutcome.CONFLICT, code, words[:WORDS_MAX])
    is_transient = code.lower() in TRANSIENT or status in (408, 429) or status >= 500
    return RowResult(
        RowOutcome.TRANSIENT if is_transient else RowOutcome.REFUSED, code or f"http_{status}", words[:WORDS_MAX]
    )


def _failure(reply: Reply) -> CallResult | None:
    if reply.status < 300:
        return None
    code, _ = _code(reply.text)
    if reply.status == 403:
        return CallResult(failure=CallFailure.UNAUTHORISED, code=code or "http_403")
    return failure_of(reply) or refused(reply, code)


def _rest_s(headers: Mapping[str, str]) -> float | None:
    """Rest when the window is nearly used up. Source: `x-ms-ratelimit-*-xrm-requests`, service
    protection limits."""
    requests = _number(headers.get("x-ms-ratelimit-burst-remaining-xrm-requests"))
    seconds = _number(headers.get("x-ms-ratelimit-time-remaining-xrm-requests"))
    return REST_S if requests < REQUESTS_LEFT_MIN or seconds < TIME_LEFT_S_MIN else None


def _number(text: str | None) -> float:
    """Read a number that may have thousands' commas; infinity where there is none."""
    try:
        return float("inf" if text is None else text.replace(",", ""))
    except ValueError:
        return float("inf")
