"""Translate raw messages into rows of canonical entities: decode, recognise, set the source epoch, map.

Every message of a batch ends in exactly one place: a row of an entity frame, a truncate, refused, or counted as
not ours with the reason.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from nurt.avro.reader import JOINED_BYTES_MAX
from nurt.avro.schema import parse_schema
from nurt.columnar.ids import Ids
from nurt.columnar.types import Bools
from nurt.control.counted_offsets import Passed
from nurt.control.source_epochs import SourceEpochs
from nurt.control.source_watch import NewOrder, NoWatch
from nurt.debezium.envelope import TOMBSTONE, EnvelopeLayout, foreign_reason, layout_of
from nurt.debezium.payloads import int64s
from nurt.debezium.translation_batch import TranslationBatch, refuse
from nurt.debezium.wire import NULL, Wire, split_wire
from nurt.mapping.load import Mapping, TopicMapping
from nurt.model.entity_frame import Translated
from nurt.model.raw import DAMAGED_TOPIC, RawBatch
from nurt.model.refusal import Reason
from nurt.ports.log import Partitioning
from nurt.ports.registry import SchemaRegistry
from nurt.translate.topic import TableTranslation

_logger = logging.getLogger(__name__)


class Translator:
    """A translator of all topics that a worker reads. Not for several threads at once.

    It keeps schemas, compiled readers and source epochs (given none, it halts nothing). The caller stores the starts of
    source epochs durably (`epochs.begun()`) before it uses the result of `translate`.
    """

    def __init__(
        self,
        mapping: Mapping,
        registry: SchemaRegistry,
        ids: Ids,
        source_epochs: SourceEpochs | None = None,
        passed: Passed | None = None,
        partitioning: Partitioning | None = None,
    ) -> None:
        self._partitioning = partitioning
        self._passed = passed if passed is not None else Passed()
        self.epochs = source_epochs if source_epochs is not None else SourceEpochs(watch=NoWatch())
        self._mapping, self._ids = mapping, ids
        self._schemas = Schemas(registry)
        self._tables: dict[tuple[str, str], TableTranslation] = {}

    def translate(self, batch: RawBatch) -> Translated:
        """Translate a batch of one topic; batches of one topic come in the order of its log.

        Raises NewOrder when its source's order may have started again; the batch may be translated again, when other
        topics have been. Raises ConfigurationError when the mapping leads a topic to a system that is not declared.
        """
        if not len(batch):
            return Translated()
        if batch.topic == DAMAGED_TOPIC:
            damaged = range(len(batch))
            return Translated(refused=refuse(batch, damaged, Reason.NOT_CONFLUENT, "no message that an archive holds"))
        topic = self._mapping.for_topic(batch.topic)
        wire = split_wire(batch.values)
        if len(batch) > 1 and wire.joined.ends[-1] > JOINED_BYTES_MAX:
            half = len(batch) // 2
            return _joined(self.translate(_part(batch, 0, half)), self.translate(_part(batch, half, len(batch))))
        before = self._passed.of(batch.topic)
        fresh = self._passed.fresh(batch.topic, batch.partitions, batch.offsets)
        if topic is None:
            return self._foreign(batch, wire, fresh)
        try:
            return self._table(batch, topic).translate(batch, wire, fresh)
        except NewOrder:
            self._passed.put_back(batch.topic, before)
            raise

    def _table(self, batch: RawBatch, topic: TopicMapping) -> TableTranslation:
        name = batch.topic, batch.schemas
        if name not in self._tables:
            known = partial(self._schemas.known, archive=batch.schemas)
            self._tables[name] = TableTranslation(topic, self._ids, known, self.epochs, self._partitioning)
        return self._tables[name]

    def _foreign(self, raw: RawBatch, wire: Wire, fresh: Bools | None) -> Translated:
        """Count messages of a topic that the mapping does not name."""
        batch = TranslationBatch(raw, wire, int64s(raw.partitions), int64s(raw.offsets), fresh=fresh)
        for schema_id, rows in wire.by_schema():
            if schema_id == NULL:
                reason = TOMBSTONE
            else:
                known = self._schemas.known(schema_id, raw.schemas) if schema_id >= 0 else None
                reason = foreign_reason(raw.topic, known[1] if known is not None else None)
            batch.count(rows, reason)
        return Translated(not_ours=batch.counts, passed=batch.passed)


class Schemas:
    """Writer schemas by id, with the layouts of their messages; each is requested once."""

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry
        self._known: dict[tuple[str, int], tuple[dict[str, Any], EnvelopeLayout] | None] = {}

    def known(self, schema_id: int, archive: str = "") -> tuple[dict[str, Any], EnvelopeLayout] | None:
        """Return a schema and its layout; None when the registry has no such id, or no Avro schema under the id.

        What stands under an id never changes, so a schema that is none is not read again.
        """
        name = archive, schema_id
        if name not in self._known:
            schema = self._registry.schema(schema_id, archive)
            if schema is None:
                return None
            try:
                self._known[name] = schema, layout_of(parse_schema(schema))
            except Exception as failed:  # whatever somebody registered, only its messages suffer
                _logger.warning(
                    "reading schema %s: no Avro (%s); its messages go to quarantine", schema_id, type(failed).__name__
                )
                self._known[name] = None
        return self._known[name]


def _part(batch: RawBatch, start: int, end: int) -> RawBatch:
    return RawBatch(
        batch.topic,
        batch.partitions[start:end],
        batch.offsets[start:end],
        batch.timestamps_ms[start:end],
        batch.keys[start:end],
        batch.values[start:end],
        batch.headers[start:end],
        batch.schemas,
    )


def _joined(first: Translated, second: Translated) -> Translated:
    counts = dict(first.not_ours)
    for place, messages in second.not_ours.items():
        counts[place] = counts.get(place, 0) + messages
    return Translated(
        first.entities + second.entities,
        first.truncated + second.truncated,
        first.refused + second.refused,
        counts,
        first.passed | second.passed,
        first.heights | second.heights,
    )
