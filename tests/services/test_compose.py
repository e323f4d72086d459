"""The full stack in containers, as far as it can be had without an engine: its files, with the real services."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nurt.settings import load_settings
from nurt.simulate.company.tables import ERP_TABLES, SHOP_TABLES
from nurt.simulate.connector.columns import Table
from tests.command_line import Ran, run_nurt
from tests.services.stack.connect import ConnectServer
from tests.services.stack.databases import Database

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture
def shop(mariadb: Database) -> Database:
    """The shop's database, filled as its container would be."""
    mariadb.execute("create database magento; use magento;" + (DOCKER / "shop.sql").read_text())
    return mariadb


@pytest.fixture
def erp(postgres: Database) -> Database:
    """The ERP's database, filled as its container would be."""
    postgres.execute("create database erp;\n\\c erp\n" + (DOCKER / "erp.sql").read_text())
    return postgres


def test_the_compose_file_is_valid() -> None:
    tools = [["docker-compose"], ["docker", "compose"]]
    there = [tool for tool in tools if shutil.which(tool[0]) and _works([*tool, "version"])]
    if not there:
        pytest.skip("neither docker-compose nor docker compose is there; install Debian's package docker-compose")
    done = subprocess.run([*there[0], "config", "--quiet"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _works(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_every_file_that_a_container_is_given_is_there() -> None:
    mounts = [mount for service in COMPOSE["services"].values() for mount in service.get("volumes", ())]
    files = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert len(files) > 5
    assert [name for name in files if not (ROOT / name).exists()] == []


def test_no_port_is_open_to_others_than_this_machine() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_the_settings_in_the_container_can_be_read(tmp_path: Path) -> None:
    settings = load_settings(DOCKER / "nurt.yaml")
    assert settings.kafka is not None
    assert settings.kafka.bootstrap == "kafka:9092"


def test_the_image_installs_what_the_lock_says() -> None:
    pins = {name: set(re.findall(r"^[a-z][^=\s]*==\S+", _lock(name), re.MULTILINE)) for name in ("", "docker/")}
    assert len(pins["docker/"]) > 30
    assert pins["docker/"] <= pins[""]


def _lock(folder: str) -> str:
    return (ROOT / folder / "requirements.lock").read_text()


def _columns(tables: tuple[Table, ...]) -> dict[str, list[str]]:
    return {table.name: [column.name for column in table.columns] for table in tables}


def _asked_columns(database: Database, switch: str, schema: str) -> dict[str, list[str]]:
    said = database.execute(
        f"{switch}\nselect concat(table_name, ' ', column_name) from information_schema.columns "
        f"where table_schema = '{schema}' and table_name <> 'dbz_signal' order by table_name, ordinal_position;"
    )
    columns: dict[str, list[str]] = {}
    for line in said.splitlines():
        table, _, column = line.partition(" ")
        if column and not line.startswith("You are"):
            columns.setdefault(table, []).append(column)
    return columns


def test_the_shop_has_the_columns_that_the_simulated_one_has(shop: Database) -> None:
    assert _asked_columns(shop, "", "magento") == _columns(SHOP_TABLES)


def test_the_erp_has_the_columns_that_the_simulated_one_has(erp: Database) -> None:
    assert _asked_columns(erp, "\\c erp", "public") == _columns(ERP_TABLES)


def _connector(name: str, database: Database, bootstrap: str, registry: str) -> dict[str, str]:
    """Read a connector as the container registers it, with addresses of this machine instead of the containers'."""
    config: dict[str, str] = json.loads((DOCKER / "connectors" / f"{name}.json").read_text())
    here = {
        "database.hostname": "127.0.0.1",
        "database.port": str(database.port),
        "database.user": database.user,
        "database.password": database.password,
        "schema.history.internal.kafka.bootstrap.servers": bootstrap,
        "key.converter.apicurio.registry.url": registry,
        "value.converter.apicurio.registry.url": registry,
    }
    return {**config, **{key: value for key, value in here.items() if key in config}}


def test_the_stacks_databases_become_the_customers_that_its_manual_promises(
    shop: Database,
    erp: Database,
    connect: ConnectServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    bootstrap, registry = connect.bootstrap, connect.registry
    (tmp_path / "mapping.yaml").write_text((ROOT / "src" / "nurt" / "presets" / "demo.yaml").read_text())
    settings = yaml.safe_load((DOCKER / "nurt.yaml").read_text())
    settings |= {"data": "data", "state": {"url": "embedded"}, "kafka": {"bootstrap": bootstrap}}
    settings |= {"registry": {"url": registry.url}}
    settings["output"] |= {"duckdb": "profiles.duckdb", "partitions": 1}
    (tmp_path / "nurt.yaml").write_text(yaml.safe_dump(settings))
    for name, database in (("shop_pl", shop), ("erp", erp)):
        connect.create(name, _connector(name, database, bootstrap, registry.core_url))

    def nurt(*arguments: str) -> Ran:
        return run_nurt(monkeypatch, capfd, *arguments, "--config", str(tmp_path / "nurt.yaml"))

    _wait_for_rows(nurt)
    checked = nurt("check")
    assert checked.code == 0, checked.out + checked.err
    assert "no topic matches" not in checked.out
    ran = nurt("run", "--until-end", "--quiet")
    assert ran.code == 0, ran.err
    anna = json.loads(nurt("profile", "anna.kowalska@example.pl", "--json").out)
    jan = json.loads(nurt("profile", "erp/702", "--json").out)
    accounts = {"/".join((one["system"], one["entity"], *one["key"])) for one in anna["accounts"]}
    assert accounts == {"shop_pl/customer/1", "shop_pl/customer/3", "shop_pl/guest/order/3", "erp/customer/701"}
    assert [(row["count"], row["gross"]) for row in anna["content"]["orders"]] == [(2, "248.9000")]
    assert [(row["open_amount"], row["overdue_count"]) for row in jan["content"]["invoices"]] == [("1250.0000", 1)]
    assert jan["content"]["company"]["value"] == "Nowak Herbaty sp. z o.o."


def _wait_for_rows(nurt: Callable[..., Ran]) -> None:
    """Wait until both snapshots are on their topics."""
    wanted = {"customer of shop_pl": 4, "interaction of shop_pl": 2, "customer of erp": 3, "stock_level of erp": 3}
    found: dict[str, int] = {}
    for _ in range(60):
        said = nurt("check", "--json")
        if said.code == 0:
            found = {topic["becomes"]: topic["rows"] for topic in json.loads(said.out)["topics"]}
            if wanted.items() <= found.items():
                return
    raise AssertionError(f"the connectors wrote {found} (expected {wanted})")


def test_redis_asks_for_a_password_and_connect_has_no_port() -> None:
    services = COMPOSE["services"]
    assert "--requirepass" in services["redis"]["command"]
    assert "ports" not in services["connect"], "its REST interface runs code"


def test_no_container_gains_rights_and_ours_has_none() -> None:
    for name, service in COMPOSE["services"].items():
        assert "no-new-privileges:true" in service["security_opt"], name
    for name in ("nurt", "connectors", "collector"):
        assert COMPOSE["services"][name]["cap_drop"] == ["ALL"]
        assert COMPOSE["services"][name]["read_only"] is True
