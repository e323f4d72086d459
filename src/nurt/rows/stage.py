"""The first stage: translated messages become rows, and rows emit contributions to orders and accounts.

Hot path: per entity kind of a micro-batch one fold; per micro-batch one read and one write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
import orjson
import polars as pl

from nurt.columnar.distinct import distinct
from nurt.columnar.types import Bools, Int64s, Words
from nurt.columnar.values import Values
from nurt.control.generations import generation_of
from nurt.control.logs import NO_LOGS, KnownLogs
from nurt.limits import SWEEP_ROWS_MAX
from nurt.model.entity_frame import IMPLIED, EntityFrame, Translated, Truncated
from nurt.model.keys import Keys, words_of
from nurt.model.state_write import StateWrite
from nurt.ports.store import Store
from nurt.rows.children.renormalising import Renormaliser, Renormalising, stored_rows
from nurt.rows.counting import Counting
from nurt.rows.fold import RowsFolded, fold_rows
from nurt.rows.layouts import LEFT, OFFSET, PART, PARTITION, ROW_LAYOUTS, TOPIC_AT
from nurt.rows.positions import TruncateWatermark, at_or_before, of_topic
from nurt.rows.read_frames import Incoming, as_deletes, deletes_of, read_frames
from nurt.rows.silent_instances import report_instances, tell_untold
from nurt.rows.sweeping import Sweeping, is_of, row_kind
from nurt.rows.sweeps import Sweep
from nurt.rows.tokens import Tokens
from nurt.rows.topic_order import TopicOrder
from nurt.rows.unsaid.held_values import HeldValues
from nurt.rows.unsaid.missing_values import report_missing
from nurt.state.row_major import read_values

WATERMARKS_MAX = 16
"""How many truncates of one table and topic are kept; an event before a forgotten one may come back."""


T = TypeVar("T")


class RowEmitter(Protocol[T]):
    """A maker of the contributions that the rows of a flow emit to its next stage."""

    def prepare(self, kind: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Return changes of rows, ready for the fold: a flow may set its own parents."""
        ...

    def emit(self, kind: str, folded: RowsFolded, ids: Words, stamp: int) -> T:
        """Emit the stored contribution of every row; `ids` are those of the owners."""
        ...

    def join(self, many: list[T]) -> T:
        """Put contributions one after another."""
        ...

    @property
    def tokens(self) -> Tokens | None:
        """Return what makes the tokens of orders that others name by a field; None: nobody does."""
        ...

    @property
    def unread(self) -> Mapping[str, Int64s]:
        """Give, by field, owners of the rows of the latest `emit` whose text there is no identifier.

        By the name NOBODYS: owners of the rows that need a parent and have none.
        """
        ...


class RowsStage(Generic[T]):
    """The stage that owns the rows of a worker's shards."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        emitter: RowEmitter[T],
        sweeps: Sequence[Sweep] = (),
        logs: KnownLogs = NO_LOGS,
        renormaliser: Renormaliser | None = None,
        normalisation: int = 0,
    ) -> None:
        self._store = store
        self._keys = keys
        self._emitter = emitter
        self._counting = Counting(store, keys, logs)
        self._watermarks: dict[bytes, list[TruncateWatermark]] | None = None
        self._sweeps = list(sweeps)
        self._order = TopicOrder()
        self._learn([sweep.order for sweep in sweeps], [])
        self._sweeping = Sweeping(self._sweeps, store, keys)
        self._renormalising = Renormalising(normalisation, store, keys, renormaliser, self._order)
        self._held = HeldValues(store, keys, self._counting)

    def fold(self, batches: Sequence[Translated]) -> T:
        """Fold translated batches, in order, and emit contributions; truncates apply where they stand."""
        contributions: list[T] = []
        waiting: list[Translated] = []
        for batch in batches:
            waiting.append(batch)
            if batch.truncated:
                contributions.append(self._fold_rows(waiting))
                waiting = []
                in_order = sorted(batch.truncated, key=lambda one: (one.partition, one.offset))
                contributions += [self._truncate(truncated) for truncated in in_order]
        if waiting:
            contributions.append(self._fold_rows(waiting))
        return self._emitter.join(contributions)

    def _fold_rows(self, batches: Sequence[Translated]) -> T:
        change = StateWrite()
        for batch in batches:
            change.refused += batch.refused
        self._counting.count_rest(change, batches)
        parts: dict[str, list[EntityFrame]] = {}
        frames = [one for batch in batches for one in batch.entities]
        truncated = [one for batch in batches for one in batch.truncated]
        for one in frames:
            parts.setdefault(one.kind, []).append(one)
        orders = [*(one.order for one in frames), *(one.order for one in truncated)]
        self._learn(orders, [one.topic for one in frames])
        incoming = {
            kind: read_frames(ROW_LAYOUTS[kind], [self._emitter.prepare(kind, one.frame) for one in some])
            for kind, some in sorted(parts.items())
        }
        for kind, some in parts.items():
            if any(one.partitions for one in some):
                counts = np.repeat([one.partitions for one in some], [one.frame.height for one in some])
                incoming[kind] = replace(incoming[kind], partitions=counts)
        return self._settle(incoming, change, parts)

    def _learn(self, orders: Sequence[tuple[str, ...]], topics: Sequence[str]) -> None:
        if any(orders):
            self._order.learn(orders, (*self._counting.topics(), *topics))

    def _settle(
        self,
        incoming: Mapping[str, Incoming],
        change: StateWrite,
        parts: Mapping[str, Sequence[EntityFrame]] | None = None,
    ) -> T:
        """Read, fold, write, emit.

        Args:
            parts: frames of the rows, to count messages by topic; None for a sweep, whose rows are no messages.
        """
        coded = {kind: distinct(events.ids) for kind, events in incoming.items()}
        ids = {kind: incoming[kind].ids[firsts] for kind, (_, firsts) in coded.items()}
        keys = {kind: self._keys.rows_of(row_kind(kind), some) for kind, some in ids.items()}
        values = self._store.load([*keys.values()]) if keys else []
        stamp = self._store.next_stamp()
        contributions = []
        for (kind, events), mine in zip(incoming.items(), values, strict=True):
            owner = coded[kind][0]
            # (deletes of a sweep or truncate stand below the watermark that it raises)
            fallen = self._below_watermark(kind, events) if parts is not None else np.zeros(len(events), dtype=np.bool_)
            kept = ~fallen
            if fallen.any():
                # of a table that several topics hold: its instance in this topic is gone, whatever others say
                ended = fallen & events.rows.has(TOPIC_AT[kind][0], np.arange(len(events)))
                kept |= ended
                events = as_deletes(ROW_LAYOUTS[kind], events, ended).take(kept)
                owner = owner[kept]
                # a row that is no longer stored emits nothing; a stored row emits what is stored
                there = mine.there
                there[owner] = True
                known = np.flatnonzero(there)
                owner, ids[kind], keys[kind] = np.searchsorted(known, owner), ids[kind][known], keys[kind][known]
                known_values = mine.plain()
                mine = Values.of([known_values[one] for one in known.tolist()])
            folded = fold_rows(kind, events.of(owner), mine, self._order, self._emitter.tokens)
            change.keep(keys[kind], folded.values(), folded.changed)
            contributions.append(self._emitter.emit(kind, folded, ids[kind], stamp))
            missing = folded.missing
            if parts is not None and self._held.concerns(kind, events):
                topics = [part.topic for part in parts[kind]]
                topic_at = np.repeat(np.arange(len(topics)), [part.frame.height for part in parts[kind]])[kept]
                waits = self._held.note(change, kind, events.of(owner), mine, folded, topics, topic_at)
                missing = None if missing is None or not (missing & ~waits).any() else missing & ~waits
            if parts is not None:
                news = kept.copy()
                news[kept] = folded.accepted
                news &= ~fallen
                doubt = np.zeros(len(kept), dtype=np.bool_)
                if folded.doubt is not None:
                    doubt[kept] = folded.doubt
                counted = self._count(change, parts[kind], incoming[kind], news, doubt)
                for name, owners in self._emitter.unread.items():
                    last = np.full(len(folded.changed), -1)
                    last[owner] = np.flatnonzero(kept)
                    some = last[owners]
                    self._count_unread(change, kind, name, parts[kind], some[(some >= 0) & counted[some]])
                if missing is not None:
                    for topic in report_missing(kind, parts[kind], incoming[kind], missing, owner, kept):
                        self._counting.count_missing(change, topic)
                if folded.speakers is not None:
                    for topic, reason, rows in report_instances(parts[kind], folded, owner, kept):
                        self._counting.count_instances(change, topic, reason, rows)
        self._store.write(change)
        return self._emitter.join(contributions)

    def _count(
        self, change: StateWrite, parts: Sequence[EntityFrame], events: Incoming, news: Bools, doubt: Bools
    ) -> Bools:
        """Count messages; return which were folded in for the first time."""
        partitions, offsets = (events.rows.numbers[:, place] for place in (PARTITION, OFFSET))
        at = 0
        first = np.zeros(len(events), dtype=np.bool_)
        for part in parts:
            some: slice | Int64s = slice(at, at + part.frame.height)
            if events.left_out is not None and (events.left_out[some] == IMPLIED).any():
                some = at + np.flatnonzero(events.left_out[some] != IMPLIED)
            mine = events.ids[some], partitions[some], offsets[some]
            if not part.counts:
                of = part.frame["entity"][0]
                first[some] = self._counting.first_time(change, part.topic, *mine, of=of) & news[some]
                at += part.frame.height
                continue
            fresh = self._counting.count_rows(change, part.topic, *mine, news[some])
            first[some] = fresh & news[some]
            if events.left_out is not None:
                self._counting.count_left_out(
                    change, part.topic, events.left_out[some][fresh & news[some]], part.absent
                )
            if doubt.any() and (messages := int(np.count_nonzero(doubt[some][fresh]))):
                self._counting.count_untold(change, part.topic, messages)
                tell_untold(part.topic)
            at += part.frame.height
        return first

    def _count_unread(
        self, change: StateWrite, kind: str, field: str, parts: Sequence[EntityFrame], events: Int64s
    ) -> None:
        """Count events with a text that is no identifier, or of nobody, by topic."""
        ends = np.cumsum([part.frame.height for part in parts])
        for part, rows in zip(*np.unique(np.searchsorted(ends, events, side="right"), return_counts=True), strict=True):
            self._counting.count_unread(change, parts[part].topic, kind, field, int(rows))

    # --- truncates: off the hot path -------------------------------------------------------------

    def _known_watermarks(self) -> dict[bytes, list[TruncateWatermark]]:
        if self._watermarks is None:
            self._watermarks = {table: _decode_watermarks(value) for table, value in self._store.watermarks().items()}
        return self._watermarks

    def _below_watermark(self, kind: str, events: Incoming) -> Bools:
        fallen = np.zeros(len(events), dtype=np.bool_)
        for table, watermarks in self._known_watermarks().items():
            watermark_kind, system, entity = table.decode().split("\x1f")
            if watermark_kind != kind:
                continue
            of_table = np.flatnonzero(is_of(kind, events, system, entity))
            if len(of_table):
                rows, codes = events.rows.take(of_table), events.rows.numbers[of_table, TOPIC_AT[kind][1]]
                fallen[of_table] = np.any(
                    [of_topic(codes, one.topic) & at_or_before(rows, one) for one in watermarks], axis=0
                )
        for sweep in self._sweeps:
            if sweep.table.kind == kind and (taken := sweep.takes(events.rows)).any():
                fallen |= taken & is_of(kind, events, sweep.table.system, sweep.table.entity)
        return fallen

    def sweep(self, epoch: int) -> T | None:
        """Sweep some rows more in this epoch, normalise some more, and emit what changed; None: nothing did.

        Rows also get what the rows of their former keys knew, and emit it.

        Every start repeats a sweep that the state has not marked as done. The mark is written after the epochs of all
        deletes of the sweep are done, so a crash in between loses nothing. The same holds for rows that are normalised
        again.
        """
        contributions = [
            self._settle({kind: fallen}, StateWrite(), None)
            for kind, fallen in self._sweeping.some(epoch)
            if len(fallen)
        ]
        contributions += [self._say_again(kind, ids) for kind, ids in self._renormalising.some(epoch)]
        for kind, found, change in self._held.due(epoch):
            if found is None:
                self._store.write(change)
            else:
                contributions.append(self._settle({kind: found}, change, None))
        return self._emitter.join(contributions) if contributions else None

    def _say_again(self, kind: str, ids: Words) -> T:
        """Emit the contributions of stored rows, as if their messages came again."""
        (values,) = self._store.load([self._keys.rows_of(row_kind(kind), ids)])
        stamp = self._store.next_stamp()
        said = self._emitter.emit(kind, stored_rows(kind, values, self._order), ids, stamp)
        self._store.write(StateWrite())
        return said

    def _truncate(self, truncated: Truncated) -> T:
        """Delete every row of a table that stands at or before the truncate.

        The sweep runs to its end here, a bounded write at a time; after a crash, the truncate's replay repeats it.
        """
        watermark = TruncateWatermark(
            truncated.source_epoch, truncated.position, truncated.partition, truncated.offset, truncated.code,
            truncated.ts_ms, truncated.behind,
        )  # fmt: skip
        table = f"{truncated.kind}\x1f{truncated.system}\x1f{truncated.entity}".encode()
        contributions = []
        for ids in self._store.scan(row_kind(truncated.kind)):
            for at in range(0, len(ids), SWEEP_ROWS_MAX):
                some = ids[at : at + SWEEP_ROWS_MAX]
                fallen = self._fallen_rows(truncated, watermark, some)
                if len(fallen):
                    contributions.append(self._settle({truncated.kind: fallen}, StateWrite()))
        known = self._known_watermarks()
        known[table] = _raised(known.get(table, []), watermark)
        change = StateWrite()
        change.watermarks = {place: {table: _encode_watermarks(known[table])} for place in self._store.places}
        self._counting.count_truncate(change, truncated)
        self._store.write(change)
        return self._emitter.join(contributions)

    def _fallen_rows(self, truncated: Truncated, watermark: TruncateWatermark, ids: list[bytes]) -> Incoming:
        """Turn the stored rows that a truncate deletes into delete events at the rows' positions."""
        layout = ROW_LAYOUTS[truncated.kind]
        words = words_of(ids)
        (values,) = self._store.load([self._keys.rows_of(row_kind(truncated.kind), words)])
        stored = read_values(layout, values)
        rows = deletes_of(layout, stored, words[stored.owner])
        return rows.take(
            (stored.numbers[:, PART] != LEFT)
            & is_of(truncated.kind, rows, truncated.system, truncated.entity)
            & of_topic(stored.numbers[:, TOPIC_AT[truncated.kind][1]], watermark.topic)
            & at_or_before(stored, watermark)
        )


def _encode_watermarks(watermarks: list[TruncateWatermark]) -> bytes:
    return orjson.dumps([asdict(watermark) for watermark in watermarks])


def _decode_watermarks(value: bytes) -> list[TruncateWatermark]:
    return [
        TruncateWatermark(
            known_values["source_epoch"],
            tuple(known_values["position"]),
            known_values["partition"],
            known_values["offset"],
            known_values.get("topic", 0),
            known_values.get("ts_ms", 0),
            tuple(known_values.get("behind", ())),
        )
        for known_values in orjson.loads(value)
    ]


def _raised(watermarks: list[TruncateWatermark], watermark: TruncateWatermark) -> list[TruncateWatermark]:
    """Add a truncate to those of its table: a row below one need not be below a later one, because parts may be null.

    Truncates of earlier source epochs of the partition are dropped, and those of earlier generations: the new one
    covers them. Source epochs of other partitions are counted apart.
    """
    others = [other for other in watermarks if other.topic != watermark.topic]
    mine = [other for other in watermarks if other.topic == watermark.topic and other != watermark]
    kept = [other for other in mine if not _covers(watermark, other)]
    return [*others, *[*kept, watermark][-WATERMARKS_MAX:]]


def _covers(watermark: TruncateWatermark, other: TruncateWatermark) -> bool:
    """Say whether a truncate is behind another one, as far as source epochs tell.

    One that an earlier version kept has positions alone, so it goes at the next source epoch of any partition.
    """
    if generation_of(other.source_epoch) != generation_of(watermark.source_epoch):
        return other.source_epoch < watermark.source_epoch
    comparable = other.partition == watermark.partition or not other.behind
    return comparable and other.source_epoch < watermark.source_epoch
