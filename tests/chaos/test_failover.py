"""The primary is lost while the flow runs and Sentinels name another: state equals the tables all the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from importlib.resources import files
from pathlib import Path

import pytest

from nurt.columnar.ids import Ids
from nurt.errors import Fenced
from nurt.mapping.load import load_mapping
from nurt.simulate.connector.targets import simulate_to_archive
from tests.chaos.cluster import Cluster, Deployment
from tests.chaos.naive_rows import read_archive
from tests.chaos.test_kills import Input, unaccounted, wrong
from tests.services.stack.sentinels import Guarded, guarded

END_S = 60.0
ROWS_MAX = 300


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Input:
    folder = tmp_path_factory.mktemp("archive")
    simulate_to_archive(folder, seed=5, customers=120, days=40, last_day=date(2026, 3, 31))
    mapping = load_mapping((files("nurt") / "presets" / "demo.yaml").read_text(encoding="utf-8"), "demo.yaml")
    ids = Ids(bytes(16))
    return Input(folder, read_archive(folder, mapping, ids), mapping, ids)


@pytest.fixture
def group() -> Iterator[Guarded]:
    with guarded() as group:
        yield group


@pytest.fixture
def deployment(source: Input, group: Guarded, tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path, group.servers[0], source.folder, ROWS_MAX, analytics=True)
    written = deployment.config.read_text()
    deployment.config.write_text(written.replace(group.servers[0].url, group.url))
    yield deployment
    Cluster.end_all()


def finished(run: Cluster, deployment: Deployment) -> Cluster:
    """Wait for a run, and for one more when it ended because the replica lacks its last writes."""
    code = run.wait(END_S)
    if code == 0:
        return run
    assert code == Fenced.exit_code, run.tail()
    again = Cluster(deployment.config, 1)
    assert again.wait(END_S) == 0, again.tail()
    return again


def test_a_run_goes_on_at_the_replica_when_the_primary_is_killed(
    source: Input, group: Guarded, deployment: Deployment
) -> None:
    first, second = group.servers
    run = Cluster(deployment.config, 1)
    assert run.wait_until(deployment.progress(2)), run.tail()
    group.fail_over(first, second)
    deployment.server = second
    assert "trying again" in finished(run, deployment).tail()
    assert not wrong(source, deployment)
    assert not unaccounted(source, deployment)


def test_a_replica_that_lost_the_last_writes_ends_the_run_and_the_next_one_reads_them_again(
    source: Input, group: Guarded, deployment: Deployment
) -> None:
    first, second = group.servers
    run = Cluster(deployment.config, 1)
    assert run.wait_until(deployment.progress(2)), run.tail()
    group.hold_back(second)
    assert run.wait_until(deployment.progress(4)), run.tail()
    group.fail_over(first, second)
    deployment.server = second
    log = finished(run, deployment).tail()
    assert re.search(r"came back older.*start nurt again", log)
    assert "rewinding" in log or "rebuilding" in log
    assert not wrong(source, deployment)
    assert not unaccounted(source, deployment)
