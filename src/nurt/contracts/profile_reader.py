"""One published profile as a mapping, for people: the command line, a debugger, a test."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import fastavro

from nurt.contracts import schemas
from nurt.errors import StateTooNew


def read_profile(body: bytes, version: int | None = None) -> dict[str, Any]:
    """Decode the Avro body of a published profile: money as Decimal, days as date, times as datetime in UTC.

    Args:
        version: contract version of the body; None: today's. A newer field has its default.

    Raises StateTooNew when this nurt does not know the version.
    """
    now = schemas.PROFILE_VERSION
    writer = _schema(version or now)
    reader = None if version in (None, now) else _schema(now)
    profile: dict[str, Any] = fastavro.schemaless_reader(io.BytesIO(body), writer, reader)
    return profile


def current_body(body: bytes, version: int) -> bytes:
    """Convert a body of an earlier contract version to today's version.

    Raises StateTooNew when this nurt does not know the version.
    """
    if version == schemas.PROFILE_VERSION:
        return body
    out = io.BytesIO()
    fastavro.schemaless_writer(out, _schema(schemas.PROFILE_VERSION), read_profile(body, version))
    return out.getvalue()


def _schema(version: int) -> Any:
    if version > schemas.PROFILE_VERSION:
        raise StateTooNew(
            f"reading a profile: its contract is {schemas.profile_value(version)} (at most "
            f"{schemas.PROFILE_VALUE}); run the version of nurt that wrote it, or a later one"
        )
    return _parsed(schemas.profile_value(version))


@cache
def _parsed(name: str) -> Any:
    return fastavro.parse_schema(schemas.load(name))
