"""Open the pieces that both flows and commands need: the control log, schemas, the input, the rules."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from nurt.adapters.files.archive import ArchiveLog
from nurt.adapters.files.control_log import FileControlLog
from nurt.adapters.files.partitioning import ArchivePartitioning
from nurt.adapters.files.schema_registry import FolderRegistry
from nurt.adapters.kafka.control_log import KafkaControlLog
from nurt.adapters.kafka.log import KafkaLog
from nurt.adapters.kafka.partitioning import KafkaPartitioning
from nurt.adapters.redis.client import open_redis
from nurt.adapters.redis.errors import naming_failures
from nurt.adapters.redis.joins import read_numbers
from nurt.columnar.ids import Ids
from nurt.control.logs import KnownLogs
from nurt.mapping.joins.compile import has_tables, numbered, numbers_for
from nurt.mapping.joins.numbers import Numbers
from nurt.mapping.joins.plan import NO_JOINS
from nurt.mapping.load import Mapping
from nurt.model.keys import Keys
from nurt.model.log import Committed, LogStand
from nurt.model.table_kinds import TABLE
from nurt.normalise.context import FoldContext
from nurt.ports.log import ControlLog, MessageLog, Partitioning
from nurt.ports.registry import SchemaRegistry
from nurt.rows.sweeps import SweptTable
from nurt.settings import Settings


def fold_context(mapping: Mapping, ids: Ids) -> FoldContext:
    """Make the context of the folds from a mapping."""
    systems = mapping.systems.values()
    items = [item for rule in mapping.topics for item in rule.mapping.items]
    joined = [one for level in (mapping.joins or NO_JOINS).levels for one in level]
    return FoldContext(
        ids,
        realm={system.name: system.realm for system in systems},
        priority={system.name: system.priority for system in systems},
        country={system.name: system.country for system in systems if system.country},
        currency={system.name: system.currency for system in systems if system.currency},
        market={system.name: system.market for system in systems if system.market},
        timezone={system.name: system.timezone for system in systems},
        rules=mapping.rules,
        identifier_rules=mapping.identifier_rules,
        referred=mapping.referred(),
        identified=frozenset(
            (
                *(item.name for item in items if item.identifiers and item.kind != "customer"),
                *(one.name for one in joined if one.kind != "customer" and one.identifies),
            )
        ),
    )


def numbered_mapping(mapping: Mapping, settings: Settings, keys: Keys) -> Mapping:
    """Return a mapping with the numbers that the state has given to its tables; tables without one get some here."""
    if not has_tables(mapping):
        return numbered(mapping, Numbers())
    with closing(open_redis(settings.redis_url)) as client, naming_failures(client):
        numbers = read_numbers(client, keys)
    return numbered(mapping, numbers_for(mapping, numbers))


def stored_kinds(mapping: Mapping, table: SweptTable) -> list[str]:
    """List the kinds under which the state stores the rows of a table that the control log names.

    The control log may meet another state, where tables have other numbers.
    """
    assert mapping.joins is not None, "`numbered_mapping` made it"
    if table.kind == TABLE and not table.topic:
        return sorted(mapping.joins.tables)
    entry = mapping.for_topic(table.topic) if table.topic else None
    found = [item.kind for item in entry.items if item.name == table.entity] if entry is not None else []
    return found or [kind for kind in (table.kind,) if kind != TABLE]


def open_control_log(settings: Settings) -> ControlLog:
    """Open the control log: a topic where the input is Kafka, else a file."""
    if settings.kafka_input is not None:
        assert settings.kafka is not None
        return KafkaControlLog(settings.kafka, settings.control_topic)
    return FileControlLog(settings.data / "control.jsonl")


def open_registry(settings: Settings) -> SchemaRegistry:
    """Open the schema registry: Confluent's protocol where there is a URL, else folders."""
    if settings.registry_url is not None:
        from nurt.adapters.kafka.schema_registry import ConfluentRegistry

        return ConfluentRegistry(settings.registry_url, settings.registry_options)
    return FolderRegistry(settings.data / "schemas", settings.archives)


def open_log(
    settings: Settings,
    index: int,
    workers: int,
    logs: KnownLogs | None = None,
    on_id: Callable[[str, str], object] = lambda _topic, _id: None,
    on_cut: Callable[[str, LogStand, str], object] = lambda _topic, _stand, _why: None,
) -> MessageLog:
    """Open one worker's part of the input.

    Args:
        logs: what is known of the topics' logs; None: nothing is read.
        on_id: is told the id of a topic that was met first.
        on_cut: is told of a topic that was cut while it was read.
    """
    if settings.kafka_input is not None:
        assert settings.kafka is not None
        source = settings.kafka_input
        return KafkaLog(
            settings.kafka,
            source.topics,
            source.group,
            worker=index,
            workers=workers,
            stop_at_end=source.stop_at_end,
            ahead=settings.rows_max,
            ids=None if logs is None else {topic: one.id for topic, one in logs.topics.items() if one.id},
            on_id=on_id,
            on_cut=on_cut,
        )
    return ArchiveLog(
        settings.archives, settings.data / "commits", worker=index, workers=workers, follow=settings.follow
    )


def open_partitioning(settings: Settings) -> Partitioning:
    """Open what knows the partitions of the input's topics."""
    if settings.kafka_input is not None:
        assert settings.kafka is not None
        return KafkaPartitioning(settings.kafka)
    return ArchivePartitioning(settings.archives)


def commits_of(settings: Settings) -> list[Committed]:
    """Read the commits of all parts."""
    log = open_log(settings, 0, 1)
    try:
        committed = log.committed()
    finally:
        log.close()
    return [] if committed is None else [committed]
