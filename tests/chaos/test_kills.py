"""Whatever is killed, lost or started twice: what is published at the end is what the sources' tables hold."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path

import pytest

from nurt.columnar.ids import Ids
from nurt.errors import Fenced
from nurt.mapping.load import Mapping, load_mapping
from nurt.simulate.connector.targets import simulate_to_archive
from tests.chaos.cluster import Cluster, Deployment
from tests.chaos.naive_rows import Archive, read_archive
from tests.oracle.agreement import differences
from tests.oracle.batch import expected_profiles
from tests.oracle.engine import normalise_really
from tests.services.stack.redis_server import RedisServer

THOROUGH = os.environ.get("NURT_CHAOS") == "thorough"
CUSTOMERS, DAYS, ROWS_MAX = (8_000, 200, 2_000) if THOROUGH else (120, 40, 300)
END_S = 1_200.0 if THOROUGH else 150.0
EPOCH = date(1970, 1, 1).toordinal()

pytestmark = pytest.mark.timeout(3_600 if THOROUGH else 300)


@dataclass(frozen=True, slots=True)
class Input:
    folder: Path
    archive: Archive
    mapping: Mapping
    ids: Ids


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Input:
    folder = tmp_path_factory.mktemp("archive")
    simulate_to_archive(folder, seed=3, customers=CUSTOMERS, days=DAYS, last_day=date(2026, 3, 31))
    mapping = load_mapping((files("nurt") / "presets" / "demo.yaml").read_text(encoding="utf-8"), "demo.yaml")
    ids = Ids(bytes(16))
    return Input(folder, read_archive(folder, mapping, ids), mapping, ids)


Deploy = Callable[[bool], Deployment]


@pytest.fixture
def deploy(source: Input, start_redis: Callable[..., RedisServer], tmp_path: Path) -> Iterator[Deploy]:
    """Make a deployment with a server of its own, with or without analytics."""
    yield lambda analytics: Deployment(tmp_path, start_redis("valkey"), source.folder, ROWS_MAX, analytics)
    Cluster.end_all()


def wrong(source: Input, deployment: Deployment) -> list[str]:
    """Say where state or analytics differ from the oracle, at the day that the profiles were computed for."""
    kept = deployment.kept()
    contents = {name: content for name, (_, content) in kept.items() if content is not None}
    as_of = max((content["as_of"].toordinal() for content in contents.values()), default=EPOCH) - EPOCH
    rows, mapping = source.archive.rows, source.mapping
    found = differences(
        expected_profiles(rows, mapping.systems, mapping.rules, as_of, source.ids, normalise_really), contents
    )
    if deployment.analytics:
        states = {
            name: (revision, "erased" if body is None else body["state"]) for name, (revision, body) in kept.items()
        }
        published = deployment.analysed()
        found += [
            f"{name}: kept {states.get(name)}, in DuckDB {published.get(name)}"
            for name in states.keys() | published.keys()
            if published.get(name) != states.get(name)
        ]
    return found


def unaccounted(source: Input, deployment: Deployment) -> list[str]:
    """Say which messages were not counted, or more than once."""
    counts, messages = deployment.counts(), source.archive.messages
    counted = {
        "rows": counts.get("folded", 0) + counts.get("old_news", 0),
        "truncates": counts.get("truncates", 0),
        "not_ours": counts.get("not_ours", 0),
        "refused": counts.get("quarantined", 0),
    }
    return [
        f"{kind}: {counted[kind]} counted of {messages.get(kind, 0)}"
        for kind in counted
        if counted[kind] != messages.get(kind, 0)
    ]


@pytest.mark.parametrize("workers", [1, 3])
def test_an_undisturbed_run_accounts_for_every_message(source: Input, deploy: Deploy, workers: int) -> None:
    deployment = deploy(workers == 1)
    cluster = Cluster(deployment.config, workers)
    assert cluster.wait(END_S) == 0, cluster.tail()
    assert not wrong(source, deployment)
    assert not unaccounted(source, deployment)
    before = deployment.kept()
    again = Cluster(deployment.config, workers)
    assert again.wait(END_S) == 0, again.tail()
    assert "rewinding" not in again.tail() and "rebuilding" not in again.tail()
    assert deployment.kept() == before
    assert not unaccounted(source, deployment)


@pytest.mark.parametrize("most_workers", [1, 4 if THOROUGH else 3])
def test_killed_workers_and_power_cuts_change_nothing(source: Input, deploy: Deploy, most_workers: int) -> None:
    deployment, choose = deploy(most_workers == 1), random.Random(most_workers)
    for turn in range(20 if THOROUGH else 3):
        cluster = Cluster(deployment.config, 1 + turn % most_workers)
        cluster.wait_until(deployment.progress(choose.randrange(1, 6)))
        if choose.random() < 0.5:
            cluster.kill_all()
        else:
            cluster.kill_worker(choose.randrange(9))
            cluster.wait(60)
    last = Cluster(deployment.config, most_workers)
    assert last.wait(END_S) == 0, last.tail()
    assert not wrong(source, deployment)
    assert not unaccounted(source, deployment)


def test_a_second_cluster_started_by_mistake_takes_over_and_the_first_ends(source: Input, deploy: Deploy) -> None:
    deployment = deploy(False)
    first = Cluster(deployment.config, 2)
    assert first.wait_until(deployment.progress(1)), first.tail()
    second = Cluster(deployment.config, 1)
    assert first.wait(60) == Fenced.exit_code, "whoever is refused ends, Bytewax ends its peers, and the reason is told"
    assert second.wait(END_S) == 0, second.tail()
    assert not wrong(source, deployment)
    assert not unaccounted(source, deployment)


def test_a_frozen_cluster_that_wakes_up_spoils_nothing(source: Input, deploy: Deploy) -> None:
    deployment = deploy(False)
    first = Cluster(deployment.config, 1)
    assert first.wait_until(deployment.progress(2)), first.tail()
    first.freeze()
    while deployment.is_locked():  # whoever stops within a write of a file lets nobody else write it
        first.thaw()
        time.sleep(0.05)
        first.freeze()
    second = Cluster(deployment.config, 2)
    assert second.wait_until(deployment.progress(1)), second.tail()
    first.thaw()
    assert first.wait(90) == Fenced.exit_code, first.tail()
    assert second.wait(END_S) == 0, second.tail()
    assert not wrong(source, deployment)
    assert not unaccounted(source, deployment)


@pytest.mark.parametrize("lost", ["some", "all"])
def test_a_server_that_forgets_is_caught_up_with(source: Input, deploy: Deploy, lost: str) -> None:
    deployment = deploy(True)
    first = Cluster(deployment.config, 1)
    assert first.wait_until(deployment.progress(2)), first.tail()
    if lost == "some":
        deployment.server.save()
    assert first.wait_until(deployment.progress(3)), first.tail()
    deployment.server.restart()
    assert first.wait(90) == Fenced.exit_code, first.tail()
    second = Cluster(deployment.config, 1)
    assert second.wait(END_S) == 0, second.tail()
    assert not wrong(source, deployment)
    assert not unaccounted(source, deployment)
