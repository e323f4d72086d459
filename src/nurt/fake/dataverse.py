"""Dataverse's Web API as far as nurt uses it, with its refusals."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson

from nurt.fake.server import Fake, Request, Response

BASE = "/api/data/v9.2"
KEY = "nurt_id"
TABLES: dict[str, tuple[str, set[str]]] = {
    "accounts": ("account", {"name", "nurt_tax_id", "address1_country"}),
    "contacts": (
        "contact",
        {"firstname", "lastname", "emailaddress1", "telephone1", "nurt_orders", "statecode"},
    ),
    "salesorders": ("salesorder", {"name", "nurt_stage"}),
}
BINDS = {
    "parentcustomerid_account@odata.bind": ("accounts", "_parentcustomerid_value"),
    "customerid_contact@odata.bind": ("contacts", "_customerid_value"),
}
"""By the field that binds: the parent's entity set, and the resulting field of the row."""


class FakeDataverse(Fake):
    """Fake of Dataverse: rows by entity set and alternate key.

    It refuses unknown columns, an e-mail without @, a missing parent, a key twice in one request, and a wrong token;
    UpsertMultiple is all or nothing. With `If-Match: *` nothing is made; without it, an answer tells a new row from a
    changed one only where `Prefer: return=representation` asks for that.
    """

    def __init__(self, client_secret: str = "secret", seed: int = 0) -> None:
        super().__init__(seed)
        self.rows: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in TABLES}
        self.batches = 0
        self.execution_left_s: float | None = None
        self._secret = client_secret
        self._tokens: set[str] = set()
        self._next = 0

    def respond(self, request: Request) -> tuple[Response | None, bool]:
        """Answer with the rest of the window in the headers; with 429 when its time is used up."""
        if self.execution_left_s is not None and self.execution_left_s <= 0:
            self.throttled += 1
            return _error(429, "0x80072321", "Combined execution time exceeded", {"Retry-After": "1"}), False
        response, cut = super().respond(request)
        if response is None:
            return response, cut
        head = dict(response.headers)
        if self.execution_left_s is not None:
            head["x-ms-ratelimit-time-remaining-xrm-requests"] = f"{self.execution_left_s:,.2f}"
        for calls, seconds in self.faults.windows[:1]:
            head["x-ms-ratelimit-burst-remaining-xrm-requests"] = str(self.left(calls, seconds))
        return Response(response.status, response.body, head), cut

    def too_many(self) -> Response:
        """See Fake."""
        return _error(429, "0x80072322", "Number of requests exceeded", {"Retry-After": self.faults.retry_after})

    def answer(self, request: Request) -> Response:
        """See Fake."""
        if request.path.endswith("/oauth2/v2.0/token"):
            form = dict(parse_qsl(request.body.decode()))
            if form.get("client_secret") != self._secret:
                return Response(401, {"error": "invalid_client"})
            token = f"t{len(self._tokens)}"
            self._tokens.add(token)
            return Response(200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"})
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self._tokens:
            return Response(401)
        return self._answer(request.method, request.path.removeprefix(BASE), request)

    def _answer(self, method: str, path: str, request: Request) -> Response:
        if path == "/$batch":
            return self._batch(request.body.decode())
        if found := re.fullmatch(r"/EntityDefinitions\(LogicalName='(\w+)'\)/(Attributes|Keys)", path):
            return self._metadata(*found.groups())
        if found := re.fullmatch(r"/(\w+)/Microsoft\.Dynamics\.CRM\.UpsertMultiple", path):
            return self._multiple(found.group(1), request.json()["Targets"])
        if path == "/Merge":
            return self._merge(request.json())
        return self._row(method, path, request.json(), request.headers)

    def _row(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Response:
        found = re.fullmatch(rf"/(\w+)\({KEY}='(.*)'\)", unquote(path))
        if found is None or found.group(1) not in self.rows:
            return _error(404, "0x80060888", "Resource not found")
        table, key = found.group(1), found.group(2).replace("''", "'")
        stored = self.rows[table].get(key)
        if stored is None and (method != "PATCH" or headers.get("if-match") == "*"):
            return _error(404, "0x80040217", "Does Not Exist")
        if method == "PATCH":
            if (problem := self._put(table, key, body)) is not None:
                return problem
            id_ = self.rows[table][key][f"{TABLES[table][0]}id"]
            is_shown = headers.get("prefer") == "return=representation"
            status = 204 if not is_shown else 201 if stored is None else 200
            shown = self.rows[table][key] if is_shown else None
            return Response(status, shown, {"OData-EntityId": f"{self.url}{BASE}/{table}({id_})"})
        assert stored is not None
        if method == "DELETE":
            del self.rows[table][key]
            return Response(204)
        return Response(200, stored)

    def _put(self, table: str, key: str, fields: dict[str, Any]) -> Response | None:
        logical, columns = TABLES[table]
        if unknown := sorted(set(fields) - columns - {*BINDS}):
            return _error(400, "0x80048d19", f"Could not find a property named '{unknown[0]}'")
        if fields.get("emailaddress1") and "@" not in fields["emailaddress1"]:
            return _error(400, "0x80040265", f"{fields['emailaddress1']} is no address")
        stored = dict(self.rows[table].get(key) or {})
        if not stored:
            self._next += 1
            stored = {f"{logical}id": f"00000000-0000-0000-0000-{self._next:012d}", KEY: key, "merged": False}
        for name in {*BINDS} & set(fields):
            bound, (parents, column) = fields[name], BINDS[name]
            if bound is None:
                stored[column] = None
                continue
            parent = re.fullmatch(rf"/?{parents}\({KEY}='(.*)'\)", bound)
            if parent is None or parent.group(1) not in self.rows[parents]:
                return _error(404, "0x80040217", "the bound row Does Not Exist")
            stored[column] = self.rows[parents][parent.group(1)][f"{TABLES[parents][0]}id"]
        stored.update({name: value for name, value in fields.items() if name not in BINDS})
        self.rows[table][key] = stored
        return None

    def _multiple(self, table: str, targets: list[dict[str, Any]]) -> Response:
        before = copy.deepcopy(self.rows)
        seen = set()
        for target in targets:
            found = re.fullmatch(rf"{table}\({KEY}='(.*)'\)", unquote(target["@odata.id"]))
            right = target.get("@odata.type") == f"Microsoft.Dynamics.CRM.{TABLES[table][0]}"
            if found is None or not right or found.group(1) in seen:
                self.rows = before
                return _error(400, "0x80060891", "a target has no right type, no key, or is there twice")
            seen.add(found.group(1))
            fields = {name: value for name, value in target.items() if name not in ("@odata.id", "@odata.type")}
            if (response := self._put(table, found.group(1).replace("''", "'"), fields)) is not None:
                self.rows = before
                return response
        return Response(204)

    def _batch(self, text: str) -> Response:
        self.batches += 1
        out = []
        for part in text.split(text.partition("\r\n")[0]):
            found = re.search(
                rf"(PATCH|DELETE|GET) {re.escape(BASE)}(\S+) HTTP/1\.1\r\n(.*?)\r\n\r\n(.*)", part, re.DOTALL
            )
            if found is None:
                continue
            pairs = (line.partition(":") for line in found.group(3).split("\r\n"))
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            body = found.group(4).strip()
            response = self._row(found.group(1), found.group(2), orjson.loads(body) if body else None, headers)
            content = orjson.dumps(response.body).decode() if response.body else ""
            head = "Content-Type: application/http\r\nContent-Transfer-Encoding: binary"
            more = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
            out.append(f"--batchresponse_1\r\n{head}\r\n\r\nHTTP/1.1 {response.status} x\r\n{more}\r\n{content}\r\n")
        return Response(200, "".join(out) + "--batchresponse_1--\r\n")

    def delete_by_hand(self, key: str) -> bool:
        """See Fake."""
        return self.rows["contacts"].pop(key, None) is not None

    def make_anew_by_hand(self, key: str) -> bool:
        """See Fake."""
        return self.delete_by_hand(key) and self._put("contacts", key, {}) is None

    def merge_by_hand(self, key: str, into: str) -> bool:
        """See Fake. The row that goes stays readable: deactivated, with its key."""
        ids = [self.rows["contacts"].get(one, {}).get("contactid") for one in (into, key)]
        body = {"Target": {"contactid": ids[0]}, "Subordinate": {"contactid": ids[1]}}
        return None not in ids and key != into and self._merge(body).status == 204

    def _merge(self, body: dict[str, Any]) -> Response:
        ids = [body[side]["contactid"] for side in ("Target", "Subordinate")]
        rows = [next((row for row in self.rows["contacts"].values() if row["contactid"] == id_), None) for id_ in ids]
        stays, removed = rows
        if stays is None or removed is None or removed["merged"]:
            return _error(400, "0x80040217", "not there, or merged before")
        removed["merged"], removed["statecode"], removed["_masterid_value"] = True, 1, stays["contactid"]
        return Response(204)

    def _metadata(self, logical: str, what: str) -> Response:
        columns = next(columns for name, columns in TABLES.values() if name == logical)
        if what == "Keys":
            return Response(200, {"value": [{"KeyAttributes": [KEY]}]})
        return Response(
            200, {"value": [{"LogicalName": name, "IsValidForUpdate": True} for name in sorted({KEY, *columns})]}
        )


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return Response(status, {"error": {"code": code, "message": message}}, headers or {})
