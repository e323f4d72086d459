"""Services that want TLS and a password: Kafka, Redis and the registry, by what the settings pass through."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from confluent_kafka.admin import AdminClient

from nurt.adapters.files.schema_registry import FolderRegistry
from nurt.adapters.kafka.schema_registry import ConfluentRegistry
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.adapters.redis.client import open_redis
from nurt.app.running import run_here
from nurt.errors import ConnectionFailed, NurtError
from nurt.flows.profiles import profiles
from nurt.settings import load_settings
from nurt.simulate.connector.targets import simulate_to_kafka
from tests.contracts.registry_stub import running_stub
from tests.services.certificates import Certificates, make_certificates
from tests.services.stack.absence import ServiceAbsent, skip_or_fail
from tests.services.stack.daemon import free_ports
from tests.services.stack.kafka import KafkaServer, Login, running_kafka_server
from tests.services.stack.redis_server import RedisServer

MAPPING = Path(__file__).parents[2] / "src" / "nurt" / "presets" / "demo.yaml"
USER, PASSWORD = "nurt", "s3cret-of-kafka"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure_kafka(certificates: Certificates) -> Iterator[KafkaServer]:
    try:
        with running_kafka_server(login=Login(certificates.keystore, USER, PASSWORD)) as server:
            yield server
    except ServiceAbsent as absent:
        skip_or_fail(absent)


@pytest.fixture
def secure_redis(start_redis: Callable[..., RedisServer], certificates: Certificates) -> str:
    """A server that speaks TLS, for a user with a password; gives its URL with the password as a variable."""
    (port,) = free_ports(1)
    options = (
        *("--tls-port", str(port), "--tls-auth-clients", "no", "--tls-ca-cert-file", str(certificates.authority)),
        *("--tls-cert-file", str(certificates.certificate), "--tls-key-file", str(certificates.key)),
        *("--user", "nurt", "on", ">s3cret-of-redis", "~*", "&*", "+@all"),
    )
    start_redis("redis", options=options)
    return f"rediss://nurt:${{REDIS_PASSWORD}}@127.0.0.1:{port}/0?ssl_ca_certs={certificates.authority}"


def test_the_flow_runs_over_encrypted_kafka_and_redis(
    secure_kafka: KafkaServer,
    secure_redis: str,
    certificates: Certificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", PASSWORD)
    monkeypatch.setenv("REDIS_PASSWORD", "s3cret-of-redis")
    config = tmp_path / "nurt.yaml"
    config.write_text(
        f"mapping: {MAPPING}\ndata: data\nstate: {{url: '{secure_redis}'}}\n"
        f"kafka:\n  bootstrap: {secure_kafka.secure_bootstrap}\n  options:\n    security.protocol: SASL_SSL\n"
        f"    sasl.mechanism: SCRAM-SHA-512\n    sasl.username: {USER}\n    sasl.password: ${{KAFKA_PASSWORD}}\n"
        f"    ssl.ca.location: {certificates.authority}\n"
        "input: {topics: ['^(shop_..|erp)\\..*']}\n"
        "output: {topic: nurt.profiles, duckdb: profiles.duckdb}\n"
    )
    settings = load_settings(config)
    assert settings.kafka is not None
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    simulate_to_kafka(settings.kafka, FolderRegistry(tmp_path / "data" / "schemas"), 7, 12, 10, last_day=yesterday)
    assert settings.kafka_input is not None
    run_here(profiles, replace(settings, kafka_input=replace(settings.kafka_input, stop_at_end=True)))
    with duckdb.connect(str(tmp_path / "profiles.duckdb"), read_only=True) as tables:
        (found,) = tables.execute("SELECT count(*) FROM profiles WHERE state = 'live'").fetchall()
    assert found[0] > 5
    plain = AdminClient({"bootstrap.servers": secure_kafka.bootstrap})
    assert "nurt.profiles" in plain.list_topics(timeout=10).topics


def test_a_wrong_password_of_kafka_is_said_without_it(
    secure_kafka: KafkaServer, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nurt.simulate.connector.targets.FLUSH_SECONDS_MAX", 5.0)
    options = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": USER,
        "sasl.password": "not-the-password",
        "ssl.ca.location": str(certificates.authority),
    }
    kafka = KafkaSettings(secure_kafka.secure_bootstrap, options)
    with pytest.raises(NurtError) as caught:
        simulate_to_kafka(kafka, FolderRegistry(tmp_path), 7, 12, 3, last_day=datetime.now(UTC).date(), partitions=1)
    assert "not-the-password" not in str(caught.value)


def test_a_registry_with_tls_and_a_password_is_asked_for_schemas(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_LOGIN", "nurt:s3cret-of-registry")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    with running_stub(tls=context) as stub:
        stub.schemas[1] = {"schema": '{"type": "string"}'}
        url = f"https://127.0.0.1:{stub.port}"
        options = {"basic.auth.user.info": "${REGISTRY_LOGIN}", "ssl.ca.location": str(certificates.authority)}
        assert ConfluentRegistry(url, options).schema(1) == {"type": "string"}
        assert stub.requests[-1][2] == "Basic bnVydDpzM2NyZXQtb2YtcmVnaXN0cnk="
        with pytest.raises(ConnectionFailed):  # nobody vouches for the certificate
            ConfluentRegistry(url, {"basic.auth.user.info": "${REGISTRY_LOGIN}"}, seconds_max=0).schema(1)


def test_a_certificate_that_nobody_vouches_for_is_refused(
    secure_redis: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "s3cret-of-redis")
    config = tmp_path / "nurt.yaml"
    config.write_text(f"mapping: m\nstate: {{url: '{secure_redis.partition('?')[0]}'}}\ninput: {{archives: [a]}}\n")
    with pytest.raises(Exception, match="certificate verify failed"):
        open_redis(load_settings(config).redis_url).ping()
