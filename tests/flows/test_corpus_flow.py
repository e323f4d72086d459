"""Genuine Debezium bytes through the real flow: Bytewax, Valkey, DuckDB; every message is accounted for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from redis import Redis

from nurt.app.running import run_here
from nurt.flows.profiles import profiles
from nurt.settings import Settings

CORPUS = Path(__file__).parents[1] / "corpus"
MAPPING = Path(__file__).parents[2] / "src" / "nurt" / "presets" / "corpus.yaml"
MESSAGES = {"postgres": 140, "mariadb": 88, "postgres_outbox_router": 3, "sqlserver_synthetic": 5}


def settings_for(folder: str, home: Path, url: str) -> Settings:
    return Settings(
        mapping=MAPPING,
        data=home / "data",
        redis_url=url,
        prefix=f"corpus-{folder}",
        shards=4,
        archives=(CORPUS / folder,),
        duckdb=home / "profiles.duckdb",
        secret="00" * 16,
    )


def counts(settings: Settings) -> Counter[str]:
    """Sum the message counts by outcome."""
    client = Redis.from_url(settings.redis_url)
    sums: Counter[str] = Counter()
    for place, messages in client.hgetall(f"{settings.prefix}:counts").items():  # type: ignore[union-attr]
        sums[place.decode().split("\x1f")[1]] += int(messages)
    client.close()
    return sums


def live_profiles(settings: Settings) -> list[tuple[object, ...]]:
    assert settings.duckdb is not None
    with duckdb.connect(str(settings.duckdb), read_only=True) as connection:
        query = "SELECT * EXCLUDE (revision, as_of) FROM profiles WHERE state = 'live' ORDER BY id"
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("folder", MESSAGES)
def test_every_message_of_the_corpus_ends_in_one_place(folder: str, tmp_path: Path, redis_url: str) -> None:
    settings = settings_for(folder, tmp_path, redis_url)
    run_here(profiles, settings)
    ended = counts(settings)
    assert sum(ended.values()) == MESSAGES[folder]
    assert ended["quarantined"] == (2 if folder == "mariadb" else 0)  # amounts with six decimals, on purpose


@pytest.mark.parametrize("folder", ["postgres", "mariadb"])
def test_the_corpus_read_again_is_old_news_and_changes_no_profile(folder: str, tmp_path: Path, redis_url: str) -> None:
    settings = replace(settings_for(folder, tmp_path, redis_url), prefix=f"again-{folder}")
    run_here(profiles, settings)
    before, first = live_profiles(settings), counts(settings)
    assert before
    run_here(profiles, settings, rebuild=True)
    assert live_profiles(settings) == before
    assert sum(counts(settings).values()) == sum(first.values()), "a rebuild begins to count anew"
