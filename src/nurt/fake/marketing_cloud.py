"""Marketing Cloud's data extensions as far as nurt uses them, with their refusals."""

from __future__ import annotations

import re
import time
from typing import Any

from nurt.fake.server import Fake, Request, Response

ROWS_MAX = 50
COLUMNS = {"EmailAddress", "FirstName", "LastName", "Phone", "Orders", "Status"}


class FakeMarketingCloud(Fake):
    """Fake of Marketing Cloud: rows by subscriber key, in one data extension `nurt_profiles`.

    It refuses unknown columns, bad addresses, a key twice or more than 50 rows in one call (as a whole), and unknown or
    old tokens.
    """

    def __init__(self, client_secret: str = "secret", token_s: float = 1079.0, seed: int = 0) -> None:
        super().__init__(seed)
        self.rows: dict[str, dict[str, str]] = {}
        self.token_calls = 0
        self.token_s = token_s
        self._secret = client_secret
        self._tokens: dict[str, float] = {}

    def delete_by_hand(self, key: str) -> bool:
        """See Fake."""
        return self.rows.pop(key, None) is not None

    def answer(self, request: Request) -> Response:
        """See Fake."""
        body: Any = request.json()
        if request.path == "/v2/token":
            if body.get("client_secret") != self._secret:
                return Response(401, {"error": "invalid_client"})
            self.token_calls += 1
            token = f"t{self.token_calls}"
            self._tokens[token] = time.monotonic() + self.token_s
            return Response(
                200, {"access_token": token, "expires_in": int(self.token_s), "rest_instance_url": self.url}
            )
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._tokens.get(token, 0.0) < time.monotonic():
            return Response(401, {"message": "Not Authorized", "errorcode": 0})
        if request.path == "/contacts/v1/contacts/actions/delete":
            for key in body["values"]:
                self.rows.pop(key, None)
            return Response(200, {"operationInitiated": True, "operationID": 1})
        if not re.fullmatch(r"/hub/v1/dataevents/key:nurt_profiles/rowset", request.path):
            return Response(404, {"message": "no such data extension"})
        keys = [row["keys"]["SubscriberKey"] for row in body]
        bad = [row for row in body if set(row["values"]) - COLUMNS]
        bad += [row for row in body if row["values"].get("EmailAddress") and "@" not in row["values"]["EmailAddress"]]
        if bad or len(keys) > ROWS_MAX or len(set(keys)) != len(keys):
            found = bad[0]["values"].get("EmailAddress") if bad else "too many, or twice"
            return Response(
                400, {"message": "Unable to save rows for data extension", "errorcode": 10006, "found": found}
            )
        for key, row in zip(keys, body, strict=True):
            self.rows.setdefault(key, {}).update(row["values"])
        return Response(200, body)
