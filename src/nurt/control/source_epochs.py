"""Number the stretches of a source within which its positions can be compared.

After a failover, a restore or a new snapshot a source's order starts again. A full snapshot shows this by itself: each
partition of a topic goes through snapshot, stream, snapshot, stream, ... and every change of phase begins a new source
epoch: even epochs are snapshots, odd ones streams. The rows of one full snapshot share a position, its identity: rows
with another one are of another snapshot, even if nothing was streamed between. The beginning of an epoch is stored in
the control log before its batch is used. So a replay numbers epochs in the same way, although it cannot see the
messages before its first one.

`source_watch` knows what a partition's own rows do not show: a snapshot that wrote nothing to it, and the operator's
word. There a source epoch of the same phase begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nurt.columnar.types import Int64s
from nurt.control.generations import first_epoch
from nurt.control.source_survey import UNLIMITED, Heights, Order, Seen, Survey, go_on, survey
from nurt.control.source_watch import Identity, NewOrder, Place, Restart, Sight, SourceWatch
from nurt.debezium.positions import Family
from nurt.model.entity_frame import FULL_SNAPSHOT, STREAMED

Begin = tuple[str, int, int, int]
"""(topic, partition, offset, epoch): the epoch holds from this offset on."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Cause of an epoch, for the control log.

    Attributes:
        source: the operator's name of the source; "" for unknown.
        written_ms: when the message that begins it was written; 0 for unknown.
        identity: of the full snapshot that begins it; None: none does, or it has no position.
        is_partial: the snapshot was asked for amid the stream (a blocking one), so it may have been filtered; or it is
            mixed with another one.
        word: the operator's that begins it; 0: none does.
    """

    source: str = ""
    written_ms: int = 0
    identity: Identity | None = None
    is_partial: bool = False
    word: int = 0


@dataclass(slots=True)
class _Partition:
    """Known epochs of one partition; `offsets[i]` begins `epochs[i]`, both ascending."""

    first: int  # the epoch of rows before every begin
    offsets: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        return self.epochs[-1] if self.epochs else self.first

    @property
    def newest(self) -> int:
        return self.offsets[-1] if self.offsets else 0


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
        self._accepted = {place: sorted(some) for place, some in (accepted or {}).items() if some}
        self._partitions: dict[Place, _Partition] = {}
        self._begun: list[Begin] = []
        self._causes: dict[tuple[str, int, int], Cause] = {}
        self._heights: dict[Place, int] = {}
        self._mixed: set[tuple[Place, int]] = set()
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
        """Return the epoch of every row of a batch of one topic, and keep the epochs that the batch begins.

        Raises NewOrder on evidence of a new order that nothing explains. What was begun until then is a fact, and the
        batch may be observed again when other topics have been.
        """
        if not len(seen.partitions):
            return np.zeros(0, dtype=np.int64)
        heights = self._watch.heights(topic)
        found = survey(seen, heights)
        settled = np.zeros(len(found.rows), dtype=np.int64)  # the epoch of a partition whose rows all have one
        usual, others = [], []
        for partition, (rows, first, full, is_odd) in enumerate(
            zip(found.rows.tolist(), found.first.tolist(), found.full.tolist(), found.is_odd.tolist(), strict=True)
        ):
            if not rows:
                continue
            state = self._of((topic, partition))
            same_phase = full == 0 if state.epoch % 2 == 1 else full == rows
            goes_on = same_phase and not is_odd and first >= state.newest
            if goes_on and not self._may_restart(topic, partition, seen):
                settled[partition] = state.epoch
                usual.append(partition)
            else:
                others.append(partition)
        epochs = settled[seen.partitions]
        if others:
            for partition in usual:
                heights.take(found.heights, partition)
            self._walk_all(topic, seen, others, found)
            for partition in others:
                rows_of = np.flatnonzero(seen.partitions == partition)
                epochs[rows_of] = self.epoch_of(topic, partition, seen.offsets[rows_of])
        else:
            self._watch.replace(topic, found.heights)
        for partition in (*usual, *others):
            self._heights[topic, partition] = self._watch.packed((topic, partition))
        return epochs

    def cause_of(self, begin: Begin) -> Cause:
        """Return what began an epoch."""
        return self._causes.get(begin[:3], Cause())

    def begun(self) -> list[Begin]:
        """Return the begins since the last call; the caller makes them durable before it uses the batch.

        A begin of the epoch that holds already says only which snapshot it is of.
        """
        begun, self._begun = self._begun, []
        return begun

    def heights(self) -> dict[Place, int]:
        """Return how far partitions go, packed, since the last call; the state keeps it with what was folded."""
        heights, self._heights = self._heights, {}
        return heights

    def sights(self) -> list[Sight]:
        """Return how far partitions were watched, where the control log does not know it yet."""
        return self._watch.sights()

    def _may_restart(self, topic: str, partition: int, seen: Seen) -> bool:
        if (left := self._accepted.get((topic, partition))) is not None and bool(
            ((seen.partitions == partition) & (seen.offsets >= left[0][0])).any()
        ):
            return True
        since_ms = self._watch.waits_from((topic, partition), seen.order.source)
        if since_ms is None:
            return False
        is_other = seen.snapshot != FULL_SNAPSHOT
        rows = (seen.partitions == partition) & is_other & (seen.order.written_ms >= since_ms)
        return bool(rows.any())

    def _walk_all(self, topic: str, seen: Seen, partitions: list[int], found: Survey) -> None:
        """Go through partitions; those with a snapshot first, for they may explain what others show."""
        left = sorted(partitions, key=lambda partition: not found.full[partition])
        for last in (False, True):
            unexplained = []
            for partition in left:
                try:
                    self._walk((topic, partition), seen)
                except NewOrder:
                    if last:
                        raise
                    unexplained.append(partition)
            left = unexplained

    def _walk(self, place: Place, seen: Seen) -> None:
        """Go through the rows of a partition behind its newest begin; what the control log knows is not concluded."""
        state, heights = self._of(place), self._watch.heights(place[0])
        rows = np.flatnonzero((seen.partitions == place[1]) & (seen.offsets >= state.newest))
        at = 0
        while at < len(rows):
            stops = self._stops(place, seen.order.source)
            at += go_on(seen, heights, rows[at:], state.epoch % 2 == 1, stops)
            if at < len(rows):
                self._look(place, heights, seen, int(rows[at]))
            at += 1

    def _stops(self, place: Place, source: str) -> tuple[int, int]:
        """Return from which offset on, and from which time of writing on, a new order may begin that is known of."""
        left, since_ms = self._accepted.get(place), self._watch.waits_from(place, source)
        return left[0][0] if left else UNLIMITED, UNLIMITED if since_ms is None else since_ms

    def _look(self, place: Place, heights: Heights, seen: Seen, row: int) -> None:
        """Look at a row that begins an epoch, or may."""
        order, state, offset = seen.order, self._of(place), int(seen.offsets[row])
        if seen.snapshot[row] == FULL_SNAPSHOT:
            self._look_at_snapshot(place, heights, seen, row)
            return
        streamed = seen.snapshot[row] == STREAMED
        word = self._accepted_at(place, offset)
        if state.epoch % 2 == 0:
            cause = Cause(order.source, int(order.written_ms[row]), word=word)
            self._begin(place, seen, row, state.epoch + 1, cause)
        elif word:
            self._begin_again(place, seen, row, word)
        elif (restart := self._watch.restart(place, order, row)) and not order.is_excused(row):
            self._begin_again(place, seen, row, restart.word)
        if (found := self._watch.look(place, order, row, offset, streamed)) is not None:
            self._begin_again(place, seen, row, found)
            self._watch.look(place, order, row, offset)
        if streamed:
            self._watch.pass_by(place, order, row)

    def _accepted_at(self, place: Place, offset: int) -> int:
        """Return the word that an operator gave at or before an offset, before a rebuild; 0: none. It is asked once."""
        word, left = 0, self._accepted.get(place, [])
        while left and left[0][0] <= offset:
            _, word = left.pop(0)
        if not left:
            self._accepted.pop(place, None)
        return word

    def _look_at_snapshot(self, place: Place, heights: Heights, seen: Seen, row: int) -> None:
        """Take in a row of a full snapshot: it begins an epoch behind streamed rows, and behind another snapshot.

        Where identities take turns, several connectors read at once: none of their snapshots is told from the others.
        """
        order, at, state, known = seen.order, place[1], self._of(place), self._watch.snapshots(place)
        identity = _identity(order, row)
        heights.forget(at)
        epoch, is_mixed = state.epoch, False
        if epoch % 2 == 1:
            epoch += 1
            known.clear()
        elif identity is None or (heights.has_snapshot[at] and identity == tuple(heights.snapshot[at].tolist())):
            return
        elif identity in known:
            is_mixed = True
        elif known:
            epoch += 2
        if identity is not None:
            heights.snapshot[at], heights.has_snapshot[at] = identity, True
            known.add(identity)
        if is_mixed and (place, epoch) in self._mixed:
            return
        cause = Cause(order.source, int(order.written_ms[row]), identity, is_mixed or _is_partial(order, row))
        self._begin(place, seen, row, epoch, cause)
        if is_mixed:
            self._mixed.add((place, epoch))
        elif identity is not None and not cause.is_partial:
            self._watch.add(Restart(order.source, cause.written_ms, identity=identity))

    def _begin_again(self, place: Place, seen: Seen, row: int, word: int) -> None:
        order = seen.order
        cause = Cause(order.source, int(order.written_ms[row]), word=word)
        self._begin(place, seen, row, self._of(place).epoch + 2, cause)

    def _of(self, place: Place) -> _Partition:
        if place not in self._partitions:
            self._partitions[place] = _Partition(first_epoch(self._generation(place[0])))
        return self._partitions[place]

    def _begin(self, place: Place, seen: Seen, row: int, epoch: int, cause: Cause) -> None:
        begin = (*place, int(seen.offsets[row]), epoch)
        self._add(*begin)
        self._begun.append(begin)
        self._causes[begin[:3]] = cause
        self._watch.begin(place, seen.order, row, cause.word)

    def _add(self, topic: str, partition: int, offset: int, epoch: int) -> None:
        state = self._of((topic, partition))
        if epoch > state.epoch:  # a second record of one begin, or a later begin of a lower epoch, adds nothing
            state.offsets.append(offset)
            state.epochs.append(epoch)


def _identity(order: Order, row: int) -> Identity | None:
    """Return what a row shares with the others of its snapshot.

    Source: Debezium reads a snapshot at one place of the log: PostgreSQL `lsn`, MySQL and MariaDB `file` and `pos`,
    SQL Server `commit_lsn`.
    """
    if not order.known[1, row]:
        return None
    return int(order.numbers[0, row]) if order.known[0, row] else -1, int(order.numbers[1, row])


def _is_partial(order: Order, row: int) -> bool:
    """Say whether a snapshot was asked for amid the stream: its rows say where the stream stood.

    Source: Debezium RelationalSnapshotChangeEventSource: a blocking snapshot keeps the stream's offsets; another one
    begins with offsets without PostgreSQL's last commit, MySQL's server and SQL Server's change_lsn.
    """
    if order.family is Family.POSTGRESQL:
        return bool(order.known[0, row])
    if order.family is Family.SQLSERVER:
        return bool(order.known[2, row])
    return bool(order.servers[row])
