"""An endpoint that takes nurt's events, checks signatures and keeps the newest event of every row."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any

from nurt.fake.server import Fake, Request, Response

ROWS_MAX = 100
STALE_S = 300


class FakeWebhook(Fake):
    """Fake endpoint: rows by (object, key).

    It refuses a batch of more than 100 events, a batch without a valid signature, and a batch with a row whose field
    `refuse_field` has a value.
    """

    def __init__(self, secret: str | None = None, refuse_field: str = "refuse_me", seed: int = 0) -> None:
        super().__init__(seed)
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        self.writes: dict[tuple[str, str], int] = {}
        self._secret = secret
        self._refuse_field = refuse_field

    def answer(self, request: Request) -> Response:
        """See Fake."""
        if self._secret is not None and not self._is_signed(request):
            return Response(401, {"error": "the signature is wrong"})
        events = request.json()
        if not isinstance(events, list) or len(events) > ROWS_MAX:
            return Response(413 if isinstance(events, list) else 400, {"error": "a list of at most 100 events"})
        rows = [event.get("data", event) for event in events]
        keys = [(row["object"], row["key"]) for row in rows]
        if len(set(keys)) != len(keys):
            return Response(400, {"error": "a key twice in one batch"})
        if any(row["fields"].get(self._refuse_field) for row in rows):
            return Response(422, {"error": f"{self._refuse_field} is not allowed"})
        for key, row in zip(keys, rows, strict=True):
            self.writes[key] = self.writes.get(key, 0) + 1
            if row["op"] in ("delete", "erase", "merge"):
                self.rows.pop(key, None)
            else:
                self.rows[key] = row["fields"]
        return Response(204)

    def _is_signed(self, request: Request) -> bool:
        assert self._secret is not None
        at = request.headers.get("nurt-timestamp", "")
        if not at.isdigit() or abs(time.time() - int(at)) > STALE_S:
            return False
        mac = hmac.new(self._secret.encode(), at.encode() + b"." + request.body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(request.headers.get("nurt-signature", ""), f"v1={mac}")
