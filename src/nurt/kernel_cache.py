"""The folder in which numba keeps compiled kernels: one for every state of the sources, so no kernel is ever stale.

numba compares a kept kernel with its own source file only. A kernel or constant that it uses from another file may
change unseen, and yesterday's machine code runs on. So the folder's name is a digest of everything a kernel is made of:
every source of this package by content (dates and sizes can stay while the text changes, as in files that an installer
unpacks), Python, numba, llvmlite, the processor and numba's own settings (NUMBA_BOUNDSCHECK and others).
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).parent

NO_KERNELS = frozenset({"__pycache__", "cli", "fake", "simulate"})
"""Folders that hold no kernel and nothing that a kernel uses: a change there compiles nothing again."""

KEPT = 8
"""Folders that are kept, those that were used last; several checkouts may share them."""

_VARIABLE = "NUMBA_CACHE_DIR"
_NAME = re.compile(r"nurt-[0-9a-f]{32}")
_COMPLETE = "complete"


class _BeforeNumba:
    """Finder that finds no module: it chooses the folder just before numba is imported, and then removes itself."""

    def find_spec(self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None) -> None:
        """Choose the folder before numba reads its settings."""
        if name == "numba":
            with suppress(ValueError):
                sys.meta_path.remove(self)
            _choose()


def follow_sources() -> None:
    """Let numba keep kernels in the folder of these sources; costs nothing where numba is not imported.

    The folder lies in NUMBA_CACHE_DIR; where that is not set, in NURT_CACHE or ~/.cache/nurt; where that cannot be
    written, beside the sources.
    """
    numba = sys.modules.get("numba")
    if numba is None:
        sys.meta_path.insert(0, _BeforeNumba())
    else:
        _choose()
        numba.config.reload_config()


def current() -> Path | None:
    """Return the folder of these sources; None where none can be written."""
    return _choose()


def is_complete(folder: Path) -> bool:
    """Say whether all kernels were compiled into a folder."""
    return (folder / _COMPLETE).exists()


def note_complete(folder: Path) -> None:
    """Remember that all kernels were compiled into a folder."""
    with suppress(OSError):
        (folder / _COMPLETE).touch()


def digest() -> str:
    """Give the digest of all that a kernel is made of, in hex digits."""
    import hashlib
    from importlib.metadata import version

    from llvmlite import binding

    made_of = hashlib.blake2b(digest_size=16)
    about = [sys.version, version("numba"), version("llvmlite"), binding.get_host_cpu_name()]
    with suppress(RuntimeError):  # LLVM does not know the features of every processor
        about.append(binding.get_host_cpu_features().flatten())
    settings = (f"{name}={value}" for name, value in os.environ.items() if name.startswith("NUMBA_"))
    about += sorted(one for one in settings if not one.startswith(_VARIABLE))
    for text in about:
        made_of.update(f"{text}\n".encode())
    for source in sorted(_sources(str(PACKAGE))):
        with open(source, "rb") as file:  # noqa: PTH123 - this runs at every start; paths as objects take twice as long
            content = file.read()
        made_of.update(f"{source[len(str(PACKAGE)) :]} {len(content)}\n".encode())
        made_of.update(content)
    return made_of.hexdigest()


def _sources(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.name not in NO_KERNELS:
                    yield from _sources(entry.path)
            elif entry.name.endswith(".py"):
                yield entry.path


def _choose() -> Path | None:
    """Make the folder, tell numba of it, and remove old ones."""
    name = f"nurt-{digest()}"
    for parent in _parents():
        folder = parent / name
        try:
            fresh = not folder.is_dir()
            folder.mkdir(parents=True, exist_ok=True)
            os.utime(folder)  # so that the folders that were used last are known
        except OSError:
            continue
        if not os.access(folder, os.W_OK):
            continue
        if fresh:
            _remove_old(parent, folder)
        os.environ[_VARIABLE] = str(folder)
        return folder
    return None


def _parents() -> Iterator[Path]:
    """Yield where the folder may lie, the best place first."""
    if wanted := os.environ.get(_VARIABLE):
        # a process that started this one may have chosen a folder already
        yield Path(wanted).parent if _NAME.fullmatch(Path(wanted).name) else Path(wanted)
    with suppress(RuntimeError):  # a user may have no home
        yield Path(os.environ.get("NURT_CACHE") or Path.home() / ".cache" / "nurt") / "kernels"
    yield PACKAGE / "__pycache__"


def _remove_old(parent: Path, chosen: Path) -> None:
    """Remove all but the folders that were used last. A process that still runs writes into a new one."""
    with suppress(OSError):
        others = [one for one in parent.iterdir() if _NAME.fullmatch(one.name) and one != chosen]
        for one in sorted(others, key=lambda other: other.stat().st_mtime, reverse=True)[KEPT - 1 :]:
            shutil.rmtree(one, ignore_errors=True)
