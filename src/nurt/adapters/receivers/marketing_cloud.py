"""Deliver to Salesforce Marketing Cloud: rows of data extensions, and the contact deletion for erasures.

Source: Marketing Cloud REST API (v2/token, hub/v1/dataevents rowset, contacts/v1 delete).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import httpx2 as httpx

from nurt.adapters.http import HttpClient, all_accepted, failure_of, fetch_token, refused, text_of
from nurt.adapters.receivers.base import Receiver
from nurt.adapters.secrets import secret
from nurt.delivery.diff import DeletePolicy
from nurt.delivery.mapping import DestinationMapping
from nurt.errors import ConfigurationError
from nurt.model.delivery import Call, CallFailure, CallResult, Limits, Op, RowOutcome, RowResult

LIMITS = Limits(rows_max=50, bytes_max=4_000_000, concurrency=4, whole_rows=True)
"""Marketing Cloud recommends at most 50 rows a call, and refuses more than 5 MB."""
NO_DELETION = "its REST API deletes contacts for good, and no rows"


class MarketingCloud(Receiver):
    """Marketing Cloud as a delivery.ports.Destination. An object's `type` is the external key of its data extension."""

    def __init__(self, mapping: DestinationMapping) -> None:
        super().__init__(mapping, LIMITS)
        options = mapping.options
        timeout_s = float(options.get("timeout_s", 60))
        self._http = HttpClient(secret(f"{self._where}.url", options.get("url")), self._login(), timeout_s=timeout_s)
        for one in mapping.objects:
            policies = {one.plan.when_gone, one.plan.when_merged, one.plan.when_erased}
            if taken := policies & {DeletePolicy.DELETE, DeletePolicy.MERGE}:
                raise ConfigurationError(
                    f"reading {self._where}.objects.{one.name}: `{min(taken)}`: {NO_DELETION}; choose keep or archive, "
                    "and erase for erasures"
                )

    def _login(self) -> Callable[[httpx.Client], tuple[str, float]]:
        options, where = self._mapping.options, self._where

        def log_in(client: httpx.Client) -> tuple[str, float]:
            form = {
                "grant_type": "client_credentials",
                "client_id": secret(f"{where}.client_id", options.get("client_id")),
                "client_secret": secret(f"{where}.client_secret", options.get("client_secret")),
            }
            if "account_id" in options:
                form["account_id"] = str(options["account_id"])
            url = secret(f"{where}.auth_url", options.get("auth_url")).rstrip("/")
            token = fetch_token(client, f"{url}/v2/token", form, as_json=True)
            return str(token["access_token"]), float(token.get("expires_in", 1079))

        return log_in

    def _send(self, call: Call) -> CallResult:
        one = self._mapping.object(call.object)
        if call.op is Op.UPSERT:
            path = f"/hub/v1/dataevents/key:{quote(one.type, safe='')}/rowset"
            rows = [{"keys": {one.key_field: write.key}, "values": _values(write.fields)} for write in call.writes]
            reply = self._http.send("POST", path, rows)
        elif call.op is not Op.ERASE:
            return CallResult(
                tuple(RowResult(RowOutcome.REFUSED, "no_deletion_of_rows", NO_DELETION) for _ in call.writes)
            )
        else:
            body = {"values": [write.key for write in call.writes], "deleteOperationType": "ContactAndAttributes"}
            reply = self._http.send("POST", "/contacts/v1/contacts/actions/delete?type=keys", body)
        if isinstance(reply, CallResult):
            return reply
        if reply.status in (403, 404):
            return CallResult(
                failure=CallFailure.UNAUTHORISED if reply.status == 403 else CallFailure.DOWN,
                code=f"http_{reply.status}",
            )
        if reply.status >= 300:
            return failure_of(reply) or refused(reply)
        if call.op is Op.UPSERT and (not isinstance(reply.json, list) or len(reply.json) != len(call.writes)):
            return CallResult()
        return all_accepted(call)

    def verify(self) -> list[str]:
        """See delivery.ports.Destination; the REST API does not describe data extensions."""
        return []


def _values(fields: Mapping[str, Any]) -> dict[str, str]:
    return {name: text_of(value) for name, value in fields.items()}
