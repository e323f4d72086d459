"""A next version of the profile contract, made up: one field more, which nobody fills but these tests."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import orjson
import pytest

from nurt.contracts import schemas
from nurt.profiles.golden_record import check_schema as profile_schema
from nurt.profiles.golden_record.compare import ProfileBodies
from nurt.profiles.profiles_stage import ProfilesStage

FIELD = {"name": "nickname", "type": ["null", "string"], "default": None, "doc": "What friends say."}
NOBODY = b"\0"
"""The field's bytes where there is no nickname; it is the last one, so they end the body."""


NOW = schemas.PROFILE_VERSION
NEXT = NOW + 1


def begin_next_version(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """From here on profiles are written by the next version."""
    schema = schemas.load(schemas.profile_value(NOW))
    schema["fields"].append(FIELD)
    (folder / f"{schemas.profile_value(NEXT)}.avsc").write_bytes(orjson.dumps(schema))
    folders, written, bodies_of = schemas._folders, profile_schema.WRITTEN, ProfilesStage._bodies
    monkeypatch.setattr(schemas, "_folders", lambda: [folder, *folders()])
    monkeypatch.setattr(schemas, "PROFILE_VERSION", NEXT)
    monkeypatch.setattr(schemas, "PROFILE_VALUE", schemas.profile_value(NEXT))
    monkeypatch.setattr(profile_schema, "WRITTEN", (*written, "nickname:?string"))
    monkeypatch.setattr(ProfilesStage, "_bodies", lambda *given: _with_nobody(bodies_of(*given)))


def _with_nobody(bodies: ProfileBodies) -> ProfileBodies:
    whole = bodies.joined.tobytes()
    cut = [whole[begin:end] for begin, end in zip(bodies.starts, bodies.stops, strict=True)]
    new = [body + NOBODY if body else b"" for body in cut]
    places = np.cumsum([0, *map(len, new)], dtype=np.int64)
    return ProfileBodies(
        bodies.state, bodies.due, places[:-1], places[1:], np.frombuffer(b"".join(new), dtype=np.uint8)
    )


def read_next(body: bytes) -> dict[str, Any]:
    """Read a body that is of the next version to its last byte."""
    stream = io.BytesIO(body)
    profile: dict[str, Any] = fastavro.schemaless_reader(stream, schemas.load(schemas.profile_value(NEXT)), None)  # type: ignore[assignment]
    assert stream.read() == b""
    return profile
