"""Links in plain text are said, and refused where the settings say so; links on this machine and with TLS pass."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from nurt.app.guards.exposure import is_here, open_folders, plain_links, plain_links_of, refuse_plain, warn_of_exposure
from nurt.cli.commands.init import template
from nurt.errors import ConfigurationError
from nurt.settings import Settings, load_settings
from tests.command_line import Ran, run_nurt
from tests.delivery.scene import mapping_of

PLAIN = [
    ("state.url", {"state": {"url": "redis://redis:6379/0"}}),
    ("state.url", {"state": {"url": "redis://:${REDIS_PASSWORD}@10.0.0.7:6379/0"}}),
    ("state.url", {"state": {"url": "redis://[2001:db8::1]:6379/0"}}),
    ("state.url", {"state": {"url": "redis+sentinel://u:p@127.0.0.1:26379,s2:26379/m/0"}}),
    ("kafka.bootstrap", {"kafka": {"bootstrap": "kafka:9092"}}),
    ("kafka.bootstrap", {"kafka": {"bootstrap": "localhost:9092,kafka-2:9092"}}),
    ("kafka.bootstrap", {"kafka": {"bootstrap": "PLAINTEXT://kafka:9092"}}),
    ("kafka.bootstrap", {"kafka": {"bootstrap": "kafka:9092", "options": {"security.protocol": "SASL_PLAINTEXT"}}}),
    ("registry.url", {"registry": {"url": "http://registry:8081"}}),
    ("registry.url", {"registry": {"url": "https://a:8081, http://u:p@b:8081"}}),
]
SAFE = [
    {},
    {"state": {"url": "embedded"}},
    {"state": {"url": "unix:///run/redis.sock?db=0"}},
    {"state": {"url": "rediss://:${REDIS_PASSWORD}@redis:6379/0"}},
    {"state": {"url": "rediss+sentinel://s1:26379,s2:26379/m/0"}},
    {"state": {"url": "redis+sentinel://localhost:26379,127.0.0.1:26380/m/0"}},
    {"state": {"url": "redis://127.0.0.1:6379/0"}},
    {"state": {"url": "redis://[::1]:6379/0"}},
    {"state": {"url": "${NOT_THERE}"}},
    {"kafka": {"bootstrap": "localhost:9092,127.0.0.2:9092,[::1]:9092"}},
    {"kafka": {"bootstrap": "kafka:9093", "options": {"security.protocol": "SASL_SSL"}}},
    {"kafka": {"bootstrap": "kafka:9093", "options": {"security.protocol": "ssl"}}},
    {"registry": {"url": "https://registry:8081"}},
    {"registry": {"url": "http://localhost:8081"}},
]
PLAIN_DESTINATIONS = [
    "{kind: webhook, url: 'http://crm.example/hook'}",
    "{kind: webhook, url: '${HOOK}'}",
    "{kind: salesforce, url: 'https://x.example', login_url: 'http://login.example'}",
    "{kind: clickhouse, url: 'http://clickhouse:8123', password: p}",
    "{kind: iceberg, table: a.b, catalog: {type: rest, uri: 'http://catalog:8181'}}",
    "{kind: delta, path: 's3://lake', storage: {AWS_ENDPOINT_URL: 'http://minio:9000'}}",
    "{kind: postgres, url: 'postgresql://u:p@db/x'}",
    "{kind: postgres, url: 'postgresql://u:p@db/x?sslmode=prefer'}",
    "{kind: postgres, url: 'host=db user=u sslmode=disable'}",
]
SAFE_DESTINATIONS = [
    "{kind: webhook, url: 'https://crm.example/hook'}",
    "{kind: webhook, url: 'http://127.0.0.1:9/hook'}",
    "{kind: webhook, url: 'https://crm.example', headers: {Referer: 'http://shop.example'}}",
    "{kind: delta, path: '/lake/profiles'}",
    "{kind: delta, path: 's3://lake'}",
    "{kind: postgres, url: 'postgresql://u:p@db/x?sslmode=verify-full'}",
    "{kind: postgres, url: 'host=db user=u sslmode=require'}",
    "{kind: postgres, url: 'postgresql:///x'}",
    "{kind: postgres, url: 'host=/run/postgresql dbname=x'}",
    "{kind: postgres, url: 'postgresql://u@localhost/x'}",
    "{kind: webhook, insecure: true, url: 'http://crm.example/hook'}",
]


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "geheim")
    monkeypatch.setenv("HOOK", "http://crm.example/hook")
    monkeypatch.delenv("PGSSLMODE", raising=False)


@pytest.fixture
def nurt_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    return lambda *arguments: run_nurt(monkeypatch, capfd, *arguments)


def _settings(folder: Path, written: dict[str, object]) -> Settings:
    path = folder / "nurt.yaml"
    path.write_text(yaml.safe_dump({"mapping": "m.yaml", "input": {"archives": ["a"]}, **written}))
    return load_settings(path)


@pytest.mark.parametrize(("named", "written"), PLAIN, ids=str)
def test_a_plain_link_is_named_with_what_to_write(tmp_path: Path, named: str, written: dict[str, object]) -> None:
    (link,) = plain_links(_settings(tmp_path, written))
    assert link.setting == named
    assert "insecure: true" in str(link) and "geheim" not in str(link)
    section = named.partition(".")[0]
    allowed = {section: {**written[section], "insecure": True}}  # type: ignore[dict-item]
    assert plain_links(_settings(tmp_path, allowed)) == []


@pytest.mark.parametrize("written", SAFE, ids=str)
def test_tls_sockets_and_this_machine_pass(tmp_path: Path, written: dict[str, object]) -> None:
    settings = _settings(tmp_path, {**written, "plain_links": "refuse"})
    assert plain_links(settings) == []
    refuse_plain(settings, plain_links(settings))


@pytest.mark.parametrize("section", PLAIN_DESTINATIONS)
def test_a_plain_destination_is_named(section: str) -> None:
    (link,) = plain_links_of(mapping_of(section, {"objects": {}}))
    assert link.setting.startswith("destinations.crm.")
    assert ":p@" not in str(link) and "crm.example" not in str(link)


@pytest.mark.parametrize("section", SAFE_DESTINATIONS)
def test_a_destination_with_tls_or_here_passes(section: str) -> None:
    assert plain_links_of(mapping_of(section, {"objects": {}})) == []


@pytest.mark.parametrize("host", ["", "localhost", "LOCALHOST.", "127.9.9.9", "::1", "[::1]", "/run/x", "a.localhost"])
def test_what_is_this_machine(host: str) -> None:
    assert is_here(host)


@pytest.mark.parametrize(
    "host", ["localhost.example.com", "127.0.0.1.example.com", "0.0.0.0", "10.0.0.1", "redis", "::"]
)
def test_what_is_not_this_machine(host: str) -> None:
    assert not is_here(host)


def test_settings_of_before_warn_and_settings_of_init_refuse(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written: dict[str, object] = {"state": {"url": "redis://:${REDIS_PASSWORD}@redis:6379/0"}}
    settings = _settings(tmp_path, written)
    refuse_plain(settings, plain_links(settings))
    with caplog.at_level(logging.WARNING):
        warn_of_exposure(settings, mapping_of(PLAIN_DESTINATIONS[0], {"objects": {}}))
    assert [text.partition(":")[0] for text in caplog.messages] == ["state.url", "destinations.crm.url"]
    assert "geheim" not in caplog.text
    strict = _settings(tmp_path, {**written, "plain_links": "refuse"})
    with pytest.raises(ConfigurationError, match=r"state\.url: redis:// is not encrypted.*`rediss://`"):
        refuse_plain(strict, plain_links(strict))


def test_every_command_refuses_before_it_connects(tmp_path: Path, nurt_command: Callable[..., Ran]) -> None:
    _settings(tmp_path, {"state": {"url": "redis://no-such-host:6379/0"}, "plain_links": "refuse"})
    (tmp_path / "m.yaml").write_text(template("mapping.yaml"))
    for command in ("stats", "profile a@b.pl", "check", "quarantine list", "deliver status"):
        ran = nurt_command(*command.split(), "--config", str(tmp_path / "nurt.yaml"))
        assert ran.code == ConfigurationError.exit_code
        assert "is not encrypted" in ran.err


def test_what_init_writes_is_strict_and_passes_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "nurt.yaml").write_text(template("nurt.yaml"))
    settings = load_settings(tmp_path / "nurt.yaml")
    assert settings.plain_links == "refuse" and plain_links(settings) == []
    for old, new in (("localhost:9092", "kafka:9092"), ("http://localhost:8081", "http://registry:8081")):
        (tmp_path / "nurt.yaml").write_text(template("nurt.yaml").replace(old, new))
        changed = load_settings(tmp_path / "nurt.yaml")
        with pytest.raises(ConfigurationError, match="is not encrypted"):
            refuse_plain(changed, plain_links(changed))


def test_folders_that_others_may_read_are_named(tmp_path: Path) -> None:
    settings = _settings(tmp_path, {"output": {"duckdb": "p.duckdb"}})
    assert open_folders(settings) == []
    settings.data.mkdir()
    settings.data.chmod(0o755)
    (tmp_path / "p.duckdb").touch(0o600)
    (named,) = open_folders(settings)
    assert "nurt-data can be read by other users" in named and "chmod -R go= " in named
    settings.data.chmod(0o700)
    (tmp_path / "p.duckdb").chmod(0o640)
    assert len(open_folders(settings)) == 1
    shared = _settings(tmp_path, {"output": {"duckdb": "p.duckdb", "mode": "0640"}})
    assert open_folders(shared) == []
