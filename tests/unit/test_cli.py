"""The command line as a person meets it: help, errors, exit codes. Nothing is stored here; see test_cli_state."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nurt.cli
from nurt import errors
from nurt.adapters.kafka.topics import PartitionsChanged
from nurt.cli.commands.init import template
from nurt.cli.commands.quarantine import REMEDIES
from nurt.errors import NurtError
from nurt.mapping.load import load_mapping
from nurt.model.refusal import Reason
from nurt.settings import load_settings
from tests.command_line import Ran, run_nurt

COMMANDS = ["demo", "init", "check", "run", "profile", "stats", "simulate"]
QUARANTINE = [["quarantine", name] for name in ("list", "show", "requeue")]
SOURCE = [["source", name] for name in ("list", "accept", "same-log", "another-log", "sweep")]
STATE = [["state", "check"]]
DELIVER = [["deliver", name] for name in ("run", "status", "preview", "check", "refused", "retry", "sweep")]


@pytest.fixture
def nurt_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    return lambda *arguments: run_nurt(monkeypatch, capfd, *arguments)


@pytest.mark.parametrize(
    "command", [*([name] for name in COMMANDS), *QUARANTINE, *SOURCE, *STATE, *DELIVER], ids=" ".join
)
def test_the_help_of_every_command_teaches_by_example(nurt_command: Callable[..., Ran], command: list[str]) -> None:
    ran = nurt_command(*command, "--help")
    assert ran.code == 0
    assert "Examples" in ran.out
    assert f"nurt {' '.join(command)}" in ran.out.split("Examples")[1]


def test_the_help_says_what_every_exit_code_means(nurt_command: Callable[..., Ran]) -> None:
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, NurtError)]
    codes = {kind.exit_code for kind in [*kinds, PartitionsChanged]}
    said = nurt_command("--help").out.split("Exit codes")[1]
    assert [code for code in codes if f"{code} " not in said] == []


def test_a_command_that_is_unknown_is_a_mistake_of_usage(nurt_command: Callable[..., Ran]) -> None:
    assert nurt_command("profil").code == 2


@pytest.mark.parametrize("command", ["stats", "run", "check", "profile a@b.pl", "quarantine list"])
def test_without_settings_every_command_says_in_one_line_how_to_get_them(
    nurt_command: Callable[..., Ran], command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NURT_CACHE", str(tmp_path))  # as on a new machine: nothing is compiled before that is said
    ran = nurt_command(*command.split(), "--config", str(tmp_path / "nurt.yaml"))
    assert ran.code == errors.ConfigurationError.exit_code
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert "nurt.yaml" in ran.err
    assert "`nurt init`" in ran.err
    assert "Traceback" not in ran.err


def test_debug_shows_the_traceback_wherever_it_stands(nurt_command: Callable[..., Ran], tmp_path: Path) -> None:
    missing = str(tmp_path / "nurt.yaml")
    for command in (["--debug", "stats", "-c", missing], ["stats", "-c", missing, "--debug"]):
        assert "Traceback" in nurt_command(*command).err


def test_a_state_that_does_not_answer_is_named_without_its_password(
    nurt_command: Callable[..., Ran], tmp_path: Path
) -> None:
    nurt_command("init", str(tmp_path))
    settings = tmp_path / "nurt.yaml"
    settings.write_text(settings.read_text().replace("url: embedded", "url: redis://:hunter2@127.0.0.1:1/0"))
    ran = nurt_command("stats", "--config", str(settings))
    assert ran.code == errors.ConnectionFailed.exit_code
    assert "127.0.0.1:1" in ran.err
    assert "hunter2" not in ran.err


def test_a_mistake_of_our_own_shows_no_values(
    nurt_command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(_path: Any) -> None:
        raise KeyError("anna@example.com")

    monkeypatch.setattr("nurt.cli.opening.load_settings", broken)
    ran = nurt_command("stats", "--config", str(tmp_path / "nurt.yaml"))
    assert ran.code == 1
    assert "KeyError" in ran.err
    assert "--debug" in ran.err
    assert "anna" not in ran.err


def test_init_writes_settings_and_a_mapping_that_can_be_read(nurt_command: Callable[..., Ran], tmp_path: Path) -> None:
    assert nurt_command("init", str(tmp_path / "new")).code == 0
    settings = load_settings(tmp_path / "new" / "nurt.yaml")
    mapping = load_mapping(settings.mapping.read_text(), "mapping.yaml")
    assert mapping.for_topic("shop.public.orders") is not None


def test_init_overwrites_nothing(nurt_command: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "mapping.yaml").write_text("mine")
    assert nurt_command("init", str(tmp_path)).code == 2
    assert (tmp_path / "mapping.yaml").read_text() == "mine"
    assert not (tmp_path / "nurt.yaml").exists()


def test_every_setting_that_the_template_comments_out_can_be_had(tmp_path: Path) -> None:
    text = template("nurt.yaml").replace("  # topic", "  topic")
    for name in ("prefix", "shards", "duckdb", "parquet"):
        text = text.replace(f"  # {name}:", f"  {name}:")
    path = tmp_path / "nurt.yaml"
    path.write_text(text)
    settings = load_settings(path)
    assert settings.duckdb == tmp_path / "profiles.duckdb"
    assert settings.shards == 16


def test_the_demo_leaves_a_folder_alone_that_it_did_not_make(nurt_command: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "data").mkdir()
    assert nurt_command("demo", "--folder", str(tmp_path)).code == 2
    assert (tmp_path / "thesis.txt").exists()
    assert (tmp_path / "data").exists()


def test_every_reason_of_the_quarantine_has_a_remedy() -> None:
    assert set(REMEDIES) == set(Reason)


def test_a_reader_that_stops_reading_is_no_error_worth_a_word() -> None:
    command = f"{sys.executable} -c 'import nurt.cli; nurt.cli.main()' --help | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_the_package_installs_its_command() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("nurt"), "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"nurt {nurt.__version__}\n"
