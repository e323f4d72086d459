"""Try some messages of every topic, without committing or keeping anything."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from nurt.adapters.files.archive import ArchiveLog
from nurt.adapters.kafka.log import KafkaLog
from nurt.adapters.kafka.outage import Outage
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.adapters.kafka.topics import TopicFilter, list_partitions, open_admin
from nurt.mapping.load import Mapping
from nurt.model.entities import IDENTIFIED_KINDS
from nurt.model.entity_frame import (
    IMPLIED,
    LEFT_OUT,
    LEFT_OUT_ABSENT,
    TOPIC_BITS,
    UPSERT,
    EntityFrame,
    Translated,
)
from nurt.model.raw import RawBatch
from nurt.normalise.context import FoldContext, unread
from nurt.rows.topic_order import rank_of
from nurt.settings import KafkaInput, Settings
from nurt.translate.translator import Translator

POLL_ROWS = 5_000
ARCHIVE_ROWS_MAX = 2_000_000
"""Rows of an archive that are searched for topics."""
ANSWER_SECONDS_MAX = 15.0
QUIET_SECONDS_MAX = 10.0
"""How long a topic may be silent before it counts as read."""


@dataclass(frozen=True, slots=True)
class TopicSample:
    """Sample of one topic: what some of its messages would become.

    Attributes:
        becomes: the system and entity, or empty when no entry of the mapping matches.
        file_name, line: of the mapping's entry; 0: none.
        servers: numbers of the servers that wrote it, where several topics may hold the table.
        left_out: how many of the rows `where` leaves out.
        absent: columns of `where` that some of these rows lack.
        why: the most frequent reason of refused messages, else of those that are not ours.
        unread: field -> rows with a text there that is no identifier.
    """

    topic: str
    becomes: str
    file_name: str
    line: int
    messages: int
    rows: int
    not_ours: int
    refused: int
    why: str
    left_out: int = 0
    absent: tuple[str, ...] = ()
    servers: tuple[int, ...] = ()
    unread: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SharedTable:
    """Table that several topics hold, without an order of theirs in the mapping.

    Attributes:
        compared: whether positions can say which topic's row is newer, as all are of one server.
    """

    table: str
    topics: tuple[str, ...]
    compared: bool


def shared_tables(mapping: Mapping, found: Sequence[TopicSample]) -> list[SharedTable]:
    """List tables that several topics hold, unless the mapping says in which order."""
    tables: dict[str, list[TopicSample]] = {}
    for one in found:
        entry = mapping.for_topic(one.topic)
        if entry is not None:
            tables.setdefault(f"{entry.system.name}/{entry.name}", []).append(one)
    shared = []
    for table, some in tables.items():
        entry = mapping.for_topic(some[0].topic)
        assert entry is not None, "only mapped topics are there"
        ranks = {rank_of(one.topic, entry.order) for one in some}
        if len(some) > 1 and (0 in ranks or len(ranks) < len(some)):
            servers = {server for one in some for server in one.servers}
            compared = len(servers) == 1 and all(one.servers for one in some)
            shared.append(SharedTable(table, tuple(one.topic for one in some), compared))
    return shared


def samples(settings: Settings, rows_max: int) -> Iterator[tuple[str, list[RawBatch]]]:
    """Yield every topic of the input with its first messages, at most `rows_max`."""
    if settings.kafka_input is not None and settings.kafka is not None:
        yield from _from_kafka(settings.kafka, settings.kafka_input, rows_max)
    else:
        yield from _from_archives(settings, rows_max)


def _from_kafka(kafka: KafkaSettings, source: KafkaInput, rows_max: int) -> Iterator[tuple[str, list[RawBatch]]]:
    outage = Outage("listing topics", kafka.bootstrap)
    admin = open_admin(kafka, outage)
    wanted = TopicFilter(source.topics)
    found = outage.until_answered(lambda: list_partitions(admin, wanted), ANSWER_SECONDS_MAX)
    for topic in sorted({topic for topic, _ in found}):
        log = KafkaLog(kafka, [topic], source.group, stop_at_end=True, answer_max_s=ANSWER_SECONDS_MAX)
        batches: list[RawBatch] = []
        try:
            log.start(None)
            heard = time.monotonic()
            while (left := rows_max - sum(map(len, batches))) > 0 and not log.exhausted():
                some = log.poll(left)
                batches += some
                heard = time.monotonic() if some else heard
                if time.monotonic() - heard > QUIET_SECONDS_MAX:
                    break
        finally:
            log.close()
        yield topic, batches


def _from_archives(settings: Settings, rows_max: int) -> Iterator[tuple[str, list[RawBatch]]]:
    log = ArchiveLog(settings.archives)
    log.start(None)
    by_topic: dict[str, list[RawBatch]] = {}
    seen = 0
    while seen < ARCHIVE_ROWS_MAX and (batches := log.poll(POLL_ROWS)):
        for batch in batches:
            seen += len(batch)
            kept = by_topic.setdefault(batch.topic, [])
            left = rows_max - sum(map(len, kept))
            if left > 0:
                kept.append(_first(batch, left))
    log.close()
    yield from sorted(by_topic.items())


def _first(batch: RawBatch, rows: int) -> RawBatch:
    return RawBatch(
        batch.topic,
        batch.partitions[:rows],
        batch.offsets[:rows],
        batch.timestamps_ms[:rows],
        batch.keys[:rows],
        batch.values[:rows],
        batch.headers[:rows],
        batch.schemas,
    )


def tried(
    mapping: Mapping, translator: Translator, context: FoldContext, topic: str, batches: list[RawBatch]
) -> TopicSample:
    """Translate some messages of a topic and say what they would become."""
    entry = mapping.for_topic(topic)
    done = [translator.translate(batch) for batch in batches]
    refused = Counter(f"{one.reason}: {one.detail}" for each in done for one in each.refused)
    foreign: Counter[str] = Counter()
    for each in done:
        for (_, _, reason), messages in each.not_ours.items():
            foreign[reason] += messages
    commonest = (refused or foreign).most_common(1)
    return TopicSample(
        topic,
        "" if entry is None else f"{entry.kind} of {entry.system.name}",
        "" if entry is None else entry.file_name,
        0 if entry is None else entry.line,
        sum(map(len, batches)),
        sum(int((one.frame["op"] != IMPLIED).sum()) for each in done for one in each.entities)
        + sum(len(each.truncated) for each in done),
        sum(foreign.values()),
        sum(refused.values()),
        commonest[0][0] if commonest else "",
        sum(int(one.frame["op"].is_in([LEFT_OUT, LEFT_OUT_ABSENT]).sum()) for each in done for one in each.entities),
        tuple(sorted({name for each in done for one in each.entities for name in one.absent})),
        tuple(sorted({server for each in done for one in each.entities for server in _servers(one)})),
        _unread(done, context),
    )


_IDENTIFIERS = {"customer": ("email", "phone", "tax_id", "loyalty_card", "identifiers"), "order": ("email", "phone")}
_IDENTIFIERS |= dict.fromkeys(IDENTIFIED_KINDS - {"customer"}, ("identifiers",))


def _unread(done: Sequence[Translated], context: FoldContext) -> dict[str, int]:
    """Count texts that are no identifier, by field; those of orders count where a guest ordered."""
    found: Counter[str] = Counter()
    for kind, frame in ((one.kind, one.frame) for each in done for one in each.entities):
        if kind not in _IDENTIFIERS or not frame.height:
            continue
        rows = frame.filter(pl.col("op") == UPSERT)
        if kind == "order":
            rows = rows.filter(pl.col("parent").is_null())
        names = _IDENTIFIERS[kind]
        read = context.normalised(rows, [name for name in names if name != "identifiers"])
        for name in names:
            found[f"{kind}.{name}"] += int(unread(rows[name], read[name]).sum())
    return {field: rows for field, rows in sorted(found.items()) if rows}


def _servers(one: EntityFrame) -> list[int]:
    codes = one.frame["topic"].drop_nulls().unique().to_list()
    return [code >> TOPIC_BITS for code in codes if code >> TOPIC_BITS]
