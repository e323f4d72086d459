"""Without Kafka: archives in, both flows, and a receiver that holds contacts, their orders and what can be sold."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from dataclasses import replace
from datetime import date
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import pytest

from nurt.app.delivery import Delivery, open_store, run_delivery
from nurt.app.delivery_config import destination_named
from nurt.app.delivery_tools import preview
from nurt.app.running import run_here, run_stock_here
from nurt.errors import ConfigurationError
from nurt.fake.webhook import FakeWebhook
from nurt.flows.deliver import deliver
from nurt.flows.profiles import profiles
from nurt.flows.stock import stock
from nurt.settings import Settings, load_settings
from nurt.simulate.connector.targets import simulate_to_archive

CONFIG = """
mapping: mapping.yaml
data: data
state: {{url: '{redis}', prefix: {prefix}, shards: 4}}
input: {{archives: [archive]}}
output: {{duckdb: profiles.duckdb}}
stock: {{duckdb: stock.duckdb, conflate_ms: 0}}
"""
DELIVERY = """
destinations:
  crm:
    preset: [webhook, webhook_orders, webhook_stock]
    url: {url}
    workers: 2
    objects:
      order: {{parent: {{person: contact}}, fields: {{account: account}}}}
"""


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, fake: FakeWebhook) -> Settings:
    simulate_to_archive(tmp_path / "archive", 5, 40, 15, last_day=date(2026, 11, 20))
    with (files("nurt") / "presets" / "demo.yaml").open("rb") as preset, (tmp_path / "mapping.yaml").open("wb") as own:
        shutil.copyfileobj(preset, own)
    (tmp_path / "nurt.yaml").write_text(CONFIG.format(redis=redis_url, prefix=f"t{uuid.uuid4().hex[:8]}"))
    (tmp_path / "delivery.yaml").write_text(DELIVERY.format(url=fake.url))
    return load_settings(tmp_path / "nurt.yaml")


def _deliver(settings: Settings, **how: Any) -> None:
    delivery = Delivery(settings, destination_named(settings, "crm"), threading.Event(), until_end=True, **how)
    run_delivery(deliver, delivery)


def _rows(fake: FakeWebhook, kind: str) -> dict[str, dict[str, Any]]:
    return {key: row for (object_, key), row in fake.rows.items() if object_ == kind}


def _asked(path: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.timeout(180)
def test_a_receiver_holds_what_both_flows_say_and_a_back_fill_writes_each_row_once(
    settings: Settings, fake: FakeWebhook, tmp_path: Path
) -> None:
    run_here(profiles, settings)
    run_stock_here(stock, settings)
    assert preview(settings, destination_named(settings, "crm"))[1] > 40, "a dry run reads all that waits, and ends"
    _deliver(settings)

    live = _asked(tmp_path / "profiles.duckdb", "SELECT id, email FROM profiles WHERE state = 'live'")
    assert {key: row["email"] for key, row in _rows(fake, "contact").items()} == dict(live)
    whose = dict(
        _asked(
            tmp_path / "profiles.duckdb",
            "SELECT account, a.id FROM profile_accounts a JOIN profiles p ON p.id = a.id WHERE state = 'live'",
        )
    )
    orders = _rows(fake, "order")
    assert len(orders) > 20
    assert {key: row["person"] for key, row in orders.items()} == {
        key: whose.get(row["account"]) for key, row in orders.items()
    }
    assert sum(row["person"] is not None for row in orders.values()) > 20
    shown = _asked(tmp_path / "stock.duckdb", "SELECT sku, channel, market, available FROM stock_now")
    sold = {(one["sku"], one["channel"], one["market"]): one["available"] for one in _rows(fake, "stock").values()}
    assert sold == {tuple(place): float(available) for *place, available in shown} and len(sold) > 10
    assert Counter(fake.writes.values()) == {1: len(fake.rows)}, "profiles are read first, so each row is written once"

    fake.writes.clear()
    _deliver(settings)
    assert fake.writes == {}, "what was told is not told again"
    before = dict(fake.rows)
    _deliver(settings, from_scratch=True)
    assert fake.rows == before
    assert Counter(fake.writes.values()) == {1: len(fake.rows)}
    assert preview(settings, destination_named(settings, "crm"))[1] == 0


@pytest.mark.timeout(180)
def test_who_begins_to_keep_stock_later_is_told_all_of_it(settings: Settings, fake: FakeWebhook) -> None:
    run_here(profiles, settings)
    run_stock_here(stock, replace(settings, stock=replace(settings.stock, kept=False)))
    with pytest.raises(ConfigurationError, match="not kept; set"):
        _deliver(replace(settings, stock=replace(settings.stock, kept=False)))
    _deliver(settings)
    assert not _rows(fake, "order") and not _rows(fake, "stock")
    run_stock_here(stock, settings)
    _deliver(settings)
    assert len(_rows(fake, "order")) > 20 and len(_rows(fake, "stock")) > 10
    assert not open_store(settings, "crm").refusals()
    assert Decimal(0) <= min(Decimal(str(one["available"])) for one in _rows(fake, "stock").values())


@pytest.mark.timeout(240)
def test_killed_flows_and_deliveries_end_where_an_undisturbed_one_does(
    settings: Settings, fake: FakeWebhook, tmp_path: Path
) -> None:
    config = tmp_path / "nurt.yaml"
    config.write_text(config.read_text().replace("archives: [archive]", "archives: [archive], rows_max: 40"))
    killed = 0
    for rows in (20, 80, 200):
        flows = [_started("run", "--flow", name, "--until-end", "--quiet", "-c", str(config)) for name in FLOWS]
        delivering = _started("deliver", "run", "crm", "--quiet", "-c", str(config))
        until_s = time.monotonic() + 30
        while len(fake.rows) < rows and time.monotonic() < until_s and delivering.poll() is None:
            time.sleep(0.02)
        killed += sum(one.poll() is None for one in (*flows, delivering))
        for one in (*flows, delivering):
            one.kill()
            one.wait()
    assert killed >= 6, "most were killed in the middle of it"
    for run_one, flow in ((run_here, profiles), (run_stock_here, stock)):
        run_one(flow, load_settings(config))  # type: ignore[operator]
    _deliver(settings)
    disturbed = dict(fake.rows)
    fresh = replace(settings, prefix=f"t{uuid.uuid4().hex[:8]}", data=tmp_path / "fresh", duckdb=None, secret=None)
    fresh = replace(fresh, secret=settings.ids_secret().hex(), stock=replace(settings.stock, duckdb=None))
    run_here(profiles, fresh)
    run_stock_here(stock, fresh)
    fake.rows.clear()
    _deliver(fresh)
    assert len(fake.rows) > 100
    assert disturbed == fake.rows


FLOWS = ("profiles", "stock")
PROGRAM = "from nurt.cli import main; main()"


def _started(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.DEVNULL)
