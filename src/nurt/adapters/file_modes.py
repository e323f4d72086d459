"""Who may read the files that nurt writes: its own user alone, or a group of analysts where the settings say so."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from nurt.errors import ConfigurationError

PRIVATE_UMASK = 0o077
FOLDER_MODE = 0o700


def keep_files_private() -> None:
    """Let this process and its children create files and folders that only their user may read."""
    os.umask(PRIVATE_UMASK)


def make_private_folder(folder: Path) -> None:
    """Make a folder of nurt's own, and close one that is there and ours to other users."""
    folder.mkdir(parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_mode & 0o077 and found.st_uid == os.getuid():
        folder.chmod(FOLDER_MODE)


@dataclass(frozen=True, slots=True)
class Sharing:
    """Group and mode of the files that analysts read: DuckDB and Parquet.

    Attributes:
        group: name or number; None: the group of the user who runs nurt.
        mode: of files; a folder has the same, with the right to enter wherever there is the right to read.
    """

    group: str | None = None
    mode: int = 0o600

    def give_file(self, path: Path) -> None:
        """Give a file its group and mode; a file that is not there stays away.

        Raises ConfigurationError when the group is unknown, or the user who runs nurt is not in it.
        """
        self._give(path, self.mode)

    def make_folder(self, folder: Path) -> None:
        """Make a folder with its group and mode; one that is there keeps its own unless files are shared."""
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        if is_new or self != PRIVATE:
            self._give(folder, self.mode | (self.mode & 0o444) >> 2)

    def _give(self, path: Path, mode: int) -> None:
        if not path.exists():
            return
        try:
            if self.group is not None:
                shutil.chown(path, group=int(self.group) if self.group.isdecimal() else self.group)
            path.chmod(mode)
        except (LookupError, PermissionError) as failed:
            raise ConfigurationError(
                f"sharing {path} by `output.group` and `output.mode`: {type(failed).__name__} for group {self.group} "
                "(a group of this machine, with the user who runs nurt in it); correct them"
            ) from None


PRIVATE = Sharing()
"""Sharing with nobody."""


def sharing(group: object, mode: object) -> Sharing:
    """Read `group` and `mode` of the settings' section `output`.

    A mode is written as digits in quotes, or as the octal number that YAML makes of 0640. A group alone may read.
    Raises ConfigurationError.
    """
    if group is None and mode is None:
        return PRIVATE
    bits = 0o640 if mode is None else mode
    if isinstance(mode, str):
        bits = int(mode, 8) if mode.strip("01234567") == "" and mode else -1
    if not isinstance(bits, int) or isinstance(bits, bool) or bits & ~0o666 or bits & 0o600 != 0o600:
        raise ConfigurationError(
            f"reading `output.mode`: {mode!r} (expected a mode that lets nurt read and write and nobody execute, "
            'as "0640"); correct it'
        )
    return Sharing(None if group is None else str(group), bits)
