"""Deliver to Salesforce: sObject collections by external id, Bulk API 2.0 for many rows, both ways to log in.

What is believed to be there is updated by Salesforce's own id, which makes nothing.

Source: Salesforce REST API (sObject Collections, describe, OAuth 2.0 flows) and Bulk API 2.0 (ingest jobs).
"""

from __future__ import annotations

import csv
import io
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import httpx2 as httpx

from nurt.adapters.http import HttpClient, Reply, dumps, failure_of, fetch_token, refused, text_of
from nurt.adapters.receivers.base import Receiver
from nurt.adapters.receivers.salesforce_login import jwt_assertion
from nurt.adapters.secrets import secret
from nurt.delivery.diff import DeletePolicy
from nurt.delivery.mapping import DestinationMapping, ObjectMapping
from nurt.errors import ConfigurationError
from nurt.model.delivery import Call, CallFailure, CallResult, Limits, Op, RowOutcome, RowResult, Write

VERSION = "v62.0"
LIMITS = Limits(rows_max=200, bytes_max=3_000_000, bulk_rows_max=10_000, concurrency=3)
TRANSIENT = frozenset(
    {
        *(
            "UNABLE_TO_LOCK_ROW",
            "SERVER_UNAVAILABLE",
            "QUERY_TIMEOUT",
            "UNKNOWN_EXCEPTION",
            "TXN_SECURITY_METERING_ERROR",
        ),
        *("REQUEST_LIMIT_EXCEEDED", "CONCURRENT_PER_ORG_LONG_TXN_LIMIT_EXCEEDED", "STORAGE_LIMIT_EXCEEDED"),
    }
)
CONFLICTS = frozenset({"DUPLICATE_VALUE", "DUPLICATES_DETECTED", "DUPLICATE_EXTERNAL_ID"})
GONE = frozenset({"ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY", "NOT_FOUND", "MALFORMED_ID"})
UNDONE = frozenset({"Open", "UploadComplete", "InProgress"})
LIMIT_WAIT_S = 60.0
USAGE_SHARE_MAX = 0.95
USAGE_WAIT_S = 30.0
TOKEN_GOOD_S = 1800.0
BULK_POLL_S = 2.0
BULK_S_MAX = 1800.0
PAGES_MAX = 1_000
"""Pages of a list; Salesforce's own has 2,000 jobs a page."""
_USAGE = re.compile(r"api-usage=(\d+)/(\d+)")


class Salesforce(Receiver):
    """Salesforce as a receiver; implements delivery.ports.Destination."""

    def __init__(self, mapping: DestinationMapping) -> None:
        super().__init__(mapping, LIMITS)
        options = mapping.options
        for one in mapping.objects:
            if DeletePolicy.MERGE in (one.plan.when_merged, one.plan.when_gone, one.plan.when_erased) or one.plan.link:
                raise ConfigurationError(
                    f"reading {self._where}.objects.{one.name}: Salesforce's REST API has neither merges nor links; "
                    "use `archive` or `delete`, and a relationship field like `Account.Nurt_Id__c`"
                )
        url = secret(f"{self._where}.url", options.get("url"))
        self._http = HttpClient(
            url, self._login(url), timeout_s=float(options.get("timeout_s", 60)), quota=_usage_wait_s
        )
        self._base = f"/services/data/{options.get('version', VERSION)}"
        self._poll_s = float(options.get("bulk_poll_s", BULK_POLL_S))
        self._lock = threading.Lock()
        self._is_alone = False

    def _login(self, url: str) -> Callable[[httpx.Client], tuple[str, float]]:
        options, where = self._mapping.options, self._where

        def log_in(client: httpx.Client) -> tuple[str, float]:
            client_id = secret(f"{where}.client_id", options.get("client_id"))
            if "private_key" in options:
                key, user = (
                    secret(f"{where}.private_key", options["private_key"]),
                    secret(f"{where}.user", options.get("user")),
                )
                audience = str(options.get("audience", url))
                grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
                form = {"grant_type": grant, "assertion": jwt_assertion(key, client_id, user, audience)}
            else:
                text = secret(f"{where}.client_secret", options.get("client_secret"))
                form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": text}
            return str(fetch_token(client, "/services/oauth2/token", form)["access_token"]), TOKEN_GOOD_S

        return log_in

    def _send(self, call: Call) -> CallResult:
        if (call_result := self._end_jobs()) is not None:
            return call_result
        one = self._mapping.object(call.object)
        if call.op is not Op.UPSERT:
            return self._delete(call, one)
        ready = self._with_ids(call, one)
        if isinstance(ready, CallResult):
            return ready
        if ready.believed:
            return self._update(ready, one)
        return self._jobs(ready, one) if call.bulk else self._upsert(ready, one)

    def _with_ids(self, call: Call, one: ObjectMapping) -> Call | CallResult:
        """Put Salesforce's own ids into fields like `WhoId`: these take no external id."""
        parents = {field: object_ for field, object_ in one.plan.parents if "." not in field}
        if not parents:
            return call
        writes = []
        for write in call.writes:
            fields = dict(write.fields)
            for field, object_ in parents.items():
                key = fields.get(field)
                if key is None:
                    continue
                ref = next((ref for ref in write.refs if (ref.object, ref.key) == (object_, key)), None)
                end = Write(write.subject, write.revision, object_, Op.UPSERT, str(key))
                id_ = (ref.receiver_id if ref else None) or self._find(self._mapping.object(object_), end)
                if isinstance(id_, CallResult):
                    return id_
                fields[field] = id_
            writes.append(replace(write, fields=fields))
        return replace(call, writes=tuple(writes))

    def _upsert(self, call: Call, one: ObjectMapping) -> CallResult:
        records = [
            {"attributes": {"type": one.type}, one.key_field: write.key, **_nested(write.fields)}
            for write in call.writes
        ]
        return self._records(f"{self._base}/composite/sobjects/{one.type}/{one.key_field}", records)

    def _records(self, path: str, records: Sequence[Mapping[str, Any]]) -> CallResult:
        reply = self._http.send("PATCH", path, {"allOrNone": False, "records": records})
        if isinstance(reply, CallResult):
            return reply
        if (call_result := _failure(reply)) is not None:
            return call_result
        results = reply.json if isinstance(reply.json, list) else []
        return CallResult(tuple(map(_row_result, results)))

    def _update(self, call: Call, one: ObjectMapping) -> CallResult:
        """Update rows by Salesforce's ids; where an id does not work, the row is looked up by its external id.

        Such an error may be about a parent instead; then the look-up finds the same id again.
        """
        known = {write.key: write.receiver_id for write in call.writes if write.receiver_id is not None}
        row_results = self._update_by_id(call, one, known)
        if isinstance(row_results, CallResult):
            return row_results
        found: dict[str, str] = {}
        for write in call.writes:
            before = row_results.get(write.key)
            if before is not None and before.code not in GONE:
                continue
            id_ = self._find(one, write)
            if isinstance(id_, CallResult):
                return id_
            if id_ is None:
                code, words = (before.code, before.words) if before is not None else ("NOT_FOUND", "")
                row_results[write.key] = RowResult(RowOutcome.GONE, code, words)
            elif id_ != known.get(write.key):
                found[write.key] = id_
        again = self._update_by_id(call, one, found)
        if isinstance(again, CallResult):
            return again
        row_results |= again
        return CallResult(tuple(row_results[write.key] for write in call.writes))

    def _update_by_id(
        self, call: Call, one: ObjectMapping, ids: Mapping[str, str]
    ) -> dict[str, RowResult] | CallResult:
        writes = [write for write in call.writes if write.key in ids]
        if not writes:
            return {}
        records = [
            {"attributes": {"type": one.type}, "id": ids[write.key], **_nested(write.fields)} for write in writes
        ]
        updated = self._records(f"{self._base}/composite/sobjects", records)
        if updated.failure is not None or len(updated.row_results) != len(writes):
            return updated
        return {write.key: row_result for write, row_result in zip(writes, updated.row_results, strict=True)}

    def _delete(self, call: Call, one: ObjectMapping) -> CallResult:
        """Delete rows; where a known id does not work, the row that has the external id now."""
        known = {write.key: write.receiver_id for write in call.writes if write.receiver_id is not None}
        row_results = self._delete_by_id(known)
        if isinstance(row_results, CallResult):
            return row_results
        found: dict[str, str] = {}
        for write in call.writes:
            if write.key in row_results and row_results[write.key].code not in GONE:
                continue
            id_ = self._find(one, write)
            if isinstance(id_, CallResult):
                return id_
            row_results[write.key] = RowResult(RowOutcome.ACCEPTED)
            if id_ is not None and id_ != known.get(write.key):
                found[write.key] = id_
        again = self._delete_by_id(found)
        if isinstance(again, CallResult):
            return again
        row_results |= {key: row_result for key, row_result in again.items() if row_result.code not in GONE}
        return CallResult(tuple(row_results[write.key] for write in call.writes))

    def _delete_by_id(self, ids: Mapping[str, str]) -> dict[str, RowResult] | CallResult:
        if not ids:
            return {}
        params = {"ids": ",".join(ids.values()), "allOrNone": "false"}
        reply = self._http.send("DELETE", f"{self._base}/composite/sobjects", params=params)
        if isinstance(reply, CallResult):
            return reply
        if (call_result := _failure(reply)) is not None:
            return call_result
        results = reply.json if isinstance(reply.json, list) else []
        if len(results) != len(ids):
            return CallResult()
        return dict(zip(ids, map(_row_result, results), strict=True))

    def _find(self, one: ObjectMapping, write: Write) -> str | CallResult | None:
        reply = self._http.send(
            "GET", f"{self._base}/sobjects/{one.type}/{one.key_field}/{quote(write.key, safe='')}?fields=Id"
        )
        if isinstance(reply, CallResult):
            return reply
        if reply.status == 404:
            return None
        return _failure(reply) or str(reply.json["Id"])

    def _jobs(self, call: Call, one: ObjectMapping) -> CallResult:
        """Run a job for the rows that clear the same references: one file names a reference in only one way."""
        row_results: dict[str, RowResult] = {}
        groups: dict[frozenset[str], list[Write]] = {}
        for write in call.writes:
            cleared = frozenset(name for name, value in write.fields.items() if "." in name and value is None)
            groups.setdefault(cleared, []).append(write)
        for writes in groups.values():
            call_result = self._bulk(replace(call, writes=tuple(writes)), one)
            if call_result.failure is not None or len(call_result.row_results) != len(writes):
                return call_result
            row_results |= {
                write.key: row_result for write, row_result in zip(writes, call_result.row_results, strict=True)
            }
        return CallResult(tuple(row_results[write.key] for write in call.writes))

    def _bulk(self, call: Call, one: ObjectMapping) -> CallResult:
        """Run one ingest job. A job with an unknown outcome is aborted, so that it cannot overtake later calls."""
        job = {
            "object": one.type,
            "externalIdFieldName": one.key_field,
            "contentType": "CSV",
            "operation": "upsert",
            "lineEnding": "LF",
        }
        made = self._http.send("POST", f"{self._base}/jobs/ingest", job)
        if isinstance(made, CallResult):
            return made
        if (call_result := _failure(made)) is not None:
            return call_result
        path = f"{self._base}/jobs/ingest/{made.json['id']}"
        content = _csv(one.key_field, call.writes)
        for method, where, body, sent in (
            ("PUT", f"{path}/batches", content, "text/csv"),
            ("PATCH", path, dumps({"state": "UploadComplete"}), "application/json"),
        ):
            reply = self._http.send(method, where, content=body, headers={"Content-Type": sent})
            call_result = reply if isinstance(reply, CallResult) else _failure(reply)
            if call_result is not None:
                self._abort(path)
                return call_result
        return self._results(call, one, path)

    def _results(self, call: Call, one: ObjectMapping, path: str) -> CallResult:
        until_s = time.monotonic() + BULK_S_MAX
        state = ""
        while state not in ("JobComplete", "Failed", "Aborted"):
            if time.monotonic() > until_s:
                self._abort(path)
                return CallResult(failure=CallFailure.DOWN, code="bulk_job_took_too_long")
            time.sleep(self._poll_s)
            reply = self._http.send("GET", path)
            if isinstance(reply, Reply) and reply.status == 200:
                state = reply.json["state"]
            elif isinstance(reply, Reply) and reply.status == 401:
                self._http.refresh()  # the session may end while the job runs
        row_results: dict[str, RowResult] = {}
        for what in ("successfulResults", "failedResults", "unprocessedrecords"):
            rows = self._rows(f"{path}/{what}")
            if isinstance(rows, CallResult):
                return rows
            for row in rows:
                row_results[row.get(one.key_field, "")] = _bulk_row_result(what, row)
        unsaid = RowResult(RowOutcome.TRANSIENT, f"bulk_job_{state.lower()}")
        return CallResult(tuple(row_results.get(write.key, unsaid) for write in call.writes))

    def _rows(self, path: str) -> list[dict[str, str]] | CallResult:
        reply = self._http.send("GET", path, headers={"Accept": "text/csv"})
        if isinstance(reply, CallResult):
            return reply
        return _failure(reply) or list(csv.DictReader(io.StringIO(reply.text)))

    def _end_jobs(self) -> CallResult | None:
        """Abort, before the first call, jobs that a killed run left: these jobs would overtake this run."""
        with self._lock:
            ours = {(one.type, one.key_field) for one in self._mapping.objects}
            path = "" if self._is_alone else f"{self._base}/jobs/ingest?jobType=V2Ingest"
            for _ in range(PAGES_MAX if path else 0):
                reply = self._http.send("GET", path)
                call_result = reply if isinstance(reply, CallResult) else failure_of(reply)
                if isinstance(reply, CallResult) or call_result is not None:
                    return call_result
                parsed = reply.json if reply.status == 200 and isinstance(reply.json, dict) else {}
                for job in parsed.get("records", ()):
                    if job["state"] in UNDONE and job["object"] in {type_ for type_, _ in ours}:
                        job_info = self._http.send("GET", where := f"{self._base}/jobs/ingest/{job['id']}")
                        if isinstance(job_info, CallResult):
                            return job_info
                        if (
                            isinstance(job_info.json, dict)
                            and (job["object"], job_info.json.get("externalIdFieldName")) in ours
                        ):
                            self._abort(where)
                if not (path := str(parsed.get("nextRecordsUrl") or "")):
                    break
            self._is_alone = True
        return None

    def _abort(self, path: str) -> None:
        self._http.send("PATCH", path, {"state": "Aborted"})

    def verify(self) -> list[str]:
        """Compare fields with Salesforce's describe."""
        complaints = []
        for one in self._mapping.objects:
            reply = self._http.send("GET", f"{self._base}/sobjects/{one.type}/describe")
            if isinstance(reply, CallResult) or reply.status != 200:
                code = reply.code if isinstance(reply, CallResult) else f"http_{reply.status}"
                complaints.append(f"{one.name}: {one.type} cannot be described ({code})")
                continue
            fields = {each["name"]: each for each in reply.json["fields"]}
            relations = {each["relationshipName"] for each in fields.values() if each.get("relationshipName")}
            key = fields.get(one.key_field)
            if key is None or not (key.get("externalId") or key.get("idLookup")):
                complaints.append(f"{one.name}: {one.type}.{one.key_field} is no external id; make a field that is")
            for name in one.written:
                base = name.partition(".")[0]
                if "." in name and base not in relations:
                    complaints.append(f"{one.name}: {one.type} has no relationship {base}")
                elif "." not in name and name not in fields:
                    complaints.append(f"{one.name}: {one.type} has no field {name}; create it, or take it out")
                elif "." not in name and not fields[name].get("updateable", True):
                    complaints.append(f"{one.name}: {one.type}.{name} cannot be written; take it out")
        return complaints


def _nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Write `Account.Nurt_Id__c` as a reference by external id; null clears the reference."""
    out: dict[str, Any] = {}
    for name, value in fields.items():
        relation, _, inner = name.partition(".")
        if not inner:
            out[name] = value
        elif value is None:
            out[_reference(relation)] = None
        else:
            out[relation] = {inner: value}
    return out


def _reference(relation: str) -> str:
    return relation[:-1] + "c" if relation.endswith("__r") else relation + "Id"


def _csv(key_field: str, writes: Sequence[Write]) -> bytes:
    """Write rows; a reference is cleared by its own id field, because `#N/A` is no external id."""
    rows = [
        {
            (_reference(name.partition(".")[0]) if "." in name and value is None else name): _cell(value)
            for name, value in write.fields.items()
        }
        for write in writes
    ]
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([key_field, *names])
    writer.writerows(
        [write.key, *(row.get(name, "") for name in names)] for write, row in zip(writes, rows, strict=True)
    )
    return out.getvalue().encode()


def _cell(value: Any) -> str:
    """Write a value for the Bulk API: there an empty cell keeps a field and `#N/A` clears it."""
    return "#N/A" if value is None or value == "" else text_of(value)


def _bulk_row_result(what: str, row: Mapping[str, str]) -> RowResult:
    if what == "successfulResults":
        return RowResult(RowOutcome.ACCEPTED, receiver_id=row.get("sf__Id"))
    if what == "unprocessedrecords":
        return RowResult(RowOutcome.TRANSIENT, "unprocessed")
    words = row.get("sf__Error", "")
    code = words.partition(":")[0]
    return RowResult(_row_outcome(code), code, words)


def _row_outcome(code: str) -> RowOutcome:
    if code in CONFLICTS:
        return RowOutcome.CONFLICT
    return RowOutcome.TRANSIENT if code in TRANSIENT else RowOutcome.REFUSED


def _row_result(result: Mapping[str, Any]) -> RowResult:
    if result.get("success"):
        made = result.get("created") is True
        return RowResult(RowOutcome.ACCEPTED, receiver_id=result.get("id"), made=made)
    errors = result.get("errors") or [{}]
    code = str(errors[0].get("statusCode", "UNKNOWN"))
    words = "; ".join(str(error.get("message", "")) for error in errors)
    return RowResult(_row_outcome(code), code, words)


def _failure(reply: Reply) -> CallResult | None:
    if reply.status < 300:
        return None
    errors = reply.json if isinstance(reply.json, list) and reply.json else [{}]
    code = str(errors[0].get("errorCode", f"http_{reply.status}"))
    if code == "REQUEST_LIMIT_EXCEEDED":
        return CallResult(failure=CallFailure.THROTTLED, code=code, wait_s=LIMIT_WAIT_S)
    if code == "INVALID_SESSION_ID":
        return CallResult(failure=CallFailure.UNAUTHORISED, code=code)
    if code in TRANSIENT:
        return CallResult(failure=CallFailure.DOWN, code=code)
    if reply.status == 403:
        return CallResult(failure=CallFailure.UNAUTHORISED, code=code)
    return failure_of(reply) or refused(reply, code)


def _usage_wait_s(headers: Mapping[str, str]) -> float | None:
    """Return how long to rest when nearly all calls of the day are used up. Source: the header `Sforce-Limit-Info`."""
    found = _USAGE.search(headers.get("sforce-limit-info", ""))
    if found is None or int(found.group(1)) < USAGE_SHARE_MAX * int(found.group(2)):
        return None
    return USAGE_WAIT_S
