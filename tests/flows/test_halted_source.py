"""A source whose order starts again without a snapshot stops the run, until an operator says what happened."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from nurt.adapters.files.archive_lines import ArchiveWriter
from nurt.app import running
from nurt.app.running import run_here
from nurt.errors import SourceHalted
from nurt.flows.profiles import profiles
from nurt.settings import load_settings
from tests.command_line import Ran, run_nurt
from tests.envelopes import Topic, _raw, entry

FIRST_LOG, OTHER_LOG = "binlog.000009", "binlog.000001"
SPEAKING = """
import logging, sys
from pathlib import Path
from nurt.app import running

running._run = lambda *_, **__: [logging.log(level, "said") for level in (logging.INFO, logging.WARNING)]
running._end_with(running._child(Path(sys.argv[1]), int(sys.argv[2])))
"""
"""A process of a cluster that logs, and reads nothing."""


@pytest.fixture
def nurt_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    return lambda *arguments: run_nurt(monkeypatch, capfd, *arguments)


@pytest.fixture
def shop() -> Topic:
    topic = Topic({"id": "int", "email": "string"}, kind="mysql")
    for number in range(3):
        row = {"id": number, "email": f"c{number}@example.com"}
        topic.upsert(row=row, server_id=1, file=FIRST_LOG, pos=100 + number)
    return topic


def archive(home: Path, topic: Topic) -> Path:
    folder = home / "archive"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schemas.json").write_text(json.dumps({str(one): _raw(schema) for one, schema in topic.schemas.items()}))
    batch = topic.batch
    with ArchiveWriter(folder) as writer:
        done = writer.next_offsets().get((topic.name, 0), 0)
        for at in range(done, len(batch)):
            writer.write(topic.name, 0, batch.keys[at], batch.values[at], batch.headers[at], batch.timestamps_ms[at])
    return folder


def deploy(home: Path, topic: Topic, redis_url: str) -> Path:
    archive(home, topic)
    text = f"systems:\n  s: {{}}\ntopics:\n  - match: {json.dumps(topic.name)}\n    system: s\n" + entry(email="email")
    (home / "mapping.yaml").write_text(text)
    config = home / "nurt.yaml"
    config.write_text(
        f"mapping: mapping.yaml\ndata: data\nsecret: '{'00' * 16}'\n"
        f"state: {{url: '{redis_url}', prefix: {home.name}}}\n"
        "input: {archives: [archive], rows_max: 1}\noutput: {duckdb: profiles.duckdb}\n"
    )
    return config


def emails(home: Path) -> set[str]:
    with duckdb.connect(str(home / "profiles.duckdb"), read_only=True) as tables:
        return {email for (email,) in tables.execute("SELECT email FROM profiles WHERE state = 'live'").fetchall()}


def test_a_log_that_starts_again_halts_until_the_operator_accepts_it(
    shop: Topic, tmp_path: Path, redis_url: str, nurt_command: Callable[..., Ran]
) -> None:
    config = deploy(tmp_path, shop, redis_url)
    run_here(profiles, load_settings(config))
    shop.upsert(op="u", row={"id": 1, "email": "new@example.com"}, server_id=1, file=OTHER_LOG, pos=4)
    shop.upsert(op="u", row={"id": 2, "email": "newer@example.com"}, server_id=1, file=OTHER_LOG, pos=5)
    archive(tmp_path, shop)
    before = emails(tmp_path)
    with pytest.raises(SourceHalted, match="nurt source accept s"):  # what an earlier run saw is not forgotten
        run_here(profiles, load_settings(config))
    halted = nurt_command("run", "--config", str(config))  # a supervisor starts it again: it does not forget
    assert halted.code == SourceHalted.exit_code == 8
    assert "offset 3" in halted.err
    assert emails(tmp_path) == before
    listed = json.loads(nurt_command("source", "list", "--json", "--config", str(config)).out)
    assert [(one["source"], one["kind"]) for one in listed] == [("s", "position_fell_back")]

    assert nurt_command("source", "accept", "nobody", "--config", str(config)).code == 2
    assert "halted and goes on" in nurt_command("source", "accept", "s", "--config", str(config)).out
    run_here(profiles, load_settings(config))
    assert emails(tmp_path) == {"c0@example.com", "new@example.com", "newer@example.com"}
    run_here(profiles, load_settings(config), rebuild=True)  # the epoch is in the register: a replay agrees
    assert emails(tmp_path) == {"c0@example.com", "new@example.com", "newer@example.com"}


def test_another_server_halts_the_source_when_it_falls_back(shop: Topic, tmp_path: Path, redis_url: str) -> None:
    shop.upsert(op="u", row={"id": 1, "email": "new@example.com"}, server_id=2, file=FIRST_LOG, pos=101)
    config = deploy(tmp_path, shop, redis_url)
    with pytest.raises(SourceHalted, match="another database server wrote it"):
        run_here(profiles, load_settings(config))


def test_a_snapshot_says_itself_that_the_order_starts_again(shop: Topic, tmp_path: Path, redis_url: str) -> None:
    shop.upsert(op="r", row={"id": 1, "email": "new@example.com"}, server_id=0, file=OTHER_LOG, pos=4, snapshot="true")
    shop.upsert(op="u", row={"id": 2, "email": "newer@example.com"}, server_id=2, file=OTHER_LOG, pos=9)
    run_here(profiles, load_settings(deploy(tmp_path, shop, redis_url)))
    assert emails(tmp_path) == {"c0@example.com", "new@example.com", "newer@example.com"}


def test_a_cluster_of_processes_ends_with_the_code_of_whoever_halted(
    shop: Topic, tmp_path: Path, redis_url: str, nurt_command: Callable[..., Ran]
) -> None:
    shop.upsert(op="u", row={"id": 1, "email": "new@example.com"}, server_id=2, file=OTHER_LOG, pos=200)
    config = deploy(tmp_path, shop, redis_url)
    assert nurt_command("run", "--workers", "2", "--config", str(config)).code == SourceHalted.exit_code


@pytest.mark.parametrize(("how", "said"), [([], 2), (["--quiet"], 0)], ids=["at INFO", "quiet"])
def test_workers_of_a_cluster_log_at_the_level_of_the_command(
    shop: Topic,
    tmp_path: Path,
    redis_url: str,
    nurt_command: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
    how: list[str],
    said: int,
) -> None:
    start = subprocess.Popen

    def instead(command: list[str], **more: Any) -> subprocess.Popen[bytes]:
        return start([sys.executable, "-c", SPEAKING, *command[-2:]], **more)

    monkeypatch.setattr(running.subprocess, "Popen", instead)
    ran = nurt_command("run", "--workers", "2", *how, "--config", str(deploy(tmp_path, shop, redis_url)))
    assert (ran.code, ran.err.count("INFO said"), ran.err.count("WARNING said")) == (0, said, 2)


def test_a_worker_thread_keeps_what_it_has_learnt_of_its_source(shop: Topic, tmp_path: Path, redis_url: str) -> None:
    config = deploy(tmp_path, shop, redis_url)
    run_here(profiles, replace(load_settings(config), workers=2))
    records = [json.loads(line)["record"] for line in (tmp_path / "data" / "control.jsonl").read_text().splitlines()]
    begun = [(one["offset"], one["epoch"]) for one in records if one["kind"] == "source_epoch"]
    assert begun == [(0, 1)], "one stream is one source epoch, however many batches it comes in"
