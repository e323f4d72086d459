"""HubSpot's CRM as far as nurt uses it, with its refusals."""

from __future__ import annotations

import re
import time
from typing import Any

from nurt.fake.server import Fake, Request, Response

ROWS_MAX = 100
TYPES: dict[str, set[str]] = {
    "contacts": {"nurt_id", "email", "firstname", "lastname", "phone", "lifecyclestage", "nurt_orders", "nurt_gross"},
    "companies": {"nurt_id", "name", "domain", "nurt_tax_id", "country"},
    "orders": {"nurt_id", "hs_order_name", "nurt_stage", "nurt_market"},
}
Error = dict[str, Any]


class FakeHubspot(Fake):
    """Fake of HubSpot: objects by type and HubSpot id.

    It refuses unknown properties, a bad e-mail, an e-mail that another contact has, more than 100 inputs, an id twice
    in one batch, and a wrong token. Merged and gdpr-deleted contacts are gone; the address of a gdpr-deleted contact
    may not come back. The contact that stays after a merge keeps its own values, has the other's address as a second
    one, and answers under the other's HubSpot id. An upsert says whether a contact is new; an update makes none.

    Attributes:
        second: second addresses, with the id of their contact.
    """

    def __init__(self, token: str = "token", seed: int = 0) -> None:
        super().__init__(seed)
        self.objects: dict[str, dict[str, dict[str, str]]] = {name: {} for name in TYPES}
        self.links: set[tuple[str, str]] = set()
        self.merged: dict[str, str] = {}
        self.second: dict[str, str] = {}
        self.forgotten: set[str] = set()
        self.empty_answers = 0
        self.daily_left: int | None = None
        self._next = 100
        self._token = token

    def respond(self, request: Request) -> tuple[Response | None, bool]:
        """Answer with the rest of the limits in the headers; with 429 when the day's calls are used up."""
        if self.daily_left is not None:
            with self.lock:
                if self.daily_left <= 0:
                    self.throttled += 1
                    self.calls.append((time.monotonic(), request.method, request.path))
                    return Response(429, {"status": "error", "category": "RATE_LIMITS", "policyName": "DAILY"}), False
                self.daily_left -= 1
        response, cut = super().respond(request)
        if response is None:
            return response, cut
        head = dict(response.headers)
        if self.daily_left is not None:
            head["X-HubSpot-RateLimit-Daily-Remaining"] = str(self.daily_left)
        for calls, seconds in self.faults.windows[:1]:
            head["X-HubSpot-RateLimit-Max"] = str(calls)
            head["X-HubSpot-RateLimit-Remaining"] = str(self.left(calls, seconds))
            head["X-HubSpot-RateLimit-Interval-Milliseconds"] = str(int(seconds * 1000))
        return Response(response.status, response.body, head), cut

    def too_many(self) -> Response:
        """See Fake."""
        body = {"status": "error", "category": "RATE_LIMITS", "policyName": "TEN_SECONDLY_ROLLING"}
        return Response(429, body, {"Retry-After": self.faults.retry_after})

    def answer(self, request: Request) -> Response:
        """See Fake."""
        if request.headers.get("authorization") != f"Bearer {self._token}":
            return Response(
                401, {"status": "error", "category": "INVALID_AUTHENTICATION", "message": "credentials are invalid"}
            )
        if found := re.fullmatch(r"/crm/v3/properties/(\w+)", request.path):
            return self._properties(found.group(1))
        body = request.json() or {}
        if len(body.get("inputs", ())) > ROWS_MAX:
            return _invalid("the maximum of inputs is 100")
        if found := re.fullmatch(r"/crm/v4/associations/(\w+)/(\w+)/batch/(associate/default|archive)", request.path):
            return self._associate(found.group(3), found.group(1), found.group(2), body["inputs"])
        if request.path == "/crm/v3/objects/contacts/gdpr-delete":
            id_ = self._after_merges(str(body["objectId"]))
            removed = self.objects["contacts"].pop(id_, None)
            if removed is None:
                return Response(404, {"status": "error", "category": "OBJECT_NOT_FOUND"})
            self._drop_links(id_)
            self.forgotten.add(removed.get("email", ""))
            return Response(204)
        pattern = r"/crm/v3/objects/(\w+)/(batch/upsert|batch/update|batch/read|batch/archive|merge)"
        found = re.fullmatch(pattern, request.path)
        if found is None or found.group(1) not in self.objects:
            return Response(404, {"status": "error", "message": "no such path"})
        kind, what = found.groups()
        return getattr(self, "_" + what.replace("batch/", ""))(kind, body)

    def _properties(self, kind: str) -> Response:
        names = sorted(TYPES[kind])
        return Response(200, {"results": [{"name": name, "hasUniqueValue": name == "nurt_id"} for name in names]})

    def _upsert(self, kind: str, body: dict[str, Any]) -> Response:
        inputs = body["inputs"]
        if self.empty_answers:
            self.empty_answers -= 1
            return Response(200, {"status": "COMPLETE", "results": []})
        ids = [one["id"] for one in inputs]
        if len(set(ids)) != len(ids):
            return _invalid("Duplicate IDs found in batch input")
        results: list[dict[str, Any]] = []
        errors: list[Error] = []
        for one in inputs:
            known = self._find(kind, one["idProperty"], one["id"])
            self._keep(kind, one, known, results, errors)
            if results and results[-1]["objectWriteTraceId"] == one.get("objectWriteTraceId"):
                results[-1]["new"] = not known
        return _some_done(results, errors)

    def _update(self, kind: str, body: dict[str, Any]) -> Response:
        """Change what is there. What is not is named in one error, by its ids."""
        if any(one.get("idProperty") == "email" for one in body["inputs"]):
            return _invalid("Unable to perform update/upsert by non-unique 0-1 property email")
        results: list[dict[str, Any]] = []
        errors: list[Error] = []
        missing = []
        for one in body["inputs"]:
            name = one.get("idProperty")
            known = self._find(kind, name, one["id"]) if name else self._after_merges(one["id"])
            if known is None or known not in self.objects[kind]:
                missing.append(one["id"])
                continue
            self._keep(kind, one, known, results, errors)
        if missing:
            message = f"Could not get some {kind} objects, they may be deleted or not exist. Check that ids are valid."
            errors.append({**_not_found(message), "context": {"ids": missing}})
        return _some_done(results, errors)

    def _keep(
        self, kind: str, one: dict[str, Any], known: str | None, results: list[dict[str, Any]], errors: list[Error]
    ) -> None:
        unknown = set(one["properties"]) - TYPES[kind]
        message = f"Property values were not valid: {sorted(unknown)} do not exist" if unknown else ""
        email = one["properties"].get("email")
        if email and "@" not in email:
            message = f"Email address {email} is invalid"
        category = "VALIDATION_ERROR"
        if email and (email in self.forgotten or self._has_other(email, known)):
            category, message = "CONFLICT", f"Contact already exists with {email}"
        if message:
            trace = {"objectWriteTraceId": [one["objectWriteTraceId"]]}
            errors.append({"status": "error", "category": category, "message": message, "context": trace})
            return
        id_ = known or self._new()
        stored = self.objects[kind].setdefault(id_, {})
        stored.update(one["properties"])
        for name in [name for name, value in stored.items() if value == ""]:
            del stored[name]
        trace_id = one.get("objectWriteTraceId")
        results.append({"id": id_, "properties": dict(stored), "objectWriteTraceId": trace_id})

    def _has_other(self, email: str, known: str | None) -> bool:
        second = self.second.get(email)
        return second not in (None, known) or any(
            one.get("email") == email and id_ != known for id_, one in self.objects["contacts"].items()
        )

    def _after_merges(self, id_: str) -> str:
        while id_ in self.merged:
            id_ = self.merged[id_]
        return id_

    def delete_by_hand(self, key: str) -> bool:
        """See Fake. What is deleted lies in the recycling bin, where no call finds it."""
        id_ = self._find("contacts", "nurt_id", key)
        if id_ is None:
            return False
        del self.objects["contacts"][id_]
        self._drop_links(id_)
        return True

    def make_anew_by_hand(self, key: str) -> bool:
        """See Fake."""
        was_there = self.delete_by_hand(key)
        if was_there:
            self.objects["contacts"][self._new()] = {"nurt_id": key}
        return was_there

    def merge_by_hand(self, key: str, into: str) -> bool:
        """See Fake."""
        removed, stays = (self._find("contacts", "nurt_id", one) for one in (key, into))
        if removed is None or stays is None or removed == stays:
            return False
        return self._merge("contacts", {"primaryObjectId": stays, "objectIdToMerge": removed}).status == 200

    def _drop_links(self, id_: str) -> None:
        self.links = {pair for pair in self.links if id_ not in pair}
        self.second = {email: one for email, one in self.second.items() if one != id_}

    def _read(self, kind: str, body: dict[str, Any]) -> Response:
        found = {one["id"]: self._find(kind, body["idProperty"], one["id"]) for one in body["inputs"]}
        results = [{"id": id_, "properties": self.objects[kind][id_]} for id_ in found.values() if id_]
        return _some_done(results, [] if len(results) == len(found) else [_not_found("some are not there")])

    def _archive(self, kind: str, body: dict[str, Any]) -> Response:
        for one in body["inputs"]:
            id_ = self._after_merges(one["id"])
            self.objects[kind].pop(id_, None)
            self._drop_links(id_)
        return Response(204)

    def _merge(self, kind: str, body: dict[str, Any]) -> Response:
        stays, removed = (self._after_merges(body[name]) for name in ("primaryObjectId", "objectIdToMerge"))
        if stays not in self.objects[kind] or removed not in self.objects[kind] or stays == removed:
            return _invalid("both must exist and differ")
        other = self.objects[kind].pop(removed)
        self.merged[removed] = stays
        self.second = {email: stays if id_ == removed else id_ for email, id_ in self.second.items()}
        if other.get("email"):
            self.second[other["email"]] = stays
        self.links = {(stays if a == removed else a, stays if b == removed else b) for a, b in self.links}
        self.objects[kind][stays] = {**other, **self.objects[kind][stays]}
        return Response(200, {"id": stays, "properties": self.objects[kind][stays]})

    def _associate(self, what: str, near: str, far: str, inputs: list[dict[str, Any]]) -> Response:
        if what == "archive":
            self.links -= {(one["from"]["id"], to["id"]) for one in inputs for to in one["to"]}
            return Response(204)
        results: list[dict[str, Any]] = []
        errors: list[Error] = []
        for one in inputs:
            ends = one["from"]["id"], one["to"]["id"]
            if ends[0] in self.objects[near] and ends[1] in self.objects[far]:
                self.links.add(ends)
                results.append({"from": {"id": ends[0]}, "to": {"id": ends[1]}})
            else:
                errors.append({"status": "error", "category": "OBJECT_NOT_FOUND", "message": "an end is not there"})
        return _some_done(results, errors)

    def _find(self, kind: str, name: str, value: str) -> str | None:
        return next((id_ for id_, stored in self.objects[kind].items() if stored.get(name) == value), None)

    def _new(self) -> str:
        self._next += 1
        return str(self._next)


def _some_done(results: list[dict[str, Any]], errors: list[Error]) -> Response:
    response: dict[str, Any] = {"status": "COMPLETE", "results": results}
    if not errors:
        return Response(200, response)
    return Response(207, {**response, "numErrors": len(errors), "errors": errors})


def _not_found(message: str) -> Error:
    return {"status": "error", "category": "OBJECT_NOT_FOUND", "message": message, "context": {}}


def _invalid(message: str) -> Response:
    return Response(400, {"status": "error", "category": "VALIDATION_ERROR", "message": message})
