"""A micro-batch costs a few round trips a stage, whatever its size."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from importlib.resources import files
from pathlib import Path

import pytest
from redis import Redis

from nurt.adapters.files.archive import ArchiveLog
from nurt.adapters.files.schema_registry import FolderRegistry
from nurt.adapters.redis.store import RedisStore, claim
from nurt.app.opening import fold_context
from nurt.columnar.ids import SECRET_BYTES, Ids
from nurt.contracts import schemas
from nurt.mapping.load import load_mapping
from nurt.model.keys import Keys
from nurt.model.tick import Tick
from nurt.profiles.worker import Worker
from nurt.simulate.connector.targets import simulate_to_archive
from nurt.testing.chain import Chain
from nurt.translate.translator import Translator
from tests.services.stack.redis_server import RedisServer

ROUND_TRIPS_MAX = 15
"""Of all stages: rows, orders, accounts 2 each, identity 4, profiles 3, and where a truncate or a day comes 2 more."""


@pytest.fixture
def chain(start_redis: Callable[..., RedisServer], tmp_path: Path) -> tuple[Chain, RedisStore, Translator, ArchiveLog]:
    client = Redis.from_url(start_redis("valkey").url, protocol=2)
    ids = Ids(bytes(SECRET_BYTES))
    mapping = load_mapping((files("nurt") / "presets" / "demo.yaml").read_text(encoding="utf-8"), "demo.yaml")
    keys = Keys("t", 16)
    context = fold_context(mapping, ids)
    places = [*map(keys.shard_place, range(16)), *map(keys.realm_place, sorted(set(context.realm.values())))]
    claim(client, 1, places)
    store = RedisStore(client, keys, 1, places)
    simulate_to_archive(tmp_path, seed=5, customers=150, days=40, last_day=date(2026, 3, 31))
    log = ArchiveLog([tmp_path])
    log.start(None)
    worker = Worker(store, keys, context, schemas.load(schemas.PROFILE_VALUE))
    return Chain(worker), store, Translator(mapping, FolderRegistry(tmp_path), ids), log


def test_the_round_trips_of_a_micro_batch_do_not_depend_on_its_size(
    chain: tuple[Chain, RedisStore, Translator, ArchiveLog],
) -> None:
    stages, store, translator, log = chain
    stages.tick(Tick(1, 20_543, 0))
    most = 0
    for rows_max in (1, 10, 100, 1_000, 5_000, 5_000):
        translated = [translator.translate(batch) for batch in log.poll(rows_max)]
        assert translated
        before = store.round_trips
        published = stages.feed(translated)
        most = max(most, store.round_trips - before)
        assert store.round_trips - before <= ROUND_TRIPS_MAX, (rows_max, len(published))
    assert most > 10, "the largest batches went through all stages"
