"""A process of its own compiles the kernels, unless these very sources were compiled on this machine.

A worker that compiled them itself would keep 170 MB of what that takes, and start no sooner.
"""

from __future__ import annotations

import subprocess
import sys

from nurt import kernel_cache


def ensure_compiled() -> None:
    """Compile (`python -m nurt.app.warm`), unless that was done for these sources."""
    folder = kernel_cache.current()
    if folder is None:  # nothing can be kept: the worker compiles what it uses
        return
    if not kernel_cache.is_complete(folder):
        subprocess.run([sys.executable, "-m", "nurt.app.warm"], check=False, stdin=subprocess.DEVNULL)
