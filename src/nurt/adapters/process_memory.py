"""What this process holds in memory, kept small: a worker's state is in Redis, so little of it needs to stay.

Where there is no glibc or no Linux, nothing happens.
"""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path
from typing import Any

KEPT_BYTES = 4 << 20
"""How much freed memory the C library keeps at once, and from what size on a piece is a mapping of its own."""
SHED_S = 1.0
COMPILER = "libllvmlite"
"""Loads compiled loops, and is idle ever after: 50 MB of code that the kernel can read again if it is needed."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
_DONTNEED = 4  # of Linux' madvise: pages of code are dropped, and read again from their file when they are touched


def keep_memory_small() -> None:
    """Share one heap among threads, and give back every second what is free, for as long as the process lives."""
    try:
        library = ctypes.CDLL(None)
        mallopt, trim, advise = library.mallopt, library.malloc_trim, library.madvise
    except (OSError, AttributeError):
        return
    for option, value in ((_TRIM_THRESHOLD, KEPT_BYTES), (_MMAP_THRESHOLD, KEPT_BYTES), (_ARENA_MAX, 1)):
        mallopt(option, value)
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    threading.Thread(target=_shed, args=(trim, advise), name="shedding", daemon=True).start()


def _shed(trim: Any, advise: Any) -> None:
    pause = threading.Event()
    while not pause.wait(SHED_S):
        trim(0)
        for start, end in _code_of(COMPILER):
            advise(start, end - start, _DONTNEED)


def _code_of(library: str) -> list[tuple[int, int]]:
    """Find where a library's code lies; code is never written to, so its pages can be dropped."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    ranges = [line.split()[0].split("-") for line in lines if library in line and line.split()[1] == "r-xp"]
    return [(int(start, 16), int(end, 16)) for start, end in ranges]
