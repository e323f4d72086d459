"""Translate the messages of one topic into rows of its canonical entity, whatever schemas they were written with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from nurt.core.avro import MEANINGS
from nurt.core.change_reader import LOGICAL, ROWLESS, TRUNCATE, UNKNOWN, ChangeReader, Changes
from nurt.core.envelope import NOT_OURS, TOMBSTONE, Anatomy, Form
from nurt.core.ids import Ids
from nurt.core.mapper import map_rows
from nurt.core.mapping import TopicMapping
from nurt.core.positions import POSITION_COLUMNS, Family, read_positions
from nurt.core.row_keys import KeyReader, take
from nurt.core.source_epochs import Seen, SourceEpochs
from nurt.core.wire import NOT_CONFLUENT, NULL, Wire
from nurt.model.entity_frame import DELETE, STREAMED, UPSERT, Counts, EntityFrame, Translated, Truncated
from nurt.model.raw import RawBatch
from nurt.model.refusal import Reason, Refused

Bools = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]

Known = Callable[[int], tuple[Any, Anatomy] | None]
"""Schema id -> the schema as parsed JSON and what its messages are; None when there is none."""

NOT_OURS_OUTCOME = "not_ours"
"""Outcome under which what is not ours is counted."""


@dataclass(slots=True)
class _Group:
    """Messages of one batch that one schema wrote, or tombstones: `rows` are their places in the batch."""

    rows: Int64s
    changes: Changes
    reader: ChangeReader | None  # None: tombstones, which have a key only
    keep: Bools  # those that become rows


@dataclass(slots=True)
class _Batch:
    """A batch on its way, and where its messages have ended so far."""

    raw: RawBatch
    wire: Wire
    partitions: Int64s
    offsets: Int64s
    groups: list[_Group] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    counts: Counts = field(default_factory=dict)

    def refuse(self, rows: Iterable[int], reason: Reason, detail: str) -> None:
        self.refused.extend(refuse(self.raw, rows, reason, detail))

    def count(self, messages: int, reason: str) -> None:
        if messages:
            place = (self.raw.topic, NOT_OURS_OUTCOME, reason)
            self.counts[place] = self.counts.get(place, 0) + messages


def refuse(batch: RawBatch, rows: Iterable[int], reason: Reason, detail: str) -> list[Refused]:
    """Keep messages of a batch with why they could not be folded; `detail` names no value."""
    return [
        Refused(
            batch.topic,
            batch.partitions[row],
            batch.offsets[row],
            batch.timestamps_ms[row],
            batch.keys[row],
            batch.values[row],
            batch.headers[row],
            reason,
            detail,
        )
        for row in rows
    ]


class TableTranslation:
    """Translates the batches of one topic, in the order of its log."""

    def __init__(self, topic: TopicMapping, ids: Ids, known: Known, epochs: SourceEpochs) -> None:
        self._topic, self._ids, self._known, self._epochs = topic, ids, known, epochs
        self._columns = sorted(topic.columns | set(topic.key_columns))
        self._key = tuple(topic.key_columns)
        self._keys = KeyReader(self._key, topic.system.timezone, self._schema)
        self._readers: dict[int, ChangeReader] = {}
        self._deleted_last: dict[int, int] = {}  # partition -> offset, when its last message was a delete

    def translate(self, raw: RawBatch, wire: Wire) -> Translated:
        """Say of every message of a batch where it ends."""
        batch = _Batch(raw, wire, _partitions(raw), pl.Series(raw.offsets, dtype=pl.Int64).to_numpy())
        tombstones = self._read(batch)
        self._take_tombstones(batch, tombstones)
        epochs = self._number(batch)
        frames, places = [], []
        for group in batch.groups:
            frame, rows = self._map(batch, group, epochs)
            if frame.height:
                frames.append(frame)
                places.append(rows)
        return Translated(
            [EntityFrame(self._topic.kind, _in_order(frames, places))] if frames else [],
            self._truncates(batch, epochs),
            batch.refused,
            batch.counts,
        )

    def _read(self, batch: _Batch) -> Int64s:
        """Read what each schema wrote; return the places of tombstones."""
        tombstones = np.zeros(0, dtype=np.int64)
        for schema_id, rows in batch.wire.by_schema():
            if schema_id == NULL:
                tombstones = rows
            elif schema_id == NOT_CONFLUENT:
                batch.refuse(rows, Reason.NOT_CONFLUENT, "no zero byte and schema id before the value")
            elif (known := self._known(schema_id)) is None:
                batch.refuse(rows, Reason.UNKNOWN_SCHEMA, f"schema id {schema_id} of the value")
            elif known[1].form in NOT_OURS:
                batch.count(len(rows), known[1].form.value)
            elif not known[1].is_row or known[1].columns.keys().isdisjoint(self._columns):
                batch.refuse(rows, Reason.NO_ENVELOPE, f"schema id {schema_id}: {_outline(known[1])}")
            else:
                self._read_group(batch, rows, self._reader(schema_id, *known))
        return tombstones

    def _read_group(self, batch: _Batch, rows: Int64s, reader: ChangeReader) -> None:
        changes = reader.read(batch.wire.joined, rows)
        keep = changes.op <= DELETE
        if changes.bad.any():
            keep &= changes.bad == 0
            for row in np.flatnonzero(changes.bad):
                batch.refuse([int(rows[row])], Reason.BAD_AVRO, f"value: {MEANINGS[int(changes.bad[row])]}")
        if not keep.all():
            fine = changes.bad == 0
            batch.count(int(np.count_nonzero(fine & (changes.op == LOGICAL))), Form.LOGICAL_MESSAGE.value)
            batch.refuse(
                rows[fine & (changes.op == UNKNOWN)], Reason.UNKNOWN_OPERATION, "op (expected one of c, r, u, d, t, m)"
            )
            batch.refuse(rows[fine & (changes.op == ROWLESS)], Reason.NO_ENVELOPE, "an upsert without its row")
        for name, found in reader.unholdable.items():
            wrong = keep & (changes.op == UPSERT)
            batch.refuse(rows[wrong], Reason.WRONG_TYPE, f"column {name}: {found}")
            keep &= ~wrong
        for name, unfit in changes.unfit.items():
            wrong = keep & (changes.op == UPSERT) & unfit
            batch.refuse(
                rows[wrong], Reason.OUT_OF_RANGE, f"column {name}: more digits than {changes.columns[name].dtype}"
            )
            keep &= ~wrong
        batch.groups.append(_Group(rows, changes, reader, keep))

    def _take_tombstones(self, batch: _Batch, tombstones: Int64s) -> None:
        """Sort tombstones: one right behind its row's delete says nothing new, any other is a delete itself.

        The flattened form may have no other delete, and compaction may leave nothing of an envelope's.
        """
        deletes = np.zeros(len(batch.offsets), dtype=np.bool_)
        for group in batch.groups:
            deletes[group.rows] = (group.changes.op == DELETE) & (group.changes.bad == 0)
        if len(tombstones):
            width = int(batch.partitions.max()) + 1
            places = batch.offsets * width + batch.partitions
            said = np.isin(places[tombstones] - width, places[deletes])
            for partition, offset in self._deleted_last.items():
                said |= (batch.partitions[tombstones] == partition) & (batch.offsets[tombstones] == offset + 1)
            said |= np.array([batch.raw.keys[row] is None for row in tombstones.tolist()], dtype=np.bool_)
            batch.count(int(np.count_nonzero(said)), TOMBSTONE)
            if not said.all():
                batch.groups.append(_tombstone_group(tombstones[~said]))
        if deletes.any() or self._deleted_last:
            last = np.full(int(batch.partitions.max()) + 1, -1, dtype=np.int64)
            last[batch.partitions] = np.arange(len(batch.partitions))
            for partition in np.flatnonzero(last >= 0).tolist():
                self._deleted_last.pop(partition, None)
                if deletes[last[partition]]:
                    self._deleted_last[partition] = int(batch.offsets[last[partition]])

    def _number(self, batch: _Batch) -> Int64s:
        """Give every change its source epoch; messages that are none get a number without meaning."""
        n = len(batch.offsets)
        for group in batch.groups:
            if group.reader is not None:
                self._watch(batch, group)
        if len(batch.groups) == 1 and len(batch.groups[0].rows) == n and batch.groups[0].keep.all():
            seen = Seen(batch.partitions, batch.offsets, batch.groups[0].changes.snapshot)
            return self._epochs.observe(batch.raw.topic, seen)
        snapshot = np.zeros(n, dtype=np.int8)
        is_change = np.zeros(n, dtype=np.bool_)
        for group in batch.groups:
            snapshot[group.rows] = group.changes.snapshot
            is_change[group.rows] = (group.changes.op <= TRUNCATE) & (group.changes.bad == 0)
        epochs = np.zeros(n, dtype=np.int64)
        seen = Seen(batch.partitions[is_change], batch.offsets[is_change], snapshot[is_change])
        epochs[is_change] = self._epochs.observe(batch.raw.topic, seen)
        return epochs

    def _watch(self, batch: _Batch, group: _Group) -> None:
        first = group.changes.position[0]
        known = first.is_not_null().to_numpy()
        if not known.any():
            return
        assert group.reader is not None
        rows = group.rows
        self._epochs.watch(
            batch.raw.topic,
            group.reader.anatomy.family,
            Seen(batch.partitions[rows], batch.offsets[rows], group.changes.snapshot),
            first.fill_null(0).to_numpy(),
            known,
            group.changes.servers,
        )

    def _map(self, batch: _Batch, group: _Group, epochs: Int64s) -> tuple[pl.DataFrame, Int64s]:
        """Map what a group keeps; return its rows and their places in the batch."""
        everything = bool(group.keep.all())
        at = np.arange(len(group.rows)) if everything else np.flatnonzero(group.keep)
        rows = group.rows[at]
        if not len(rows):
            return pl.DataFrame(), rows
        changes = group.changes

        def kept(column: pl.Series) -> pl.Series:
            return column if everything else column.gather(at)

        op = changes.op[at]
        columns = {name: kept(column) for name, column in changes.columns.items()}
        deletes = np.flatnonzero(op == DELETE)
        moved = None
        if len(deletes):
            moved = self._put_keys(batch, group.reader, rows, deletes, columns)
        if any(name not in columns for name in self._key):  # only the message's key has them
            self._put_keys(batch, group.reader, rows, np.flatnonzero(op == UPSERT), columns)
        head = {
            "op": pl.Series(op),
            "snapshot": pl.Series(changes.snapshot[at]),
            "source_epoch": pl.Series(epochs[rows]),
            **{name: kept(part) for name, part in zip(POSITION_COLUMNS, changes.position, strict=True)},
            "partition": pl.Series(batch.partitions[rows]),
            "offset": pl.Series(batch.offsets[rows]),
            "ts_ms": _times(None if changes.ts_ms is None else kept(changes.ts_ms), batch.raw, rows),
        }
        frame, problems = map_rows(
            self._topic,
            pl.DataFrame(head),
            pl.DataFrame(columns),
            self._ids,
            {name: pl.Series(flags[at] & (op == UPSERT)) for name, flags in changes.unavailable.items()},
            moved,
        )
        for problem in problems:
            batch.refuse([int(rows[problem.row])], problem.reason, problem.detail)
        if problems:
            rows = np.delete(rows, [problem.row for problem in problems])
        return frame, rows

    def _put_keys(
        self,
        batch: _Batch,
        reader: ChangeReader | None,
        rows: Int64s,
        which: Int64s,
        columns: dict[str, pl.Series],
    ) -> pl.DataFrame | None:
        """Put key columns from the messages' keys into `columns` at `which`; return what rows were renamed to.

        An old row is believed only where it is whole: PostgreSQL's default REPLICA IDENTITY fills it with constants
        besides the message's key.
        """
        wanted = rows[which].tolist()
        keys = self._keys.read([batch.raw.keys[row] for row in wanted])
        old = self._old_keys(batch, reader, rows, which, columns, keys.there)
        moved = self._keys.read_moved([batch.raw.headers[row] for row in wanted])
        renamed = {}
        places = np.full(len(rows), -1, dtype=np.int64)
        places[which] = np.arange(len(which))
        for name in self._key:
            found = keys.columns.get(name)
            if name in old:
                found = old[name] if found is None else _or(found, old[name])
            if found is None:
                found = pl.Series(name, [None] * len(which), dtype=pl.String)
            if name not in columns:
                columns[name] = take(found, places)
            else:
                columns[name] = _replaced(columns[name], found, places)
            if moved is not None:
                target = moved.get(name, pl.Series(name, [None] * len(which), dtype=pl.String))
                renamed[name] = take(target.cast(columns[name].dtype, strict=False), places)
        return pl.DataFrame(renamed) if moved is not None else None

    def _old_keys(
        self,
        batch: _Batch,
        reader: ChangeReader | None,
        rows: Int64s,
        which: Int64s,
        columns: Mapping[str, pl.Series],
        there: Bools,
    ) -> dict[str, pl.Series]:
        """Read key columns from old rows, null where these are not to be believed."""
        if reader is None:
            return {}
        flattened = reader.anatomy.form is Form.FLATTENED
        filled = reader.anatomy.family is Family.POSTGRESQL or (flattened and reader.anatomy.family is Family.UNKNOWN)
        if filled and there.all():
            return {}
        if flattened:
            old = {name: columns[name].gather(which) for name in self._key if name in columns}
        else:
            old = reader.read_old_key(batch.wire.joined, rows[which])
        if not filled or not there.any():
            return old
        return {name: column.set(pl.Series(there), None) for name, column in old.items()}

    def _truncates(self, batch: _Batch, epochs: Int64s) -> list[Truncated]:
        topic, truncated = self._topic, []
        for group in batch.groups:
            if not (group.changes.op == TRUNCATE).any():
                continue
            for at in np.flatnonzero((group.changes.op == TRUNCATE) & (group.changes.bad == 0)).tolist():
                row = int(group.rows[at])
                p0, p1, p2, p3 = (part[at] for part in group.changes.position)
                truncated.append(
                    Truncated(
                        topic.kind,
                        topic.system.name,
                        topic.name,
                        int(epochs[row]),
                        (p0, p1, p2, p3),
                        batch.raw.topic,
                        batch.raw.partitions[row],
                        batch.raw.offsets[row],
                    )
                )
        return truncated

    def _reader(self, schema_id: int, schema: Any, anatomy: Anatomy) -> ChangeReader:
        if schema_id not in self._readers:
            zone = self._topic.system.timezone
            self._readers[schema_id] = ChangeReader(schema, anatomy, self._columns, self._key, zone)
        return self._readers[schema_id]

    def _schema(self, schema_id: int) -> Any:
        known = self._known(schema_id)
        return None if known is None else known[0]


def _tombstone_group(rows: Int64s) -> _Group:
    n = len(rows)
    changes = Changes(
        np.zeros(n, dtype=np.uint8),
        np.full(n, DELETE, dtype=np.int8),
        np.full(n, STREAMED, dtype=np.int8),
        read_positions(Family.UNKNOWN, {}, n),
        None,
        None,
        {},
        {},
        {},
    )
    return _Group(rows, changes, None, np.ones(n, dtype=np.bool_))


def _partitions(raw: RawBatch) -> Int64s:
    if len(raw) and raw.partitions.count(raw.partitions[0]) == len(raw):
        return np.full(len(raw), raw.partitions[0], dtype=np.int64)
    return pl.Series(raw.partitions, dtype=pl.Int64).to_numpy()


def _times(found: pl.Series | None, raw: RawBatch, rows: Int64s) -> pl.Series:
    """Fall back to the messages' own times."""
    if found is not None and not found.null_count():
        return found
    own = pl.Series(raw.timestamps_ms, dtype=pl.Int64).gather(rows)
    return own if found is None else _or(found, own)


def _or(first: pl.Series, second: pl.Series) -> pl.Series:
    return pl.select(pl.coalesce(first, second.cast(first.dtype, strict=False))).to_series().alias(first.name)


def _replaced(column: pl.Series, other: pl.Series, places: Int64s) -> pl.Series:
    """Take `other[places[i]]` where that is not negative, else the column's own value."""
    both = pl.concat([column, other.cast(column.dtype, strict=False).alias(column.name)])
    return both.gather(np.where(places < 0, np.arange(len(column)), len(column) + places))


def _in_order(frames: list[pl.DataFrame], places: list[Int64s]) -> pl.DataFrame:
    """Put rows of several schemas back into the order in which their messages came."""
    if len(frames) == 1:
        return frames[0]
    return pl.concat(frames)[np.argsort(np.concatenate(places), kind="stable")]


def _outline(anatomy: Anatomy) -> str:
    """Say what a schema's messages are, for someone who expected rows."""
    if not anatomy.is_row:
        return "its values are no records"
    return f"{anatomy.form.value} without any of the mapped columns"
