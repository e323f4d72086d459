"""The control log as a file: append-only, one JSON object a line, shared by the processes of one machine."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from nurt.adapters.durable import sync_folder, take_lock
from nurt.errors import ConfigurationError, ConnectionFailed


class FileControlLog:
    """Control log in one file, with records numbered from 1; implements `ports.log.ControlLog`.

    A record is stored when its line is complete. A crash may leave text behind the last newline; nurt never confirmed
    this text to a caller: readers skip it, and the next append cuts it off. The lock is the kernel's: it ends with its
    holder. The file must lie on a local file system (locks of network file systems are not reliable).
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def append(self, record: Mapping[str, Any]) -> int:
        """Store one record durably; return its number, larger than every earlier one.

        Raises ConnectionFailed when the disk does not take it; the control log is then as it was.
        """
        with self._path.open("a+b") as file:
            take_lock(file, self._path)
            last, end = _last_line(file)
            number = 1 + (self._parsed(last, "the last line")[0] if last else 0)
            line = orjson.dumps({"number": number, "record": dict(record)}, option=orjson.OPT_APPEND_NEWLINE)
            os.ftruncate(file.fileno(), end)
            try:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            except OSError as failed:
                os.ftruncate(file.fileno(), end)
                raise ConnectionFailed(
                    f"appending to register {self._path}: {failed.strerror} (room on its disk); make room, start again"
                ) from None
            if not last:
                sync_folder(self._path.parent)
            return number

    def records(self) -> Sequence[tuple[int, dict[str, Any]]]:
        """Return every record with its number, oldest first.

        Raises ConfigurationError naming a damaged line: nurt does not guess, because every record matters.
        """
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            take_lock(file, self._path, fcntl.LOCK_SH)
            *lines, _torn = file.read().split(b"\n")
        return [self._parsed(line, f"line {index}") for index, line in enumerate(lines, 1)]

    def _parsed(self, line: bytes, where: str) -> tuple[int, dict[str, Any]]:
        try:
            entry = orjson.loads(line)
            return int(entry["number"]), dict(entry["record"])
        except (ValueError, TypeError, KeyError):
            raise ConfigurationError(
                f"reading register {self._path}: {where} is damaged (a numbered JSON record); "
                "restore the file from a backup, or start anew with `nurt run --rebuild`"
            ) from None


def _last_line(file: BinaryIO) -> tuple[bytes, int]:
    """Find the last complete line and its end, without reading a long file; empty and 0 when there is none."""
    size = file.seek(0, os.SEEK_END)
    for length in (1 << 16, 1 << 22, size):
        begin = max(0, size - length)
        file.seek(begin)
        *lines, torn = file.read().split(b"\n")
        if len(lines) > 1 or (lines and begin == 0):
            return lines[-1], size - len(torn)
    return b"", 0
