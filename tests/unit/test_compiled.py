"""Code is compiled ahead once, by a process of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from nurt.adapters import compiled


def test_what_was_compiled_is_not_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def run(command: list[str], **_: Any) -> None:
        started.append(command)

    monkeypatch.setenv("NURT_CACHE", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", run)
    compiled.ensure_compiled()
    assert [command[1:] for command in started] == [["-m", "nurt.warm"]]
    compiled.note_compiled()
    compiled.ensure_compiled()
    assert len(started) == 1
    monkeypatch.setattr(compiled, "version", lambda _: "another")
    compiled.ensure_compiled()
    assert len(started) == 2, "another numba compiles anew"


def test_where_nothing_can_be_kept_nothing_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NURT_CACHE", str(tmp_path / "file"))
    compiled.note_compiled()
    assert (tmp_path / "file").read_bytes() == b""


def test_a_user_without_a_home_starts_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    started: list[object] = []
    monkeypatch.delenv("NURT_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: started.append(1))
    compiled.note_compiled()
    compiled.ensure_compiled()
    assert not started
