"""Profile bodies of an older version of their contract are read on, wherever they are stored."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from redis import Redis

from nurt.adapters.analytics.parquet import ParquetSink
from nurt.adapters.kafka.published_back import _Heads
from nurt.adapters.redis.delivery.codec import pack_message, unpack_message
from nurt.adapters.redis.delivery.state_log import StateLog
from nurt.columnar.values import Values
from nurt.contracts import schemas
from nurt.contracts.profile_reader import current_body, read_profile
from nurt.control.reconcile import find_unreconciled
from nurt.delivery.journal import Message
from nurt.delivery.read.profiles import ProfileMessageReader
from nurt.errors import StateTooNew
from nurt.model.fence import FencingToken, stamp
from nurt.model.keys import Keys
from nurt.model.stored_profile import ERASED, LIVE, REDIRECT, KeptProfile
from nurt.profiles.golden_record.compare import ProfileBodies, compare_kept
from tests.contracts.published import batch, encode, id_of, rich
from tests.unit.test_parquet_sink import crash
from tests.unit.test_profiles_stage import IDS, KEYS, A, B, Stages
from tests.upgrade.next_version import NEXT, NOBODY, NOW, begin_next_version, read_next

C = IDS.one("account 2")


@pytest.fixture
def begin_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    return lambda: begin_next_version(monkeypatch, tmp_path)


def kept_of(stages: Stages, profile: bytes) -> KeptProfile:
    kept = KeptProfile.decode(stages.memory.values[KEYS.of(b"f", [profile])[0]])
    assert kept is not None
    return kept


@pytest.mark.parametrize("state", [LIVE, REDIRECT, ERASED])
def test_what_version_one_keeps_is_byte_for_byte_what_it_was_without_versions(state: int) -> None:
    body = b"" if state == ERASED else b"body"
    assert KeptProfile(77, -1, state, body).encode() == struct.pack(">QqB", 77, -1, state) + body


@pytest.mark.parametrize("state", [LIVE, REDIRECT, ERASED])
@pytest.mark.parametrize("version", [1, 2, 64])
def test_a_kept_body_says_which_version_wrote_it(state: int, version: int) -> None:
    kept = KeptProfile(5, 20_000, state, b"" if state == ERASED else b"body", 1 if state == ERASED else version)
    assert KeptProfile.decode(kept.encode()) == kept


def test_the_stage_publishes_bodies_of_an_older_version_anew_and_only_once(begin_next: Callable[[], None]) -> None:
    stages = Stages()
    touches = stages.touch("eu", (A, "email\x1fa"), (B, "email\x1fb"))
    first = stages.profiles.materialise(touches)
    begin_next()
    out = stages.profiles.materialise(touches)
    assert out.ids == first.ids
    assert all(new > old for new, old in zip(out.revisions, first.revisions, strict=True))
    for profile, value, old in zip(out.ids, out.values, first.values, strict=True):
        assert value is not None
        assert old is not None
        assert read_next(value) == {**read_profile(old, NOW), "revision": out.revisions[0]}
        kept = kept_of(stages, profile)
        assert (kept.version, kept.state, kept.body) == (NEXT, LIVE, value)
    before = dict(stages.memory.values)
    again = stages.profiles.materialise(touches)
    assert (again.revisions, again.values) == (out.revisions, out.values)
    assert stages.memory.values == before


def test_redirects_of_an_older_version_stay_redirects_and_tombstones_are_not_said_anew(
    begin_next: Callable[[], None],
) -> None:
    stages = Stages()
    stages.profiles.materialise(stages.touch("eu", (A, "email\x1fa"), (B, "email\x1fb")))
    touches = stages.touch("eu", (B, "email\x1fa"))
    first = stages.profiles.materialise(touches)
    gone = stages.touch("us", (C, ""))
    stages.profiles.materialise(gone)
    stages.touch("us", (C, None))
    erased = stages.profiles.materialise(gone)
    begin_next()
    out = stages.profiles.materialise(touches)
    shown = [
        (read_next(value or b"")["state"], kept_of(stages, one).version)
        for one, value in zip(out.ids, out.values, strict=True)
        if value
    ]
    assert sorted(shown) == [("live", NEXT), ("redirect", NEXT)]
    assert len(first.ids) == len(out.ids)
    again = stages.profiles.materialise(gone)
    assert (again.values, again.revisions) == ([None], erased.revisions)


def test_a_body_of_a_later_version_is_not_written_over(begin_next: Callable[[], None]) -> None:
    place = b"\x40" + b"ab" * 16
    later = KeptProfile(7, -1, LIVE, place + b"\x0e" + b"rest" + NOBODY, NEXT)
    bodies = ProfileBodies(
        *(np.array([one], dtype=np.int64) for one in (LIVE, -1, 0, 38)),
        np.frombuffer(place + b"\0rest", dtype=np.uint8),
    )
    with pytest.raises(StateTooNew, match="reading profiles"):
        compare_kept(bodies, Values.of([later.encode()]), 8, version=NOW)
    assert compare_kept(bodies, Values.of([later.encode()]), 8, version=NEXT).changed.tolist() == [True]


def test_a_body_of_an_older_version_is_read_with_the_defaults_of_what_is_new(begin_next: Callable[[], None]) -> None:
    body = encode(rich(3, 5))
    begin_next()
    assert read_profile(body, NOW) == {**rich(3, 5), "nickname": None}
    assert current_body(body, NOW) == body + NOBODY
    assert read_profile(body + NOBODY, NEXT) == read_profile(body + NOBODY) == read_profile(body, NOW)


def test_a_body_of_a_later_version_is_refused_with_the_next_step() -> None:
    with pytest.raises(
        StateTooNew, match=rf"nurt\.profiles-value\.v{NEXT} \(at most nurt\.profiles-value\.v{NOW}\); run the"
    ):
        read_profile(encode(rich(3, 5)) + NOBODY, NEXT)


def test_the_realm_of_a_stray_is_read_from_a_body_of_an_older_version(begin_next: Callable[[], None]) -> None:
    body = encode({**rich(1, 5), "realm": "eu"})
    begin_next()
    kept = {id_of(1): KeptProfile(5, -1, LIVE, body, NOW)}
    found = find_unreconciled({id_of(1): None}, kept, lambda one: str(read_profile(one.body, one.version)["realm"]))
    assert found == [("eu", id_of(1))]


def test_a_delivery_reads_bodies_of_both_versions_from_the_state(
    redis_url: str, begin_next: Callable[[], None], tmp_path: Path
) -> None:
    client: Any = Redis.from_url(redis_url)
    keys = Keys(tmp_path.name, 1)
    client.set(keys.shard_place(0) + b"h", FencingToken(1, 1, 9).encode())
    bodies = {number: encode(rich(number, stamp(1, number))) for number in (1, 2)}
    begin_next()
    for number, version in ((1, NOW), (2, NEXT)):
        body = bodies[number] + (NOBODY if version == NEXT else b"")
        name = keys.of(b"f", [id_of(number)])[0]
        client.set(name, KeptProfile(stamp(1, number), -1, LIVE, body, version).encode())
    log = StateLog(client, keys, "hook", stop_at_end=True)
    log.start(None)
    messages = [one for raw in log.poll(100) for one in ProfileMessageReader(None).messages(raw)]
    assert [read_next(one.body or b"")["revision"] for one in messages] == [stamp(1, 1), stamp(1, 2)]


def test_a_message_that_a_delivery_kept_is_read_on(begin_next: Callable[[], None]) -> None:
    message = Message(id_of(1).hex(), (0, 7), None, encode(rich(1, 5)))
    kept = pack_message(message)
    begin_next()
    now = unpack_message(message.subject, kept)
    assert now.body == (message.body or b"") + NOBODY
    assert unpack_message(message.subject, pack_message(now)) == now
    gone = Message(id_of(1).hex(), (0, 8), 6, None)
    assert unpack_message(gone.subject, pack_message(gone)) == gone


def test_a_message_that_a_later_version_kept_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    message = Message(id_of(1).hex(), (0, 7), None, encode(rich(1, 5)) + NOBODY)
    with monkeypatch.context() as later:
        begin_next_version(later, tmp_path)
        kept = pack_message(message)
    with pytest.raises(StateTooNew):
        unpack_message(message.subject, kept)


def test_a_journal_of_parquet_files_that_an_older_version_left_is_folded_in(
    begin_next: Callable[[], None], tmp_path: Path
) -> None:
    sink = ParquetSink(tmp_path / "files")
    sink.write(batch(*(rich(number, 1) for number in range(9)), (9, 1)))
    crash(sink)
    begin_next()
    sink = ParquetSink(tmp_path / "files")
    later = batch(*(rich(number, 2) for number in range(3)))
    later.values[:] = [(value or b"") + NOBODY for value in later.values]
    sink.write(later)
    crash(sink)
    ParquetSink(tmp_path / "files").close()
    files = f"read_parquet('{tmp_path}/files/profiles/*.parquet', union_by_name = true)"
    found = duckdb.sql(f"SELECT email, revision FROM {files} ORDER BY id").fetchall()
    expected = sorted(
        (id_of(n), rich(n, r)["email"]["value"], r)
        for n, r in [*((n, 2) for n in range(3)), *((n, 1) for n in range(3, 9))]
    )
    assert found == [(email, revision) for _, email, revision in expected]


def test_what_was_published_is_read_back_by_the_schema_of_each_message(begin_next: Callable[[], None]) -> None:
    old = schemas.load(schemas.profile_value(NOW))
    body = encode({**rich(1, 5), "realm": "eu"})
    begin_next()

    class Registry:
        def schema(self, schema_id: int, archive: str = "") -> dict[str, Any] | None:
            return {3: old, 4: schemas.load(schemas.profile_value(NEXT))}.get(schema_id)

        def register(self, subject: str, schema: Any) -> int:
            raise AssertionError

    values = [b"\0\0\0\0\3" + body, None, b"\0\0\0\0\4" + body + NOBODY, b"\0\0\0\0\x09" + body + NOBODY]
    assert _Heads(Registry()).of(values) == [(5, "eu"), None, (5, "eu"), (5, "eu")]
