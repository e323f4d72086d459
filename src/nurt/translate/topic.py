"""Translate the messages of one topic into rows of its canonical entity, whatever schemas they were written with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from nurt.avro import MEANINGS, join
from nurt.columnar.ids import Ids
from nurt.columnar.types import Bools, Int64s
from nurt.control.source_epochs import SourceEpochs
from nurt.control.source_survey import Order, Seen, without_order
from nurt.debezium.change_reader import ChangeReader
from nurt.debezium.conventions import Conventions, Placeholders
from nurt.debezium.envelope import NOT_OURS, EnvelopeLayout, Form
from nurt.debezium.message_keys import OLD_KEY, KeyReader
from nurt.debezium.operations import LOGICAL, ROWLESS, TRUNCATE, UNKNOWN
from nurt.debezium.payloads import int64s, with_header
from nurt.debezium.positions import Family
from nurt.debezium.tombstones import Tombstones
from nurt.debezium.translation_batch import Group, TranslationBatch
from nurt.debezium.wire import NOT_CONFLUENT, NULL, Wire
from nurt.mapping.load import TopicMapping
from nurt.model.entity_frame import DELETE, UPSERT, Translated
from nurt.model.raw import RawBatch, is_requeued
from nurt.model.refusal import Reason
from nurt.ports.log import Partitioning
from nurt.translate.items import ItemTranslation, map_items
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
        self._topic, self._known, self._epochs = topic, known, epochs
        self._columns = sorted(topic.all_columns | set(topic.key_columns))
        self._told = Conventions(topic.system.timezone, Placeholders(topic.system.placeholders))
        self._keys = KeyReader(topic.key_columns, self._told, self._schema)
        self._items = [ItemTranslation(item, ids, self._keys, self._told) for item in topic.items]
        self._readers: dict[int, ChangeReader | None] = {}
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
        return Translated(
            [replace(one, partitions=partitions) for one in map_items(self._items, batch, epochs)],
            [one for item in self._items for one in item.truncates(batch, epochs, partial(self._behind, batch))],
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
                for item in self._items:
                    item.learn(reader)
            except Exception as failed:  # whatever somebody registered, only its messages suffer
                _logger.warning(
                    "compiling schema %s of topic %s: %s; its messages go to quarantine",
                    schema_id, self._topic.name, type(failed).__name__,
                )  # fmt: skip
                self._readers[schema_id] = None
            else:
                self._readers[schema_id] = reader
        return self._readers[schema_id]

    def _schema(self, schema_id: int) -> Any:
        known = self._known(schema_id)
        return None if known is None else known[0]


def _outline(layout: EnvelopeLayout) -> str:
    """Describe a schema's messages, for an error where rows were expected."""
    if not layout.is_row:
        return "its values are no records"
    return f"{layout.form.value} without any of the mapped columns"
