"""Why this process ends: in a cluster Bytewax hides a step's exception, and reports only that there was one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from nurt.errors import NurtError, StateDamaged
from nurt.state.damage import find_damage


class Reader(Protocol):
    """Port of a store that knows what it gave last."""

    def last_read(self) -> tuple[Sequence[bytes], Sequence[bytes | None]]:
        """Return keys and values; see ports.store.Store."""
        ...


@contextmanager
def naming_damage(store: Reader, forms: Mapping[bytes, str]) -> Iterator[None]:
    """Turn a failure over a damaged value into one that names the value: among those that were read last."""
    try:
        yield
    except Exception as failed:
        if isinstance(failed, NurtError) and not isinstance(failed, StateDamaged):
            raise
        damaged = find_damage(forms, *store.last_read())
        if not damaged:
            raise
        one = damaged[0]
        raise StateDamaged(
            f"reading state: {len(damaged)} of the values read last are damaged, {one.kind} {one.id} first: {one.why}; "
            "`nurt state check` names all; restore an older copy of Redis, or start `nurt run --rebuild`"
        ) from None


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
