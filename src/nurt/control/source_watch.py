"""Watch for what a source does not announce: its server changed, or its log fell back far, without a snapshot.

Then the source's order starts again, and new changes would be dropped as old news. Only an operator can know this: the
source is halted until the operator's word. One word begins one new source epoch in each partition of the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from nurt.columnar.types import Int64s
from nurt.debezium.positions import Family

FALL_BACK_MAX: dict[Family, int] = {
    Family.POSTGRESQL: 1 << 32,  # bytes of WAL: 4 GiB, far more than a connector repeats after a crash
    Family.MYSQL: 2,  # log files
    Family.SQLSERVER: 64 << 32,  # virtual log files << 32 | block
}
"""Distance that a partition's first position part may lie behind its highest without being a fall-back."""


class NoticeKind(StrEnum):
    """Kind of a notice about a source to the operator."""

    SERVER_CHANGED = "server_changed"
    FELL_BACK = "position_fell_back"


@dataclass(frozen=True, slots=True)
class Notice:
    """Notice that a source may have begun a new order without announcing it; seen at one message."""

    kind: NoticeKind
    source: str
    topic: str
    partition: int
    offset: int
    detail: str


@dataclass(frozen=True, slots=True)
class Sight:
    """Sight of a partition: how far it was watched. The control log keeps this fact for later runs."""

    topic: str
    partition: int
    offset: int
    highest: int
    servers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PositionedRows:
    """Rows of one partition that have positions, in the order of their offsets.

    Attributes:
        parts: the first part of each position.
        servers: `source.server_id`, 0 for unknown; None when the source has none.
    """

    offsets: Int64s
    parts: Int64s
    servers: Int64s | None


@dataclass(slots=True)
class _Watched:
    highest: int | None = None
    servers: set[int] = field(default_factory=set)
    until: int = -1  # up to this offset an earlier run has watched
    noted: int | None = None  # the highest that the control log knows
    used: int = 0  # the word that last began an epoch here


class SourceWatch:
    """Watch over the partitions that a worker reads.

    Args:
        sights: of earlier runs.
        words: source -> number of the operator's last word on it.
        used: (topic, partition) -> the word that was used there last.
    """

    def __init__(
        self,
        sights: Iterable[Sight] = (),
        words: Mapping[str, int] | None = None,
        used: Mapping[tuple[str, int], int] | None = None,
    ) -> None:
        self._partitions: dict[tuple[str, int], _Watched] = {}
        self._words = dict(words or {})
        self._notices: list[Notice] = []
        self._sights: dict[tuple[str, int], Sight] = {}
        for sight in sights:
            state = self._of((sight.topic, sight.partition))
            state.highest = state.noted = sight.highest
            state.servers, state.until = set(sight.servers), sight.offset
        for place, word in (used or {}).items():
            self._of(place).used = word

    def forget(self, place: tuple[str, int]) -> None:
        """Begin again: a full snapshot shows that the order starts again."""
        state = self._of(place)
        state.highest = state.noted = None
        state.servers.clear()
        self._sights.pop(place, None)

    def watch(
        self,
        place: tuple[str, int],
        family: Family,
        source: str,
        rows: PositionedRows,
        is_excused: Callable[[int], bool],
    ) -> list[tuple[int, int]]:
        """Look at rows; return (offset, word) where an operator's word begins a source epoch.

        Args:
            source: the operator's name of the rows' source.
            is_excused: says of a row (its index) that nurt put it here again, so the row may be old.
        """
        state = self._of(place)
        limit = FALL_BACK_MAX.get(family)
        begins: list[tuple[int, int]] = []
        at = int(np.searchsorted(rows.offsets, state.until, side="right"))
        while at < len(rows.offsets):
            word = self._words.get(source, 0)
            pending = word > state.used
            found = self._first(state, rows, at, None if limit is None else 0 if pending else limit, is_excused)
            if found is None:
                break
            row, kind, detail = found
            if not pending:
                self._notices.append(Notice(kind, source, *place, int(rows.offsets[row]), detail))
                state.highest = int(rows.parts[-1])  # reported once; what follows is measured from here
                state.servers |= _servers(rows, at)
                return begins
            begins.append((int(rows.offsets[row]), word))
            state.used, state.highest, state.noted, at = word, None, None, row
            if rows.servers is not None and rows.servers[row]:
                state.servers.add(int(rows.servers[row]))
        self._look(place, state, rows, at, limit)
        return begins

    def sights(self) -> list[Sight]:
        """Return what the control log should know, since the last call."""
        sights, self._sights = list(self._sights.values()), {}
        return sights

    def notices(self) -> list[Notice]:
        """Return the notices since the last call."""
        notices, self._notices = self._notices, []
        return notices

    def _of(self, place: tuple[str, int]) -> _Watched:
        return self._partitions.setdefault(place, _Watched())

    def _first(
        self, state: _Watched, rows: PositionedRows, at: int, limit: int | None, is_excused: Callable[[int], bool]
    ) -> tuple[int, NoticeKind, str] | None:
        """Find the first row from `at` on that shows a new order."""
        new = _new_server(state.servers, rows.servers, at)
        if limit is not None:
            parts = rows.parts[at:]
            so_far = np.maximum.accumulate(parts if state.highest is None else np.maximum(parts, state.highest))
            behind = so_far - parts
            for row in np.flatnonzero(behind > limit).tolist():
                if new is not None and new <= at + row:
                    break
                if not is_excused(at + row):
                    detail = f"{int(behind[row])} behind the highest seen (at most {limit} is usual)"
                    return at + row, NoticeKind.FELL_BACK, detail
        if new is None or rows.servers is None:
            return None
        detail = f"server_id {int(rows.servers[new])} after {sorted(state.servers)}, without a snapshot"
        return new, NoticeKind.SERVER_CHANGED, detail

    def _look(
        self, place: tuple[str, int], state: _Watched, rows: PositionedRows, begin: int, limit: int | None
    ) -> None:
        """Keep the highest position and the servers of rows from `begin` on, and the sight for the control log."""
        if begin == len(rows.offsets) or limit is None:
            return
        highest = int(rows.parts[begin:].max())
        state.highest = highest if state.highest is None else max(state.highest, highest)
        servers = _servers(rows, begin)
        is_new = bool(servers - state.servers)
        state.servers |= servers
        if is_new or state.noted is None or state.highest - state.noted > limit:
            state.noted = state.highest
            last = int(rows.offsets[-1])
            self._sights[place] = Sight(*place, last, state.highest, tuple(sorted(state.servers)))


def _servers(rows: PositionedRows, begin: int) -> set[int]:
    return set() if rows.servers is None else set(np.unique(rows.servers[begin:]).tolist()) - {0}


def _new_server(known: set[int], servers: Int64s | None, at: int) -> int | None:
    """Find the first row from `at` on with an unknown server; the very first server counts as known."""
    if servers is None:
        return None
    mine = servers[at:]
    some = np.flatnonzero(mine != 0)
    if not len(some):
        return None
    usual = known or {int(mine[some[0]])}
    strange = some[~np.isin(mine[some], list(usual))]
    return at + int(strange[0]) if len(strange) else None
