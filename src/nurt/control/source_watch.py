"""Watch for a source's order that starts again: by a full snapshot, by another server, by a log that falls back.

A full snapshot of a source shows it in every partition that it writes to. To the others it must be told: their new
order begins with the first other row that was written behind the snapshot's first row. Without a snapshot only an
operator can know it: evidence halts the source until the operator's word. One word begins one new source epoch in each
partition of the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from nurt.control.source_survey import UNLIMITED, Heights, Order

Place = tuple[str, int]
"""(topic, partition)."""
Identity = tuple[int, int]
"""What the rows of one full snapshot share: two parts of their positions."""


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
    written_ms: int = 0


class NewOrder(Exception):
    """Evidence of a new order that nothing explains; nothing of the batch may be used."""

    def __init__(self, notice: Notice) -> None:
        super().__init__(notice.detail)
        self.notice = notice


@dataclass(frozen=True, slots=True)
class Sight:
    """Sight of a partition: how far it was watched. The control log keeps this fact for later runs."""

    topic: str
    partition: int
    offset: int
    highest: int
    servers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Restart:
    """Moment from which the order of a whole source is a new one.

    Attributes:
        written_ms: when the first message of the new order that is known was written.
        word: the operator's, by which it is known; 0: a full snapshot shows it.
        identity: of that snapshot.
    """

    source: str
    written_ms: int
    word: int = 0
    identity: Identity | None = None


@dataclass(slots=True)
class Facts:
    """What the control log and the state know of orders.

    Attributes:
        sights: of earlier runs.
        restarts: of all sources.
        words: source -> number of the operator's last word on it.
        used: place -> the word that was used there last.
        begun_ms: place -> when the message that began its newest epoch was written.
        snapshots: place -> identities of the full snapshots since it streamed last, the newest one last.
        heights: place -> how far its order went, as `SourceWatch.packed` gave it.
        cut: places whose log was cut: their offsets come again, with other rows.
    """

    sights: list[Sight] = field(default_factory=list)
    restarts: list[Restart] = field(default_factory=list)
    words: dict[str, int] = field(default_factory=dict)
    used: dict[Place, int] = field(default_factory=dict)
    begun_ms: dict[Place, int] = field(default_factory=dict)
    snapshots: dict[Place, list[Identity]] = field(default_factory=dict)
    heights: Mapping[Place, int] = field(default_factory=dict)
    cut: set[Place] = field(default_factory=set)


class SourceWatch:
    """Watch over the partitions that a worker reads.

    Args:
        facts: of earlier runs.
        learn: reads restarts again that other workers have written down; asked before a source is halted.
    """

    def __init__(self, facts: Facts | None = None, learn: Callable[[], Iterable[Restart]] = tuple) -> None:
        facts = facts or Facts()
        self._learn = learn
        self._words, self._used, self._begun_ms = dict(facts.words), dict(facts.used), dict(facts.begun_ms)
        self._restarts: dict[str, dict[Identity | int | None, Restart]] = {}
        self._latest_ms: dict[str, int] = {}
        self._topics: dict[str, Heights] = {}
        self._read: dict[Place, set[Identity]] = {}
        self._many_servers: dict[Place, set[int]] = {}
        self._noted: dict[Place, int] = {}
        self._sights: dict[Place, Sight] = {}
        for restart in facts.restarts:
            self.add(restart)
        for sight in facts.sights:
            heights, at = self._at(sight.topic, sight.partition)
            for server in sight.servers:
                self._see(heights, (sight.topic, at), server)
            if sight.highest >= 0:
                heights.highest[at, 0], heights.parts[at], heights.until[at] = sight.highest, 1, sight.offset
                self._noted[sight.topic, at] = sight.highest
        for (topic, partition), identities in facts.snapshots.items():
            heights, at = self._at(topic, partition)
            heights.snapshot[at], heights.has_snapshot[at] = identities[-1], True
            self._read[topic, partition] = set(identities)
        for (topic, partition), packed in facts.heights.items():
            heights, at = self._at(topic, partition)
            _unpack(packed, heights, at)
        for topic, partition in facts.cut:
            heights, at = self._at(topic, partition)
            heights.until[at] = -1

    def heights(self, topic: str) -> Heights:
        """Return how far the partitions of a topic go; the caller changes them."""
        return self._topics.setdefault(topic, Heights())

    def snapshots(self, place: Place) -> set[Identity]:
        """Return the identities of full snapshots since a partition streamed last; the caller changes them."""
        return self._read.setdefault(place, set())

    def replace(self, topic: str, heights: Heights) -> None:
        """Put heights in the place of those of a topic."""
        self._topics[topic] = heights

    def add(self, restart: Restart) -> None:
        """Take in a restart; of one snapshot the earliest message counts."""
        if restart.written_ms <= 0:
            return
        known = self._restarts.setdefault(restart.source, {})
        name = restart.word or restart.identity
        if name not in known or restart.written_ms < known[name].written_ms:
            known[name] = restart
            self._latest_ms[restart.source] = max(one.written_ms for one in known.values())

    def waits_from(self, place: Place, source: str) -> int | None:
        """Return from when on a message of a partition is of a new order of its source; None: none waits for it."""
        since_ms = self._since_ms(place)
        if self._latest_ms.get(source, -1) <= since_ms:
            return None
        known = self._restarts[source].values()
        return min((one.written_ms for one in known if self._waits(place, one, since_ms)), default=None)

    def restart(self, place: Place, order: Order, row: int) -> Restart | None:
        """Return the last restart of the source that waits for this partition and that the row was written behind."""
        since_ms, written_ms = self._since_ms(place), int(order.written_ms[row])
        if min(self._latest_ms.get(order.source, -1), written_ms) <= since_ms:
            return None
        known = self._restarts[order.source].values()
        behind = [one for one in known if written_ms >= one.written_ms and self._waits(place, one, since_ms)]
        return max(behind, key=lambda one: one.word, default=None)

    def pass_by(self, place: Place, order: Order, row: int) -> None:
        """Note when a row was written that the order goes on with."""
        heights, at = self._at(*place)
        heights.written_ms[at] = max(heights.written_ms[at], order.written_ms[row])

    def begin(self, place: Place, order: Order, row: int, word: int = 0) -> None:
        """Begin a partition's order again at a row."""
        heights, at = self._at(*place)
        heights.forget(at)
        self._noted.pop(place, None)
        self._sights.pop(place, None)
        self._begun_ms[place] = int(order.written_ms[row])
        if word:
            self._used[place] = word

    def look(self, place: Place, order: Order, row: int, offset: int, streamed: bool = True) -> int | None:
        """Look at a row that is of no full snapshot; return the word by which a new order begins with it.

        None: the order goes on, or the row repeats an older one. 0: a snapshot that was learnt of just now explains it.
        Raises NewOrder on evidence that nothing explains.
        """
        heights, at = self._at(*place)
        if not order.known[0, row] or offset <= heights.until[at]:
            return None
        server = int(order.servers[row])
        if heights.is_behind(at, order, row):
            if not streamed:
                return None  # an incremental snapshot reads now, so its time is no evidence
            if (found := self._evidence(place, heights, at, order, row)) is None or order.is_excused(row):
                return None
            if (word := self._explanation(place, heights, at, order, row)) is None:
                raise NewOrder(Notice(found[0], order.source, *place, offset, found[1], int(order.written_ms[row])))
            return word
        heights.rise(at, order, row)
        heights.until[at] = offset
        self.pass_by(place, order, row)
        is_new = server != 0 and self._see(heights, place, server)
        highest, noted = int(order.numbers[0, row]), self._noted.get(place)
        limit = order.fall_back_max
        if limit != UNLIMITED and (is_new or noted is None or highest - noted > limit):
            self._noted[place] = highest
            self._sights[place] = Sight(*place, offset, highest, self._servers(heights, place))
        return None

    def sights(self) -> list[Sight]:
        """Return what the control log should know, since the last call."""
        sights, self._sights = list(self._sights.values()), {}
        return sights

    def packed(self, place: Place) -> int:
        """Return how far a partition goes, as one number; the state keeps it, so that the watch goes on exactly."""
        heights, at = self._at(*place)
        return _pack(heights, at)

    def _at(self, topic: str, partition: int) -> tuple[Heights, int]:
        heights = self.heights(topic)
        heights.grow(partition + 1)
        return heights, partition

    def _since_ms(self, place: Place) -> int:
        """Return up to when a partition's messages are known to be of orders that it has begun."""
        heights, at = self._at(*place)
        return max(self._begun_ms.get(place, -1), int(heights.written_ms[at]))

    def _waits(self, place: Place, restart: Restart, since_ms: int) -> bool:
        """Say whether a partition has still to begin an order.

        One that has passed its moment did so with positions that went on, so it needs no other epoch.
        """
        return restart.written_ms > since_ms and (not restart.word or restart.word > self._used.get(place, 0))

    def _evidence(
        self, place: Place, heights: Heights, at: int, order: Order, row: int
    ) -> tuple[NoticeKind, str] | None:
        """Say what shows that a row behind the highest is no repeat of an older one.

        Source: a connector that repeats writes the source's old times again (Debezium, `source.ts_ms`).
        """
        server = int(order.servers[row])
        if server and not self._knows(heights, place, server) and self._servers(heights, place):
            detail = f"server_id {server} after {list(self._servers(heights, place))}, behind the highest position seen"
            return NoticeKind.SERVER_CHANGED, detail
        limit = order.fall_back_max
        behind = int(heights.highest[at, 0] - order.numbers[0, row])
        if behind > limit:
            return NoticeKind.FELL_BACK, f"{behind} behind the highest seen (at most {limit} is usual)"
        if 0 < heights.source_ms[at] < order.source_ms[row]:
            later_s = (order.source_ms[row] - heights.source_ms[at]) / 1000
            return NoticeKind.FELL_BACK, f"behind the highest seen, though the source's clock is {later_s:g} s later"
        return None

    def _explanation(self, place: Place, heights: Heights, at: int, order: Order, row: int) -> int | None:
        """Return by which word a new order begins here, 0: by a snapshot's; None: nothing explains it."""
        used = self._used.get(place, 0)
        if (word := self._word(order.source, used, int(order.written_ms[row]))) > used:
            return word
        for restart in self._learn():
            self.add(restart)
        if self.restart(place, order, row) is not None or self._follows_snapshot(place, order, row):
            return 0
        server, last = int(order.servers[row]), int(heights.server[at])
        if used and server and last and server != last and self._knows(heights, place, server):
            return used  # servers that take turns: the operator has said that their orders differ
        return None

    def _word(self, source: str, used: int, written_ms: int) -> int:
        """Return the first unused word on a message that was written then or later; else the operator's last one."""
        some = self._restarts.get(source, {}).values()
        return min(
            (one.word for one in some if one.word > used and one.written_ms >= written_ms),
            default=self._words.get(source, 0),
        )

    def _follows_snapshot(self, place: Place, order: Order, row: int) -> bool:
        """Say whether a row follows a snapshot whose messages have no better time than the partition's own."""
        begun = self._begun_ms.get(place, -1)
        first, second = int(order.numbers[0, row]), int(order.numbers[1, row])
        return any(
            (first if identity[0] >= 0 else -1, second) >= identity and one.written_ms == begun == order.written_ms[row]
            for one in self._restarts.get(order.source, {}).values()
            if (identity := one.identity) is not None
        )

    def _knows(self, heights: Heights, place: Place, server: int) -> bool:
        return heights.knows(place[1], server) or server in self._many_servers.get(place, ())

    def _see(self, heights: Heights, place: Place, server: int) -> bool:
        """Keep a server; return whether it is a new one."""
        if self._knows(heights, place, server):
            return False
        free = np.flatnonzero(heights.servers[place[1]] == 0)
        if len(free):
            heights.servers[place[1], free[0]] = server
        else:
            self._many_servers.setdefault(place, set()).add(server)
        return True

    def _servers(self, heights: Heights, place: Place) -> tuple[int, ...]:
        few = {int(one) for one in heights.servers[place[1]] if one}
        return tuple(sorted(few | self._many_servers.get(place, set())))


class NoWatch(SourceWatch):
    """Watch that halts nothing: for those who only try messages."""

    def look(self, place: Place, order: Order, row: int, offset: int, streamed: bool = True) -> int | None:
        """Say that the order goes on."""
        return None


_WORDS = 9
"""Numbers in a packed height: offset, known parts, p0 to p3, time, server, time of writing."""


def offset_of(packed: int) -> int:
    """Return the offset up to which a packed height was watched."""
    words = np.frombuffer(packed.to_bytes(8 * _WORDS, "big"), dtype=">i8")
    return int(words[0])


def _pack(heights: Heights, at: int) -> int:
    words = np.empty(_WORDS, dtype=">i8")
    words[0], words[1], words[2:6] = heights.until[at], heights.parts[at], heights.highest[at]
    words[6], words[7], words[8] = heights.source_ms[at], heights.server[at], heights.written_ms[at]
    return int.from_bytes(words.tobytes(), "big")


def _unpack(packed: int, heights: Heights, at: int) -> None:
    words = np.frombuffer(packed.to_bytes(8 * _WORDS, "big"), dtype=">i8").astype(np.int64)
    heights.until[at], heights.parts[at], heights.highest[at] = words[0], words[1], words[2:6]
    heights.source_ms[at], heights.server[at], heights.written_ms[at] = words[6], words[7], words[8]
