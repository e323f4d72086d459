"""Why this process ends: in a cluster Bytewax keeps a step's exception to itself, and only says that there was one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nurt.errors import NurtError


class Failures:
    """The failures that the steps of this process raised, first to last."""

    def __init__(self) -> None:
        self._reported: list[NurtError] = []

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note what is raised within."""
        try:
            yield
        except NurtError as failed:
            self._reported.append(failed)
            raise

    def first(self) -> NurtError | None:
        """Return what was raised first since `clear`."""
        return self._reported[0] if self._reported else None

    def clear(self) -> None:
        """Forget what an earlier run raised."""
        self._reported.clear()


failures = Failures()
"""Of this process: a process runs one flow at a time."""
