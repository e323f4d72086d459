"""A kept profile is its head and its Avro body, and its revision is written into a body without a second encoding."""

from __future__ import annotations

import io
from datetime import date
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nurt.contracts import schemas
from nurt.contracts.profile_reader import read_profile
from nurt.model.fence import SEQUENCE_BITS, Head, owed_score, stamp
from nurt.model.stored_profile import ERASED, HEAD_BYTES, LIVE, REDIRECT, KeptProfile, with_revision

SCHEMA = fastavro.parse_schema(schemas.load(schemas.PROFILE_VALUE))


def body_of(revision: int) -> bytes:
    def blank(kind: Any) -> Any:
        if isinstance(kind, list) or kind == "null":
            return None
        if isinstance(kind, dict) and kind["type"] == "array":
            return []
        return {"string": "", "int": 0, "long": 0}.get(kind if isinstance(kind, str) else kind["type"])

    profile = {field["name"]: blank(field["type"]) for field in schemas.load(schemas.PROFILE_VALUE)["fields"]}
    profile |= {"id": "ab" * 16, "revision": revision, "state": "live", "as_of": date(2026, 1, 1)}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, profile)
    return out.getvalue()


@given(st.integers(0, (1 << 63) - 1))
def test_a_revision_is_written_as_avro_writes_it(revision: int) -> None:
    written = with_revision(body_of(0), revision)
    assert written == body_of(revision)
    assert read_profile(written)["revision"] == revision


@given(
    st.integers(0, (1 << 63) - 1),
    st.integers(-1, 1 << 40),
    st.sampled_from([LIVE, REDIRECT, ERASED]),
    st.binary(max_size=50),
)
def test_a_kept_profile_comes_back(revision: int, due: int, state: int, body: bytes) -> None:
    kept = KeptProfile(revision, due, state, body)
    assert KeptProfile.decode(kept.encode()) == kept
    assert kept.encode()[HEAD_BYTES:] == body
    assert KeptProfile.decode(None) is None


def test_a_body_that_has_a_revision_is_given_no_other() -> None:
    with pytest.raises(AssertionError):
        with_revision(body_of(5), 6)


heads = st.builds(Head, st.integers(0, (1 << 23) - 1), st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 40) - 1))


@given(heads, heads)
def test_heads_are_ordered_as_they_are_written(one: Head, other: Head) -> None:
    assert Head.decode(one.encode()) == one
    assert (one < other) == (one.encode() < other.encode())


@given(heads, heads)
def test_a_later_run_has_larger_stamps_and_debts_than_all_of_an_earlier_one(one: Head, other: Head) -> None:
    if one.run < other.run:
        assert stamp(one.run, one.sequence) < stamp(other.run, other.sequence)
        assert owed_score(one.run, one.epoch) < owed_score(other.run, other.epoch)
    assert stamp(one.run, one.sequence) >> SEQUENCE_BITS == one.run
    assert stamp(one.run, one.sequence) < 1 << 63


@given(st.integers(0, 2_000_000), st.integers(0, (1 << 32) - 1))
def test_debts_are_exact_as_scores(run: int, epoch: int) -> None:
    assert int(float(owed_score(run, epoch))) == owed_score(run, epoch)
