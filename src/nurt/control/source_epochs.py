"""Number the stretches of a source within which its positions can be compared.

After a failover, a restore or a new snapshot a source's order starts again. A full snapshot shows this by itself: each
partition of a topic goes through snapshot, stream, snapshot, stream, ... and every change of phase begins a new source
epoch: even epochs are snapshots, odd ones streams. The beginning of an epoch is stored in the control log before its
batch is used. So a replay numbers epochs in the same way, although it cannot see the messages before its first one.

`source_watch` reports what a source does not announce, a changed server or a log that falls back far: otherwise new
changes would be dropped as old news. There the operator's word begins a source epoch of the same phase.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numba
import numpy as np

from nurt.columnar.types import Bools, Int8s, Int64s
from nurt.control.generations import first_epoch
from nurt.control.source_watch import Notice, PositionedRows, Sight, SourceWatch
from nurt.debezium.positions import Family
from nurt.model.entity_frame import FULL_SNAPSHOT

Begin = tuple[str, int, int, int]
"""(topic, partition, offset, epoch): the epoch holds from this offset on."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Rows of one topic in the order they were read; arrays have one length."""

    partitions: Int64s
    offsets: Int64s  # ascending within a partition
    snapshot: Int8s  # STREAMED, FULL_SNAPSHOT or INCREMENTAL_SNAPSHOT


@dataclass(slots=True)
class _Partition:
    """Known epochs of one partition; `offsets[i]` begins `epochs[i]`, both ascending."""

    first: int  # the epoch of rows before every begin
    offsets: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        return self.epochs[-1] if self.epochs else self.first


class SourceEpochs:
    """Source epochs of all partitions that a worker reads. Not for several threads at once.

    `persisted` are the begins in the control log, in any order; they are facts, and they alone number the rows before
    the newest begin. `generation` returns that of a topic's epochs. `accepted` lists the offsets (and words) at which
    an operator's word began an epoch before a rebuild: there one begins again.
    """

    def __init__(
        self,
        persisted: Iterable[Begin] = (),
        watch: SourceWatch | None = None,
        generation: Callable[[str], int] = lambda _topic: 0,
        accepted: Mapping[tuple[str, int], Sequence[tuple[int, int]]] | None = None,
    ) -> None:
        self._generation = generation
        self._accepted = {place: sorted(some) for place, some in (accepted or {}).items()}
        self._partitions: dict[tuple[str, int], _Partition] = {}
        self._begun: list[Begin] = []
        self._words: dict[tuple[str, int, int], int] = {}
        self._watch = watch if watch is not None else SourceWatch()
        for topic, partition, offset, epoch in sorted(persisted, key=lambda begin: (begin[2], begin[3])):
            self._add(topic, partition, offset, epoch)

    def epoch_of(self, topic: str, partition: int, offsets: Int64s) -> Int64s:
        """Return the epoch of every offset of one partition, as far as known."""
        known = self._partitions.get((topic, partition))
        if known is None or not known.offsets:
            return np.full(len(offsets), first_epoch(self._generation(topic)), dtype=np.int64)
        at = np.searchsorted(np.array(known.offsets, dtype=np.int64), offsets, side="right")
        return np.array([known.first, *known.epochs], dtype=np.int64)[at]

    def observe(self, topic: str, seen: Seen) -> Int64s:
        """Return the epoch of every row of a batch of one topic, and keep the epochs that the batch begins."""
        if not len(seen.partitions):
            return np.zeros(0, dtype=np.int64)
        survey = np.zeros((int(seen.partitions.max()) + 1, 3), dtype=np.int64)
        _survey_phases(seen.partitions, seen.offsets, seen.snapshot, survey)
        settled = np.zeros(len(survey), dtype=np.int64)  # the epoch of a partition whose rows all have one
        others = []
        for partition, (count, first, full) in enumerate(survey.tolist()):
            if not count:
                continue
            state = self._of((topic, partition))
            same_phase = full == 0 if state.epoch % 2 == 1 else full == count
            if same_phase and first >= (state.offsets[-1] if state.offsets else 0):
                settled[partition] = state.epoch
            else:
                others.append(partition)
        epochs = settled[seen.partitions]
        for partition in others:
            rows = np.flatnonzero(seen.partitions == partition)
            epochs[rows] = self._observe_one(topic, partition, seen.offsets[rows], seen.snapshot[rows] == FULL_SNAPSHOT)
        return epochs

    def watch(
        self, seen: Seen, watched: WatchedRows, first_parts: Int64s, known: Bools, servers: Int64s | None
    ) -> None:
        """Report a server that was never seen before, and a first position part far behind its partition's highest.

        Args:
            seen: rows of one topic, as for `observe`.
            first_parts: p0 of each row.
            known: whether the row has a p0.
            servers: `source.server_id`, 0 for unknown; None when the source has none.
        """
        for partition in np.flatnonzero(np.bincount(seen.partitions)) if len(seen.partitions) else ():
            mine = np.flatnonzero((seen.partitions == partition) & known)
            if not len(mine):
                continue
            place = (watched.topic, int(partition))
            if place in self._accepted:
                mine = self._begin_accepted(place, seen.offsets, mine)
            if (seen.snapshot[mine] == FULL_SNAPSHOT).any():
                self._watch.forget(place)
                continue
            rows = PositionedRows(seen.offsets[mine], first_parts[mine], None if servers is None else servers[mine])
            excused = partial(_ask, watched.is_excused, mine)
            for offset, word in self._watch.watch(place, watched.family, watched.source, rows, excused):
                self._words[(*place, offset)] = word
                self._begin(*place, offset, self._of(place).epoch + 2)

    def _begin_accepted(self, place: tuple[str, int], offsets: Int64s, mine: Int64s) -> Int64s:
        """Begin the epochs that an operator accepted; return the rows from the last of them on."""
        left = self._accepted[place]
        while left and left[0][0] <= offsets[mine[-1]]:
            offset, word = left.pop(0)
            self._words[(*place, offset)] = word
            self._begin(*place, offset, self._of(place).epoch + 2)
            self._watch.forget(place)
            mine = mine[offsets[mine] >= offset]
        return mine

    def word_of(self, begin: Begin) -> int:
        """Return the operator's word that began an epoch; 0: a full snapshot or its end began it."""
        return self._words.get(begin[:3], 0)

    def begun(self) -> list[Begin]:
        """Return the begins since the last call; the caller makes them durable before it uses the batch."""
        begun, self._begun = self._begun, []
        return begun

    def notices(self) -> list[Notice]:
        """Return the notices since the last call."""
        return self._watch.notices()

    def sights(self) -> list[Sight]:
        """Return how far partitions were watched, where the control log does not know it yet."""
        return self._watch.sights()

    def _of(self, place: tuple[str, int]) -> _Partition:
        if place not in self._partitions:
            self._partitions[place] = _Partition(first_epoch(self._generation(place[0])))
        return self._partitions[place]

    def _observe_one(self, topic: str, partition: int, offsets: Int64s, full: Bools) -> Int64s:
        state = self._of((topic, partition))
        streams = state.epoch % 2 == 1
        if offsets[0] >= (state.offsets[-1] if state.offsets else 0):
            beyond = 0
        else:  # a replay: what the control log knows is not concluded again
            beyond = int(np.searchsorted(offsets, state.offsets[-1]))
        if beyond == 0 and not (full.any() if streams else not full.all()):
            return np.full(len(offsets), state.epoch, dtype=np.int64)
        for row in _changes(full[beyond:], snapshot_now=not streams):
            self._begin(topic, partition, int(offsets[beyond + row]), state.epoch + 1)
        return self.epoch_of(topic, partition, offsets)

    def _begin(self, topic: str, partition: int, offset: int, epoch: int) -> None:
        self._add(topic, partition, offset, epoch)
        self._begun.append((topic, partition, offset, epoch))

    def _add(self, topic: str, partition: int, offset: int, epoch: int) -> None:
        state = self._of((topic, partition))
        if epoch > state.epoch:  # a second record of one begin, or a later begin of a lower epoch, adds nothing
            state.offsets.append(offset)
            state.epochs.append(epoch)


@dataclass(frozen=True, slots=True)
class WatchedRows:
    """Rows that are watched: their topic, connector family and source.

    Attributes:
        source: the operator's name of the source.
        is_excused: says of a row (its index) that nurt put it on the topic again, so the row may be old.
    """

    topic: str
    family: Family
    source: str
    is_excused: Callable[[int], bool] = lambda _row: False


def _ask(is_excused: Callable[[int], bool], rows: Int64s, row: int) -> bool:
    return is_excused(int(rows[row]))


def _changes(full: Bools, snapshot_now: bool) -> list[int]:
    """List the rows at which the phase changes, between snapshot rows and streamed rows."""
    if not len(full):
        return []
    return [int(row) for row in np.flatnonzero(np.diff(full.astype(np.int8), prepend=np.int8(snapshot_now)))]


@numba.njit(nogil=True, cache=True)
def _survey_phases(partitions: Int64s, offsets: Int64s, snapshot: Int8s, survey: Int64s) -> None:
    """Count by partition: rows, the first one's offset, rows of full snapshots.

    partitions  (n,)    int64  by row, below p
    offsets     (n,)    int64  by row, ascending within a partition
    snapshot    (n,)    int8   by row: STREAMED, FULL_SNAPSHOT or INCREMENTAL_SNAPSHOT
    survey      (p, 3)  int64  written: rows, offset of the first one, rows of FULL_SNAPSHOT; zeros before
    """
    for row in range(len(partitions)):
        partition = partitions[row]
        if survey[partition, 0] == 0:
            survey[partition, 1] = offsets[row]
        survey[partition, 0] += 1
        survey[partition, 2] += snapshot[row] == FULL_SNAPSHOT
