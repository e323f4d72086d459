"""A source's order may start again: a snapshot says so to all its tables, else one stop and one word are enough."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nurt.adapters.files.archive_lines import ArchiveWriter
from nurt.app.running import run_here
from nurt.errors import SourceHalted
from nurt.flows.profiles import profiles
from nurt.settings import load_settings
from tests.command_line import Ran, run_nurt
from tests.envelopes import Topic, _raw
from tests.flows.test_halted_source import emails


class Source:
    """One system's topics, written to an archive in the order in which its connector writes them."""

    def __init__(self, home: Path, redis_url: str, kind: str, *tables: str, rows_max: int) -> None:
        self.home, self._redis_url = home, redis_url
        columns = {"id": "int", "email": "string"}
        self.topics = {name: Topic(columns, kind=kind, name=f"s.public.{name}") for name in tables}
        self._now_ms = 1_790_000_000_000
        self.config = home / "nurt.yaml"
        entries = [
            f"  - match: 's\\.public\\.{name}'\n    system: s\n    entity: customer\n    name: {name}\n    key: id\n"
            "    fields: {email: email}\n"
            for name in tables
        ]
        (home / "mapping.yaml").write_text("systems:\n  s: {}\ntopics:\n" + "".join(entries))
        self.config.write_text(
            f"mapping: mapping.yaml\ndata: data\nsecret: '{'00' * 16}'\n"
            f"state: {{url: '{redis_url}', prefix: {home.name}}}\n"
            f"input: {{archives: [archive], rows_max: {rows_max}}}\noutput: {{duckdb: profiles.duckdb}}\n"
        )
        folder = home / "archive"
        folder.mkdir()
        schemas = next(iter(self.topics.values())).schemas
        (folder / "schemas.json").write_text(json.dumps({str(one): _raw(schema) for one, schema in schemas.items()}))

    def put(self, table: str, key: int, value: str, *, partition: int = 0, op: str = "u", **source: Any) -> None:
        """Write a row of a table; the source's clock goes on by a second."""
        row = {"id": key, "email": f"{table}{key}-{value}@example.com"}
        at = self.topics[table].upsert(op=op, partition=partition, row=row, **self._tick(source))
        self._write(table, partition, at)

    def truncate(self, table: str, *, partition: int, **source: Any) -> None:
        """Truncate a table, in a message without key that lies in some partition."""
        topic = self.topics[table]
        self._write(table, partition, topic.raw(None, topic.envelope("t", None, None, **self._tick(source)), partition))

    def _tick(self, source: dict[str, Any]) -> dict[str, Any]:
        self._now_ms += 1000
        return {"ts_ms": self._now_ms, **source}

    def _write(self, table: str, partition: int, at: int) -> None:
        topic = self.topics[table]
        with ArchiveWriter(self.home / "archive") as writer:
            writer.write(topic.name, partition, topic.batch.keys[at], topic.batch.values[at], None, self._now_ms)

    def run(self) -> set[str]:
        """Read what was written; return what the live profiles are called."""
        run_here(profiles, load_settings(self.config))
        return {email.partition("@")[0] for email in emails(self.home)}


SourceOf = Callable[..., Source]


@pytest.fixture(params=[1, 1000], ids=["a row at a time", "all at once"])
def source_of(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> SourceOf:
    return lambda kind, *tables: Source(tmp_path, redis_url, kind, *tables, rows_max=request.param)


@pytest.fixture
def nurt_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    return lambda *arguments: run_nurt(monkeypatch, capfd, *arguments)


@pytest.fixture
def accept(nurt_command: Callable[..., Ran]) -> Callable[[Source], None]:
    def say(source: Source) -> None:
        with pytest.raises(SourceHalted):
            source.run()
        assert "was halted" in nurt_command("source", "accept", "s", "--config", str(source.config)).out

    return say


def mysql(file: int, pos: int, server: int) -> dict[str, Any]:
    return {"file": f"binlog.{file:06d}", "pos": pos, "server_id": server}


def test_a_snapshot_of_another_server_counts_in_tables_that_had_no_change_between(source_of: SourceOf) -> None:
    source = source_of("mysql", "quiet", "busy", "emptied")
    for table in ("quiet", "busy", "emptied"):
        source.put(table, 1, "old", op="r", snapshot="true", **mysql(900, 154, 0))
    source.put("busy", 1, "mid", **mysql(901, 4, 11))
    source.put("emptied", 1, "mid", **mysql(901, 90, 11))
    source.topics["emptied"].delete({"id": 1, "email": ""}, **mysql(901, 95, 11))
    with ArchiveWriter(source.home / "archive") as writer:
        batch = source.topics["emptied"].batch
        writer.write("s.public.emptied", 0, batch.keys[-1], batch.values[-1], None, source._now_ms)
    for table in ("quiet", "busy"):
        source.put(table, 1, "new", op="r", snapshot="true", **mysql(3, 154, 0))
    source.put("quiet", 2, "newer", **mysql(3, 200, 12))
    source.put("emptied", 1, "again", **mysql(3, 300, 12))
    source.put("emptied", 1, "newest", **mysql(3, 310, 12))
    assert source.run() == {"quiet1-new", "busy1-new", "quiet2-newer", "emptied1-newest"}


def test_servers_that_share_a_log_are_folded(source_of: SourceOf) -> None:
    source = source_of("mysql", "t")
    for at in range(12):
        source.put("t", at % 4, f"v{at}", **mysql(7, 1000 + 100 * at, 101 + at % 3))
    assert source.run() == {"t0-v8", "t1-v9", "t2-v10", "t3-v11"}


def test_servers_that_take_turns_with_logs_of_their_own_need_one_word(
    source_of: SourceOf, accept: Callable[[Source], None]
) -> None:
    source = source_of("mysql", "t")
    for at in range(12):
        server = at % 2
        source.put("t", at % 3, f"v{at}", **mysql(900 if server else 3, 1000 + 100 * at, 101 + server))
    accept(source)
    assert source.run() == {"t0-v9", "t1-v10", "t2-v11"}


def postgresql(commit: int, lsn: int) -> dict[str, Any]:
    return {"sequence": f'["{commit}","{lsn}"]', "lsn": lsn}


def test_a_standby_whose_log_is_a_little_shorter_needs_one_word_for_all_partitions(
    source_of: SourceOf, accept: Callable[[Source], None]
) -> None:
    source = source_of("postgresql", "t", "u")
    for at in range(6):
        for table in ("t", "u"):
            source.put(table, at % 3, f"old{at}", partition=at % 3, **postgresql(1000 + 10 * at, 1005 + 10 * at))
    source.run()
    for at in range(6):
        for table in ("t", "u"):
            source.put(table, at % 3, f"new{at}", partition=at % 3, **postgresql(990 + 2 * at, 991 + 2 * at))
    accept(source)
    assert source.run() == {f"{table}{key}-new{3 + key}" for table in ("t", "u") for key in range(3)}


def test_a_connector_that_repeats_after_a_restart_of_nurt_stops_nothing(source_of: SourceOf) -> None:
    source = source_of("postgresql", "t")
    moment = 1_780_000_000_000
    for at in range(6):
        source.put("t", at % 3, f"v{at}", **postgresql(1000 + 10 * at, 1005 + 10 * at), ts_ms=moment + at)
    source.run()
    for at in range(2, 8):
        source.put("t", at % 3, f"v{at}", **postgresql(1000 + 10 * at, 1005 + 10 * at), ts_ms=moment + at)
    assert source.run() == {"t0-v6", "t1-v7", "t2-v5"}


def test_a_truncate_from_before_a_move_hides_nothing_of_other_partitions(source_of: SourceOf) -> None:
    source = source_of("mysql", "t")
    for key in range(3):
        source.put("t", key, "old", partition=key, **mysql(900, 100 + key, 1))
    source.truncate("t", partition=2, **mysql(900, 200, 1))
    source.put("t", 3, "kept", partition=0, **mysql(900, 210, 1))
    source.put("t", 3, "read", op="r", partition=0, snapshot="last", **mysql(3, 154, 0))
    source.put("t", 1, "new", partition=1, **mysql(3, 300, 2))
    source.put("t", 4, "new", partition=0, **mysql(3, 310, 2))
    assert source.run() == {"t3-read", "t1-new", "t4-new"}


def test_a_truncate_behind_a_move_takes_what_was_there_in_all_partitions(source_of: SourceOf) -> None:
    source = source_of("mysql", "t")
    for key in range(3):
        source.put("t", key, "old", partition=key, **mysql(900, 100 + key, 1))
    source.put("t", 0, "read", op="r", partition=0, snapshot="first", **mysql(3, 154, 0))
    source.truncate("t", partition=0, **mysql(3, 200, 2))
    source.put("t", 2, "new", partition=2, **mysql(3, 300, 2))
    assert source.run() == {"t2-new"}


def test_a_truncate_between_two_lives_of_a_shorter_log_divides_them(
    source_of: SourceOf, accept: Callable[[Source], None]
) -> None:
    source = source_of("postgresql", "t")
    for at in range(4):
        source.put("t", at, "old", partition=at % 2, **postgresql(1000 + 10 * at, 1005 + 10 * at))
    source.run()
    source.put("t", 0, "mid", partition=0, **postgresql(990, 991))
    source.truncate("t", partition=0, **postgresql(992, 993))
    source.put("t", 5, "new", partition=1, **postgresql(994, 995))
    accept(source)
    assert source.run() == {"t5-new"}


def test_a_connector_that_repeats_rows_from_before_a_truncate_brings_none_back(source_of: SourceOf) -> None:
    source = source_of("postgresql", "t")
    for key in range(4):
        source.put("t", key, "old", partition=key % 2, **postgresql(1000, 1001 + key), ts_ms=1_780_000_000_000)
    source.truncate("t", partition=0, **postgresql(1010, 1011), ts_ms=1_780_000_000_100)
    source.run()
    for key in range(4):
        source.put("t", key, "old", partition=key % 2, **postgresql(1000, 1001 + key), ts_ms=1_780_000_000_000)
    assert source.run() == set()


def test_a_clock_that_is_set_around_a_truncate_changes_nothing(source_of: SourceOf) -> None:
    source = source_of("postgresql", "t")
    for key in range(2):
        source.put("t", key, "old", partition=key, **postgresql(1000, 1001 + key), ts_ms=1_780_000_900_000)
    source.truncate("t", partition=0, **postgresql(1010, 1011), ts_ms=1_780_000_500_000)
    source.put("t", 3, "new", partition=1, **postgresql(1020, 1021), ts_ms=1_780_000_100_000)
    assert source.run() == {"t3-new"}


def test_a_log_that_falls_behind_an_incremental_snapshot_is_not_folded_in_silence(
    source_of: SourceOf, accept: Callable[[Source], None]
) -> None:
    source = source_of("postgresql", "t")
    source.put("t", 1, "read", op="r", snapshot="last", **postgresql(1000, 1000))
    source.put("t", 1, "again", op="r", snapshot="incremental", **postgresql(1500, 1500))
    source.put("t", 1, "new", **postgresql(1400, 1401))
    accept(source)
    assert source.run() == {"t1-new"}


def test_a_row_that_only_an_interrupted_snapshot_read_is_swept(
    source_of: SourceOf, nurt_command: Callable[..., Ran]
) -> None:
    source = source_of("mysql", "t")
    for key in (1, 2):
        source.put("t", key, "first", op="r", snapshot="true", **mysql(9, 154, 0))
    for key in (1, 3):
        source.put("t", key, "again", op="r", snapshot="true", **mysql(9, 900, 0))
    source.put("t", 3, "now", **mysql(9, 950, 5))
    assert source.run() == {"t1-again", "t2-first", "t3-now"}
    swept = json.loads(nurt_command("source", "sweep", "--yes", "--json", "--config", str(source.config)).out)
    assert [(one["go"], one["stay"]) for one in swept["tables"]] == [(1, 2)]
    assert source.run() == {"t1-again", "t3-now"}


def test_a_blocking_snapshot_that_may_be_filtered_is_not_swept(
    source_of: SourceOf, nurt_command: Callable[..., Ran]
) -> None:
    source = source_of("postgresql", "t")
    for key in (1, 2):
        source.put("t", key, "old", **postgresql(90 + key, 100 + key))
    source.put("t", 1, "read", op="r", snapshot="last", **postgresql(100, 102))
    source.put("t", 1, "now", **postgresql(110, 120))
    assert source.run() == {"t1-now", "t2-old"}
    assert json.loads(nurt_command("source", "sweep", "--json", "--config", str(source.config)).out)["tables"] == []
