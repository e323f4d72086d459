"""Why this process ends: in a cluster Bytewax hides a step's exception, and reports only that there was one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nurt.errors import NurtError


class Failures:
    """Failures that the steps of this process raised, first to last."""

    def __init__(self) -> None:
        self._reported: list[NurtError] = []

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Keep what is raised within the block."""
        try:
            yield
        except NurtError as failed:
            self._reported.append(failed)
            raise

    def first(self) -> NurtError | None:
        """Return the first failure since `clear`."""
        return self._reported[0] if self._reported else None

    def clear(self) -> None:
        """Forget failures of an earlier run."""
        self._reported.clear()


failures = Failures()
"""Failures of this process: a process runs one flow at a time."""
