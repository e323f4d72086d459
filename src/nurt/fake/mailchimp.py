"""A Mailchimp audience, with its refusals."""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from typing import Any

from nurt.fake.server import Fake, Request, Response

ROWS_MAX = 500
MERGE_FIELDS = {"FNAME", "LNAME", "PHONE", "ORDERS"}


class FakeMailchimp(Fake):
    """Fake of Mailchimp: members by the MD5 of their lower-cased address.

    It refuses bad addresses, unknown merge fields, addresses that were permanently deleted, subscribing someone who
    unsubscribed themselves (compliance), more than 500 members a batch, and a wrong key. PUT and the batch call make
    missing members and bring archived ones back; PATCH does neither.
    """

    def __init__(self, api_key: str = "key-us1", seed: int = 0) -> None:
        super().__init__(seed)
        self.members: dict[str, dict[str, Any]] = {}
        self.forgotten: set[str] = set()
        self._key = api_key

    def too_many(self) -> Response:
        """See Fake."""
        return _problem(429, "Too Many Requests", "You have exceeded the limit of 10 simultaneous connections.")

    def answer(self, request: Request) -> Response:
        """See Fake."""
        given = b64decode(request.headers.get("authorization", "").removeprefix("Basic ") or b"").decode()
        if given.partition(":")[2] != self._key:
            return _problem(401, "API Key Invalid", "Your API key may be invalid.")
        path = request.path.removeprefix("/3.0/lists/aud")
        if path == "" and request.method == "GET":
            return Response(200, {"id": "aud"})
        if path == "":
            return self._batch(request.json())
        if path == "/merge-fields":
            return Response(200, {"merge_fields": [{"tag": tag} for tag in sorted(MERGE_FIELDS)]})
        if path == "/members":
            some = [one for one in self.members.values() if one["status"] == request.query["status"]]
            at = int(request.query["offset"])
            page = [{"email_address": one["email_address"]} for one in some[at : at + int(request.query["count"])]]
            return Response(200, {"members": page, "total_items": len(some)})
        found = re.fullmatch(r"/members/([0-9a-f]{32})(/tags|/actions/delete-permanent)?", path)
        if found is None:
            return _problem(404, "Resource Not Found", "no such path")
        hash_, what = found.groups()
        if request.method == "PUT":
            return self._put(hash_, request.json())
        if hash_ not in self.members:
            return _problem(404, "Resource Not Found", "no such member")
        member = self.members[hash_]
        if request.method == "GET":
            return Response(200, {"email_address": member["email_address"], "status": member["status"]})
        if request.method == "PATCH":
            body = {"email_address": member["email_address"], **request.json()}
            if (problem := self._problem_of(hash_, body)) is not None:
                return _problem(400, *problem)
            body["status_if_new"] = member["status"]  # an archived one stays so, unless a status is given
            return Response(200, self._keep(hash_, body))
        if what == "/tags":
            for tag in request.json()["tags"]:
                (member["tags"].add if tag["status"] == "active" else member["tags"].discard)(tag["name"])
            return Response(204)
        if what is not None:
            del self.members[hash_]
            self.forgotten.add(hash_)
            return Response(204)
        if member["status"] == "archived":
            return _problem(405, "Method Not Allowed", "This list member cannot be removed.")
        member["status"] = "archived"
        return Response(204)

    def delete_by_hand(self, key: str) -> bool:
        """See Fake. A member is archived; one in four is deleted for ever, and its address forgotten."""
        found = [hash_ for hash_, one in self.members.items() if one["email_address"].partition("@")[0] == key]
        if not found or self.members[found[0]]["status"] == "archived":
            return False
        if self._random.random() < 0.25:
            del self.members[found[0]]
            self.forgotten.add(found[0])
        else:
            self.members[found[0]]["status"] = "archived"
        return True

    def _problem_of(self, hash_: str, body: dict[str, Any]) -> tuple[str, str] | None:
        address = body["email_address"]
        if "@" not in address or hashlib.md5(address.lower().encode()).hexdigest() != hash_:
            return "Invalid Resource", f"{address} looks fake or invalid, please enter a real email address."
        if hash_ in self.forgotten:
            return "Forgotten Email Not Subscribed", f"{address} was permanently deleted and cannot be re-imported."
        if unknown := set(body.get("merge_fields", {})) - MERGE_FIELDS:
            return "Invalid Resource", f"Your merge fields were invalid: {sorted(unknown)}"
        stored = self.members.get(hash_)
        if stored and stored["status"] == "unsubscribed" and body.get("status") == "subscribed":
            return "Member In Compliance State", f"{address} is in a compliance state due to unsubscribe."
        return None

    def _put(self, hash_: str, body: dict[str, Any]) -> Response:
        if (problem := self._problem_of(hash_, body)) is not None:
            return _problem(400, *problem)
        return Response(200, self._keep(hash_, body))

    def _keep(self, hash_: str, body: dict[str, Any]) -> dict[str, Any]:
        stored = self.members.setdefault(
            hash_, {"status": body.get("status_if_new"), "merge_fields": {}, "tags": set()}
        )
        stored["email_address"] = body["email_address"]
        if stored["status"] == "archived":
            stored["status"] = body.get("status_if_new", "archived")
        stored["status"] = body.get("status") or stored["status"]
        stored["merge_fields"].update(body.get("merge_fields", {}))
        return {"email_address": stored["email_address"], "status": stored["status"], "id": hash_}

    def _batch(self, body: dict[str, Any]) -> Response:
        members = body["members"]
        if len(members) > ROWS_MAX:
            return _problem(400, "Invalid Resource", "at most 500 members")
        updated, errors = [], []
        for member in members:
            address = member["email_address"]
            hash_ = hashlib.md5(address.lower().encode()).hexdigest()
            problem = self._problem_of(hash_, member)
            if problem is not None:
                errors.append({"email_address": address, "error": problem[1], "error_code": "ERROR_GENERIC"})
            else:
                updated.append(self._keep(hash_, member))
        return Response(
            200, {"new_members": [], "updated_members": updated, "errors": errors, "error_count": len(errors)}
        )


def _problem(status: int, title: str, detail: str) -> Response:
    return Response(status, {"title": title, "status": status, "detail": detail})
