"""Count the outcome of each message once, even if a crash repeats the read: the message accounting invariant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nurt.columnar.types import Bools, Int64s, Words
from nurt.control.counted_offsets import CountedOffsets, Place
from nurt.control.logs import NO_LOGS, KnownLogs
from nurt.model.entity_frame import LEFT_OUT, LEFT_OUT_ABSENT, UNWANTED, Translated, Truncated
from nurt.model.keys import Keys
from nurt.model.state_write import StateWrite
from nurt.ports.store import Store

ROWS, REFUSED, NOT_OURS, TRUNCATES = "rows", "quarantined", "not_ours", "truncates"
"""What is counted separately; everything except rows is counted in the first shard only."""

HEIGHTS = "heights"
"""Beside the counts: how far the order of each partition goes (`control/source_watch.py`), packed as one number."""

MISSING = "lacking"
"""An additional outcome: rows with a missing value, which the source did not send again and the state does not know."""

UNREAD = "unread"
"""An additional outcome: rows folded in, with a text in a field that is no identifier; the reason names the field."""


NOBODY = "nobody"
"""An additional outcome: rows folded in that need a parent and have none, by kind."""
NOBODYS = ""
"""Name of such rows beside the fields whose text is no identifier."""


INSTANCES = "instances"
"""An additional outcome: rows that several topics hold where something has to be said; see `rows/instances.py`."""
LEFT_OUT_OUTCOME = "left_out"
"""An additional outcome: rows that the mapping's `where` left out. They are counted as folded, too: as deletes."""
LEFT_OUT_REASON = "where"
UNWANTED_REASON = "with"


UNTOLD = "untold"
"""An additional outcome: messages without position that nothing compares with a row of another partition."""


class Counting:
    """A counter that adds counts to a worker's writes, with counted offsets so that a replay adds nothing twice."""

    def __init__(self, store: Store, keys: Keys, logs: KnownLogs = NO_LOGS) -> None:
        self._store = store
        self._keys = keys
        self._logs = logs
        self._counted: dict[str, CountedOffsets] | None = None
        self._places = [keys.shard_place(shard) for shard in range(keys.shards)]

    def count_rows(
        self, change: StateWrite, topic: str, ids: Words, partitions: Int64s, offsets: Int64s, news: Bools
    ) -> Bools:
        """Count rows of one topic as folded in or as old news; return which were not counted before.

        Args:
            ids: of the rows.
            partitions, offsets: of their messages.
            news: which of them were folded in.
        """
        fresh = self.first_time(change, topic, ids, partitions, offsets)
        folded = int(np.count_nonzero(fresh & news))
        _add(change, topic, "folded", "", folded)
        _add(change, topic, "old_news", "", int(np.count_nonzero(fresh)) - folded)
        return fresh

    def first_time(
        self, change: StateWrite, topic: str, ids: Words, partitions: Int64s, offsets: Int64s, of: str = ""
    ) -> Bools:
        """Return which rows of one topic are met for the first time, and note that they were.

        Args:
            ids: of the rows.
            partitions, offsets: of their messages.
            of: name of the rows' entity, where other rows of the same messages count these.
        """
        if not len(ids):
            return np.zeros(0, dtype=np.bool_)
        what = f"{ROWS}{_OF}{of}" if of else ROWS
        shards = (ids[:, 0] & np.uint64(255)).astype(np.int64) % self._keys.shards
        fresh, risen = self._known(what).count(topic, partitions, offsets, shards)
        names = {
            partition: self._name(what, topic, partition) for partition in {partition for _, partition, _ in risen}
        }
        for shard, partition, offset in risen:
            change.counted.setdefault(self._places[shard], {})[names[partition]] = offset
        return fresh

    def count_left_out(self, change: StateWrite, topic: str, ops: Int64s, absent: Sequence[str]) -> None:
        """Count rows that `where` or `with` left out; `absent` names columns of `where` that the table lacks."""
        lacking = int(np.count_nonzero(ops == LEFT_OUT_ABSENT))
        _add(change, topic, LEFT_OUT_OUTCOME, LEFT_OUT_REASON, int(np.count_nonzero(ops == LEFT_OUT)))
        _add(change, topic, LEFT_OUT_OUTCOME, f"{LEFT_OUT_REASON}, without column {', '.join(absent)}", lacking)
        _add(change, topic, LEFT_OUT_OUTCOME, UNWANTED_REASON, int(np.count_nonzero(ops == UNWANTED)))

    def count_rest(self, change: StateWrite, batches: Sequence[Translated]) -> None:
        """Count refused messages, and those that the translator found foreign, unless a run has counted them."""
        # refusals of a batch arrive grouped by reason; those of one partition must be counted in order
        for one in sorted((one for batch in batches for one in batch.refused), key=lambda one: one.offset):
            place = one.topic, one.partition, one.offset
            if self._known(REFUSED).count_one(*place):
                self._note(change, REFUSED, *place)
                _add(change, one.topic, "quarantined", str(one.reason), 1)
        for batch in batches:
            for (topic, outcome, reason), messages in batch.not_ours.items():
                _add(change, topic, outcome, reason, messages)
            for (topic, partition), offset in batch.passed.items():
                self._note(change, NOT_OURS, topic, partition, offset)
            for (topic, partition), height in batch.heights.items():
                self._note(change, HEIGHTS, topic, partition, height)

    def count_missing(self, change: StateWrite, topic: str) -> None:
        """Count a row with a missing value; the row's event is also counted as folded."""
        _add(change, topic, MISSING, "value_not_sent", 1)

    def count_unread(self, change: StateWrite, topic: str, kind: str, field: str, rows: int) -> None:
        """Count rows with a text that is no identifier, or (NOBODYS) of nobody; they are also counted as folded."""
        if field == NOBODYS:
            _add(change, topic, NOBODY, kind, rows)
        else:
            _add(change, topic, UNREAD, f"{kind}.{field}", rows)

    def count_instances(self, change: StateWrite, topic: str, reason: str, rows: int) -> None:
        """Count rows that several topics hold, with what has to be said of them."""
        _add(change, topic, INSTANCES, reason, rows)

    def count_untold(self, change: StateWrite, topic: str, messages: int) -> None:
        """Count messages that nothing compares with one of another partition; their events are also counted above."""
        _add(change, topic, UNTOLD, "no_position", messages)

    def topics(self) -> list[str]:
        """List the topics whose rows were counted, by this run and earlier ones."""
        return self._known(ROWS).topics()

    def count_truncate(self, change: StateWrite, truncated: Truncated) -> None:
        """Count a truncate: every worker sweeps, one counts."""
        if self._keys.shard_place(0) not in self._store.places:
            return
        place = truncated.topic, truncated.partition, truncated.offset
        if self._known(TRUNCATES).count_one(*place):
            self._note(change, TRUNCATES, *place)
            _add(change, truncated.topic, "folded", "truncate", 1)

    def _known(self, what: str) -> CountedOffsets:
        if self._counted is None:
            stored = self._store.counted()
            self._counted = {}
            for of in {name.partition(_BETWEEN)[0] for some in stored.values() for name in some}:
                if of in (REFUSED, TRUNCATES) or _is_of_rows(of):
                    self._counted[of] = self._loaded(of, stored)
        if what not in self._counted:
            self._counted[what] = self._loaded(what, {})
        return self._counted[what]

    def _loaded(self, what: str, stored: Mapping[bytes, Mapping[str, int]]) -> CountedOffsets:
        """Load the counted offsets of one kind from those of this worker's places."""
        places = self._places if _is_of_rows(what) else self._places[:1]
        counted = CountedOffsets(len(places))
        for shard, place in enumerate(places):
            if place in stored:
                counted.load(shard, counted_of(what, stored[place], self._logs))
        return counted

    def _note(self, change: StateWrite, what: str, topic: str, partition: int, offset: int, shard: int = 0) -> None:
        change.counted.setdefault(self._keys.shard_place(shard), {})[self._name(what, topic, partition)] = offset

    def _name(self, what: str, topic: str, partition: int) -> str:
        return name_of_count(what, topic, partition, self._logs.number(topic))


def counted_of(what: str, stored: Mapping[str, int], logs: KnownLogs = NO_LOGS) -> dict[Place, int]:
    """Select a shard's counted offsets of one kind; those of a topic's former logs do not count."""
    found = {}
    for name, offset in stored.items():
        of, topic, partition, *log = name.split(_BETWEEN)
        if of == what and int(log[0] if log else 0) == logs.number(topic):
            found[topic, int(partition)] = offset
    return found


_BETWEEN = "\x1f"
_OF = "/"
"""Between `rows` and the name of an entity, in the name of a count."""


def name_of_count(what: str, topic: str, partition: int, log: int = 0) -> str:
    """Name one counted offset of a shard; the topic's first log is not named, as in state of earlier versions."""
    return _BETWEEN.join((what, topic, str(partition), *([str(log)] if log else [])))


def _is_of_rows(what: str) -> bool:
    return what.partition(_OF)[0] == ROWS


def _add(change: StateWrite, topic: str, outcome: str, reason: str, messages: int) -> None:
    if messages:
        key = (topic, outcome, reason)
        change.counts[key] = change.counts.get(key, 0) + messages
