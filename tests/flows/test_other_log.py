"""A topic that is deleted and made anew is another log: its rows count, whatever the old log said of offsets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from redis import Redis

from nurt.adapters.files.archive_lines import ArchiveWriter
from nurt.app.running import run_here
from nurt.errors import Fenced, LogHalted
from nurt.flows.profiles import profiles
from nurt.settings import load_settings
from tests.command_line import Ran, run_nurt
from tests.envelopes import Topic, _raw, entry
from tests.flows.new_logs import NEW, NEWEST, old_log, topic_of


@pytest.fixture
def nurt_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    return lambda *arguments: run_nurt(monkeypatch, capfd, *arguments)


class Shop:
    """A deployment over an archive of one topic."""

    def __init__(self, home: Path, redis_url: str) -> None:
        self.home, self.config = home, home / "nurt.yaml"
        name = Topic({"id": "int", "email": "string"}).name
        (home / "mapping.yaml").write_text(
            f"systems:\n  s: {{}}\ntopics:\n  - match: {json.dumps(name)}\n    system: s\n" + entry(email="email")
        )
        self.config.write_text(
            f"mapping: mapping.yaml\ndata: data\nsecret: '{'00' * 16}'\n"
            f"state: {{url: '{redis_url}', prefix: {home.name}}}\n"
            "input: {archives: [archive]}\noutput: {duckdb: profiles.duckdb}\n"
        )

    def write(self, topic: Topic) -> None:
        """Make the archive hold just the messages of this topic."""
        folder = self.home / "archive"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        schemas = {str(one): _raw(schema) for one, schema in topic.schemas.items()}
        (folder / "schemas.json").write_text(json.dumps(schemas))
        batch = topic.batch
        with ArchiveWriter(folder) as writer:
            for at in range(len(batch)):
                place = topic.name, int(batch.partitions[at]), batch.keys[at], batch.values[at]
                writer.write(*place, batch.headers[at], 1_790_000_000_000 + at)

    def run(self, rebuild: bool = False, confirmed: bool = False) -> set[str]:
        """Run to the end; return the addresses of the profiles."""
        run_here(profiles, load_settings(self.config), rebuild=rebuild, confirmed=confirmed)
        with duckdb.connect(str(self.home / "profiles.duckdb"), read_only=True) as tables:
            rows = tables.execute("SELECT email FROM profiles WHERE state = 'live'").fetchall()
        return {email.removesuffix("@example.com") for (email,) in rows}

    def records(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.home / "data" / "control.jsonl").read_text().splitlines()
        return [one for one in (json.loads(line)["record"] for line in lines) if one["kind"] == kind]


@pytest.fixture
def shop(tmp_path: Path, redis_url: str) -> Shop:
    return Shop(tmp_path, redis_url)


@pytest.fixture
def counted(shop: Shop, redis_url: str) -> Callable[[], int]:
    def count() -> int:
        counts: Any = Redis.from_url(redis_url).hgetall(f"{shop.home.name}:counts")
        return sum(map(int, counts.values()))

    return count


def test_a_topic_made_anew_with_a_snapshot_is_read_from_its_beginning(
    shop: Shop, counted: Callable[[], int], nurt_command: Callable[..., Ran]
) -> None:
    shop.write(old_log())
    assert shop.run() == {"c1-d38", "c2-c", "c3-c"}
    assert counted() == 46
    shop.write(topic_of(*NEW))
    assert shop.run() == NEWEST
    assert counted() == 46 + 6, "the new log's messages are counted from its beginning"
    assert shop.run() == NEWEST
    assert counted() == 46 + 6
    (said,) = [one for one in shop.records("log") if one["log"]]
    assert (said["log"], said["generation"], said["snapshot"]) == (1, 1, [0])
    assert shop.run(rebuild=True) == NEWEST
    assert counted() == 6


def test_a_longer_log_under_the_name_is_another_one_too(shop: Shop, counted: Callable[[], int]) -> None:
    shop.write(topic_of(*NEW))
    shop.run()
    shop.write(old_log())
    assert shop.run() == {"c1-d38", "c2-c", "c3-c", "c4-new"}, "a row that the new log does not name stays"
    assert counted() == 6 + 46


def test_a_log_without_a_snapshot_waits_for_a_word_that_no_restart_wears_out(
    shop: Shop, nurt_command: Callable[..., Ran], counted: Callable[[], int]
) -> None:
    shop.write(old_log())
    before = shop.run()
    shop.write(topic_of(("u", 1, "c1-new", 900), ("u", 2, "c2-new", 910)))
    runs = len(shop.records("start"))
    for _ in range(3):
        with pytest.raises(LogHalted, match="nurt source another-log"):
            shop.run()
    assert len(shop.records("start")) == runs, "a refused start takes no run number"
    assert len(shop.records("log_halted")) == 1
    listed = json.loads(nurt_command("source", "list", "--json", "--config", str(shop.config)).out)
    assert [(one["topic"], one["kind"]) for one in listed] == [(old_log().name, "other_log")]

    checked = json.loads(nurt_command("check", "--json", "--config", str(shop.config)).out)
    assert checked["waits for a word"] == f"topic {old_log().name} (`nurt source list`)"

    topic = old_log().name
    assert nurt_command("source", "another-log", "nobody", "--config", str(shop.config)).code == 2
    assert nurt_command("source", "another-log", topic, "--config", str(shop.config)).code == 0
    assert shop.run() == {"c1-new", "c2-new", "c3-c"}
    assert counted() == 46 + 2
    assert json.loads(nurt_command("source", "list", "--json", "--config", str(shop.config)).out) == []
    assert before == {"c1-d38", "c2-c", "c3-c"}


def test_a_log_that_was_cut_and_written_on_goes_on_after_one_word(shop: Shop, nurt_command: Callable[..., Ran]) -> None:
    events = [("r", 1, "c1-a", 100), ("r", 2, "c2-a", 100), ("u", 1, "c1-b", 200), ("u", 2, "c2-lost", 210)]
    shop.write(topic_of(*events))
    assert shop.run() == {"c1-b", "c2-lost"}
    shop.write(topic_of(*events[:3], ("u", 1, "c1-c", 300), ("u", 1, "c1-d", 310)))
    with pytest.raises(LogHalted, match="partition 0 has another message where nurt read last"):
        shop.run()
    assert nurt_command("source", "same-log", topic_of().name, "--config", str(shop.config)).code == 0
    assert shop.run() == {"c1-d", "c2-lost"}, "what nurt has read stays, what was written on is newer"


def test_a_log_that_was_cut_is_not_taken_for_a_new_one(shop: Shop, nurt_command: Callable[..., Ran]) -> None:
    events = [("r", 1, "c1-a", 100), ("u", 1, "c1-b", 200), ("u", 1, "c1-c", 210)]
    shop.write(topic_of(*events))
    shop.run()
    shop.write(topic_of(*events[:2]))
    with pytest.raises(LogHalted, match="partition 0 ends at 2, nurt has read up to 3"):
        shop.run()
    shop.write(topic_of(*events))
    assert shop.run() == {"c1-c"}, "a log that is restored needs no word"
    assert json.loads(nurt_command("source", "list", "--json", "--config", str(shop.config)).out) == []


def test_an_archive_that_grew_is_the_same_log(shop: Shop, counted: Callable[[], int]) -> None:
    events = [("r", 1, "c1-a", 100), ("u", 1, "c1-b", 200)]
    shop.write(topic_of(*events))
    shop.run()
    shop.write(topic_of(*events, ("u", 1, "c1-c", 300)))
    assert shop.run() == {"c1-c"}
    assert counted() == 3
    assert {one["generation"] for one in shop.records("log")} <= {0}


def test_a_lost_register_does_not_count_runs_from_one_nor_messages_twice(
    shop: Shop, counted: Callable[[], int]
) -> None:
    shop.write(old_log())
    before = shop.run()
    shop.run()
    (shop.home / "data" / "control.jsonl").unlink()
    assert shop.run() == before
    assert shop.records("begin")[-1]["run"] == 3
    assert counted() == 46
    shop.write(topic_of(*NEW))
    assert shop.run() == NEWEST


def test_another_cluster_with_the_same_state_is_read_from_its_beginning(shop: Shop) -> None:
    shop.write(old_log())
    shop.run()
    shutil.rmtree(shop.home / "data")
    shop.write(topic_of(*NEW))
    assert shop.run() == NEWEST


def test_a_register_of_another_deployment_is_refused_however_often_it_starts(shop: Shop) -> None:
    shop.write(old_log())
    shop.run()
    mine = (shop.home / "data" / "control.jsonl").read_bytes()
    (shop.home / "data" / "control.jsonl").unlink()
    shop.run()
    shop.run()
    (shop.home / "data" / "control.jsonl").write_bytes(mine)
    for _ in range(3):
        with pytest.raises(Fenced, match="another cluster"):
            shop.run()
    assert (shop.home / "data" / "control.jsonl").read_bytes() == mine, "a refused start leaves no trace"


# --- rebuilds -----------------------------------------------------------------------------------------

SHRUNK = tuple(event for event in NEW if event[1] != 3)
"""A new log that does not name customer 3."""


@pytest.fixture
def shrunk(shop: Shop) -> Shop:
    """A deployment with a row that no log holds any more."""
    shop.write(old_log())
    shop.run()
    shop.write(topic_of(*SHRUNK))
    assert shop.run() == NEWEST | {"c3-c"}
    return shop


def test_a_rebuild_erases_nothing_that_is_much_until_the_operators_word(
    shrunk: Shop, nurt_command: Callable[..., Ran], caplog: pytest.LogCaptureFixture
) -> None:
    assert shrunk.run(rebuild=True) == NEWEST | {"c3-c"}
    assert "1 of 4 rows of kind customer were not read again" in caplog.text
    assert shrunk.run() == NEWEST | {"c3-c"}
    config = ("--json", "--config", str(shrunk.config))
    (table,) = json.loads(nurt_command("source", "sweep", "--yes", *config).out)["tables"]
    assert (table["go"], table["stay"]) == (1, 3)
    assert shrunk.run() == NEWEST
    assert json.loads(nurt_command("source", "sweep", *config).out)["tables"] == []


def test_a_confirmed_rebuild_lets_go_what_no_log_holds(shrunk: Shop, counted: Callable[[], int]) -> None:
    assert shrunk.run(rebuild=True, confirmed=True) == NEWEST
    assert counted() == len(SHRUNK)
    assert shrunk.run() == NEWEST


def test_a_cluster_of_processes_rebuilds_too(shrunk: Shop, nurt_command: Callable[..., Ran]) -> None:
    config = ("--config", str(shrunk.config))
    assert nurt_command("run", "--workers", "2", "--rebuild", "--yes", *config).code == 0
    assert shrunk.run() == NEWEST
    assert [one["erases"] for one in shrunk.records("rebuilt")] == [True]


@pytest.mark.parametrize("dies_at", ["claim", "forget_counts", "begin_record", "encode_known"])
def test_a_rebuild_that_dies_at_its_start_is_owed(
    shrunk: Shop, counted: Callable[[], int], monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(f"nurt.app.launch.{dies_at}", dies)
        shrunk.run(rebuild=True, confirmed=True)
    assert shrunk.run() == NEWEST
    assert counted() == len(SHRUNK)


@pytest.mark.parametrize("dies_at", ["run_number", "begin_record", "claim", "encode_known"])
def test_a_start_that_dies_while_it_takes_another_log_leaves_the_next_one_to_do_it(
    shop: Shop, counted: Callable[[], int], monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    shop.write(old_log())
    shop.run()
    shop.write(topic_of(*NEW))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(f"nurt.app.launch.{dies_at}", dies)
        shop.run()
    assert shop.run() == NEWEST
    assert counted() == 46 + 6


def test_a_rebuild_of_an_unchanged_log_changes_nothing(shop: Shop, counted: Callable[[], int]) -> None:
    shop.write(old_log())
    before = shop.run()
    assert shop.run(rebuild=True) == before
    assert counted() == 46
