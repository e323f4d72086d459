"""Code is compiled ahead once, by a process of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from nurt import kernel_cache
from nurt.runtime import compiled


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is started; kernels are kept in an empty folder."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> None:
        commands.append(command[1:])

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_what_was_compiled_is_not_compiled_again(started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    compiled.ensure_compiled()
    assert started == [["-m", "nurt.app.warm"]]
    folder = kernel_cache.current()
    assert folder is not None
    kernel_cache.note_complete(folder)
    compiled.ensure_compiled()
    assert len(started) == 1
    monkeypatch.setattr(kernel_cache, "digest", lambda: "0" * 32)
    compiled.ensure_compiled()
    assert len(started) == 2, "other sources are compiled"


def test_where_nothing_can_be_kept_nothing_is_compiled_ahead(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_cache, "current", lambda: None)
    compiled.ensure_compiled()
    assert not started
