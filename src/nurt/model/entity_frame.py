"""Rows of source tables, mapped to a canonical entity, on their way from the translator to the fold."""

from __future__ import annotations

from dataclasses import dataclass, field
from zlib import crc32

import polars as pl

from nurt.model.entities import ENTITIES, IDENTIFIED_KINDS, FieldType
from nurt.model.refusal import Refused
from nurt.model.table_kinds import TABLE

UPSERT, DELETE, LEFT_OUT, LEFT_OUT_ABSENT, IMPLIED, UNWANTED = 0, 1, 2, 3, 4, 5
"""Values of the column `op`: Debezium's c, r and u are upserts, d is a delete.

A row that the mapping's `where` leaves out is a delete, too, with a value of its own, so that it is counted as such;
LEFT_OUT_ABSENT: `where` names an optional column that this version of the table lacks. IMPLIED: the delete of a row's
old key, which only the message of its new key tells of; it is no message of its own, and not counted.
UNWANTED: a row beside others that no entry uses: its attribute has no name in the mapping, or `only` excludes it.
"""

STREAMED, FULL_SNAPSHOT, INCREMENTAL_SNAPSHOT = 0, 1, 2
"""Values of the column `snapshot`."""

POLARS_TYPES: dict[FieldType, pl.DataType] = {
    FieldType.STR: pl.String(),
    FieldType.BOOL: pl.Boolean(),
    FieldType.TS: pl.Int64(),
    FieldType.DAY: pl.Int64(),
    FieldType.AMOUNT: pl.Int64(),
}

METADATA_COLUMNS: dict[str, pl.DataType] = {
    "row": pl.Binary(),  # 16 bytes: id of (system, entity, key)
    "system": pl.String(),  # as the mapping names it
    "entity": pl.String(),  # the entity's name in that system: the kind unless the mapping has `name:`
    "key": pl.String(),  # native key as text, parts joined by U+001F
    "op": pl.Int8(),  # UPSERT | DELETE | LEFT_OUT | LEFT_OUT_ABSENT | IMPLIED | UNWANTED
    "snapshot": pl.Int8(),  # STREAMED | FULL_SNAPSHOT | INCREMENTAL_SNAPSHOT
    "source_epoch": pl.Int64(),
    # The connector's own order within a source epoch, compared part by part; null: unknown, unused: 0.
    # PostgreSQL sequence[0], sequence[1]; MySQL and MariaDB file number, pos, row;
    # SQL Server commit vlf<<32|block, commit slot, change vlf<<32|block, change slot<<32|event_serial_no.
    "p0": pl.Int64(),
    "p1": pl.Int64(),
    "p2": pl.Int64(),
    "p3": pl.Int64(),
    "partition": pl.Int64(),
    "offset": pl.Int64(),
    "ts_ms": pl.Int64(),  # the source's commit time, else the envelope's, else the message's
    "parent_kind": pl.String(),  # "customer" | "order" | null: none
    "parent": pl.Binary(),  # 16 bytes: id of the parent's row
    "parent_entity": pl.String(),  # the parent entity's name in that system
    "parent_key": pl.String(),  # the parent's native key as text
    "moved_to": pl.Binary(),  # on a delete that is half of a re-key: id of the new row
    "moved_from": pl.Binary(),  # on an upsert that is half of a re-key: id of the old row
    "unavailable": pl.Int64(),  # bit i: field i of the entity keeps its stored value; bit 62: the parent does
    "topic": pl.Int64(),  # `topic_code`, where several topics may hold the table; else null
}

UNAVAILABLE_PARENT_BIT = 62

TOPIC_BITS = 32
"""Low bits of a topic's code: which topic. Above them stands the server, 0 for unknown."""


def topic_code(topic: str, server: int = 0) -> int:
    """Name a topic, and the server whose positions its events have, in one number; never 0."""
    return server << TOPIC_BITS | (crc32(topic.encode()) or 1)


def entity_title(kind: str, name: str) -> str:
    """Name an entity of a system for people."""
    return name if kind == name or kind.startswith(TABLE) else f"{kind} {name}"


def entity_columns(kind: str) -> dict[str, pl.DataType]:
    """Name every column of an entity's frame, in order, with its type."""
    columns = dict(METADATA_COLUMNS)
    for name, field_type in ENTITIES[kind].fields.items():
        columns[name] = POLARS_TYPES[field_type]
    if kind in IDENTIFIED_KINDS:
        # extra identifiers from the mapping: `kind U+001F value` pairs joined by U+001E, or null
        columns["identifiers"] = pl.String()
    return columns


@dataclass(frozen=True, slots=True)
class EntityFrame:
    """Changes of rows of one entity kind, in arrival order; columns are `entity_columns(kind)`; all of one topic.

    Attributes:
        absent: columns that `where` names and that the table lacks, of rows with LEFT_OUT_ABSENT.
        order: what the mapping says of the order of the table's topics.
        partitions: how many the topic has; 0: unknown.
        counts: whether the frame counts its messages; another entity of the same rows does where it does not.
        left_out: how many rows of the batch `where` left out; None: `op` says so.
    """

    kind: str
    frame: pl.DataFrame
    topic: str = ""
    absent: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    partitions: int = 0
    counts: bool = True
    left_out: int | None = None


@dataclass(frozen=True, slots=True)
class Truncated:
    """Truncate of one table (Debezium op `t`): all rows at or before a position are deleted.

    Attributes:
        code: `topic_code`, where several topics may hold the table.
        order: what the mapping says of the order of the table's topics.
        ts_ms: the source's time, as of rows; 0: unknown.
        behind: by partition, the offset from which on messages were written behind it; (): unknown.
    """

    kind: str
    system: str
    entity: str
    source_epoch: int
    position: tuple[int | None, int | None, int | None, int | None]
    topic: str
    partition: int
    offset: int
    code: int = 0
    order: tuple[str, ...] = ()
    ts_ms: int = 0
    behind: tuple[int, ...] = ()


Counts = dict[tuple[str, str, str], int]
"""(topic, outcome, reason) -> messages.

Outcomes: not_ours and quarantined (the translator's), folded and old_news (the fold's).
"""


@dataclass(frozen=True, slots=True)
class Translated:
    """Translation of a batch of raw messages.

    Every message is a row of a frame, a truncate, refused, or counted as not ours; `passed` has the highest
    offset of the last kind of messages in each (topic, partition), `heights` how far the order of each one goes.
    """

    entities: list[EntityFrame] = field(default_factory=list)
    truncated: list[Truncated] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    not_ours: Counts = field(default_factory=dict)
    passed: dict[tuple[str, int], int] = field(default_factory=dict)
    heights: dict[tuple[str, int], int] = field(default_factory=dict)
