"""Deliver to HubSpot: batch upserts by a unique property, associations, archive, merge and gdpr-delete.

What is believed to be there goes as a batch update, which makes nothing. Rows are named by their unique property, never
by HubSpot's id: the id of a contact that was merged by hand leads to the contact that stayed.

Source: HubSpot's CRM API v3 (objects, batch, merge, gdpr-delete, properties) and v4 (associations).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nurt.adapters.http import WORDS_MAX, HttpClient, Reply, all_accepted, failure_of, fixed_token, refused, text_of
from nurt.adapters.receivers.base import Receiver
from nurt.delivery.mapping import DestinationMapping, ObjectMapping
from nurt.model.delivery import (
    LINK_SIGN,
    Call,
    CallFailure,
    CallResult,
    Limits,
    Op,
    RateLimit,
    RowOutcome,
    RowResult,
    Write,
)

URL = "https://api.hubapi.com"
LIMITS = Limits(
    rows_max=100,
    concurrency=4,
    rates=(RateLimit(100, 10.0), RateLimit(250_000, 86_400.0)),
    one_row_ops=frozenset({Op.ERASE, Op.MERGE}),
)
DAILY_WAIT_S = 300.0
OUTCOMES = {
    **dict.fromkeys(
        ("RATE_LIMITS", "INTERNAL_ERROR", "TIMEOUT", "LOCKED", "SERVICE_UNAVAILABLE"), RowOutcome.TRANSIENT
    ),
    "CONFLICT": RowOutcome.CONFLICT,  # another contact has this address
}
"""Categories of errors that are not final refusals."""

EMPTYING_PAUSES_S = (0.2, 1.0, 3.0)
EMAIL = "email"
NOT_FOUND = "OBJECT_NOT_FOUND"
GDPR_TYPES = frozenset({"contacts", "contact", "0-1"})

_logger = logging.getLogger(__name__)


class Hubspot(Receiver):
    """HubSpot as a receiver; implements delivery.ports.Destination."""

    def __init__(self, mapping: DestinationMapping) -> None:
        super().__init__(mapping, LIMITS)
        options = mapping.options
        token = fixed_token(f"destinations.{mapping.name}.token", options.get("token"))
        self._http = HttpClient(
            str(options.get("url", URL)), token, timeout_s=float(options.get("timeout_s", 30)), quota=_rest_s
        )

    def _send(self, call: Call) -> CallResult:
        one = self._mapping.object(call.object)
        if one.plan.link is not None:
            return self._associate(call, one)
        if call.op is Op.UPSERT:
            return self._upsert(call, one)
        if call.op is Op.MERGE:
            return self._merge(call, one)
        return self._remove(call, one)

    def _upsert(self, call: Call, one: ObjectMapping) -> CallResult:
        if call.believed and one.key_field == EMAIL:
            return self._update_by_email(call, one)
        inputs = [
            {
                "id": write.key,
                "idProperty": one.key_field,
                "objectWriteTraceId": str(at),
                "properties": _properties(write) | {one.key_field: write.key},
            }
            for at, write in enumerate(call.writes)
        ]
        what = "update" if call.believed else "upsert"
        reply = self._http.send("POST", f"/crm/v3/objects/{one.type}/batch/{what}", {"inputs": inputs})
        return reply if isinstance(reply, CallResult) else self._rows(call, one, reply)

    def _update_by_email(self, call: Call, one: ObjectMapping) -> CallResult:
        """Update contacts that are known by their address: a batch update takes no address, so ids are found first."""
        ids = self._ids(one, [(write.key, None) for write in call.writes])
        if isinstance(ids, CallResult):
            return ids
        ids = {key.lower(): id_ for key, id_ in ids.items()}
        there = tuple(write for write in call.writes if write.key.lower() in ids)
        inputs = [
            {"id": ids[write.key.lower()], "objectWriteTraceId": str(at), "properties": _properties(write)}
            for at, write in enumerate(there)
        ]
        row_results = {write.key: RowResult(RowOutcome.GONE, NOT_FOUND) for write in call.writes if write not in there}
        if inputs:
            reply = self._http.send("POST", f"/crm/v3/objects/{one.type}/batch/update", {"inputs": inputs})
            if isinstance(reply, CallResult):
                return reply
            updated = self._rows(replace(call, writes=there), one, reply)
            if updated.failure is not None or len(updated.row_results) != len(there):
                return updated
            row_results |= {write.key: row for write, row in zip(there, updated.row_results, strict=True)}
        return CallResult(tuple(row_results[write.key] for write in call.writes))

    def _rows(self, call: Call, one: ObjectMapping, reply: Reply) -> CallResult:
        """Match results and errors to rows by their trace id; a row without either failed."""
        if (call_result := _failure(reply)) is not None:
            if call.believed and len(call.writes) == 1 and call_result.code == NOT_FOUND:
                return CallResult((RowResult(RowOutcome.GONE, NOT_FOUND, call_result.words),))
            return call_result
        parsed = reply.json if isinstance(reply.json, dict) else {}
        row_results: dict[str, RowResult] = {}
        keys = {write.key.lower(): str(at) for at, write in enumerate(call.writes)}
        for result in parsed.get("results", ()):
            key = str(result.get("properties", {}).get(one.key_field, "")).lower()
            trace = result.get("objectWriteTraceId") or keys.get(key, "")
            made = result.get("new") is True
            row_results[trace] = RowResult(RowOutcome.ACCEPTED, receiver_id=str(result["id"]), made=made)
        for error in parsed.get("errors", ()):
            context = error.get("context") or {}
            traces = [*(context.get("objectWriteTraceId") or ())]
            traces += [keys[str(id_).lower()] for id_ in context.get("ids") or () if str(id_).lower() in keys]
            category = str(error.get("category", "error"))
            outcome = OUTCOMES.get(category, RowOutcome.REFUSED)
            if call.believed and category == NOT_FOUND:
                outcome = RowOutcome.GONE
            for trace in traces:
                row_results[str(trace)] = RowResult(outcome, category, str(error.get("message", "")))
        if not row_results:
            return CallResult()
        missing = RowResult(RowOutcome.TRANSIENT, "no_result_for_row")
        rows = tuple(row_results.get(str(at), missing) for at in range(len(call.writes)))
        return CallResult(rows)

    def _merge(self, call: Call, one: ObjectMapping) -> CallResult:
        """Merge two rows, found by their keys: a known id may lead to another contact since.

        HubSpot fills empty fields of the surviving row from the other row; nurt empties these fields again at once,
        because later such a value may be the profile's own.
        """
        (write,) = call.writes
        (into,) = write.refs
        ids = self._ids(one, [(write.key, None), (into.key, None)])
        if isinstance(ids, CallResult):
            return ids
        gone, stays = ids.get(write.key), ids.get(into.key)
        if gone is None or gone == stays:
            return all_accepted(call)  # merged before
        if stays is None:
            return CallResult((RowResult(RowOutcome.TRANSIENT, "heir_not_found"),))
        empty = self._empty_fields(one, into.key)
        if isinstance(empty, CallResult):
            return empty
        body = {"primaryObjectId": stays, "objectIdToMerge": gone}
        reply = self._http.send("POST", f"/crm/v3/objects/{one.type}/merge", body)
        if isinstance(reply, CallResult):
            return reply
        if (call_result := _failure(reply)) is not None:
            return call_result
        self._empty(one, stays, empty)
        return all_accepted(call)

    def _empty_fields(self, one: ObjectMapping, key: str) -> list[str] | CallResult:
        """Return which mapped fields of a row are empty."""
        body = {"idProperty": one.key_field, "properties": [*one.fields], "inputs": [{"id": key}]}
        reply = self._http.send("POST", f"/crm/v3/objects/{one.type}/batch/read", body)
        if isinstance(reply, CallResult):
            return reply
        if (call_result := _failure(reply)) is not None:
            return call_result
        existing: Mapping[str, Any] = next((one["properties"] for one in reply.json.get("results", ())), {})
        return [name for name in one.fields if not existing.get(name)]

    def _empty(self, one: ObjectMapping, id_: str, names: Sequence[str]) -> None:
        """Empty fields of a row; tried a few times, then left to the row's next change."""
        inputs = [{"id": id_, "objectWriteTraceId": "0", "properties": dict.fromkeys(names, "")}]
        for pause_s in EMPTYING_PAUSES_S if names else ():
            reply = self._http.send("POST", f"/crm/v3/objects/{one.type}/batch/update", {"inputs": inputs})
            if not isinstance(reply, CallResult) and _failure(reply) is None:
                return
            time.sleep(pause_s)
        if names:
            _logger.warning("merging at HubSpot: what it filled in could not be emptied again")

    def _remove(self, call: Call, one: ObjectMapping) -> CallResult:
        ids = self._ids(one, [(write.key, None) for write in call.writes])  # a known id may lead to another contact
        if isinstance(ids, CallResult):
            return ids
        there = [write for write in call.writes if write.key in ids]
        if not there:
            return all_accepted(call)
        if call.op is Op.ERASE and one.type in GDPR_TYPES:
            reply = self._http.send("POST", "/crm/v3/objects/contacts/gdpr-delete", {"objectId": ids[there[0].key]})
            return self._one(call, reply)
        body = {"inputs": [{"id": ids[write.key]} for write in there]}
        return self._one(call, self._http.send("POST", f"/crm/v3/objects/{one.type}/batch/archive", body))

    def _associate(self, call: Call, one: ObjectMapping) -> CallResult:
        assert one.plan.link is not None
        ends = [self._mapping.object(name) for name in one.plan.link]
        ids: list[dict[str, str]] = []
        for at, end in enumerate(ends):
            wanted = [_end(write, at) for write in call.writes]
            found = self._ids(end, wanted)
            if isinstance(found, CallResult):
                return found
            ids.append(found)
        pairs = [tuple(ids[at].get(_end(write, at)[0]) for at in (0, 1)) for write in call.writes]
        kinds = f"/crm/v4/associations/{ends[0].type}/{ends[1].type}/batch"
        some: list[dict[str, Any]]
        if call.op is Op.LINK:
            if any(None in pair for pair in pairs):
                missing = RowResult(RowOutcome.TRANSIENT, "end_of_link_not_found")
                if len(call.writes) == 1:
                    return CallResult((missing,))
                return CallResult(failure=CallFailure.REFUSED, code="end_of_link_not_found")
            some = [{"from": {"id": a}, "to": {"id": b}} for a, b in pairs]
            reply = self._http.send("POST", f"{kinds}/associate/default", {"inputs": some})
            if isinstance(reply, CallResult):
                return reply
            if (failed := _failure(reply) or _unlinked(call, reply)) is not None:
                return failed
            return CallResult(tuple(RowResult(RowOutcome.ACCEPTED, receiver_id=f"{a}{LINK_SIGN}{b}") for a, b in pairs))
        some = [{"from": {"id": a}, "to": [{"id": b}]} for a, b in pairs if a and b]
        if not some:
            return all_accepted(call)
        return self._one(call, self._http.send("POST", f"{kinds}/archive", {"inputs": some}))

    def _one(self, call: Call, reply: Reply | CallResult) -> CallResult:
        """Read a reply that concerns all rows; a row that no longer exists counts as accepted."""
        if isinstance(reply, CallResult):
            return reply
        if reply.status == 404:
            return all_accepted(call)
        return _failure(reply) or all_accepted(call)

    def _ids(self, one: ObjectMapping, wanted: Sequence[tuple[str, str | None]]) -> dict[str, str] | CallResult:
        """Find HubSpot's ids; unknown keys are left out."""
        ids = {key: id_ for key, id_ in wanted if id_ is not None}
        asked = list(dict.fromkeys(key for key, id_ in wanted if id_ is None))
        if not asked:
            return ids
        body = {"idProperty": one.key_field, "inputs": [{"id": key} for key in asked], "properties": [one.key_field]}
        reply = self._http.send("POST", f"/crm/v3/objects/{one.type}/batch/read", body)
        if isinstance(reply, CallResult):
            return reply
        if reply.status != 404 and (call_result := _failure(reply)) is not None:
            return call_result
        for result in (reply.json or {}).get("results", ()):
            ids[str(result["properties"][one.key_field])] = str(result["id"])
        return ids

    def verify(self) -> list[str]:
        """Compare fields with HubSpot's properties."""
        complaints = []
        for one in self._mapping.objects:
            if one.plan.link is not None:
                continue
            reply = self._http.send("GET", f"/crm/v3/properties/{one.type}")
            if isinstance(reply, CallResult) or reply.status != 200:
                code = reply.code if isinstance(reply, CallResult) else f"http_{reply.status}"
                complaints.append(f"{one.name}: the properties of {one.type} cannot be read ({code})")
                continue
            known = {each["name"]: each for each in reply.json["results"]}
            for name in (one.key_field, *one.written):
                existing = known.get(name)
                if existing is None:
                    complaints.append(f"{one.name}: {one.type} has no property {name}; create it, or take it out")
                elif (existing.get("modificationMetadata") or {}).get("readOnlyValue"):
                    complaints.append(f"{one.name}: property {name} is read-only; take it out")
            key = known.get(one.key_field)
            if key is not None and not key.get("hasUniqueValue") and one.key_field != EMAIL:
                complaints.append(f"{one.name}: property {one.key_field} is not unique; make one that is")
        return complaints


def _properties(write: Write) -> dict[str, str]:
    return {name: text_of(value) for name, value in write.fields.items()}


def _rest_s(headers: Mapping[str, str]) -> float | None:
    """Rest when the calls of the window or of the day are used up. Source: the headers
    `X-HubSpot-RateLimit-*`."""
    if headers.get("x-hubspot-ratelimit-daily-remaining") == "0":
        return DAILY_WAIT_S
    if headers.get("x-hubspot-ratelimit-remaining") == "0":
        return float(headers.get("x-hubspot-ratelimit-interval-milliseconds", "10000")) / 1000
    return None


def _unlinked(call: Call, reply: Reply) -> CallResult | None:
    """Find pairs that a success could not link; several pairs are halved until the bad one is found."""
    parsed = reply.json if isinstance(reply.json, dict) else {}
    errors = parsed.get("errors") or ()
    if not errors:
        return None if parsed.get("results") else CallResult()
    category = str(errors[0].get("category", "error"))
    words = str(errors[0].get("message", ""))[:WORDS_MAX]
    if len(call.writes) > 1:
        return CallResult(failure=CallFailure.REFUSED, code=category, words=words)
    return CallResult((RowResult(OUTCOMES.get(category, RowOutcome.REFUSED), category, words),))


def _end(write: Write, at: int) -> tuple[str, str | None]:
    if write.refs:
        return write.refs[at].key, write.refs[at].receiver_id
    key = write.key.split(LINK_SIGN)[at]
    return key, write.receiver_id.split(LINK_SIGN)[at] if write.receiver_id else None


def _failure(reply: Reply) -> CallResult | None:
    if reply.status == 429:
        policy = str((reply.json or {}).get("policyName", "")) if isinstance(reply.json, dict) else ""
        call_result = failure_of(reply)
        assert call_result is not None
        wait_s = DAILY_WAIT_S if policy == "DAILY" else call_result.wait_s
        return CallResult(failure=CallFailure.THROTTLED, code=f"http_429_{policy.lower() or 'rate'}", wait_s=wait_s)
    if (call_result := failure_of(reply)) is not None:
        return call_result
    if reply.status == 403:
        return CallResult(failure=CallFailure.UNAUTHORISED, code="http_403_missing_scopes")
    if reply.status >= 400:
        category = reply.json.get("category", "") if isinstance(reply.json, dict) else ""
        return refused(reply, str(category) or f"http_{reply.status}")
    return None
