"""Frames cross from one process to another as Arrow IPC.

Hot path with several processes. Importing this module decides how every frame is pickled. Polars' own pickling keeps
the interpreter's lock while it waits for its thread pool; a pool thread that frees one of our buffers (see
`columnar.series.text_series`) waits for that lock: both wait for ever. Writing IPC releases the lock meanwhile.
"""

from __future__ import annotations

import copyreg
import io
from collections.abc import Callable

import polars as pl


def unpack_frame(body: bytes) -> pl.DataFrame:
    """Read a frame from another process."""
    return pl.read_ipc_stream(io.BytesIO(body))


def _reduce(frame: pl.DataFrame) -> tuple[Callable[[bytes], pl.DataFrame], tuple[bytes]]:
    body = io.BytesIO()
    frame.write_ipc_stream(body, compat_level=pl.CompatLevel.newest())
    return unpack_frame, (body.getvalue(),)


copyreg.pickle(pl.DataFrame, _reduce)
