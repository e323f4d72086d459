"""Read back published profiles: the newest revision of every profile on its topic.

Needed only when state was restored from an older copy: then state does not know profiles that were published.
"""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from nurt.adapters.kafka.outage import Outage
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.adapters.kafka.topics import TopicFilter, list_partitions
from nurt.avro import Reader, compile_reader
from nurt.contracts import schemas
from nurt.model.published import PublishedHeads
from nurt.ports.registry import SchemaRegistry

READ_ROWS = 10_000
_WIRE_BYTES = 5
_KEY_HEADER_BYTES = 6  # wire header and the length of 32 hex digits

_ID = re.compile(rb".{6}[0-9a-f]{32}", re.DOTALL)


def published_on_topic(
    settings: KafkaSettings, topic: str, registry: SchemaRegistry, tail_rows: int | None = None
) -> PublishedHeads:
    """Read a profile topic to its end; of each partition only the last `tail_rows` offsets if given."""
    outage = Outage(f"reading back topic {topic}", settings.bootstrap)
    own = {"group.id": f"nurt-{uuid.uuid4().hex}", "enable.auto.commit": False, "isolation.level": "read_committed"}
    consumer: Any = settings.open(Consumer, "consumer", settings.client_options(own))
    try:
        found = outage.until_answered(lambda: list_partitions(consumer, TopicFilter([topic])), 60.0)
        parts = [TopicPartition(name, number, 0) for name, number in found]
        ranges = {part.partition: consumer.get_watermark_offsets(part, timeout=60.0) for part in parts}
        if tail_rows is not None:
            ranges = {number: (max(first, end - tail_rows), end) for number, (first, end) in ranges.items()}
        consumer.assign([TopicPartition(part.topic, part.partition, ranges[part.partition][0]) for part in parts])
        heads = _Heads(registry)
        published: PublishedHeads = {}
        while any(at.offset < ranges[at.partition][1] for at in _positions(consumer, parts, ranges)):
            messages = [message for message in consumer.consume(READ_ROWS, 1.0) if message.error() is None]
            messages = [message for message in messages if _ID.fullmatch(message.key() or b"")]  # others are not ours
            keys = [bytes.fromhex(message.key()[_KEY_HEADER_BYTES:].decode()) for message in messages]
            published.update(zip(keys, heads.of([message.value() for message in messages]), strict=True))
        return published
    finally:
        consumer.close()


class _Heads:
    """Reader of revision and realm of values, each by its writer's schema."""

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry
        self._readers: dict[int, Reader] = {}

    def of(self, values: Sequence[bytes | None]) -> list[tuple[int, str] | None]:
        """Read values in Confluent's wire format; a tombstone gives None."""
        rows: dict[int, list[int]] = defaultdict(list)
        for row, value in enumerate(values):
            if value is not None:
                rows[int.from_bytes(value[1:_WIRE_BYTES])].append(row)
        found: list[tuple[int, str] | None] = [None] * len(values)
        for schema_id, some in rows.items():
            frame = self._reader(schema_id).read([values[row] or b"" for row in some], skip=_WIRE_BYTES).frame
            for row, *head in zip(some, frame["revision"], frame["realm"], strict=True):
                found[row] = (head[0], head[1]) if None not in head else None
        return found

    def _reader(self, schema_id: int) -> Reader:
        if schema_id not in self._readers:
            schema = self._registry.schema(schema_id) or schemas.load(schemas.PROFILE_VALUE)
            self._readers[schema_id] = compile_reader(schema, ["revision", "realm"])
        return self._readers[schema_id]


def _positions(consumer: Any, parts: list[TopicPartition], ranges: dict[int, tuple[int, int]]) -> list[Any]:
    """Return the consumer's positions; a partition without read messages stands at its first offset."""
    positions = consumer.position(parts)
    for at in positions:
        at.offset = at.offset if at.offset >= 0 else ranges[at.partition][0]
    return list(positions)
