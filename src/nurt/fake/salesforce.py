"""Salesforce's REST and Bulk API 2.0 as far as nurt uses them, with their refusals."""

from __future__ import annotations

import csv
import io
import re
from typing import Any
from urllib.parse import unquote

from nurt.fake.server import Fake, Request, Response

ROWS_MAX = 200
KEY = "Nurt_Id__c"
TYPES: dict[str, set[str]] = {
    "Account": {"Name", "Nurt_Tax_Id__c", "BillingCountry"},
    "Contact": {"FirstName", "LastName", "Email", "Phone", "AccountId", "Nurt_Orders__c", "Nurt_Status__c"},
    "Lead": {"FirstName", "LastName", "Company", "Email"},
    "Task": {"Subject", "Status", "Priority", "Description", "WhoId"},
    "Nurt_Order__c": {"Name", "Nurt_Stage__c", "Nurt_Market__c", "Contact__c"},
}
REQUIRED = {"Account": "Name", "Contact": "LastName", "Lead": "LastName", "Task": "Subject", "Nurt_Order__c": "Name"}
RELATIONS = {"Account": ("Account", "AccountId"), "Contact__r": ("Contact", "Contact__c")}
"""By the relationship's name: the parent, and the field that holds its id."""

NULL = "#N/A"


class FakeSalesforce(Fake):
    """Fake of Salesforce: objects by type and external id.

    It refuses unknown fields, a missing required one, a missing parent, an e-mail without @, an external id
    twice in one request, more than 200 records, and unknown or expired tokens. What was deleted, or merged into
    another, cannot be updated by its id; an upsert by its external id makes a new one, and says so.
    """

    def __init__(self, client_id: str = "id", client_secret: str = "secret", seed: int = 0) -> None:
        super().__init__(seed)
        self.objects: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in TYPES}
        self.deleted: set[str] = set()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.lock_rate = 0.0
        self.token_calls = 0
        self.token_good_for = 1_000_000  # calls
        self.usage = (1, 15_000)
        self.counts_usage = False
        self.unique_email = False
        self.unprocessed_rate = 0.0
        self._client = (client_id, client_secret)
        self._left: dict[str, int] = {}
        self._next = 0

    def too_many(self) -> Response:
        """See Fake."""
        return Response(
            503, [{"errorCode": "SERVER_UNAVAILABLE", "message": "too many"}], {"Retry-After": self.faults.retry_after}
        )

    def answer(self, request: Request) -> Response:
        """See Fake."""
        if request.path == "/services/oauth2/token":
            return self._token(request)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._left.get(token, 0) <= 0:
            return _error(401, "INVALID_SESSION_ID", "Session expired or invalid")
        self._left[token] -= 1
        path = re.sub(r"^/services/data/v[\d.]+", "", request.path)
        if self.counts_usage:
            self.usage = (self.usage[0] + 1, self.usage[1])
        if self.usage[0] >= self.usage[1]:
            self.throttled += 1
            return _error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        response = self._answer(request, path)
        return Response(
            response.status, response.body, {"Sforce-Limit-Info": f"api-usage={self.usage[0]}/{self.usage[1]}"}
        )

    def _token(self, request: Request) -> Response:
        form = dict(part.split("=", 1) for part in unquote(request.body.decode()).split("&"))
        is_jwt = form["grant_type"].endswith("jwt-bearer") and form["assertion"].count(".") == 2
        if not is_jwt and (form.get("client_id"), form.get("client_secret")) != self._client:
            return Response(400, {"error": "invalid_client"})
        self.token_calls += 1
        token = f"token{self.token_calls}"
        self._left[token] = self.token_good_for
        return Response(200, {"access_token": token, "instance_url": self.url, "token_type": "Bearer"})

    def _answer(self, request: Request, path: str) -> Response:
        if found := re.fullmatch(r"/composite/sobjects/(\w+)/(\w+)", path):
            return self._upsert(found.group(1), found.group(2), request.json())
        if path == "/composite/sobjects" and request.method == "PATCH":
            return Response(200, [self._update(record) for record in request.json()["records"]])
        if path == "/composite/sobjects":
            return Response(200, [self._delete(id_) for id_ in request.query["ids"].split(",")])
        if found := re.fullmatch(r"/sobjects/(\w+)/describe", path):
            return self._describe(found.group(1))
        if found := re.fullmatch(r"/sobjects/(\w+)/(\w+)/([^/]+)", path):
            stored = self.objects[found.group(1)].get(unquote(found.group(3)))
            return Response(200, {"Id": stored["Id"]}) if stored else _error(404, "NOT_FOUND", "not there")
        if path.startswith("/jobs/ingest"):
            return self._job(request, path.removeprefix("/jobs/ingest").strip("/"))
        return _error(404, "NOT_FOUND", "no such path")

    def _describe(self, kind: str) -> Response:
        fields: list[dict[str, Any]] = [{"name": name, "updateable": True} for name in sorted(TYPES[kind])]
        fields += [{"name": KEY, "externalId": True, "updateable": True}, {"name": "Id", "updateable": False}]
        for relation, (_, column) in RELATIONS.items():
            if column in TYPES[kind]:
                fields.append({"name": column, "relationshipName": relation, "updateable": True})
        return Response(200, {"fields": fields})

    def _upsert(self, kind: str, key: str, body: Any) -> Response:
        records = body["records"]
        if kind not in self.objects or key != KEY or len(records) > ROWS_MAX:
            return _error(400, "INVALID_FIELD", "no such object, no external id, or more than 200 records")
        keys = [record.get(KEY) for record in records]
        results = []
        for record in records:
            fields = {name: value for name, value in record.items() if name not in ("attributes", KEY)}
            twice = keys.count(record[KEY]) > 1
            results.append(self._put(kind, record[KEY], fields, "DUPLICATE_VALUE" if twice else None))
        return Response(200, results)

    def _update(self, record: dict[str, Any]) -> dict[str, Any]:
        kind, id_ = record["attributes"]["type"], record["id"]
        key = next((key for key, stored in self.objects[kind].items() if stored["Id"] == id_), None)
        if key is None:
            code = "ENTITY_IS_DELETED" if id_ in self.deleted else "INVALID_CROSS_REFERENCE_KEY"
            return {"success": False, "errors": [{"statusCode": code, "message": "entity is deleted", "fields": []}]}
        fields = {name: value for name, value in record.items() if name not in ("attributes", "id", KEY)}
        result = self._put(kind, key, fields)
        result.pop("created", None)
        return result

    def delete_by_hand(self, key: str) -> bool:
        """See Fake."""
        stored = self.objects["Contact"].get(key)
        return stored is not None and bool(self._delete(stored["Id"])["success"])

    def make_anew_by_hand(self, key: str) -> bool:
        """See Fake."""
        return self.delete_by_hand(key) and bool(self._put("Contact", key, {"LastName": "by hand"})["success"])

    def merge_by_hand(self, key: str, into: str) -> bool:
        """See Fake. The contact that stays keeps its external id; the other one is deleted."""
        return key != into and into in self.objects["Contact"] and self.delete_by_hand(key)

    def _put(self, kind: str, key: str, fields: dict[str, Any], code: str | None = None) -> dict[str, Any]:
        stored = self.objects[kind].get(key)
        named = {name: fields.pop(name) for name in RELATIONS if name in fields}
        parents = [(RELATIONS[name], self.objects[RELATIONS[name][0]].get(ref[KEY])) for name, ref in named.items()]
        people = {person["Id"] for kind in ("Contact", "Lead") for person in self.objects[kind].values()}
        if self._random.random() < self.lock_rate:
            code = "UNABLE_TO_LOCK_ROW"
        elif set(fields) - TYPES[kind] or any(parent is None for _, parent in parents):
            code = "INVALID_FIELD"
        elif fields.get("WhoId") and fields["WhoId"] not in people:
            code = "INVALID_CROSS_REFERENCE_KEY"
        elif not {**(stored or {}), **fields}.get(REQUIRED[kind]):
            code = "REQUIRED_FIELD_MISSING"
        elif (
            self.unique_email
            and fields.get("Email")
            and any(
                one.get("Email") == fields.get("Email") and other != key for other, one in self.objects[kind].items()
            )
        ):
            code = "DUPLICATE_VALUE"
        elif fields.get("Email") and "@" not in fields["Email"]:
            code = "INVALID_EMAIL_ADDRESS"
        if code is not None:
            error = {"statusCode": code, "message": f"{code} for {fields.get('Email')}", "fields": []}
            return {"id": stored["Id"] if stored else None, "success": False, "errors": [error]}
        is_new = stored is None
        if stored is None:
            self._next += 1
            stored = self.objects[kind][key] = {"Id": f"{kind[:3]}{self._next:012d}"}
        for (_, column), parent in parents:
            stored[column] = parent["Id"] if parent else None
        stored.update(fields)
        for name in [name for name, value in stored.items() if value is None]:
            del stored[name]
        return {"id": stored["Id"], "success": True, "errors": [], "created": is_new}

    def _delete(self, id_: str) -> dict[str, Any]:
        for rows in self.objects.values():
            for key, stored in list(rows.items()):
                if stored["Id"] == id_:
                    del rows[key]
                    self.deleted.add(id_)
                    self._clear_lookups(id_)
                    return {"id": id_, "success": True, "errors": []}
        error = {"statusCode": "ENTITY_IS_DELETED", "message": "entity is deleted", "fields": []}
        return {"id": id_, "success": False, "errors": [error]}

    def _clear_lookups(self, id_: str) -> None:
        for rows in self.objects.values():
            for stored in rows.values():
                for name in [name for name, value in stored.items() if value == id_ and name != "Id"]:
                    del stored[name]

    def _job(self, request: Request, path: str) -> Response:
        if not path and request.method == "GET":
            named = ("id", "object", "state")  # only the job itself says which external id it uses
            records = [{name: job[name] for name in named} for job in self.jobs.values()]
            return Response(200, {"done": True, "records": records, "nextRecordsUrl": None})
        if not path:
            id_ = f"750{len(self.jobs):012d}"
            self.jobs[id_] = {"id": id_, "state": "Open", **request.json()}
            return Response(200, self.jobs[id_])
        id_, _, what = path.partition("/")
        job = self.jobs[id_]
        if what == "batches":
            job["csv"] = request.body.decode()
            return Response(201)
        if request.method == "PATCH":
            job["state"] = request.json()["state"]
            return Response(200, {"id": id_, "state": job["state"]})
        if not what:
            if job["state"] == "UploadComplete":
                job["state"] = "InProgress"
            elif job["state"] == "InProgress":
                self._work(job)
            return Response(200, {name: value for name, value in job.items() if name not in ("csv", "results")})
        return Response(200, _table(job["results"][what]))

    def _work(self, job: dict[str, Any]) -> None:
        job["results"] = {"successfulResults": [], "failedResults": [], "unprocessedrecords": []}
        for row in csv.DictReader(io.StringIO(job["csv"])):
            key = row.pop(KEY)
            fields: dict[str, Any] = {name: None if value == NULL else value for name, value in row.items() if value}
            for relation in RELATIONS:
                if f"{relation}.{KEY}" in fields:  # `#N/A` is no external id: no row has it
                    fields[relation] = {KEY: fields.pop(f"{relation}.{KEY}")}
            if self._random.random() < self.unprocessed_rate:
                job["results"]["unprocessedrecords"].append({KEY: key, **row})
                continue
            done = self._put(job["object"], key, fields)
            if done["success"]:
                job["results"]["successfulResults"].append(
                    {"sf__Id": done["id"], "sf__Created": str(done["created"]).lower(), KEY: key}
                )
            else:
                error = done["errors"][0]
                said = f"{error['statusCode']}:{error['message']}:--"
                job["results"]["failedResults"].append({"sf__Id": "", "sf__Error": said, KEY: key})
        job["state"] = "JobComplete"


def _table(rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return out.getvalue()


def _error(status: int, code: str, message: str) -> Response:
    return Response(status, [{"errorCode": code, "message": message}])
