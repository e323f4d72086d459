"""The memory of this process, kept small: a worker's state is in Redis, so little memory needs to stay.

Where there is no glibc or no Linux, nothing happens.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from functools import cache
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import pyarrow as pa

KEPT_BYTES = 4 << 20
"""Freed memory that the C library keeps, and the size from which a piece is its own mapping."""
SHED_S = 1.0
CODE_BYTES_MIN = 4 << 20
"""Most code of libraries larger than this is used once, at the start: 60 MB (polars, pyarrow, the compiler of loops,
DuckDB). The kernel reads it again, page by page, where it is needed."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
_DONTNEED = 4  # of Linux' madvise: pages of code are dropped, and read again from their file when they are touched


@cache
def keep_memory_small() -> None:
    """Share one heap among threads, and return free memory every second, as long as the process lives."""
    try:
        library = ctypes.CDLL(None)
        mallopt, trim, advise = library.mallopt, library.malloc_trim, library.madvise
    except (OSError, AttributeError):
        return
    for option, value in ((_TRIM_THRESHOLD, KEPT_BYTES), (_MMAP_THRESHOLD, KEPT_BYTES), (_ARENA_MAX, 1)):
        mallopt(option, value)
    _forgo_pandas()
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    threading.Thread(target=_shed, args=(trim, advise), name="shedding", daemon=True).start()


class _NoPandas(MetaPathFinder):
    """Finder that says that there is no pandas."""

    def find_spec(self, fullname: str, *_: Any) -> None:
        """See importlib."""
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)


def _forgo_pandas() -> None:
    """Hide pandas from pyarrow: where pandas is installed, the first array would load 34 MB of unused code."""
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)


def _shed(trim: Any, advise: Any) -> None:
    pause = threading.Event()
    while not pause.wait(SHED_S):
        trim(0)
        for start, size_bytes in _code_of_libraries():
            advise(start, size_bytes, _DONTNEED)


def _code_of_libraries() -> list[tuple[int, int]]:
    """Find the place and size of large libraries' code; code is never written to, so its pages can be dropped."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        place, rights, *rest = line.split()
        if rights == "r-xp" and ".so" in rest[-1]:
            start, end = (int(one, 16) for one in place.split("-"))
            if end - start >= CODE_BYTES_MIN:
                found.append((start, end - start))
    return found
