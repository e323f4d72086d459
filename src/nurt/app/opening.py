"""Open the pieces that both flows and commands need: the control log, schemas, the input, the rules."""

from __future__ import annotations

from collections.abc import Callable

from nurt.adapters.files.archive import ArchiveLog
from nurt.adapters.files.control_log import FileControlLog
from nurt.adapters.files.partitioning import ArchivePartitioning
from nurt.adapters.files.schema_registry import FolderRegistry
from nurt.adapters.kafka.control_log import KafkaControlLog
from nurt.adapters.kafka.log import KafkaLog
from nurt.adapters.kafka.partitioning import KafkaPartitioning
from nurt.columnar.ids import Ids
from nurt.control.logs import KnownLogs
from nurt.mapping.load import Mapping
from nurt.model.log import Committed, LogStand
from nurt.normalise.context import FoldContext
from nurt.ports.log import ControlLog, MessageLog, Partitioning
from nurt.ports.registry import SchemaRegistry
from nurt.settings import Settings


def fold_context(mapping: Mapping, ids: Ids) -> FoldContext:
    """Make the context of the folds from a mapping."""
    systems = mapping.systems.values()
    items = [item for rule in mapping.topics for item in rule.mapping.items]
    return FoldContext(
        ids,
        realm={system.name: system.realm for system in systems},
        priority={system.name: system.priority for system in systems},
        country={system.name: system.country for system in systems if system.country},
        currency={system.name: system.currency for system in systems if system.currency},
        market={system.name: system.market for system in systems if system.market},
        rules=mapping.rules,
        identifier_rules=mapping.identifier_rules,
        identified=frozenset(item.name for item in items if item.identifiers and item.kind != "customer"),
    )


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
