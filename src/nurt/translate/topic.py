"""Translate the messages of one topic into rows of its canonical entity, whatever schemas they were written with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import polars as pl

from nurt.avro import MEANINGS
from nurt.columnar.ids import Ids
from nurt.columnar.types import Bools, Int64s
from nurt.control.source_epochs import SourceEpochs
from nurt.control.source_survey import Order, Seen, without_order
from nurt.debezium.change_keys import put_keys
from nurt.debezium.change_reader import ChangeReader
from nurt.debezium.envelope import NOT_OURS, EnvelopeLayout, Form
from nurt.debezium.message_keys import KeyReader
from nurt.debezium.operations import LOGICAL, ROWLESS, TRUNCATE, UNKNOWN, Times
from nurt.debezium.payloads import int64s
from nurt.debezium.positions import POSITION_COLUMNS, Family
from nurt.debezium.tombstones import Tombstones
from nurt.debezium.translation_batch import Group, TranslationBatch
from nurt.debezium.wire import NOT_CONFLUENT, NULL, Wire
from nurt.mapping.load import TopicMapping
from nurt.model.entity_frame import DELETE, UPSERT, EntityFrame, Translated, Truncated
from nurt.model.raw import RawBatch, is_requeued
from nurt.model.refusal import Reason
from nurt.translate.fast_path import EventMetadata, FastRows, fast_rows
from nurt.translate.general_path import map_rows

Known = Callable[[int], tuple[Any, EnvelopeLayout] | None]
"""Schema id -> the schema as parsed JSON and the layout of its messages; None when there is no such schema."""


class TableTranslation:
    """A translator of the batches of one topic, in the order of its log."""

    def __init__(self, topic: TopicMapping, ids: Ids, known: Known, epochs: SourceEpochs) -> None:
        self._topic, self._ids, self._known, self._epochs = topic, ids, known, epochs
        self._columns = sorted(topic.columns | set(topic.key_columns))
        self._keys = KeyReader(topic.key_columns, topic.system.timezone, self._schema)
        self._readers: dict[int, ChangeReader] = {}
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
            self._epochs.heights(),
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
            else:
                self._read_group(batch, rows, self._reader(schema_id, *known))
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
        """Give every change its source epoch; other messages get a meaningless number.

        Raises NewOrder when the source's order may have started again.
        """
        n, groups = len(batch.offsets), batch.groups
        if len(groups) == 1 and len(groups[0].rows) == n and groups[0].keep.all():
            changes = groups[0].changes
            seen = Seen(
                batch.partitions, batch.offsets, changes.snapshot, self._order(batch, groups[0], groups[0].rows)
            )
            return self._epochs.observe(batch.raw.topic, seen)
        snapshot = np.zeros(n, dtype=np.int8)
        is_change = np.zeros(n, dtype=np.bool_)
        for group in groups:
            snapshot[group.rows] = group.changes.snapshot
            is_change[group.rows] = (group.changes.op <= TRUNCATE) & (group.changes.bad == 0)
        rows = np.flatnonzero(is_change)
        epochs = np.zeros(n, dtype=np.int64)
        seen = Seen(batch.partitions[rows], batch.offsets[rows], snapshot[rows], self._joined_order(batch, rows))
        epochs[rows] = self._epochs.observe(batch.raw.topic, seen)
        return epochs

    def _order(self, batch: TranslationBatch, group: Group, rows: Int64s) -> Order:
        """Say what tells the order of a group's rows, which stand at places `rows` of the batch."""
        changes, zeros = group.changes, np.zeros(len(rows), dtype=np.int64)
        return Order(
            self._topic.system.name,
            Family.UNKNOWN if group.reader is None else group.reader.layout.family,
            changes.position.numbers,
            changes.position.known,
            zeros if changes.source_ms is None else changes.source_ms,
            int64s(batch.raw.timestamps_ms)[rows],
            zeros if changes.servers is None else changes.servers,
            lambda row: is_requeued(batch.raw, int(rows[row])),
        )

    def _joined_order(self, batch: TranslationBatch, rows: Int64s) -> Order:
        """Say what tells the order of rows of several groups."""
        n = len(batch.offsets)
        joined = without_order(n)
        family = Family.UNKNOWN
        for group in batch.groups:
            one = self._order(batch, group, group.rows)
            family = family if one.family is Family.UNKNOWN else one.family
            joined.numbers[:, group.rows], joined.known[:, group.rows] = one.numbers, one.known
            joined.source_ms[group.rows], joined.servers[group.rows] = one.source_ms, one.servers
        return Order(
            self._topic.system.name,
            family,
            np.ascontiguousarray(joined.numbers[:, rows]),
            np.ascontiguousarray(joined.known[:, rows]),
            joined.source_ms[rows],
            int64s(batch.raw.timestamps_ms)[rows],
            joined.servers[rows],
            lambda row: is_requeued(batch.raw, int(rows[row])),
        )

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

    def _reader(self, schema_id: int, schema: Any, layout: EnvelopeLayout) -> ChangeReader:
        if schema_id not in self._readers:
            zone = self._topic.system.timezone
            reader = ChangeReader(schema, layout, self._columns, self._keys.columns, zone)
            self._readers[schema_id] = reader
            self._fast[reader] = fast_rows(self._topic, reader.wanted, self._ids)
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
