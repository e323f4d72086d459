"""Files that survive a crash: replaced whole or not at all, and written by one process at a time."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nurt.adapters.file_modes import PRIVATE, Sharing

LOCK_PATIENCE_S = 5.0
LOCK_PAUSE_S = 0.002
_logger = logging.getLogger(__name__)


def replace_file(path: Path, content: bytes, sync_name: bool = True, shared: Sharing = PRIVATE) -> None:
    """Put `content` at `path` so that a reader, or a crash, sees the old file or the new one, never a part.

    Without `sync_name` a power cut may bring the old file back until the caller has used `sync_folder`. Only the user
    who runs nurt may read the file, unless it is `shared`.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if shared != PRIVATE:
            shared.give_file(Path(name))
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if sync_name:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the folder's list of names durable: a rename or a new file is lost without it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`, waiting for its holder; the kernel frees the lock when a process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        take_lock(file, path)
        yield


def take_lock(file: BinaryIO, path: Path, how: int = fcntl.LOCK_EX) -> None:
    """Wait for a lock of an open file; log a long wait, because the holder may be a stopped process."""
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while time.monotonic() < deadline:
        try:
            return fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE_S)
    _logger.warning(
        "waiting for %s: another process holds it for more than %.0f s; if it is stopped, let it go on or kill it",
        path,
        LOCK_PATIENCE_S,
    )
    fcntl.flock(file, how)
