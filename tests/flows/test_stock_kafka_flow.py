"""The whole flow of stock over real Kafka: change topics in, stock, orders and events out, killed and started again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from nurt.adapters.files.schema_registry import FolderRegistry
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.app.running import run_stock_here
from nurt.flows.stock import stock
from nurt.model.stock.plan import UNIT
from nurt.settings import load_settings
from nurt.simulate.connector.targets import simulate_to_archive, simulate_to_kafka
from tests.chaos.cluster import Cluster
from tests.chaos.test_stock_kills import expected_of, shown
from tests.contracts.test_profile_sink_kafka import read_all
from tests.contracts.test_stock_sinks import body
from tests.services.stack.kafka import KafkaServer
from tests.services.stack.redis_server import RedisServer

SEED, CUSTOMERS, DAYS, LAST_DAY = 6, 60, 20, date(2026, 3, 31)
DEMO = Path(__file__).parents[2] / "src" / "nurt" / "presets" / "demo.yaml"
CONFIG = """\
mapping: {mapping}
data: data
state: {{url: 'redis://127.0.0.1:{port}/0'}}
kafka: {{bootstrap: '{bootstrap}'}}
input: {{topics: ['^shop_..\\.', '^erp\\.']}}
output: {{control_topic: control}}
stock: {{topic: nurt.stock, orders_topic: nurt.orders, events_topic: nurt.stock-events}}
"""


@pytest.fixture
def own_kafka(kafka_server: KafkaServer) -> Iterator[str]:
    """A broker whose topics nobody else writes to."""
    with ExitStack() as stack:
        stack.callback(Cluster.end_all)
        yield kafka_server.bootstrap


def newest(bootstrap: str, topic: str, schema: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Read a topic as its readers hold it: of a key the newest revision."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for _, key, value in read_all(bootstrap, topic):
        if value is not None:
            said = body(value, schema)
            if said["revision"] >= found.get(key, {"revision": 0})["revision"]:
                found[key] = said
    return found


@pytest.mark.timeout(300)
def test_topics_say_what_the_tables_do_after_a_kill(
    own_kafka: str, start_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    server, schemas = start_redis("valkey"), tmp_path / "data" / "stock" / "schemas"
    schemas.mkdir(parents=True)
    simulate_to_kafka(KafkaSettings(own_kafka), FolderRegistry(schemas), SEED, CUSTOMERS, DAYS, last_day=LAST_DAY)
    config = tmp_path / "nurt.yaml"
    config.write_text(CONFIG.format(mapping=DEMO, port=server.port, bootstrap=own_kafka))
    settings = load_settings(config)
    first = Cluster(config, 2, flow="stock")
    assert first.wait_until(lambda: bool(shown(server)), 90), first.tail()
    first.kill_all()
    assert settings.kafka_input is not None
    run_stock_here(stock, replace(settings, kafka_input=replace(settings.kafka_input, stop_at_end=True)))

    simulate_to_archive(tmp_path / "archive", SEED, CUSTOMERS, DAYS, last_day=LAST_DAY)
    expected = expected_of(tmp_path / "archive")
    said = newest(own_kafka, "nurt.stock", "nurt.stock-value.v1")
    on_topic = {(one["sku"], one["channel"], one["market"]): round(one["available"] * UNIT) for one in said.values()}
    assert expected
    assert {key: on_topic.get(key) for key in expected} == expected
    assert shown(server) == on_topic
    orders = newest(own_kafka, "nurt.orders", "nurt.orders-value.v2")
    assert len(orders) > 10
    assert any(one["documents"] for one in orders.values()), "shop orders and ERP documents are joined"
    events = [
        body(value, "nurt.stock-events-value.v1") for _, _, value in read_all(own_kafka, "nurt.stock-events") if value
    ]
    out = {(one["sku"], one["channel"], one["market"]) for one in events if one["kind"] == "out_of_stock"}
    back = {(one["sku"], one["channel"], one["market"]) for one in events if one["kind"] == "back_in_stock"}
    assert {key for key, left in on_topic.items() if left > 0 and key in out} <= back
