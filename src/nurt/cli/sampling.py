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
    entity_title,
)
from nurt.model.raw import RawBatch
from nurt.normalise.context import FoldContext, unread
from nurt.rows.topic_order import rank_of
from nurt.settings import KafkaInput, Settings

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
        becomes: the system and entities, or empty when no entry of the mapping matches.
        file_name, line: of the mapping's entry; 0: none.
        servers: numbers of the servers that wrote it, where several topics may hold the table.
        left_out: how many messages `where` leaves out: that of every entity, where rows are several.
        left_out_of: there, how many rows `where` leaves out of each entity, by its title.
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
    left_out_of: dict[str, int] = field(default_factory=dict)
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


class Samples:
    """Messages of every topic of the input, a batch at a time, at most `rows_max` of each topic; None: all.

    Attributes:
        cut: topics of which more messages were there, as far as the samples were taken.
    """

    def __init__(self, settings: Settings, rows_max: int | None) -> None:
        self.cut: set[str] = set()
        self._settings = settings
        self._rows_max = rows_max

    def __iter__(self) -> Iterator[tuple[str, RawBatch | None]]:
        """Yield topics with their batches; a topic first stands without one."""
        settings = self._settings
        if settings.kafka_input is not None and settings.kafka is not None:
            yield from self._from_kafka(settings.kafka, settings.kafka_input)
        else:
            yield from self._from_archives()

    def _from_kafka(self, kafka: KafkaSettings, source: KafkaInput) -> Iterator[tuple[str, RawBatch | None]]:
        outage = Outage("listing topics", kafka.bootstrap)
        admin = open_admin(kafka, outage)
        wanted = TopicFilter(source.topics)
        found = outage.until_answered(lambda: list_partitions(admin, wanted), ANSWER_SECONDS_MAX)
        for topic in sorted({topic for topic, _ in found}):
            yield topic, None
            log = KafkaLog(kafka, [topic], source.group, stop_at_end=True, answer_max_s=ANSWER_SECONDS_MAX)
            seen = 0
            try:
                log.start(None)
                heard = time.monotonic()
                while (left := self._left(seen)) > 0 and not log.exhausted():
                    some = log.poll(left)
                    seen += sum(map(len, some))
                    heard = time.monotonic() if some else heard
                    yield from ((topic, batch) for batch in some)
                    if time.monotonic() - heard > QUIET_SECONDS_MAX:
                        break
                if not log.exhausted():
                    self.cut.add(topic)
            finally:
                log.close()

    def _left(self, seen: int) -> int:
        return POLL_ROWS if self._rows_max is None else min(POLL_ROWS, self._rows_max - seen)

    def _from_archives(self) -> Iterator[tuple[str, RawBatch | None]]:
        log = ArchiveLog(self._settings.archives)
        log.start(None)
        seen: Counter[str] = Counter()
        while self._rows_max is None or seen.total() < ARCHIVE_ROWS_MAX:
            batches = log.poll(POLL_ROWS)
            if not batches:
                break
            for batch in batches:
                if batch.topic not in seen:
                    yield batch.topic, None
                left = len(batch) if self._rows_max is None else max(0, self._rows_max - seen[batch.topic])
                seen[batch.topic] += len(batch)
                if left < len(batch):
                    self.cut.add(batch.topic)
                if left:
                    yield batch.topic, _first(batch, left)
        else:
            self.cut |= set(seen)
        log.close()


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


class Trial:
    """Translation of some messages of one topic, and what they would become."""

    def __init__(self, mapping: Mapping, topic: str) -> None:
        self._topic, self._entry = topic, mapping.for_topic(topic)
        self._reasons: tuple[Counter[str], Counter[str]] = Counter(), Counter()  # of refused ones, of others not ours
        self._messages = self._rows = 0
        self._left_out: Counter[str] = Counter()  # by entity; "": messages
        self._absent: set[str] = set()
        self._servers: set[int] = set()
        self._unread: Counter[str] = Counter()

    def add(self, batch: RawBatch, done: Translated, context: FoldContext) -> None:
        """Take one batch."""
        refused, foreign = self._reasons
        refused.update(f"{one.reason}: {one.detail}" for one in done.refused)
        for (_, _, reason), messages in done.not_ours.items():
            foreign[reason] += messages
        counting = [one for one in done.entities if one.counts]
        self._messages += len(batch)
        self._rows += sum(int((one.frame["op"] != IMPLIED).sum()) for one in counting)
        self._rows += len({(one.partition, one.offset) for one in done.truncated})
        self._left_out[""] += sum(int(one.frame["op"].is_in([LEFT_OUT, LEFT_OUT_ABSENT]).sum()) for one in counting)
        self._left_out.update(_left_out_of(done.entities))
        for one in done.entities:
            self._absent.update(one.absent)
            self._servers.update(_servers(one))
        self._unread.update(_unread(done, context))

    def sample(self) -> TopicSample:
        """Sum up."""
        entry, (refused, foreign) = self._entry, self._reasons
        commonest = (refused or foreign).most_common(1)
        return TopicSample(
            self._topic,
            "" if entry is None else f"{', '.join(item.kind for item in entry.items)} of {entry.system.name}",
            "" if entry is None else entry.file_name,
            0 if entry is None else entry.line,
            self._messages,
            self._rows,
            foreign.total(),
            refused.total(),
            commonest[0][0] if commonest else "",
            self._left_out[""],
            {entity: rows for entity, rows in self._left_out.items() if entity},
            tuple(sorted(self._absent)),
            tuple(sorted(self._servers)),
            dict(sorted(self._unread.items())),
        )


def _left_out_of(frames: Sequence[EntityFrame]) -> dict[str, int]:
    """Count, by entity, rows that its `where` leaves out, where rows are several entities."""
    found: Counter[str] = Counter()
    for one in frames:
        if one.left_out:
            found[entity_title(one.kind, one.frame["entity"][0])] += one.left_out
    return dict(found)


_IDENTIFIERS = {"customer": ("email", "phone", "tax_id", "loyalty_card", "identifiers"), "order": ("email", "phone")}
_IDENTIFIERS |= dict.fromkeys(IDENTIFIED_KINDS - {"customer"}, ("identifiers",))


def _unread(done: Translated, context: FoldContext) -> dict[str, int]:
    """Count texts that are no identifier, by field; those of orders count where a guest ordered."""
    found: Counter[str] = Counter()
    for kind, frame in ((one.kind, one.frame) for one in done.entities):
        if kind not in _IDENTIFIERS or not frame.height:
            continue
        rows = frame.filter(pl.col("op") == UPSERT)
        if kind == "order":
            rows = rows.filter(pl.col("parent").is_null())
        names = _IDENTIFIERS[kind]
        read = context.normalised(rows, [name for name in names if name != "identifiers"])
        for name in names:
            found[f"{kind}.{name}"] += int(unread(rows[name], read[name]).sum())
    return {field: rows for field, rows in found.items() if rows}


def _servers(one: EntityFrame) -> list[int]:
    codes = one.frame["topic"].drop_nulls().unique().to_list()
    return [code >> TOPIC_BITS for code in codes if code >> TOPIC_BITS]
