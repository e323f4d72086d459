"""What the help of the command line does not load: the engine. Each claim is asked of a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from nurt.cli import app

HEAVY = ["bytewax", "polars", "numba", "numpy", "pyarrow", "duckdb", "confluent_kafka", "redis", "httpx2"]
PROGRAM = """
import json, sys
from nurt.cli import main
sys.argv = ["nurt", *sys.argv[1:]]
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def _loaded(*arguments: str, **environment: str) -> tuple[str, set[str]]:
    """Run one command line; return what it printed, and the packages that it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
    )
    return done.stdout, set(json.loads(done.stderr.splitlines()[-1]))


def _commands() -> list[list[str]]:
    alone = [[str(command.name)] for command in app.registered_commands]
    grouped = [
        [str(group.name), str(command.name)]
        for group in app.registered_groups
        if group.typer_instance is not None
        for command in group.typer_instance.registered_commands
        if not command.hidden
    ]
    return [[], *alone, *grouped]


@pytest.mark.parametrize("command", _commands(), ids=lambda words: " ".join(words) or "nurt")
def test_help_loads_nothing_of_the_engine(command: list[str]) -> None:
    printed, loaded = _loaded(*command, "--help")
    assert "Usage: nurt" in printed
    assert loaded.isdisjoint(HEAVY)


def test_the_version_is_said_without_the_engine() -> None:
    printed, loaded = _loaded("--version")
    assert printed.startswith("nurt ")
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    ("words", "completed"), [("nurt de", {"demo", "deliver"}), ("nurt deliver re", {"refused", "retry"})]
)
def test_the_shell_completes_commands_without_the_engine(words: str, completed: set[str]) -> None:
    at = str(words.count(" "))
    printed, loaded = _loaded(_NURT_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=at)
    assert set(printed.split()) == completed
    assert loaded.isdisjoint(HEAVY)
