"""Deliver to a Mailchimp audience: members by the MD5 of their address, tags, merge fields, and consent as status.

Nobody who unsubscribed is subscribed again: `subscribed` is only sent as `status_if_new`; it does not change the status
of existing members. `unsubscribed` is sent directly; for members that are new to nurt in batches. A back-fill sends
`subscribed` in batches, too, but never for members that Mailchimp listed as unsubscribed or cleaned a moment before;
and Mailchimp itself refuses people who unsubscribed themselves.

Members that are believed to be there are changed by PATCH, each by itself: PUT and the batch call make a member that is
missing, and take an archived one out of the archive.

Source: Mailchimp Marketing API 3.0 (list members, batch subscribe or unsubscribe, member tags, delete permanent).
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from nurt.adapters.http import WORDS_MAX, HttpClient, Reply, failure_of, text_of
from nurt.adapters.receivers.base import Receiver
from nurt.adapters.secrets import secret
from nurt.delivery.mapping import DestinationMapping
from nurt.errors import ConfigurationError
from nurt.model.delivery import Call, CallFailure, CallResult, Limits, Op, RowOutcome, RowResult, Write

LIMITS = Limits(rows_max=50, bulk_rows_max=500, bulk_from=20, concurrency=8)
"""At most 500 members a batch, and at most ten connections at once. Members that are sent singly share calls of 50."""

STATUS = "status"
TAG = "tag:"
UNSUBSCRIBED = frozenset({"unsubscribed", "cleaned"})
LISTED_S = 60.0
PAGE_ROWS = 1000
NEW_STATUS = "transactional"
"""Status of new members whose consent is not known."""


class Mailchimp(Receiver):
    """Mailchimp audience as a receiver; implements delivery.ports.Destination. The external id is the address."""

    def __init__(self, mapping: DestinationMapping) -> None:
        super().__init__(mapping, LIMITS)
        from base64 import b64encode

        options, where = mapping.options, f"destinations.{mapping.name}"
        key = secret(f"{where}.api_key", options.get("api_key"))
        url = options.get("url") or f"https://{key.rpartition('-')[2]}.api.mailchimp.com"
        if not isinstance(options.get("audience"), str):
            raise ConfigurationError(f"reading {where}.audience: it is missing; name the audience's id")
        self._list = f"/3.0/lists/{options['audience']}"

        def basic(_client: Any) -> tuple[str, float]:
            text = secret(f"{where}.api_key", options.get("api_key"))
            return b64encode(f"nurt:{text}".encode()).decode(), 3600.0

        self._http = HttpClient(
            secret(f"{where}.url", url), basic, scheme="Basic", timeout_s=float(options.get("timeout_s", 30))
        )
        self._lock = threading.Lock()
        self._listed: frozenset[str] = frozenset()
        self._listed_until_s = 0.0

    def _send(self, call: Call) -> CallResult:
        if call.op is not Op.UPSERT:
            return self._each(call, self._remove)
        if call.believed:
            return self._each(call, self._change)
        leaving = [write for write in call.writes if write.fields.get(STATUS) in UNSUBSCRIBED and not _tags(write)]
        if call.bulk:
            listed = self._unsubscribed()
            if isinstance(listed, CallResult):
                return listed
            there = {id(write) for write in leaving}
            leaving += [
                write
                for write in call.writes
                if id(write) not in there
                and STATUS in write.fields
                and write.key.lower() not in listed
                and write.is_new
                and not any(tag["status"] == "active" for tag in _tags(write))
            ]
        row_results: dict[str, RowResult] = {}
        if leaving:
            call_result = self._batch(leaving, row_results)
            if call_result is not None:
                return call_result
        rest = tuple(write for write in call.writes if write.key not in row_results)
        call_result = self._each(Call(call.object, call.op, rest), self._put)
        if call_result.failure is not None:
            return call_result
        row_results |= {write.key: row_result for write, row_result in zip(rest, call_result.row_results, strict=True)}
        return CallResult(tuple(row_results[write.key] for write in call.writes), wait_s=call_result.wait_s)

    def _batch(self, writes: list[Write], row_results: dict[str, RowResult]) -> CallResult | None:
        """Send members in one call; their errors are matched by address."""
        members = [{"email_address": write.key, "status": _status(write), **_merge(write)} for write in writes]
        body = {"members": members, "update_existing": True}
        reply = self._http.send("POST", f"{self._list}?skip_merge_validation=true", body)
        if isinstance(reply, CallResult):
            return reply
        if (call_result := _failure(reply)) is not None:
            return call_result if call_result.failure is not CallFailure.REFUSED or len(writes) == 1 else None
        parsed = reply.json or {}
        done = {
            str(one["email_address"]).lower()
            for name in ("new_members", "updated_members")
            for one in parsed.get(name, ())
        }
        errors = {str(one.get("email_address", "")).lower(): one for one in parsed.get("errors", ())}
        for write in writes:
            address = write.key.lower()
            if address in errors:
                error = errors[address]
                row_results[write.key] = RowResult(
                    RowOutcome.REFUSED, str(error.get("error_code", "")), str(error.get("error", ""))
                )
            elif address in done:
                row_results[write.key] = RowResult(RowOutcome.ACCEPTED)
            else:
                row_results[write.key] = RowResult(RowOutcome.TRANSIENT, "no_result_for_row")
        return None

    def _unsubscribed(self) -> frozenset[str] | CallResult:
        """List members that must not be subscribed again; the list is kept for a minute."""
        with self._lock:
            if time.monotonic() < self._listed_until_s:
                return self._listed
            found: set[str] = set()
            for status in sorted(UNSUBSCRIBED):
                offset, total = 0, 1
                while offset < total:
                    params = {"status": status, "count": str(PAGE_ROWS), "offset": str(offset)}
                    params["fields"] = "members.email_address,total_items"
                    reply = self._http.send("GET", f"{self._list}/members", params=params)
                    if isinstance(reply, CallResult):
                        return reply
                    if (call_result := _failure(reply)) is not None:
                        return call_result
                    members = reply.json["members"]
                    found |= {str(one["email_address"]).lower() for one in members}
                    total, offset = int(reply.json["total_items"]), offset + PAGE_ROWS
                    if offset < total and not members:  # else it would never end
                        return CallResult(failure=CallFailure.DOWN, code="page_without_members")
            self._listed, self._listed_until_s = frozenset(found), time.monotonic() + LISTED_S
            return self._listed

    def _each(self, call: Call, do: Callable[[Write, Op], CallResult]) -> CallResult:
        """Send rows one after the other; after a call failure the other rows are tried again later."""
        row_results: list[RowResult] = []
        for at, write in enumerate(call.writes):
            call_result = do(write, call.op)
            if call_result.failure is None:
                row_results += call_result.row_results
            elif call_result.failure is CallFailure.REFUSED:
                row_results.append(RowResult(RowOutcome.REFUSED, call_result.code, call_result.words))
            elif not row_results:
                return call_result
            else:
                rest = RowResult(RowOutcome.TRANSIENT, call_result.code)
                return CallResult((*row_results, *(rest for _ in call.writes[at:])), wait_s=call_result.wait_s)
        return CallResult(tuple(row_results))

    def _change(self, write: Write, _op: Op) -> CallResult:
        """Change a member, unless it is gone: missing, or archived by others."""
        path = f"{self._list}/members/{_hash(write.key)}"
        is_leaving = write.fields.get(STATUS) in UNSUBSCRIBED
        body = {**_merge(write), **({"status": "unsubscribed"} if is_leaving else {})}
        if is_leaving or not body:  # a status takes a member out of the archive, so it is looked at first
            found = self._http.send("GET", path, params={"fields": "email_address,status"})
            if (unusable := self._unusable(found)) is not None:
                return unusable
        if body:
            reply = self._http.send("PATCH", f"{path}?skip_merge_validation=true", body)
            if (unusable := self._unusable(reply)) is not None:
                return unusable
        return self._tag(write, path, _tags(write))

    def _unusable(self, reply: Reply | CallResult) -> CallResult | None:
        """Say that a member is gone, or that the call failed; None: the member is there."""
        if isinstance(reply, CallResult):
            return reply
        if reply.status == 404:
            audience = self._http.send("GET", self._list, params={"fields": "id"})
            if isinstance(audience, CallResult):
                return audience
            return _failure(audience) or CallResult((RowResult(RowOutcome.GONE, "member_not_found"),))
        if (call_result := _failure(reply)) is not None:
            return call_result
        if not isinstance(reply.json, dict) or "email_address" not in reply.json:
            return CallResult(failure=CallFailure.DOWN, code="answer_without_member")
        if reply.json.get("status") == "archived":
            return CallResult((RowResult(RowOutcome.GONE, "member_archived"),))
        return None

    def _put(self, write: Write, _op: Op) -> CallResult:
        status, tags = write.fields.get(STATUS), _tags(write)
        body: dict[str, Any] = {"email_address": write.key, "status_if_new": status or NEW_STATUS, **_merge(write)}
        if status in UNSUBSCRIBED:
            body["status"] = "unsubscribed"
        path = f"{self._list}/members/{_hash(write.key)}"
        reply = self._http.send("PUT", f"{path}?skip_merge_validation=true", body)
        if isinstance(reply, CallResult):
            return reply
        if (call_result := _failure(reply)) is not None:
            return call_result
        if not isinstance(reply.json, dict) or "email_address" not in reply.json:
            return CallResult(failure=CallFailure.DOWN, code="answer_without_member")
        # a member that is new to nurt keeps its tags: others have set them
        is_some = any(tag["status"] == "active" for tag in tags) or not write.is_new
        return self._tag(write, path, tags if is_some else [])

    def _tag(self, write: Write, path: str, tags: list[dict[str, str]]) -> CallResult:
        if tags:
            tagged = self._http.send("POST", f"{path}/tags", {"tags": tags})
            if isinstance(tagged, CallResult):
                return tagged
            if (call_result := _failure(tagged)) is not None:
                return call_result
        return CallResult((RowResult(RowOutcome.ACCEPTED, receiver_id=_hash(write.key)),))

    def _remove(self, write: Write, op: Op) -> CallResult:
        """Archive a member, or delete it for ever; an unsubscribed member stays, because archiving loses its status."""
        path = f"{self._list}/members/{_hash(write.key)}"
        if op is not Op.ERASE:
            found = self._http.send("GET", path, params={"fields": "status"})
            if isinstance(found, CallResult):
                return found
            if found.status == 404:
                return CallResult((RowResult(RowOutcome.ACCEPTED),))
            if (call_result := _failure(found)) is not None:
                return call_result
            if isinstance(found.json, dict) and found.json.get("status") in UNSUBSCRIBED:
                return CallResult((RowResult(RowOutcome.ACCEPTED),))
        reply = (
            self._http.send("POST", f"{path}/actions/delete-permanent")
            if op is Op.ERASE
            else self._http.send("DELETE", path)
        )
        if isinstance(reply, CallResult):
            return reply
        if reply.status in (404, 405):  # not there; archived before
            return CallResult((RowResult(RowOutcome.ACCEPTED),))
        return _failure(reply) or CallResult((RowResult(RowOutcome.ACCEPTED),))

    def verify(self) -> list[str]:
        """Compare fields with the audience's merge fields."""
        reply = self._http.send("GET", f"{self._list}/merge-fields?count=1000")
        if isinstance(reply, CallResult) or reply.status != 200:
            code = reply.code if isinstance(reply, CallResult) else f"http_{reply.status}"
            return [f"the audience's merge fields cannot be read ({code})"]
        known = {one["tag"] for one in reply.json["merge_fields"]}
        return [
            f"{one.name}: the audience has no merge field {name}; create it, or take it out"
            for one in self._mapping.objects
            for name in one.fields
            if name != STATUS and not name.startswith(TAG) and name not in known
        ]


def _hash(address: str) -> str:
    return hashlib.md5(address.lower().encode(), usedforsecurity=False).hexdigest()


def _status(write: Write) -> str:
    status = write.fields.get(STATUS)
    return "unsubscribed" if status in UNSUBSCRIBED else str(status or NEW_STATUS)


def _merge(write: Write) -> dict[str, Mapping[str, Any]]:
    fields = {n: text_of(v) for n, v in write.fields.items() if n != STATUS and not n.startswith(TAG)}
    return {"merge_fields": fields} if fields else {}


def _tags(write: Write) -> list[dict[str, str]]:
    return [
        {"name": name.removeprefix(TAG), "status": "active" if value else "inactive"}
        for name, value in write.fields.items()
        if name.startswith(TAG)
    ]


def _failure(reply: Reply) -> CallResult | None:
    if reply.status < 300:
        return None
    title = str(reply.json.get("title", "")) if isinstance(reply.json, dict) else ""
    if reply.status == 403:
        return CallResult(failure=CallFailure.UNAUTHORISED, code="http_403")
    if reply.status == 404:
        return CallResult(failure=CallFailure.DOWN, code="http_404_no_such_audience")
    return failure_of(reply) or CallResult(
        failure=CallFailure.REFUSED, code=title or f"http_{reply.status}", words=reply.text[:WORDS_MAX]
    )
