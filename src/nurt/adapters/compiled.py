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
    if not _mark().exists():
        subprocess.run([sys.executable, "-m", "nurt.warm"], check=False, stdin=subprocess.DEVNULL)


def note_compiled() -> None:
    """Remember that it was done; where nothing can be kept, the next start compiles again."""
    mark = _mark()
    with suppress(OSError):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def _mark() -> Path:
    told = [version("numba"), platform.python_version(), platform.machine(), os.environ.get("NUMBA_CACHE_DIR", "")]
    for source in sorted(Path(str(files("nurt"))).rglob("*.py")):
        about = source.stat()
        told.append(f"{source} {about.st_mtime_ns} {about.st_size}")
    home = Path(os.environ.get("NURT_CACHE") or Path.home() / ".cache" / "nurt")
    return home / "compiled" / hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]
