"""Operating failures. Expected bad data is a value (`model.refusal`), never one of these.

The shop's client can raise the first three, too.
"""

from __future__ import annotations

import traceback
from pathlib import PurePath

from nurt_client.errors import ConfigurationError, ConnectionFailed, NurtError

__all__ = [
    "ConfigurationError",
    "ConnectionFailed",
    "Fenced",
    "LogChanged",
    "LogHalted",
    "NurtError",
    "OffsetLost",
    "SourceHalted",
    "StateDamaged",
    "StateTooNew",
    "frames_of",
]

FRAMES_MAX = 30


def frames_of(failed: BaseException) -> str:
    """Say what failed and where, without a word that a row may have brought: kinds and frames, one a line.

    The text of an error of nurt's own is written here and holds nothing personal; any other library's may quote a
    value. Nor are lines of source shown, or values of variables.
    """
    lines: list[str] = []
    cause: BaseException | None = failed
    while cause is not None and len(lines) < FRAMES_MAX:
        said = f": {cause}" if isinstance(cause, NurtError) else ""
        lines.append(f"{type(cause).__name__}{said}")
        frames = traceback.extract_tb(cause.__traceback__)[-FRAMES_MAX:]
        lines += [f"  {_place(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\n".join(lines)


def _place(file_name: str) -> str:
    return "/".join(PurePath(file_name).parts[-3:])


class OffsetLost(NurtError):
    """A position that nurt must resume from is no longer on the topic."""

    exit_code = 4


class LogChanged(NurtError):
    """A topic became another log while nurt read it; a start looks what begins the log, and goes on."""

    exit_code = 9


class Fenced(NurtError):
    """Another run owns the state, or the state was restored from before this run; this run must stop."""

    exit_code = 5


class StateTooNew(NurtError):
    """A stored value was written by a later version of nurt."""

    exit_code = 6


class StateDamaged(NurtError):
    """A stored value is not what nurt wrote."""

    exit_code = 10


class SourceHalted(NurtError):
    """A source's order may have started again without a snapshot; an operator says whether it did."""

    exit_code = 8


class LogHalted(SourceHalted):
    """A topic is another log, or was cut, and no full snapshot begins it; an operator says which of both."""
