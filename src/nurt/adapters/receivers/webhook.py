"""Deliver to any HTTP endpoint: signed JSON or CloudEvents, one event a row.

The signature is `v1=` and the hex HMAC-SHA256 of `<timestamp>.<body>` under the shared secret, in `Nurt-Signature`,
with the seconds since 1970 in `Nurt-Timestamp`: a receiver should refuse requests older than a few minutes. An event's
id names its profile, object and revision, so a receiver can recognise a repeat.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any

from nurt.adapters.http import HttpClient, all_accepted, dumps, failure_of, refused
from nurt.adapters.receivers.base import Receiver
from nurt.adapters.secrets import secret
from nurt.delivery.mapping import DestinationMapping
from nurt.errors import ConfigurationError
from nurt.model.delivery import Call, CallFailure, CallResult, Limits, Op, Write

FORMATS = ("json", "cloudevents")
REFUSES_ROWS = frozenset({400, 413, 422})


class Webhook(Receiver):
    """Poster of batches of events; implements delivery.ports.Destination.

    A 2xx accepts the batch; 400, 413 and 422 refuse it (it is halved until the bad event is found);
    any other status is tried again.
    """

    def __init__(self, mapping: DestinationMapping) -> None:
        super().__init__(mapping, Limits(rows_max=100, whole_rows=True, concurrency=4))
        options, where = mapping.options, self._where
        self._format = options.get("format", "json")
        if self._format not in FORMATS:
            raise ConfigurationError(f"reading {where}.format: {self._format}; choose one of {', '.join(FORMATS)}")
        self._secret_text = options.get("secret")
        self._secret = secret(f"{where}.secret", options["secret"]).encode() if options.get("secret") else None
        headers = {str(k): secret(f"{where}.headers.{k}", v) for k, v in (options.get("headers") or {}).items()}
        url, timeout_s = secret(f"{where}.url", options.get("url")), float(options.get("timeout_s", 30))
        self._http = HttpClient(url, headers=headers, timeout_s=timeout_s, any_result=True)

    def _send(self, call: Call) -> CallResult:
        body = dumps([self._event(write, call.op) for write in call.writes])
        kind = "application/cloudevents-batch+json" if self._format == "cloudevents" else "application/json"
        headers = {"Content-Type": kind}
        if self._secret is not None:
            headers |= signed(self._secret, body, int(time.time()))
        reply = self._http.send("POST", "", content=body, headers=headers)
        if isinstance(reply, CallResult):
            return reply
        if 200 <= reply.status < 300:
            return all_accepted(call)
        if reply.status in REFUSES_ROWS:
            return refused(reply)
        # 403, 404, 410 ... are about the endpoint, not about a row
        return failure_of(reply) or CallResult(failure=CallFailure.DOWN, code=f"http_{reply.status}")

    def _event(self, write: Write, op: Op) -> dict[str, Any]:
        mapped = self._mapping.object(write.object)
        row: dict[str, Any] = {
            "object": mapped.type,
            "op": str(op),
            "key": write.key,
            "profile": write.subject,
            "revision": write.revision,
            "fields": dict(write.fields),
        }
        if write.refs:
            row["refs"] = [{"object": ref.object, "key": ref.key} for ref in write.refs]
        # one revision of an order may be sent twice, with another contact
        id_ = f"{write.subject}:{write.object}:{write.key}:{write.revision}:{op}:" + dumps(row["fields"]).decode()
        if self._format == "json":
            return {"id": hashlib.sha256(id_.encode()).hexdigest()[:32], **row}
        return {
            "specversion": "1.0",
            "id": hashlib.sha256(id_.encode()).hexdigest()[:32],
            "source": f"nurt/{self._mapping.name}",
            "type": f"io.nurt.{mapped.type}.{op}",
            "subject": write.subject,
            "datacontenttype": "application/json",
            "data": row,
        }

    def refresh(self) -> None:
        """See delivery.ports.Destination."""
        if self._secret is not None:
            self._secret = secret(f"{self._where}.secret", self._secret_text).encode()

    def verify(self) -> list[str]:
        """See delivery.ports.Destination; an endpoint does not describe itself."""
        return []


def signed(key: bytes, body: bytes, at_s: int) -> dict[str, str]:
    """Make the headers that sign a body."""
    mac = hmac.new(key, str(at_s).encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"Nurt-Timestamp": str(at_s), "Nurt-Signature": f"v1={mac}"}
