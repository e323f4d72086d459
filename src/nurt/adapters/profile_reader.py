"""One published profile as a mapping, for people: the command line, a debugger, a test."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import fastavro

from nurt import schemas


def read_profile(body: bytes) -> dict[str, Any]:
    """Decode the Avro body of a published profile: money as Decimal, days as date, times as datetime in UTC."""
    profile: dict[str, Any] = fastavro.schemaless_reader(io.BytesIO(body), _schema(), None)
    return profile


@cache
def _schema() -> Any:
    return fastavro.parse_schema(schemas.load(schemas.PROFILE_VALUE))
