"""Whether this very code's loops were compiled on this machine; if not, a process of its own compiles them.

A worker that compiled them itself would keep 170 MB of what that takes, and start no sooner.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path


def ensure_compiled() -> None:
    """Compile (`python -m nurt.warm`), unless that was done for this code."""
    try:
        done = _mark().exists()
    except (OSError, RuntimeError):  # no home, or one that is not ours: the worker compiles what it finds nowhere
        return
    if not done:
        subprocess.run([sys.executable, "-m", "nurt.warm"], check=False, stdin=subprocess.DEVNULL)


def note_compiled() -> None:
    """Remember that it was done; where nothing can be kept, the next start compiles again."""
    with suppress(OSError, RuntimeError):
        mark = _mark()
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def _mark() -> Path:
    told = [version("numba"), platform.python_version(), platform.machine(), os.environ.get("NUMBA_CACHE_DIR", "")]
    for source in sorted(Path(str(files("nurt"))).rglob("*.py")):
        about = source.stat()
        told.append(f"{source} {about.st_mtime_ns} {about.st_size}")
    home = Path(os.environ.get("NURT_CACHE") or Path.home() / ".cache" / "nurt")
    return home / "compiled" / hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]
