"""Translate the messages of one topic into rows of its canonical entity, whatever schemas they were written with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import polars as pl

from nurt.avro import MEANINGS, join
from nurt.columnar.ids import Ids
from nurt.columnar.types import Bools, Int64s
from nurt.control.source_epochs import Seen, SourceEpochs, WatchedRows
from nurt.debezium.change_keys import put_keys
from nurt.debezium.change_reader import ChangeReader
from nurt.debezium.envelope import NOT_OURS, EnvelopeLayout, Form
from nurt.debezium.message_keys import KeyReader
from nurt.debezium.operations import LOGICAL, ROWLESS, TRUNCATE, UNKNOWN, Times
from nurt.debezium.payloads import int64s
from nurt.debezium.positions import POSITION_COLUMNS
from nurt.debezium.tombstones import Tombstones
from nurt.debezium.translation_batch import Group, TranslationBatch
from nurt.debezium.wire import NOT_CONFLUENT, NULL, Wire
from nurt.mapping.load import TopicMapping
from nurt.model.entity_frame import DELETE, UPSERT, EntityFrame, Translated, Truncated
from nurt.model.raw import RawBatch, is_requeued
from nurt.model.refusal import Reason
from nurt.translate.fast_path import EventMetadata, FastRows, fast_rows
from nurt.translate.general_path import map_rows

_logger = logging.getLogger(__name__)

Known = Callable[[int], tuple[Any, EnvelopeLayout] | None]
"""Schema id -> the schema as parsed JSON and the layout of its messages; None when there is no such schema."""


class TableTranslation:
    """A translator of the batches of one topic, in the order of its log."""

    def __init__(self, topic: TopicMapping, ids: Ids, known: Known, epochs: SourceEpochs) -> None:
        self._topic, self._ids, self._known, self._epochs = topic, ids, known, epochs
        self._columns = sorted(topic.columns | set(topic.key_columns))
        self._keys = KeyReader(topic.key_columns, topic.system.timezone, self._schema)
        self._readers: dict[int, ChangeReader | None] = {}
        self._fast: dict[ChangeReader | None, FastRows | None] = {}
        self._tombstones = Tombstones()

    def translate(self, raw: RawBatch, wire: Wire, fresh: Bools | None = None) -> Translated:
        """Translate a batch; every message ends in exactly one place.

        Args:
            fresh: which messages count; None: all.
        """
        batch = TranslationBatch(raw, wire, int64s(raw.partitions), int64s(raw.offsets), fresh=fresh)
        tombstones = self._read(batch)
        self._tombstones.sort(batch, tombstones)
        epochs = self._number(batch)
        frames, places = [], []
        for group in batch.groups:
            for frame, rows in self._map(batch, group, epochs):
                if frame.height:
                    frames.append(frame)
                    places.append(rows)
        return Translated(
            [EntityFrame(self._topic.kind, _in_order(frames, places), raw.topic)] if frames else [],
            self._truncates(batch, epochs),
            batch.refused,
            batch.counts,
            batch.passed,
        )

    def _read(self, batch: TranslationBatch) -> Int64s:
        """Read the messages of each schema; return the places of tombstones."""
        tombstones = np.zeros(0, dtype=np.int64)
        for schema_id, rows in batch.wire.by_schema():
            if schema_id == NULL:
                tombstones = rows
            elif schema_id == NOT_CONFLUENT:
                batch.refuse(rows, Reason.NOT_CONFLUENT, "no zero byte and schema id before the value")
            elif (known := self._known(schema_id)) is None:
                batch.refuse(rows, Reason.UNKNOWN_SCHEMA, f"schema id {schema_id} of the value")
            elif known[1].form in NOT_OURS:
                batch.count(rows, known[1].form.value)
            elif not known[1].is_row or known[1].columns.keys().isdisjoint(self._columns):
                batch.refuse(rows, Reason.NO_ENVELOPE, f"schema id {schema_id}: {_outline(known[1])}")
            elif (reader := self._reader(schema_id, *known)) is None:
                batch.refuse(rows, Reason.UNKNOWN_SCHEMA, f"schema id {schema_id} of the value: no Avro of a table")
            else:
                self._read_group(batch, rows, reader)
        return tombstones

    def _read_group(self, batch: TranslationBatch, rows: Int64s, reader: ChangeReader) -> None:
        changes = reader.read(batch.wire.joined, rows)
        keep = changes.op <= DELETE
        if changes.bad.any():
            keep &= changes.bad == 0
            for row in np.flatnonzero(changes.bad):
                batch.refuse([int(rows[row])], Reason.BAD_AVRO, f"value: {MEANINGS[int(changes.bad[row])]}")
        if not keep.all():
            fine = changes.bad == 0
            batch.count(rows[fine & (changes.op == LOGICAL)], Form.LOGICAL_MESSAGE.value)
            batch.refuse(
                rows[fine & (changes.op == UNKNOWN)], Reason.UNKNOWN_OPERATION, "op (expected one of c, r, u, d, t, m)"
            )
            batch.refuse(rows[fine & (changes.op == ROWLESS)], Reason.NO_ENVELOPE, "an upsert without its row")
        for name, found in reader.unholdable.items():
            wrong = keep & (changes.op == UPSERT)
            batch.refuse(rows[wrong], Reason.WRONG_TYPE, f"column {name}: {found}")
            keep &= ~wrong
        batch.groups.append(Group(rows, changes, reader, keep))

    def _number(self, batch: TranslationBatch) -> Int64s:
        """Give every change its source epoch; other messages get a meaningless number."""
        n = len(batch.offsets)
        for group in batch.groups:
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

    def _watch(self, batch: TranslationBatch, group: Group) -> None:
        position = group.changes.position
        if group.reader is None or not position.known[0].any():
            return
        rows = group.rows
        seen = Seen(batch.partitions[rows], batch.offsets[rows], group.changes.snapshot)
        family = group.reader.layout.family
        watched = WatchedRows(
            batch.raw.topic, family, self._topic.system.name, lambda row: is_requeued(batch.raw, rows[row])
        )
        self._epochs.watch(seen, watched, position.numbers[0], position.known[0], group.changes.servers)

    def _map(self, batch: TranslationBatch, group: Group, epochs: Int64s) -> Iterator[tuple[pl.DataFrame, Int64s]]:
        """Map the kept messages of a group, whole upserts first; return rows and their places in the batch."""
        keep, fast = group.keep, self._fast.get(group.reader)
        if fast is not None and 2 * np.count_nonzero(keep & (group.changes.op == UPSERT)) > len(keep):
            rows, changes = group.rows, group.changes
            times = _times(changes.times, batch.raw, np.arange(len(rows)), rows)
            partitions, offsets = batch.partitions[rows], batch.offsets[rows]
            metadata = EventMetadata(changes.snapshot, epochs[rows], changes.position, partitions, offsets, times)
            mapped = fast.map(changes, keep, metadata)
            if mapped is not None:
                frame, whole = mapped
                yield frame, rows if whole.all() else rows[whole]
                keep = keep & ~whole
        if keep.any():
            yield self._map_by_the_book(batch, group, keep, epochs)

    def _map_by_the_book(
        self, batch: TranslationBatch, group: Group, keep: Bools, epochs: Int64s
    ) -> tuple[pl.DataFrame, Int64s]:
        """Map some rows of a group on the general path, one by one if needed; return rows and their places."""
        at = np.flatnonzero(keep)
        changes = group.changes
        for name, decoded in changes.decoded.items():
            if decoded.unfit is not None:
                wrong = keep & (changes.op == UPSERT) & decoded.unfit
                detail = f"column {name}: more digits than {decoded.column.dtype}"
                batch.refuse(group.rows[wrong], Reason.OUT_OF_RANGE, detail)
                at = at[~wrong[at]]
        rows = group.rows[at]
        if not len(rows):
            return pl.DataFrame(), rows
        everything = len(at) == len(group.rows)
        op = changes.op[at]
        columns = {
            name: decoded.column if everything else decoded.column.gather(at)
            for name, decoded in changes.decoded.items()
        }
        # a delete's row may lack the key, which some tables have in the message's key only
        has_key = all(name in columns for name in self._keys.columns)
        which = np.flatnonzero(op == DELETE) if has_key else np.arange(len(rows))
        moved = put_keys(self._keys, batch, group.reader, rows, which, columns) if len(which) else None
        metadata = {
            "op": pl.Series(op),
            "snapshot": pl.Series(changes.snapshot[at]),
            "source_epoch": pl.Series(epochs[rows]),
            **dict(zip(POSITION_COLUMNS, changes.position.take(at).series(), strict=True)),
            "partition": pl.Series(batch.partitions[rows]),
            "offset": pl.Series(batch.offsets[rows]),
            "ts_ms": pl.Series(_times(changes.times, batch.raw, at, rows)),
        }
        unavailable = {name: decoded.unavailable for name, decoded in changes.decoded.items()}
        frame, problems = map_rows(
            self._topic,
            pl.DataFrame(metadata),
            pl.DataFrame(columns),
            self._ids,
            {name: pl.Series(flags[at] & (op == UPSERT)) for name, flags in unavailable.items() if flags is not None},
            moved,
        )
        for problem in problems:
            batch.refuse([int(rows[problem.row])], problem.reason, problem.detail)
        if problems:
            rows = np.delete(rows, [problem.row for problem in problems])
        return frame, rows

    def _truncates(self, batch: TranslationBatch, epochs: Int64s) -> list[Truncated]:
        topic, truncated = self._topic, []
        for group in batch.groups:
            if not (group.changes.op == TRUNCATE).any():
                continue
            for at in np.flatnonzero((group.changes.op == TRUNCATE) & (group.changes.bad == 0)).tolist():
                row = int(group.rows[at])
                truncated.append(
                    Truncated(
                        topic.kind,
                        topic.system.name,
                        topic.name,
                        int(epochs[row]),
                        group.changes.position.of(at),
                        batch.raw.topic,
                        int(batch.partitions[row]),
                        int(batch.offsets[row]),
                    )
                )
        return truncated

    def _reader(self, schema_id: int, schema: Any, layout: EnvelopeLayout) -> ChangeReader | None:
        """Return the reader of a schema; None: it cannot be compiled, or cannot read even no message."""
        if schema_id not in self._readers:
            zone = self._topic.system.timezone
            try:
                reader = ChangeReader(schema, layout, self._columns, self._keys.columns, zone)
                assert reader.read(join([]), np.empty(0, dtype=np.int64)).decoded is not None
                fast = fast_rows(self._topic, reader.wanted, self._ids)
            except Exception as failed:  # whatever somebody registered, only its messages suffer
                _logger.warning(
                    "compiling schema %s of topic %s: %s; its messages go to quarantine",
                    schema_id, self._topic.name, type(failed).__name__,
                )  # fmt: skip
                self._readers[schema_id] = None
            else:
                self._readers[schema_id], self._fast[reader] = reader, fast
        return self._readers[schema_id]

    def _schema(self, schema_id: int) -> Any:
        known = self._known(schema_id)
        return None if known is None else known[0]


def _times(found: Times | None, raw: RawBatch, at: Int64s, rows: Int64s) -> Int64s:
    """Choose times of the group's messages `at`, the batch's `rows`; fall back to the times of the messages."""
    if found is not None and found.known is None:
        return found.ms[at]
    own = int64s(raw.timestamps_ms)[rows]
    return own if found is None or found.known is None else np.where(found.known[at], found.ms[at], own)


def _in_order(frames: list[pl.DataFrame], places: list[Int64s]) -> pl.DataFrame:
    """Put rows of several schemas back into the order of their messages."""
    if len(frames) == 1:
        return frames[0]
    return pl.concat(frames)[np.argsort(np.concatenate(places), kind="stable")]


def _outline(layout: EnvelopeLayout) -> str:
    """Describe a schema's messages, for an error where rows were expected."""
    if not layout.is_row:
        return "its values are no records"
    return f"{layout.form.value} without any of the mapped columns"
