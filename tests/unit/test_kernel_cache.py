"""No compiled kernel outlives a change of what it is made of."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nurt
from nurt import kernel_cache

CALLER = """
import numba

from nurt.columnar.some_callee import FACTOR, one


@numba.njit(cache=True)
def answer():
    return FACTOR * one()
"""
CALLEE = """
import numba

FACTOR = {factor}


@numba.njit(cache=True)
def one():
    return {one}
"""
ASK = "from nurt.columnar.some_caller import answer; print(answer(), sum(answer.stats.cache_hits.values()))"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package with a kernel that calls one of another file."""
    copy = tmp_path / "src" / "nurt"
    shutil.copytree(Path(nurt.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "columnar" / "some_caller.py").write_text(CALLER)
    return copy


def write_callee(package: Path, factor: int, one: int) -> None:
    """Change a file behind the back of whoever looks at sizes and dates."""
    file = package / "columnar" / "some_callee.py"
    file.write_text(CALLEE.format(factor=factor, one=one))
    os.utime(file, (1e9, 1e9))


def ask(package: Path, script: str = ASK, **environment: str) -> tuple[int, int]:
    """Run the kernel in a process of its own; returns its answer, and how often a kept kernel was used."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "PYTHONPYCACHE"))}
    environment = {"NURT_CACHE": str(package.parent / "cache"), "PYTHONDONTWRITEBYTECODE": "1"} | environment
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env=kept | environment | {"PYTHONPATH": str(package.parent)},
        capture_output=True,
        check=True,
        text=True,
    )
    answer, hits = map(int, ran.stdout.split())
    return answer, hits


@pytest.mark.slow
def test_a_kernel_that_calls_a_changed_one_is_compiled_again(package: Path) -> None:
    write_callee(package, 1, 1)
    assert ask(package) == (1, 0)
    assert ask(package) == (1, 1), "what did not change is kept"
    write_callee(package, 1, 2)
    assert ask(package) == (2, 0)
    write_callee(package, 3, 2)
    assert ask(package) == (6, 0), "a constant of another file is part of the kernel"
    write_callee(package, 1, 2)
    assert ask(package) == (2, 1), "what was compiled for the same sources is used again"


@pytest.mark.slow
def test_a_kernel_is_never_stale_where_numba_was_imported_before(package: Path) -> None:
    script = f"import numba; {ASK}"
    write_callee(package, 1, 1)
    assert ask(package, script) == (1, 0)
    write_callee(package, 1, 2)
    assert ask(package, script) == (2, 0)


@pytest.mark.slow
def test_a_folder_that_the_user_names_is_used(package: Path, tmp_path: Path) -> None:
    write_callee(package, 1, 1)
    named = str(tmp_path / "mine")
    assert ask(package, NUMBA_CACHE_DIR=named) == (1, 0)
    (folder,) = Path(named).iterdir()
    assert ask(package, NUMBA_CACHE_DIR=str(folder)) == (1, 1), "as a process sees it that is started by another"
    assert ask(package, NUMBA_CACHE_DIR=named, NUMBA_BOUNDSCHECK="1") == (1, 0), "checked kernels are others"


def test_where_no_folder_can_be_made_kernels_lie_beside_the_sources(package: Path, tmp_path: Path) -> None:
    write_callee(package, 1, 1)
    (tmp_path / "file").touch()
    assert ask(package, NURT_CACHE=str(tmp_path / "file")) == (1, 0)
    write_callee(package, 1, 2)
    assert ask(package, NURT_CACHE=str(tmp_path / "file")) == (2, 0)
    assert len(list((package / "__pycache__").glob("nurt-*"))) == 2


def test_a_user_without_a_home_starts_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.delenv("NURT_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(kernel_cache, "PACKAGE", tmp_path)
    folder = kernel_cache.current()
    assert folder is not None
    assert folder.parent == tmp_path / "__pycache__"


def test_only_the_folders_that_were_used_last_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    (tmp_path / "another's").mkdir()
    made: list[Path] = []
    for number in range(kernel_cache.KEPT + 2):
        monkeypatch.setattr(kernel_cache, "digest", lambda number=number: f"{number:032x}")
        folder = kernel_cache.current()
        assert folder is not None
        os.utime(folder, (1e9 + number, 1e9 + number))
        made.append(folder)
    assert [folder.exists() for folder in made] == [False, False, *[True] * kernel_cache.KEPT]
    assert (tmp_path / "another's").exists()


def test_folders_that_no_digest_covers_hold_no_kernel() -> None:
    of_kernels = [
        file.name
        for name in kernel_cache.NO_KERNELS
        for file in (kernel_cache.PACKAGE / name).rglob("*.py")
        if re.search(r"^\s*(import|from) numba\b", file.read_text(), re.MULTILINE)
    ]
    assert of_kernels == []
