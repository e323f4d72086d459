"""Number the stretches of a source within which its positions can be compared.

After a failover, a restore or a new snapshot a source's order starts again. A full snapshot says so by itself: each
partition of a topic goes through snapshot, stream, snapshot, stream, ... and every change of phase begins a new source
epoch: even ones are snapshots, odd ones streams. Where one begins is kept (in the register) before the batch
that saw it is used, so that a replay, which cannot see what came before its first message, numbers alike.

What a source does not say, a changed server or a log that falls back far, is reported as a notice: to go on would
drop new changes as old news, and whether to is not for the core to decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import numba
import numpy as np
import numpy.typing as npt

from nurt.core.positions import Family
from nurt.model.entity_frame import FULL_SNAPSHOT

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

Begin = tuple[str, int, int, int]
"""(topic, partition, offset, epoch): from this offset on, this epoch."""

FALL_BACK_MAX: dict[Family, int] = {
    Family.POSTGRESQL: 1 << 32,  # bytes of WAL: 4 GiB, far more than a connector repeats after a crash
    Family.MYSQL: 2,  # log files
    Family.SQLSERVER: 64 << 32,  # virtual log files << 32 | block
}
"""How far a partition's first position part may lie behind its highest without being a fall-back."""


class NoticeKind(StrEnum):
    """What an operator should hear about a source."""

    SERVER_CHANGED = "server_changed"
    FELL_BACK = "position_fell_back"


@dataclass(frozen=True, slots=True)
class Notice:
    """A source that may have begun a new order without saying so; seen at one message."""

    kind: NoticeKind
    topic: str
    partition: int
    offset: int
    detail: str


@dataclass(frozen=True, slots=True)
class Seen:
    """Rows of one topic in the order they were read; arrays have one length."""

    partitions: Int64s
    offsets: Int64s  # ascending within a partition
    snapshot: npt.NDArray[np.int8]  # STREAMED, FULL_SNAPSHOT or INCREMENTAL_SNAPSHOT


@dataclass(slots=True)
class _Partition:
    """What is known of one partition; `offsets[i]` begins `epochs[i]`, both ascending."""

    offsets: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    highest: int | None = None
    servers: set[int] = field(default_factory=set)

    @property
    def epoch(self) -> int:
        return self.epochs[-1] if self.epochs else 0


class SourceEpochs:
    """The source epochs of all partitions that a worker reads. Not for several threads at once.

    `persisted` are the begins that the register holds, in any order; they are facts, and rows before the
    newest of them are numbered by them alone.
    """

    def __init__(self, persisted: Iterable[Begin] = ()) -> None:
        self._partitions: dict[tuple[str, int], _Partition] = {}
        self._begun: list[Begin] = []
        self._notices: list[Notice] = []
        for topic, partition, offset, epoch in sorted(persisted, key=lambda begin: (begin[2], begin[3])):
            self._add(topic, partition, offset, epoch)

    def epoch_of(self, topic: str, partition: int, offsets: Int64s) -> Int64s:
        """Return the epoch of every offset of one partition, as far as known."""
        known = self._partitions.get((topic, partition))
        if known is None or not known.offsets:
            return np.zeros(len(offsets), dtype=np.int64)
        at = np.searchsorted(np.array(known.offsets, dtype=np.int64), offsets, side="right")
        return np.array([0, *known.epochs], dtype=np.int64)[at]

    def observe(self, topic: str, seen: Seen) -> Int64s:
        """Return the epoch of every row of a batch of one topic, and note the epochs that it begins."""
        if not len(seen.partitions):
            return np.zeros(0, dtype=np.int64)
        survey = np.zeros((int(seen.partitions.max()) + 1, 3), dtype=np.int64)
        _survey_phases(seen.partitions, seen.offsets, seen.snapshot, survey)
        settled = np.zeros(len(survey), dtype=np.int64)  # the epoch of a partition whose rows all have one
        others = []
        for partition, (count, first, full) in enumerate(survey.tolist()):
            if not count:
                continue
            state = self._partitions.setdefault((topic, partition), _Partition())
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
        self, topic: str, family: Family, seen: Seen, first_parts: Int64s, known: Bools, servers: Int64s | None
    ) -> None:
        """Note a server never seen before, and a first position part far behind its partition's highest.

        Args:
            topic: of all rows.
            family: of the source.
            seen: the rows, as for `observe`.
            first_parts: p0 of each row.
            known: whether it has one.
            servers: `source.server_id`, 0 for unknown; None when the source has none.
        """
        if not len(seen.partitions):
            return
        survey = np.zeros((int(seen.partitions.max()) + 1, _SURVEYED), dtype=np.int64)
        said = _NO_SERVERS if servers is None else servers
        _survey_positions(seen.partitions, seen.snapshot, first_parts, known, said, survey)
        limit = FALL_BACK_MAX.get(family, 0)
        for partition, found in enumerate(survey.tolist()):
            count, full, lowest, highest, behind, server, several = found
            if not count:
                continue
            state = self._partitions.setdefault((topic, partition), _Partition())
            far = limit and (behind > limit or (state.highest is not None and state.highest - lowest > limit))
            if full or far or several or (server and state.servers and server not in state.servers):
                mine = np.flatnonzero((seen.partitions == partition) & known)
                self._watch_closely((topic, partition), family, state, seen, first_parts, servers, mine)
                continue
            if limit:
                state.highest = highest if state.highest is None else max(state.highest, highest)
            if server:
                state.servers.add(server)

    def _watch_closely(
        self,
        place: tuple[str, int],
        family: Family,
        state: _Partition,
        seen: Seen,
        first_parts: Int64s,
        servers: Int64s | None,
        mine: Int64s,
    ) -> None:
        if (seen.snapshot[mine] == FULL_SNAPSHOT).any():
            state.highest = None  # the source says itself that it begins again
            state.servers.clear()
            return
        self._watch_position(place, family, state, first_parts[mine], seen.offsets[mine])
        if servers is not None:
            self._watch_server(place, state, servers[mine], seen.offsets[mine])

    def begun(self) -> list[Begin]:
        """Give the begins that are new since the last call; the caller makes them durable before using the batch."""
        begun, self._begun = self._begun, []
        return begun

    def notices(self) -> list[Notice]:
        """Give the notices that are new since the last call."""
        notices, self._notices = self._notices, []
        return notices

    def _observe_one(self, topic: str, partition: int, offsets: Int64s, full: Bools) -> Int64s:
        state = self._partitions.setdefault((topic, partition), _Partition())
        streams = state.epoch % 2 == 1
        if offsets[0] >= (state.offsets[-1] if state.offsets else 0):
            beyond = 0
        else:  # a replay: what the register knows is not concluded again
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
        state = self._partitions.setdefault((topic, partition), _Partition())
        if epoch > state.epoch:  # two registers' records of one begin, or a later begin of a lower epoch, add nothing
            state.offsets.append(offset)
            state.epochs.append(epoch)

    def _watch_position(
        self, place: tuple[str, int], family: Family, state: _Partition, parts: Int64s, offsets: Int64s
    ) -> None:
        limit = FALL_BACK_MAX.get(family)
        if limit is None:
            return
        so_far = np.maximum.accumulate(parts if state.highest is None else np.maximum(parts, state.highest))
        state.highest = int(so_far[-1])
        behind = so_far - parts
        fallen = np.flatnonzero(behind > limit)
        if len(fallen):
            detail = f"{family.value}: {int(behind[fallen[0]])} behind the highest seen (at most {limit} is usual)"
            self._notices.append(Notice(NoticeKind.FELL_BACK, *place, int(offsets[fallen[0]]), detail))
            state.highest = int(parts[-1])  # said once; what follows is measured from here

    def _watch_server(self, place: tuple[str, int], state: _Partition, servers: Int64s, offsets: Int64s) -> None:
        for server in np.unique(servers[servers != 0]).tolist():
            if state.servers and server not in state.servers:
                first = int(offsets[np.argmax(servers == server)])
                detail = f"server_id {server} after {sorted(state.servers)}, without a snapshot"
                self._notices.append(Notice(NoticeKind.SERVER_CHANGED, *place, first, detail))
            state.servers.add(server)


def _changes(full: Bools, snapshot_now: bool) -> list[int]:
    """List the rows at which snapshot rows give way to streamed ones or the other way round."""
    if not len(full):
        return []
    return [int(row) for row in np.flatnonzero(np.diff(full.astype(np.int8), prepend=np.int8(snapshot_now)))]


_SURVEYED = 7
_NO_SERVERS = np.zeros(0, dtype=np.int64)


@numba.njit(nogil=True, cache=True)
def _survey_phases(partitions, offsets, snapshot, survey):  # type: ignore[no-untyped-def]
    """Count by partition: rows, the first one's offset, rows of full snapshots."""
    for row in range(len(partitions)):
        partition = partitions[row]
        if survey[partition, 0] == 0:
            survey[partition, 1] = offsets[row]
        survey[partition, 0] += 1
        survey[partition, 2] += snapshot[row] == FULL_SNAPSHOT


@numba.njit(nogil=True, cache=True)
def _survey_positions(partitions, snapshot, parts, known, servers, survey):  # type: ignore[no-untyped-def]
    """Say by partition of known rows: how many, of full snapshots, lowest and highest part, how far one lies behind an
    earlier one, the server and whether there are several."""
    for row in range(len(partitions)):
        if not known[row]:
            continue
        partition, part = partitions[row], parts[row]
        found = survey[partition]
        if found[0] == 0 or part < found[2]:
            found[2] = part
        if found[0] == 0 or part > found[3]:
            found[3] = part
        found[4] = max(found[4], found[3] - part)
        found[0] += 1
        found[1] += snapshot[row] == FULL_SNAPSHOT
        if len(servers) and servers[row] != 0:
            found[6] |= found[5] != 0 and found[5] != servers[row]
            found[5] = servers[row]
