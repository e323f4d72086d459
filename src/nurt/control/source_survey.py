"""Survey a batch of a topic: how far each partition's order goes, and in which partitions something is out of order.

Hot path, one kernel. Rows that are out of order go to `source_epochs`, one after another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np

from nurt.columnar.types import Bools, Int8s, Int64s
from nurt.debezium.positions import Family
from nurt.model.entity_frame import FULL_SNAPSHOT, STREAMED

SERVERS_MAX = 8
"""How many servers of a partition the kernel knows; rows of further ones take the general path."""

FALL_BACK_MAX: dict[Family, int] = {
    Family.POSTGRESQL: 1 << 32,  # bytes of WAL: 4 GiB, far more than a connector repeats after a crash
    Family.MYSQL: 2,  # log files
    Family.SQLSERVER: 64 << 32,  # virtual log files << 32 | block
}
"""Distance that a position's first part may lie behind the partition's highest without being a fall-back."""

UNLIMITED = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Order:
    """What tells the order of rows; arrays of one length n.

    Attributes:
        source: the operator's name of the rows' source.
        family: of the connectors that wrote them.
        numbers, known: p0 to p3 of each row, (4, n), and which are known.
        source_ms: the source's own commit time, 0 for unknown.
        written_ms: when the messages were written to the topic.
        servers: `source.server_id`, 0 for unknown.
        is_excused: says of a row (its index) that nurt put it on the topic again, so the row may be old.
    """

    source: str
    family: Family
    numbers: Int64s
    known: Bools
    source_ms: Int64s
    written_ms: Int64s
    servers: Int64s
    is_excused: Callable[[int], bool] = lambda _row: False

    @property
    def fall_back_max(self) -> int:
        """The usual distance of a connector's repeat."""
        return FALL_BACK_MAX.get(self.family, UNLIMITED)


def without_order(rows: int) -> Order:
    """Make the order of rows that have no positions."""
    numbers, known = np.zeros((4, rows), dtype=np.int64), np.zeros((4, rows), dtype=np.bool_)
    source_ms, written_ms, servers = np.zeros((3, rows), dtype=np.int64)
    return Order("", Family.UNKNOWN, numbers, known, source_ms, written_ms, servers)


@dataclass(frozen=True, slots=True)
class Seen:
    """Rows of one topic in the order they were read; arrays have one length."""

    partitions: Int64s
    offsets: Int64s  # ascending within a partition
    snapshot: Int8s  # STREAMED, FULL_SNAPSHOT or INCREMENTAL_SNAPSHOT
    order: Order


_OF_ORDER = ("highest", "parts", "source_ms", "server", "until", "written_ms")


@dataclass(slots=True)
class Heights:
    """How far the order of each partition of a topic goes; one entry a partition.

    A partition's highest row is the one with the highest position since its order began. Rows of full snapshots begin
    the order again. A row of an incremental snapshot says how far the stream had come, so it raises the height, too.

    Attributes:
        highest: position of the highest row, p0 to p3.
        parts: bits of the parts that are known of it; 0: no row was seen yet.
        source_ms: latest time of the source among rows that were not behind the highest of their moment.
        server: of the highest row.
        until: offset up to which rows were watched.
        written_ms: latest time at which a row was written to the topic that was streamed, or became the highest.
        snapshot: identity of the last full snapshot: what its rows share, two parts of their positions.
        has_snapshot: whether that is known.
        servers: seen so far, 0 for none.
    """

    highest: Int64s = field(default_factory=lambda: np.zeros((0, 4), dtype=np.int64))
    parts: Int64s = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    source_ms: Int64s = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    server: Int64s = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    until: Int64s = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    written_ms: Int64s = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    snapshot: Int64s = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))
    has_snapshot: Bools = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    servers: Int64s = field(default_factory=lambda: np.zeros((0, SERVERS_MAX), dtype=np.int64))

    def grow(self, partitions: int) -> None:
        """Make room for so many partitions."""
        more = partitions - len(self.parts)
        if more <= 0:
            return
        for name in (*_OF_ORDER, "snapshot", "has_snapshot", "servers"):
            array = getattr(self, name)
            added = np.full((more, *array.shape[1:]), -1 if name == "until" else 0, dtype=array.dtype)
            setattr(self, name, np.concatenate((array, added)))

    def copy(self) -> Heights:
        """Copy all arrays."""
        return Heights(
            self.highest.copy(),
            self.parts.copy(),
            self.source_ms.copy(),
            self.server.copy(),
            self.until.copy(),
            self.written_ms.copy(),
            self.snapshot.copy(),
            self.has_snapshot.copy(),
            self.servers,
        )

    def take(self, other: Heights, partition: int) -> None:
        """Take over what another knows of a partition."""
        for name in _OF_ORDER:
            getattr(self, name)[partition] = getattr(other, name)[partition]

    def forget(self, partition: int) -> None:
        """Begin a partition's order again."""
        self.parts[partition] = self.source_ms[partition] = self.server[partition] = 0

    def knows(self, partition: int, server: int) -> bool:
        """Say whether a server was seen."""
        return server in self.servers[partition]

    def is_behind(self, partition: int, order: Order, row: int) -> bool:
        """Say whether a row's position is strictly below the highest, as far as both are known."""
        for part in range(4):
            if not (self.parts[partition] >> part & 1 and order.known[part, row]):
                return False
            if order.numbers[part, row] != self.highest[partition, part]:
                return bool(order.numbers[part, row] < self.highest[partition, part])
        return False

    def rise(self, partition: int, order: Order, row: int) -> None:
        """Take a row as the highest."""
        self.highest[partition] = order.numbers[:, row]
        self.parts[partition] = sum(1 << part for part in range(4) if order.known[part, row])
        self.source_ms[partition] = max(self.source_ms[partition], order.source_ms[row])
        self.server[partition] = order.servers[row]


@dataclass(frozen=True, slots=True)
class Survey:
    """Survey of a batch, by partition.

    Attributes:
        rows: how many there are.
        first: offset of the first.
        full: how many are of full snapshots.
        is_odd: something is out of order: another snapshot, a fall-back that is no repeat, a server not seen before.
        heights: as they are behind the batch where nothing is odd.
    """

    rows: Int64s
    first: Int64s
    full: Int64s
    is_odd: Bools
    heights: Heights


def survey(seen: Seen, heights: Heights) -> Survey:
    """Survey a batch of a topic, which has rows; `heights` stay as they are."""
    partitions = int(seen.partitions.max()) + 1
    heights.grow(partitions)
    after = heights.copy()
    counts = np.zeros((partitions, 4), dtype=np.int64)
    _follow(*_arrays(seen, np.arange(len(seen.partitions))), *_written(after), counts, False, False, 0, 0)
    return Survey(counts[:, 0], counts[:, 1], counts[:, 2], counts[:, 3] > 0, after)


def go_on(seen: Seen, heights: Heights, rows: Int64s, is_stream: bool, stops: tuple[int, int]) -> int:
    """Follow a partition's order through `rows` until one begins something, or may; return how many go on before it.

    Args:
        heights: of the topic; those of the partition are moved on.
        rows: of the partition, in order.
        is_stream: the partition streams; else it is in a full snapshot.
        stops: offset and time of writing from which on a row that is of no full snapshot may begin a new order.
    """
    counts = np.zeros((len(heights.parts), 4), dtype=np.int64)
    return int(_follow(*_arrays(seen, rows), *_written(heights), counts, True, is_stream, *stops))


def _arrays(seen: Seen, rows: Int64s) -> tuple[Any, ...]:
    """Give the kernel's inputs as arrays that nobody writes, so that it is compiled once, whoever made them."""
    order = seen.order
    arrays = (
        rows, seen.partitions, seen.offsets, seen.snapshot, order.numbers, order.known, order.source_ms,
        order.written_ms, order.servers,
    )  # fmt: skip
    return (*map(_unwritable, arrays), order.fall_back_max)


def _unwritable(array: Any) -> Any:
    view = array.view()
    view.setflags(write=False)
    return view


def _written(heights: Heights) -> tuple[Any, ...]:
    return (
        heights.highest, heights.parts, heights.source_ms, heights.server, heights.until, heights.written_ms,
        heights.snapshot, heights.has_snapshot, heights.servers,
    )  # fmt: skip


@numba.njit(nogil=True, cache=True)
def _follow(
    rows: Int64s, partitions: Int64s, offsets: Int64s, snapshot: Int8s, numbers: Int64s, known: Bools,
    source_ms: Int64s, written_ms: Int64s, servers: Int64s, fall_back_max: int, highest: Int64s, parts: Int64s,
    highest_ms: Int64s, server: Int64s, until: Int64s, latest_ms: Int64s, identity: Int64s, has_identity: Bools,
    seen_servers: Int64s, counts: Int64s, stops: bool, is_stream: bool, stop_offset: int, stop_ms: int,
) -> int:  # fmt: skip
    """Follow the order of partitions, count, and note what is out of order; or stop there.

    rows        (m,)    int64  indices of the rows to follow, ascending
    partitions  (n,)    int64  by row, below p
    offsets     (n,)    int64  by row, ascending within a partition
    snapshot    (n,)    int8   by row: STREAMED, FULL_SNAPSHOT or INCREMENTAL_SNAPSHOT
    numbers     (4, n)  int64  by row: p0 to p3
    known       (4, n)  bool   by row: the part is known
    source_ms   (n,)    int64  by row: the source's time, 0 for unknown
    written_ms  (n,)    int64  by row: when it was written to the topic
    servers     (n,)    int64  by row: `server_id`, 0 for unknown
    fall_back_max  scalar  int64  usual distance of a repeat, in p0
    highest, parts, highest_ms, server, until, latest_ms, identity, has_identity  by partition, see Heights: written
    seen_servers  (p, s)  int64  by partition: servers seen so far, 0 for none
    counts      (p, 4)  int64  written: rows, offset of the first one, rows of FULL_SNAPSHOT, odd rows; zeros before
    stops       scalar  bool   stop at the first row that is odd or begins something; it is not written anywhere
    is_stream   scalar  bool   with `stops`: the partition streams, so a row of a full snapshot begins something; else
                               every other row does
    stop_offset, stop_ms  scalar  int64  with `stops`: so does a row from this offset on, or one that is of no full
                               snapshot and was written from this time on
    Returns how many rows were followed: all, but with `stops`.
    """
    for number in range(len(rows)):
        row = rows[number]
        at = partitions[row]
        full, streamed = snapshot[row] == FULL_SNAPSHOT, snapshot[row] == STREAMED
        if stops and (full == is_stream or offsets[row] >= stop_offset or (not full and written_ms[row] >= stop_ms)):
            return number
        if counts[at, 0] == 0:
            counts[at, 1] = offsets[row]
        counts[at, 0] += 1
        if full:
            counts[at, 2] += 1
            if known[1, row]:
                first = numbers[0, row] if known[0, row] else np.int64(-1)
                if not has_identity[at] or first != identity[at, 0] or numbers[1, row] != identity[at, 1]:
                    if stops:
                        return number
                    counts[at, 3] += 1
                    identity[at, 0] = first
                    identity[at, 1] = numbers[1, row]
                    has_identity[at] = True
            parts[at] = 0
            highest_ms[at] = 0
            server[at] = 0
            continue
        if not known[0, row] or offsets[row] <= until[at]:
            if streamed:
                latest_ms[at] = max(latest_ms[at], written_ms[row])
            continue
        behind = False
        for part in range(4):
            if not (parts[at] >> part & 1 and known[part, row]):
                break
            if numbers[part, row] != highest[at, part]:
                behind = numbers[part, row] < highest[at, part]
                break
        if behind and not streamed:
            continue  # an incremental snapshot reads now, so its time is no evidence
        is_odd = servers[row] != 0 and servers[row] != server[at]
        if is_odd:
            for one in range(seen_servers.shape[1]):
                if seen_servers[at, one] == servers[row]:
                    is_odd = False
        if behind:
            ahead = highest_ms[at] > 0 and source_ms[row] > highest_ms[at]
            if ahead or highest[at, 0] - numbers[0, row] > fall_back_max:
                is_odd = True
        if is_odd:
            if stops:
                return number
            counts[at, 3] += 1
        latest_ms[at] = max(latest_ms[at], written_ms[row])
        until[at] = offsets[row]
        if behind:
            continue
        parts[at] = 0
        for part in range(4):
            highest[at, part] = numbers[part, row]
            if known[part, row]:
                parts[at] |= 1 << part
        highest_ms[at] = max(highest_ms[at], source_ms[row])
        server[at] = servers[row]
    return len(rows)
