"""Translate the messages of one topic into rows of its canonical entity, whatever schemas they were written with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from nurt.avro import MEANINGS, join
from nurt.columnar.ids import Ids
from nurt.columnar.types import Bools, Int64s
from nurt.control.source_epochs import SourceEpochs
from nurt.control.source_survey import Order, Seen, without_order
from nurt.debezium.change_keys import put_keys
from nurt.debezium.change_reader import ChangeReader
from nurt.debezium.conventions import Conventions, Placeholders
from nurt.debezium.envelope import NOT_OURS, EnvelopeLayout, Form
from nurt.debezium.message_keys import OLD_KEY, KeyReader, as_type
from nurt.debezium.operations import LOGICAL, ROWLESS, TRUNCATE, UNKNOWN, Times
from nurt.debezium.payloads import int64s, with_header
from nurt.debezium.positions import POSITION_COLUMNS, Family, server_numbers
from nurt.debezium.tombstones import Tombstones
from nurt.debezium.translation_batch import Group, TranslationBatch
from nurt.debezium.wire import NOT_CONFLUENT, NULL, Wire
from nurt.mapping.load import TopicMapping
from nurt.model.entity_frame import (
    DELETE,
    IMPLIED,
    LEFT_OUT_ABSENT,
    TOPIC_BITS,
    UPSERT,
    EntityFrame,
    Translated,
    Truncated,
    topic_code,
)
from nurt.model.raw import RawBatch, is_requeued
from nurt.model.refusal import Reason
from nurt.ports.log import Partitioning
from nurt.translate.fast_path import EventMetadata, FastRows, fast_rows
from nurt.translate.general_path import map_rows
from nurt.translate.key_places import note_places, without_position

_logger = logging.getLogger(__name__)

Known = Callable[[int], tuple[Any, EnvelopeLayout] | None]
"""Schema id -> the schema as parsed JSON and the layout of its messages; None when there is no such schema."""


class TableTranslation:
    """A translator of the batches of one topic, in the order of its log."""

    def __init__(
        self,
        topic: TopicMapping,
        ids: Ids,
        known: Known,
        epochs: SourceEpochs,
        partitioning: Partitioning | None = None,
    ) -> None:
        self._partitioning = partitioning
        self._topic, self._ids, self._known, self._epochs = topic, ids, known, epochs
        self._columns = sorted(topic.columns | set(topic.key_columns))
        self._told = Conventions(topic.system.timezone, Placeholders(topic.system.placeholders))
        self._keys = KeyReader(topic.key_columns, self._told, self._schema)
        self._readers: dict[int, ChangeReader | None] = {}
        self._fast: dict[ChangeReader | None, FastRows | None] = {}
        self._tombstones = Tombstones()

    def translate(self, raw: RawBatch, wire: Wire, fresh: Bools | None = None) -> Translated:
        """Translate a batch; every message ends in exactly one place.

        Args:
            fresh: which messages count; None: all.
        """
        batch = TranslationBatch(raw, wire, int64s(raw.partitions), int64s(raw.offsets), fresh=fresh)
        batch.rekeyed = with_header(raw.headers, OLD_KEY)
        tombstones = self._read(batch)
        self._tombstones.sort(batch, tombstones)
        partitions = self._note_places(batch)
        epochs = self._number(batch)
        frames, places = [], []
        for group in batch.groups:
            for frame, rows in self._map(batch, group, epochs):
                if frame.height:
                    frames.append(frame)
                    places.append(rows)
        return Translated(
            [replace(self._frame(batch, frames, places), partitions=partitions)] if frames else [],
            self._truncates(batch, epochs),
            batch.refused,
            batch.counts,
            batch.passed,
            self._epochs.heights(),
        )

    def _note_places(self, batch: TranslationBatch) -> int:
        """Note where keys of events without a position lie; return the topic's number of partitions, 0 for unknown."""
        if self._partitioning is None or not batch.groups:
            return 0
        topic = batch.raw.topic
        if any(not one.changes.position.known[0].all() and without_position(one).any() for one in batch.groups):
            places = self._partitioning.key_places(topic, int(batch.partitions.max()))
            note_places(batch.groups, batch.raw.keys, places)
            return places.partitions
        return self._partitioning.partitions(topic)

    def _frame(self, batch: TranslationBatch, frames: list[pl.DataFrame], places: list[Int64s]) -> EntityFrame:
        whole, topic = _in_order(frames, places), self._topic
        return EntityFrame(topic.kind, whole, batch.raw.topic, self._absent(batch, frames), topic.order)

    def _absent(self, batch: TranslationBatch, frames: list[pl.DataFrame]) -> tuple[str, ...]:
        """Name the columns of `where` that rows lack which are left out."""
        if self._topic.where is None or not any((frame["op"] == LEFT_OUT_ABSENT).any() for frame in frames):
            return ()
        readers = [group.reader for group in batch.groups if group.reader is not None]
        return tuple(
            sorted(self._topic.where.columns - frozenset.intersection(*(frozenset(one.types) for one in readers)))
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
        slow = np.isin(group.rows, batch.rekeyed) & keep if batch.rekeyed is not None else None
        if slow is not None:
            keep = keep & ~slow
        if fast is not None and 2 * np.count_nonzero(keep & (group.changes.op == UPSERT)) > len(keep):
            rows, changes = group.rows, group.changes
            times = _times(changes.times, batch.raw, np.arange(len(rows)), rows)
            partitions, offsets = batch.partitions[rows], batch.offsets[rows]
            metadata = EventMetadata(
                changes.snapshot, epochs[rows], changes.position, partitions, offsets, times, self._codes(batch, group)
            )
            mapped = fast.map(changes, keep, metadata)
            if mapped is not None:
                frame, whole = mapped
                yield frame, rows if whole.all() else rows[whole]
                keep = keep & ~whole
        if slow is not None:
            keep = keep | slow
        if keep.any():
            yield from self._map_by_the_book(batch, group, keep, epochs)

    def _codes(self, batch: TranslationBatch, group: Group) -> Int64s | None:
        """Name the topic and the server of each message of a group; None where one topic holds the table."""
        if not self._topic.shared:
            return None
        codes = np.full(len(group.rows), topic_code(batch.raw.topic), dtype=np.int64)
        if group.reader is not None:
            codes |= server_numbers(group.reader.layout.family, group.changes.servers, len(codes)) << TOPIC_BITS
        return codes

    def _map_by_the_book(
        self, batch: TranslationBatch, group: Group, keep: Bools, epochs: Int64s
    ) -> Iterator[tuple[pl.DataFrame, Int64s]]:
        """Map some rows of a group on the general path, one by one if needed; return rows and their places."""
        at = np.flatnonzero(keep)
        changes, codes = group.changes, self._codes(batch, group)
        for name, decoded in changes.decoded.items():
            more = f"more digits than {decoded.column.dtype}"
            for strange, reason, detail in (
                (decoded.unfit, Reason.OUT_OF_RANGE, more),
                (decoded.unread, Reason.UNREAD, "text that cannot be read as the time that its schema declares"),
            ):
                if strange is not None:
                    wrong = np.zeros_like(keep)
                    wrong[at] = ((changes.op == UPSERT) & strange)[at]
                    batch.refuse(group.rows[wrong], reason, f"column {name}: {detail}")
                    at = at[~wrong[at]]
        rows = group.rows[at]
        if not len(rows):
            return
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
            "topic": pl.Series([None] * len(rows), dtype=pl.Int64) if codes is None else pl.Series(codes[at]),
        }
        unavailable = {name: decoded.unavailable for name, decoded in changes.decoded.items()}
        moved_from = self._moved_from(batch, rows, columns)
        frame, problems = map_rows(
            self._topic,
            pl.DataFrame(metadata),
            pl.DataFrame(columns),
            self._ids,
            {name: pl.Series(flags[at] & (op == UPSERT)) for name, flags in unavailable.items() if flags is not None},
            moved,
            moved_from,
        )
        for problem in problems:
            batch.refuse([int(rows[problem.row])], problem.reason, problem.detail)
        fine = np.delete(np.arange(len(rows)), [problem.row for problem in problems])
        if moved_from is not None and group.reader is not None and group.reader.layout.tells_no_deletes:
            yield self._implied(pl.DataFrame(metadata)[fine], pl.DataFrame(columns)[fine], moved_from[fine], rows[fine])
        yield frame, rows[fine]

    def _moved_from(self, batch: TranslationBatch, rows: Int64s, columns: dict[str, pl.Series]) -> pl.DataFrame | None:
        """Read the old keys of rows whose key changed, in the types of `columns`; None: no key changed."""
        if batch.rekeyed is None or not np.isin(rows, batch.rekeyed).any():
            return None
        old = self._keys.read_moved([batch.raw.headers[row] for row in rows.tolist()], OLD_KEY) or {}
        nothing = pl.Series([None] * len(rows), dtype=pl.String)
        return pl.DataFrame(
            {name: as_type(old.get(name, nothing), columns[name].dtype).alias(name) for name in self._keys.columns}
        )

    def _implied(
        self, metadata: pl.DataFrame, columns: pl.DataFrame, moved_from: pl.DataFrame, rows: Int64s
    ) -> tuple[pl.DataFrame, Int64s]:
        """Make the deletes of old keys, which a transformation has dropped: only the insert's header tells of them.

        Source: ExtractNewRecordState, `delete.tombstone.handling.mode=drop`.
        """
        keys = list(self._keys.columns)
        known, differs = np.zeros(len(rows), dtype=np.bool_), np.zeros(len(rows), dtype=np.bool_)
        for name in keys:
            known |= moved_from[name].is_not_null().to_numpy()
            differs |= moved_from[name].ne_missing(columns[name]).to_numpy()
        at = np.flatnonzero(known & differs & (metadata["op"] == UPSERT).to_numpy())
        deletes = metadata[at].with_columns(pl.lit(DELETE, pl.Int8).alias("op"))
        frame, problems = map_rows(self._topic, deletes, moved_from[at], self._ids, None, columns[at].select(keys))
        at = np.delete(at, [problem.row for problem in problems])
        return frame.with_columns(pl.lit(IMPLIED, pl.Int8).alias("op")), rows[at]

    def _truncates(self, batch: TranslationBatch, epochs: Int64s) -> list[Truncated]:
        topic, truncated = self._topic, []
        for group in batch.groups:
            if not (group.changes.op == TRUNCATE).any():
                continue
            for at in np.flatnonzero((group.changes.op == TRUNCATE) & (group.changes.bad == 0)).tolist():
                row = int(group.rows[at])
                one = np.array([at]), np.array([row])
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
                        topic_code(batch.raw.topic) if topic.shared else 0,
                        topic.order,
                        int(_times(group.changes.times, batch.raw, *one)[0]),
                        self._behind(batch, row),
                    )
                )
        return truncated

    def _behind(self, batch: TranslationBatch, row: int) -> tuple[int, ...]:
        written_ms = int(batch.raw.timestamps_ms[row])
        if self._partitioning is None or written_ms <= 0:
            return ()
        return self._partitioning.offsets_at(batch.raw.topic, written_ms)

    def _reader(self, schema_id: int, schema: Any, layout: EnvelopeLayout) -> ChangeReader | None:
        """Return the reader of a schema; None: it cannot be compiled, or cannot read even no message."""
        if schema_id not in self._readers:
            try:
                reader = ChangeReader(schema, layout, self._columns, self._keys.columns, self._told)
                assert reader.read(join([]), np.empty(0, dtype=np.int64)).decoded is not None
                fast = fast_rows(self._topic, reader.wanted, self._ids, self._told)
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
