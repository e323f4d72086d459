"""Compare the places of events in their sources: which event of a row is the newest, and which rows a truncate deletes.

Hot path, kernels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numba
import numpy as np

from nurt.columnar.types import Bits, Bools, Int64s
from nurt.control.generations import NUMBER_BITS
from nurt.model.entity_frame import TOPIC_BITS
from nurt.rows.key_places import NEWER_IN_DOUBT, OLDER, OLDER_IN_DOUBT, UNPLACED, compare_places
from nurt.rows.layouts import EPOCH, OFFSET, P0, P0_BIT, PART, PARTITION, ROW, TS
from nurt.state.row_major import RowArrays


@dataclass(frozen=True, slots=True)
class TruncateWatermark:
    """The place of a table's last truncate: rows at or before it are gone and their events are old news.

    Attributes:
        topic: code of the topic, where several topics hold the table.
        ts_ms, behind: see `Truncated`; a version that compared positions alone did not keep them.
    """

    source_epoch: int
    position: tuple[int | None, int | None, int | None, int | None]
    partition: int
    offset: int
    topic: int = 0
    ts_ms: int = 0
    behind: tuple[int, ...] = field(default=(), compare=False)


def of_topic(codes: Int64s, topic: int) -> Bools:
    """Return which rows or events are of a topic, by codes; 0 stands for any topic: it was not kept."""
    mask = (1 << TOPIC_BITS) - 1
    found: Bools = (codes & mask == topic & mask) | (codes == 0) | (topic == 0)
    return found


def at_or_before(rows: RowArrays, watermark: TruncateWatermark) -> Bools:
    """Return whether each event or row stands at or before a truncate of its table.

    A truncate has no key, so it may lie in any partition: rows are compared by the connector's order. Where a
    part is unknown (a snapshot's rows, a first transaction) the offset decides within a partition, else the next part.
    Source epochs of one generation are counted by partition, so they do not compare events of two partitions. A row of
    a full snapshot (its epoch is even) with the truncate's very position was there before: PostgreSQL's snapshot has
    the log sequence number at which the next change begins.

    Positions of two partitions may be of two lives of the source's log, which nothing in the messages tells apart. So
    where the order of writing and the source's time both say the contrary, they decide: what a connector repeats is
    written later, but has its old time, and a clock that was set changes nothing in what was written before.
    """
    found = np.zeros(len(rows), dtype=np.bool_)
    behind = np.array(watermark.behind, dtype=np.int64)
    limits = np.array([part or 0 for part in watermark.position], dtype=np.int64)
    known = np.array([part is not None for part in watermark.position], dtype=np.bool_)
    _compare_watermark(
        rows.bits, rows.numbers, watermark.source_epoch, limits, known, watermark.partition, watermark.offset,
        watermark.ts_ms, behind, found,
    )  # fmt: skip
    return found


@numba.njit(nogil=True, cache=True)
def _part(bits: Bits, numbers: Int64s, h0: tuple[int, int], one: int, k: int) -> tuple[bool, int]:
    """Read part k of an event's position, or of the highest one stored with it.

    bits     (n,)    uint64  bit i: column i is not null
    numbers  (n, k)  int64   number columns of a stored row
    h0       (2,)    tuple   bit and place of the highest position's first part; the others follow it
    one      scalar  int64   number of an event; from n on: of the highest position stored with event one - n
    Returns whether the part is known, and the part.
    """
    events = len(bits)
    if one < events:
        return bits[one] >> np.uint64(P0_BIT + k) & np.uint64(1) == 1, numbers[one, P0 + k]
    row = one - events
    return bits[row] >> np.uint64(h0[0] + k) & np.uint64(1) == 1, numbers[row, h0[1] + k]


@numba.njit(nogil=True, cache=True)
def _compare(bits: Bits, numbers: Int64s, h0: tuple[int, int], one: int, other: int) -> int:
    """Compare two positions as far as both are known; parameters as of `_part`. Returns -1, 0 or 1."""
    for k in range(4):
        known, part = _part(bits, numbers, h0, one, k)
        other_known, other_part = _part(bits, numbers, h0, other, k)
        if not (known and other_known):
            return 0
        if part != other_part:
            return -1 if part < other_part else 1
    return 0


@numba.njit(nogil=True, cache=True)
def settle(
    owner: Int64s,
    bits: Bits,
    numbers: Int64s,
    h0: tuple[int, int],
    topic: int,
    partitions: Int64s,
    winner: Int64s,
    accepted: Bools,
    highest: Int64s,
    doubt: Bools,
) -> None:
    """Find each owner's newest event, which events were news, and whose position is the row's highest.

    The later event wins unless its position is strictly older. An owner is a row, or its instance in one topic. An
    instance that was stored without its topic is compared by positions, as an event of another partition.

    owner     (n,)    int64   index of the owner; events in order of arrival, stored ones first
    bits      (n,)    uint64  bit i: column i is not null
    numbers   (n, k)  int64   number columns of a stored row
    h0        (2,)    tuple   see `_part`
    topic     scalar  int64   place of the column `topic`
    partitions (n,)   int64   how many partitions the event's topic has, 0 for unknown; empty: no event has only the
                              place of its key (see `key_places`)
    winner    (o,)    int64   written, -1 before: the newest event of each owner
    accepted  (n,)    bool    written, False before: the event was news
    highest   (o,)    int64   written, -1 before: the event with the highest position; from n on: the highest one stored
                              with event highest - n; -1: that of the newest event itself
    doubt     (n,)    bool    written, False before: the event met one of another partition that nothing compares it to
    """
    events = len(owner)
    whole = np.uint64(15) << np.uint64(P0_BIT)
    for row in range(events):
        if numbers[row, PART] != ROW:
            continue
        at = owner[row]
        winning = winner[at]
        if winning < 0:
            winner[at] = row
            accepted[row] = True
            if _part(bits, numbers, h0, events + row, 0)[0]:
                highest[at] = events + row
            continue
        same = numbers[row, PARTITION] == numbers[winning, PARTITION]
        epoch, epoch_won = numbers[row, EPOCH], numbers[winning, EPOCH]
        begins = epoch != epoch_won and (same or epoch >> NUMBER_BITS != epoch_won >> NUMBER_BITS)
        foreign = (numbers[row, topic] ^ numbers[winning, topic]) & ((1 << TOPIC_BITS) - 1) != 0
        if foreign:
            same = False
            begins = epoch >> NUMBER_BITS > epoch_won >> NUMBER_BITS
        older = begins and epoch < epoch_won
        decided = begins
        known = bits[row] & bits[winning]
        k = 0
        where = UNPLACED
        if len(partitions) and not decided and not same:
            where = compare_places(bits, numbers, row, winning, max(partitions[row], partitions[winning]))
        while where == UNPLACED and not decided and k < 4:
            if not known >> np.uint64(P0_BIT + k) & np.uint64(1):
                if same:
                    break
            elif numbers[row, P0 + k] != numbers[winning, P0 + k]:
                older = numbers[row, P0 + k] < numbers[winning, P0 + k]
                decided = True
            k += 1
        if not decided and highest[at] >= 0 and _compare(bits, numbers, h0, row, highest[at]) < 0:
            older = True  # it is older than an event that one without position has replaced
            decided = True
        if not decided and where != UNPLACED:
            older = where in (OLDER, OLDER_IN_DOUBT)
            doubt[row] = where in (OLDER_IN_DOUBT, NEWER_IN_DOUBT)
            decided = True
        if not decided and same:
            older = numbers[row, OFFSET] < numbers[winning, OFFSET]
        if not decided and foreign and numbers[row, PARTITION] == numbers[winning, PARTITION]:
            older = epoch < epoch_won or (epoch == epoch_won and numbers[row, OFFSET] < numbers[winning, OFFSET])
        if older:
            continue
        winner[at] = row
        accepted[row] = True
        if bits[row] & whole == whole or begins:
            highest[at] = -1
            continue
        best = highest[at] if highest[at] >= 0 else winning
        is_best = _part(bits, numbers, h0, best, 0)[0] and _compare(bits, numbers, h0, row, best) <= 0
        highest[at] = best if is_best else -1


@numba.njit(nogil=True, cache=True)
def _compare_watermark(
    bits: Bits, numbers: Int64s, epoch: int, limits: Int64s, known: Bools, partition: int, offset: int, time: int,
    behind: Int64s, found: Bools,
) -> None:  # fmt: skip
    """Find the rows that stand at or before a truncate.

    bits               (n,)    uint64  bit i: column i is not null
    numbers            (n, k)  int64   number columns of a stored row
    limits, known      (4,)    int64, bool  parts of the truncate's position, and whether each is known
    epoch              scalar  int64   source epoch of the truncate
    partition, offset  scalar  int64   place of the truncate's message
    time               scalar  int64   the source's time of the truncate, 0 for unknown
    behind             (p,)    int64   by partition: offset from which on messages were written behind it; a partition
                                       that is not in it came later; empty: unknown
    found              (n,)    bool    written, False before
    """
    for row in range(len(bits)):
        same = numbers[row, PARTITION] == partition
        of_row = numbers[row, EPOCH]
        if of_row != epoch and (same or of_row >> NUMBER_BITS != epoch >> NUMBER_BITS):
            found[row] = of_row < epoch
            continue
        of_time = numbers[row, TS]
        if not same and len(behind) and time > 0 and of_time > 0 and of_time != time:
            lies = numbers[row, PARTITION]
            is_behind = lies >= len(behind) or numbers[row, OFFSET] >= behind[lies]
            if is_behind == (of_time > time):
                found[row] = not is_behind
                continue
        decided, equal = False, False
        has_place = bits[row] >> np.uint64(P0_BIT) & np.uint64(15) == 12 and numbers[row, P0 + 3] != 0
        parts = 2 if has_place else 4  # the place of a key is no position
        for k in range(parts):
            if not (known[k] and bits[row] >> np.uint64(P0_BIT + k) & np.uint64(1)):
                if same:
                    break
            elif numbers[row, P0 + k] != limits[k]:
                found[row] = numbers[row, P0 + k] < limits[k]
                decided = True
                break
            elif k < 2:
                equal = True
        if not decided and same:
            found[row] = numbers[row, OFFSET] <= offset
        elif not decided:  # a snapshot stands where the log ended, that is where the next change begins
            found[row] = equal and of_row & 1 == 0
