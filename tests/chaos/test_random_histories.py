"""Random histories through real processes that are killed: profiles equal those of the final rows alone.

`make chaos` plays thirty.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from nurt.adapters.files.archive_lines import ArchiveWriter
from nurt.adapters.files.schema_registry import FolderRegistry
from nurt.simulate.connector.messages import Message, batches_of
from nurt.simulate.connector.schemas import SchemaBook
from nurt.testing.histories.history import arrivals, messages
from nurt.testing.histories.random import random_history
from tests.chaos.cluster import Cluster, Deployment
from tests.oracle.wire import batch_messages, compared, published
from tests.services.stack.redis_server import RedisServer

HISTORIES = int(os.environ.get("NURT_CHAOS_HISTORIES", "1"))
STEPS, ROWS_MAX, KILLS = 120, 15, 3
EPOCH = date(1970, 1, 1).toordinal()

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def end_clusters() -> Iterator[None]:
    yield
    Cluster.end_all()


@pytest.mark.usefixtures("end_clusters")
@pytest.mark.parametrize("seed", range(HISTORIES))
def test_a_history_through_killed_processes_equals_its_final_rows(
    seed: int, start_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    choose, archive = random.Random(seed), tmp_path / "archive"
    archive.mkdir()
    history = random_history(10_000 + seed, STEPS)
    sent = arrivals(messages(history, FolderRegistry(archive), partitions=3), seed)
    cuts = sorted(choose.sample(range(1, len(sent)), KILLS))
    deployment = Deployment(tmp_path, start_redis("valkey"), archive, ROWS_MAX, analytics=False)
    for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        _append(archive, sent[begin:end])
        cluster = Cluster(deployment.config, choose.choice((1, 2)))
        cluster.wait_until(deployment.progress(choose.randrange(1, 4)), 30.0)
        cluster.kill_all()
    last = Cluster(deployment.config, choose.choice((1, 2)))
    assert last.wait(120.0) == 0, last.tail()
    stream = {name: content for name, (_, content) in deployment.kept().items() if content is not None}
    as_of = max(content["as_of"].toordinal() for content in stream.values()) - EPOCH
    of_batch = SchemaBook()
    batch = published(batches_of(batch_messages(history, of_batch)), of_batch, as_of=as_of)
    assert not compared(batch, stream), f"seed {seed}"


def _append(archive: Path, some: list[Message]) -> None:
    with ArchiveWriter(archive) as writer:
        for one in some:
            writer.write(one.topic, one.partition, one.key, one.value, one.headers, one.timestamp_ms)
