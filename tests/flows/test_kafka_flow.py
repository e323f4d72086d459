"""The whole way over real Kafka: change topics in, the profile topic out, restarts in between."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from confluent_kafka import Consumer, TopicPartition

from nurt.adapters.files.schema_registry import FolderRegistry
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.app.running import run_here
from nurt.contracts.profile_reader import read_profile
from nurt.flows.profiles import profiles
from nurt.settings import KafkaInput, Settings
from nurt.simulate.connector.targets import simulate_to_kafka

MAPPING = Path(__file__).parents[2] / "src" / "nurt" / "presets" / "demo.yaml"
PARTITIONS = 6


@pytest.fixture(scope="module")
def simulated(kafka_alone: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Produce a small shop and ERP once; yields the folder whose schemas are the registry."""
    home = tmp_path_factory.mktemp("registry")
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    simulate_to_kafka(KafkaSettings(kafka_alone), FolderRegistry(home), 7, 40, 30, last_day=yesterday)
    yield home


def settings_for(kafka: str, redis_url: str, registry: Path, tmp_path: Path) -> Settings:
    name = uuid.uuid4().hex[:8]
    schemas = tmp_path / "data" / "schemas"
    schemas.mkdir(parents=True)
    for file in registry.iterdir():
        (schemas / file.name).write_bytes(file.read_bytes())
    return Settings(
        mapping=MAPPING,
        data=tmp_path / "data",
        redis_url=redis_url,
        prefix=f"flow-{name}",
        kafka=KafkaSettings(kafka),
        kafka_input=KafkaInput((r"^(shop_..|erp)\..*",), f"flow-{name}", stop_at_end=True),
        topic=f"profiles-{name}",
        partitions=PARTITIONS,
        control_topic=f"control-{name}",
        duckdb=tmp_path / "profiles.duckdb",
    )


def newest_on_topic(kafka: str, topic: str) -> dict[bytes, dict[str, object] | None]:
    """Read the topic as compaction would leave it; revisions of a key never go back."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": uuid.uuid4().hex, "isolation.level": "read_committed"})
    parts = [TopicPartition(topic, number, 0) for number in range(PARTITIONS)]
    ends = {part.partition: consumer.get_watermark_offsets(part)[1] for part in parts}
    consumer.assign(parts)
    newest: dict[bytes, dict[str, object] | None] = {}
    while any(position.offset < ends[position.partition] for position in consumer.position(parts)):
        for message in consumer.consume(1_000, 1.0):
            assert message.error() is None
            value, key = message.value(), message.key()
            profile = None if value is None else read_profile(value[5:])
            before = newest.get(key)
            if profile is not None and before is not None:
                assert profile["revision"] >= before["revision"]  # type: ignore[operator]
            newest[key] = profile
    consumer.close()
    return newest


def places_on_topic(kafka: str, topic: str) -> int:
    """Count what was written to the topic, the marks of transactions included."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": uuid.uuid4().hex})
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, number))[1] for number in range(PARTITIONS)]
    consumer.close()
    return sum(ends)


def in_duckdb(settings: Settings) -> dict[str, tuple[object, ...]]:
    assert settings.duckdb is not None
    with duckdb.connect(str(settings.duckdb), read_only=True) as connection:
        rows = connection.execute("SELECT id, revision, state, email FROM profiles").fetchall()
    return {row[0]: row[1:] for row in rows}


def test_topic_and_analytics_say_the_same_and_a_restart_repeats_nothing(
    kafka_alone: str, redis_url: str, simulated: Path, tmp_path: Path
) -> None:
    settings = settings_for(kafka_alone, redis_url, simulated, tmp_path)
    run_here(profiles, settings)
    assert settings.topic is not None
    said = newest_on_topic(kafka_alone, settings.topic)
    stored = in_duckdb(settings)
    assert len(stored) > 30
    live = {str(one["id"]): one for one in said.values() if one is not None}
    assert {name: (one["revision"], one["state"]) for name, one in live.items()} == {
        name: row[:2] for name, row in stored.items()
    }
    run_here(profiles, settings)
    assert newest_on_topic(kafka_alone, settings.topic) == said


def test_lingering_publishes_less_and_ends_the_same(
    kafka_alone: str, redis_url: str, simulated: Path, tmp_path: Path
) -> None:
    settings = replace(settings_for(kafka_alone, redis_url, simulated, tmp_path), rows_max=200, linger_ms=60_000)
    run_here(profiles, settings)
    lingered = in_duckdb(settings)
    prompt_home = tmp_path / "prompt"
    prompt_home.mkdir()
    prompt = settings_for(kafka_alone, redis_url, simulated, prompt_home)
    prompt = replace(prompt, rows_max=200, secret=(settings.data / "secret").read_text())
    run_here(profiles, prompt)

    def emails(rows: dict[str, tuple[object, ...]]) -> set[tuple[str, object]]:
        return {(name, row[2]) for name, row in rows.items() if row[1] == "live"}

    assert emails(lingered) == emails(in_duckdb(prompt))
    assert settings.topic is not None
    assert prompt.topic is not None
    assert places_on_topic(kafka_alone, settings.topic) < places_on_topic(kafka_alone, prompt.topic)
