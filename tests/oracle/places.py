"""Compare where two events of one row stand, as a table's reader must: positions first, then Kafka's offset.

A null part cannot be compared, so the offset decides if both events lie in one partition (which holds a row's events
in order). A truncate may lie in another partition than the rows that it removes: then the parts that both have decide,
and if none does, the row stays, since nothing may be lost.

A row keeps the highest position that it is known to have had (`highest_after`): an event without one, which the offset
let in, does not open the door to a lone redelivery from before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from zlib import crc32

from tests.oracle.final_row import Position


class Placed(Protocol):
    """Anything that stands somewhere in a connector's order and in a partition."""

    @property
    def source_epoch(self) -> int: ...
    @property
    def position(self) -> Position: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...


def compare(one: Placed, other: Placed) -> int | None:
    """Return -1, 0 or 1 as `one` stands before, with or after `other`; None when nothing can tell."""
    one_partition = one.partition == other.partition
    if _epochs_tell(one, other):
        return _sign(one.source_epoch, other.source_epoch)
    for mine, theirs in zip(one.position, other.position, strict=True):
        if mine is None or theirs is None:
            if one_partition:
                break
            continue
        if mine != theirs:
            return _sign(mine, theirs)
    return _sign(one.offset, other.offset) if one_partition else None


def key_place(event: Placed) -> tuple[int, int] | None:
    """Return the number of partitions and the key's hash (-1: unknown) of an event that has only the place of its key.

    None: it has a position, or nothing at all.
    """
    first, second, partitions, hashed = event.position
    if (first, second) != (None, None) or partitions is None or not hashed:
        return None
    return partitions, hashed - 1 if hashed > 0 else -1


def is_older_by_key(event: Placed, held: Placed) -> bool | None:
    """Say whether a later event of another partition is older, as far as a key's place tells; None: both have more.

    Where the key hashes now nothing is older than elsewhere; an event from a former place, or from a place that nobody
    knows, is older than one that has a position. Else the later arrival is the newer one.
    """
    places = [key_place(one) for one in (event, held)]
    if places == [None, None]:
        return None
    partitions = max(event.partition + 1, held.partition + 1, *(place[0] for place in places if place))
    home = [_is_home(one, partitions) for one in (event, held)]
    if None not in places:
        return home == [False, True]
    bare, other = (event, held) if places[0] is not None else (held, event)
    if other.position[:2] == (None, None):
        return False
    hashed = (places[0] or places[1] or (0, -1))[1]
    lay = any(hashed % count == other.partition for count in range(other.partition + 1, partitions))
    return (_is_home(bare, partitions) and lay) == (bare is held)


def _is_home(event: Placed, partitions: int) -> bool:
    place = key_place(event)
    return place is not None and place[1] >= 0 and place[1] % partitions == event.partition


def is_old_news(event: Placed, held: Placed, highest: Position | None = None) -> bool:
    """Say whether an event stands strictly before what a row already holds.

    `highest` is what `highest_after` said of the held event.
    """
    if event.partition != held.partition and not _epochs_tell(event, held):
        older = is_older_by_key(event, held)
        if older is not None:
            return older or (highest is not None and _compare_positions(event.position, highest) == -1)
    if highest is not None and not _positions_tell(event, held):
        return _compare_positions(event.position, highest) == -1 or compare(event, held) == -1
    return compare(event, held) == -1


def highest_after(event: Placed, held: Placed, highest: Position | None) -> Position | None:
    """Return the highest position known of a row when `event` has taken the place of `held`; None: its own."""
    if _epochs_tell(event, held) or None not in event.position:
        return None
    best = highest or held.position
    return best if best[0] is not None and _compare_positions(event.position, best) != 1 else None


def _positions_tell(one: Placed, other: Placed) -> bool:
    """Say whether epochs or positions decide between two events, without their offsets."""
    if _epochs_tell(one, other):
        return True
    if one.partition != other.partition:
        return compare(one, other) is not None
    return _compare_positions(one.position, other.position) != 0


def _epochs_tell(one: Placed, other: Placed) -> bool:
    """Say whether source epochs decide: a generation is counted by topic, epochs within it by partition."""
    if one.source_epoch >> 20 != other.source_epoch >> 20:
        return True
    return one.partition == other.partition and one.source_epoch != other.source_epoch


def _compare_positions(one: Position, other: Position) -> int:
    for mine, theirs in zip(one, other, strict=True):
        if mine is None or theirs is None:
            return 0
        if mine != theirs:
            return _sign(mine, theirs)
    return 0


def is_truncated(event: Placed, truncate: Placed) -> bool:
    """Say whether an event stands at or before a truncate of its table.

    A full snapshot (its epochs are even) stands where the log ended, which is where the next change begins.
    """
    if key_place(event) is not None:
        event = _Bare(event.source_epoch, (None, None, None, None), event.partition, event.offset)
    found = compare(event, truncate)
    if found is None and event.source_epoch % 2 == 0:
        pairs = zip(event.position[:2], truncate.position[:2], strict=True)
        return any(mine is not None and mine == theirs for mine, theirs in pairs)
    return found in (-1, 0)


@dataclass(frozen=True, slots=True)
class Instance:
    """What one topic last said of a row that several topics hold.

    Attributes:
        rank: place of the topic in the mapping's order, 0 for none.
        highest: what `highest_after` says of the event.
    """

    topic: str
    event: Placed
    lives: bool
    rank: int
    highest: Position | None = None


def speaking(instances: Sequence[Instance]) -> Instance:
    """Return the instance that speaks for a row; all are of one server.

    A later topic in the mapping's order before others, then one that lives, then the newer one by its position. When
    nothing tells, the topic's name decides, so that the order of arrival does not.
    """
    best, *others = sorted(instances, key=lambda one: crc32(one.topic.encode()))
    for one in others:
        if (one.rank, one.lives) != (best.rank, best.lives):
            best = max(best, one, key=lambda some: (some.rank, some.lives))
        elif _is_newer(one.highest or one.event.position, best.highest or best.event.position):
            best = one
    return best


def _is_newer(one: Position, other: Position) -> bool:
    for mine, theirs in zip(one, other, strict=True):
        if mine is not None and theirs is not None and mine != theirs:
            return mine > theirs
    return False


@dataclass(frozen=True, slots=True)
class _Bare:
    """Event without position."""

    source_epoch: int
    position: Position
    partition: int
    offset: int


def _sign(one: int, other: int) -> int:
    return (one > other) - (one < other)
