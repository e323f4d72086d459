"""Of a failure nurt tells its kind and its frames: another library's words may quote what a row holds."""

from __future__ import annotations

import ast
import io
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import nurt
from nurt.adapters.visible_text import VisibleFormatter, tell_no_values
from nurt.errors import ConfigurationError, frames_of

SECRET = "anna@example.pl"
PROGRAM = """
import sys
from nurt.runtime.profile_steps import ProfileSteps
def fail(self, items):
    try:
        int("anna@example.pl")
    except ValueError as failed:
        raise LookupError("anna@example.pl again") from failed
ProfileSteps.rows = fail
from nurt.cli import main
sys.argv = ["nurt", *sys.argv[1:]]
main()
"""


def _failed() -> BaseException:
    try:
        try:
            int(SECRET)
        except ValueError as failed:
            raise LookupError(SECRET) from failed
    except LookupError as failed:
        return failed
    raise AssertionError


def test_kinds_and_frames_are_told_and_no_words_of_others() -> None:
    told = frames_of(_failed())
    assert SECRET not in told
    assert told.splitlines()[0] == "LookupError" and "ValueError" in told.splitlines()
    assert f"{Path(__file__).name}:" in told and "_failed" in told


def test_words_of_nurts_own_errors_are_told() -> None:
    assert frames_of(ConfigurationError("reading `x`: it is 1; write 2")) == (
        "ConfigurationError: reading `x`: it is 1; write 2"
    )


def test_a_chain_that_goes_round_ends() -> None:
    one, other = ValueError(SECRET), ValueError(SECRET)
    one.__cause__, other.__cause__ = other, one
    assert SECRET not in frames_of(one)


def test_a_log_line_with_an_exception_tells_no_values() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(VisibleFormatter("%(message)s"))
    logger = logging.Logger("strange library")
    logger.addHandler(handler)
    try:
        raise ValueError(SECRET)
    except ValueError:
        logger.exception("it failed")
    assert out.getvalue().startswith("it failed\nValueError") and SECRET not in out.getvalue()


def test_a_thread_that_fails_tells_no_values(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    tell_no_values()
    thread = threading.Thread(target=int, args=(SECRET,), name="watcher")
    thread.start()
    thread.join()
    assert "watcher has ended" in caplog.text and "ValueError" in caplog.text
    assert SECRET not in caplog.text + capfd.readouterr().err


def test_nothing_in_nurt_logs_an_exception_as_it_is() -> None:
    found = []
    for path in Path(nurt.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
                asks = any(keyword.arg in ("exc_info", "stack_info") for keyword in node.keywords)
                if name in ("exception", "format_exc") or asks:
                    found.append(f"{path.name}:{node.lineno}")
    assert found == []


@pytest.mark.services
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_run_that_fails_says_so_in_few_lines(tmp_path: Path, workers: str) -> None:
    environment = {**os.environ, "RUST_BACKTRACE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    nurt_command = Path(sys.executable).with_name("nurt")
    subprocess.run(
        [nurt_command, "simulate", "--to", str(tmp_path / "archive"), "--customers", "20", "--days", "5"],
        check=True,
        env=environment,
        capture_output=True,
    )
    preset = Path(nurt.__file__).parent / "presets" / "demo.yaml"
    (tmp_path / "nurt.yaml").write_text(
        f"mapping: {preset}\nstate: {{url: embedded}}\ninput: {{archives: [archive]}}\nworkers: {workers}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "run", "--config", str(tmp_path / "nurt.yaml")],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode != 0
    assert SECRET not in done.stderr + done.stdout
    assert "LookupError" in done.stderr and "running stage rows: failed" in done.stderr
    assert len(done.stderr.splitlines()) < 40 * int(workers)
