"""Three real brokers: a replica that lacks messages leads, and what was read is gone from the log, or other."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nurt.app.running import run_here
from nurt.control.logs import SAME, log_word_record
from nurt.errors import LogHalted
from nurt.flows.profiles import profiles
from nurt.settings import KafkaInput
from tests.services.stack.kafka_cluster import KafkaCluster, running_kafka_cluster
from tests.services.test_topics_made_anew import Shop, log_of, until

FIRST = [("r", 1, "c1-a", 100), ("r", 2, "c2-a", 100), ("r", 3, "c3-a", 100), ("u", 1, "c1-b", 200)]
LOST = [("u", 2, "c2-lost", 300), ("u", 1, "c1-lost", 310), ("c", 4, "c4-lost", 320)]
ON = [("u", 1, "c1-on", 400), ("u", 3, "c3-on", 410), ("u", 3, "c3-on", 420), ("u", 3, "c3-last", 430)]
"""What the connector writes on: its database has what was lost."""
RIGHT = {"c1-on", "c2-lost", "c3-last", "c4-lost"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    with running_kafka_cluster() as brokers:
        yield brokers


@pytest.fixture
def shop(tmp_path: Path, redis_url: str, cluster: KafkaCluster) -> Iterator[Shop]:
    """A topic on brokers 2 and 3."""
    name = f"s.t-{uuid.uuid4().hex[:8]}"
    cluster.create_topic(name, (2, 3), **{"unclean.leader.election.enable": "false"})
    yield Shop(tmp_path, redis_url, cluster.bootstrap, name)
    cluster.start_all()


def lose(cluster: KafkaCluster, shop: Shop) -> None:
    """Kill the only broker that has the last messages, and let the other one lead."""
    cluster.kill(2)
    cluster.start(3)
    cluster.elect(shop.name, 3)


def await_count(shop: Shop, count: int) -> None:
    until(lambda: shop.counted() == count)


def test_messages_that_an_election_loses_while_nurt_is_away_cost_one_word(shop: Shop, cluster: KafkaCluster) -> None:
    shop.produce(log_of(shop, *FIRST))
    cluster.stop(3)
    shop.produce(log_of(shop, *LOST))
    assert shop.run() == {"c1-lost", "c2-lost", "c3-a", "c4-lost"}
    lose(cluster, shop)
    shop.produce(log_of(shop, *ON))
    for _ in range(2):
        with pytest.raises(LogHalted, match=f"cut at offset {len(FIRST)} and written on"):
            shop.run()
    shop.control_log().append(log_word_record(shop.name, SAME))
    assert shop.run() == RIGHT
    assert shop.run() == RIGHT


@pytest.mark.parametrize("is_at_once", [False, True], ids=["a short log", "a log written on"])
def test_messages_that_an_election_loses_while_nurt_reads_stop_it_once(
    shop: Shop, cluster: KafkaCluster, is_at_once: bool
) -> None:
    shop.produce(log_of(shop, *FIRST))
    cluster.stop(3)
    shop.produce(log_of(shop, *LOST))
    live = shop.settings(kafka_input=KafkaInput((shop.name,), f"group-{shop.name}"))
    stop = threading.Event()
    with ThreadPoolExecutor(1) as one:
        running = one.submit(run_here, profiles, live, stop=stop)
        try:
            await_count(shop, len(FIRST) + len(LOST))
            lose(cluster, shop)
            if is_at_once:
                shop.produce(log_of(shop, *ON))
            with pytest.raises(LogHalted, match="nurt source same-log"):
                running.result(120)
        finally:
            stop.set()
    if not is_at_once:
        shop.produce(log_of(shop, *ON))
    shop.control_log().append(log_word_record(shop.name, SAME))
    assert shop.run() == RIGHT


def test_a_run_that_read_on_after_its_last_proof_is_told_of_the_cut(shop: Shop, cluster: KafkaCluster) -> None:
    """Its commits have no witness of the lost messages: it looks at the topic's id every ten seconds only."""
    shop.produce(log_of(shop, *FIRST))
    assert shop.run() == {"c1-b", "c2-a", "c3-a"}
    cluster.stop(3)
    live = shop.settings(kafka_input=KafkaInput((shop.name,), f"group-{shop.name}"))
    stop = threading.Event()
    with ThreadPoolExecutor(1) as one:
        running = one.submit(run_here, profiles, live, stop=stop)
        try:
            shop.produce(log_of(shop, *LOST))
            await_count(shop, len(FIRST) + len(LOST))
        finally:
            stop.set()
        running.result(120)
    lose(cluster, shop)
    shop.produce(log_of(shop, *ON))
    with pytest.raises(LogHalted, match="cut at offset"):
        shop.run()
    shop.control_log().append(log_word_record(shop.name, SAME))
    assert shop.run() == RIGHT


def test_leaders_that_change_in_order_are_no_cut(shop: Shop, cluster: KafkaCluster) -> None:
    """A rolling restart, a broker that dies, and an election that loses only what nurt has not read."""
    shop.produce(log_of(shop, *FIRST))
    live = shop.settings(kafka_input=KafkaInput((shop.name,), f"group-{shop.name}"))
    stop = threading.Event()
    with ThreadPoolExecutor(1) as one:
        running = one.submit(run_here, profiles, live, stop=stop)
        try:
            await_count(shop, len(FIRST))
            for number, node in enumerate((2, 3, 1, 2)):
                (cluster.kill if node == 2 else cluster.stop)(node)
                cluster.start(node)
                cluster.wait_until_in_sync(shop.name, {2, 3})
                shop.produce(log_of(shop, ("u", 1, f"c1-{number}", 500 + number)))
                await_count(shop, len(FIRST) + number + 1)
        finally:
            stop.set()
        running.result(120)
    cluster.stop(3)
    shop.produce(log_of(shop, *LOST))
    lose(cluster, shop)
    shop.produce(log_of(shop, ("u", 2, "c2-on", 600)))
    assert shop.run() == {"c1-3", "c2-on", "c3-a"}
    assert {one["generation"] for one in shop.logs()} == {0}
