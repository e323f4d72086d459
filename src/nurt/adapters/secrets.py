"""Secrets outside of users' settings: in environment variables and separate files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from nurt.errors import ConfigurationError

Option = str | int | float | bool

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_VARIABLE_OR_DOLLAR = re.compile(r"\$\$|" + _VARIABLE.pattern)


def fill_in(where: str, value: Option) -> Option:
    """Replace `${NAME}` by an environment variable, `file:path` by a file's content, and `$$` by a dollar sign.

    Raises ConfigurationError naming the setting and the variable or file, never a value.
    """
    if not isinstance(value, str):
        return value
    if value.startswith("file:"):
        return _read(where, Path(value.removeprefix("file:")))
    return _VARIABLE_OR_DOLLAR.sub(lambda found: "$" if found[1] is None else _environment(where, found[1]), value)


def secret(where: str, written: Any) -> str:
    """Read a setting that must be there: `${NAME}` and `file:path` as in `fill_in`; `file://` is an address.

    Raises ConfigurationError naming the setting, never a value.
    """
    if not isinstance(written, str) or not written:
        raise ConfigurationError(f"reading {where}: it is missing; write `${{VARIABLE}}` or `file:/path`")
    if written.startswith("file:") and not written.startswith("file://"):
        return _read(where, Path(written.removeprefix("file:")))
    return _VARIABLE.sub(lambda found: _environment(where, found[1]), written)


def _read(where: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as failed:
        raise ConfigurationError(
            f"reading {where}: the file {path} cannot be read ({type(failed).__name__}); create it or correct the path"
        ) from None


def _environment(where: str, name: str) -> str:
    if name not in os.environ:
        raise ConfigurationError(f"reading {where}: the environment variable {name} is not set; set it")
    return os.environ[name]
