"""A separate process compiles the kernels, unless exactly these sources were compiled on this machine before.

A worker that compiled kernels itself would keep 170 MB of the compiler's memory, and start no earlier.
"""

from __future__ import annotations

import subprocess
import sys

from nurt import kernel_cache


def ensure_compiled() -> None:
    """Compile (`python -m nurt.app.warm`), unless that was done for these sources."""
    folder = kernel_cache.current()
    if folder is None:  # no kernel can be kept: the worker compiles the kernels that it uses
        return
    if not kernel_cache.is_complete(folder):
        subprocess.run([sys.executable, "-m", "nurt.app.warm"], check=False, stdin=subprocess.DEVNULL)
