"""How nurt behaves when a schema registry fails; what a good one does is in the contract suite."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator

import fastavro
import pytest

from nurt.adapters.kafka import schema_registry as module
from nurt.adapters.kafka.schema_registry import ConfluentRegistry
from nurt.avro.schema import parse_schema
from nurt.errors import ConfigurationError, ConnectionFailed
from tests.contracts.registry_stub import Stub, running_stub

ROW = {"type": "record", "name": "Row", "fields": [{"name": "id", "type": "long"}]}


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setattr(module, "PAUSE_MIN_S", 0.01)
    monkeypatch.setattr(module, "PAUSE_MAX_S", 0.02)
    with running_stub() as stub:
        stub.schemas[1] = {"schema": json.dumps(ROW)}
        yield stub


def test_a_schema_is_asked_for_once(stub: Stub) -> None:
    registry = ConfluentRegistry(stub.url)
    assert [registry.schema(1), registry.schema(1)] == [ROW, ROW]
    assert len(stub.requests) == 1


def test_an_unknown_id_is_none_and_is_not_asked_for_at_every_message(stub: Stub) -> None:
    registry = ConfluentRegistry(stub.url)
    assert [registry.schema(9) for _ in range(5)] == [None] * 5
    assert len(stub.requests) == 1


def test_an_id_that_was_unknown_is_asked_for_again_later(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNKNOWN_KEPT_S", 0.0)
    registry = ConfluentRegistry(stub.url)
    assert registry.schema(9) is None
    stub.schemas[9] = {"schema": json.dumps(ROW)}
    assert registry.schema(9) == ROW


def test_a_registry_in_trouble_is_asked_again_and_the_log_says_so_once(
    stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    stub.answers += [(500, b"oops"), (503, b"{}"), (429, b""), (502, b"<html>")]
    with caplog.at_level(logging.WARNING):
        assert ConfluentRegistry(stub.url).schema(1) == ROW
    texts = [entry.getMessage() for entry in caplog.records]
    assert len(texts) == 2
    assert "HTTP 500" in texts[0]
    assert "answered after" in texts[1]


def test_a_registry_that_comes_up_later_is_waited_for(stub: Stub) -> None:
    with running_stub() as gone:
        port = gone.port
    found: list[object] = []
    registry = ConfluentRegistry(f"http://127.0.0.1:{port}")
    asking = threading.Thread(target=lambda: found.append(registry.schema(1)))
    asking.start()
    time.sleep(0.1)
    assert found == []
    with running_stub(port) as late:
        late.schemas[1] = {"schema": json.dumps(ROW)}
        asking.join(10)
    assert found == [ROW]


def test_a_registry_that_stays_away_ends_with_its_address_and_no_password() -> None:
    with running_stub() as gone:
        url = f"http://someone:secret@127.0.0.1:{gone.port}"
    with pytest.raises(ConnectionFailed, match=f"127.0.0.1:{gone.port}") as failed:
        ConfluentRegistry(url, seconds_max=0).schema(1)
    assert "secret" not in str(failed.value)


def test_user_and_password_come_from_options_and_the_environment(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_PASSWORD", "secret")
    ConfluentRegistry(stub.url, {"basic.auth.user.info": "someone:${REGISTRY_PASSWORD}"}).schema(1)
    assert stub.requests[0][2] == "Basic c29tZW9uZTpzZWNyZXQ="


def test_user_and_password_in_the_url_work_and_are_never_shown(stub: Stub, caplog: pytest.LogCaptureFixture) -> None:
    stub.answers += [(500, b"")]
    with caplog.at_level(logging.DEBUG):
        ConfluentRegistry(f"http://someone:secret@127.0.0.1:{stub.port}").schema(1)
    assert stub.requests[0][2] == "Basic c29tZW9uZTpzZWNyZXQ="
    assert "secret" not in caplog.text


@pytest.mark.parametrize("status", [401, 403])
def test_a_registry_that_refuses_us_is_a_matter_of_configuration(stub: Stub, status: int) -> None:
    stub.answers += [(status, b'{"error_code": 40101, "message": "no"}')]
    with pytest.raises(ConfigurationError, match="not allowed"):
        ConfluentRegistry(stub.url).schema(1)


@pytest.mark.parametrize(
    "answer",
    [(404, b"<html>"), (404, b'{"detail": "Not Found"}'), (404, b'{"error_code": 404}'), (200, b"<html>hello")],
)
def test_an_address_where_no_registry_answers_is_no_unknown_schema(stub: Stub, answer: tuple[int, bytes]) -> None:
    stub.answers.append(answer)
    with pytest.raises(ConfigurationError, match=r"registry\.url"):
        ConfluentRegistry(stub.url).schema(1)


def test_an_incompatible_schema_is_refused_with_the_registry_s_words(stub: Stub) -> None:
    stub.register = 409, {"error_code": 409, "message": "READER_FIELD_MISSING_DEFAULT_VALUE"}
    with pytest.raises(ConfigurationError, match=r"nurt\.profiles-value.*READER_FIELD_MISSING"):
        ConfluentRegistry(stub.url).register("nurt.profiles-value", ROW)


def test_a_worker_that_lost_the_race_to_register_takes_the_winners_schema(stub: Stub) -> None:
    stub.levels["t-value"] = "BACKWARD"
    absent = 404, b'{"error_code": 40401, "message": "Subject not found"}'
    exists = 409, b'{"error_code": 409, "message": "An artifact with ID t-value already exists."}'
    level = 200, b'{"compatibilityLevel": "BACKWARD"}'
    winners = 200, b'{"subject": "t-value", "id": 8, "version": 1, "schema": "\\"string\\""}'
    stub.answers += [absent, level, exists, winners, level]
    assert ConfluentRegistry(stub.url).register("t-value", ROW) == 8


def test_a_new_subject_is_protected_before_its_schema_is_registered(stub: Stub) -> None:
    assert ConfluentRegistry(stub.url).register("t-value", ROW) == 7
    assert stub.levels == {"t-value": "BACKWARD"}
    order = [f"{method} {path}" for method, path, _ in stub.requests if method in ("PUT", "POST")]
    assert order.index("PUT /config/t-value") < order.index(
        next(entry for entry in order if entry.startswith("POST /subjects/t-value/versions"))
    )


def test_a_level_that_someone_chose_stays(stub: Stub) -> None:
    stub.levels["t-value"] = "FULL_TRANSITIVE"
    ConfluentRegistry(stub.url).register("t-value", ROW)
    assert stub.levels == {"t-value": "FULL_TRANSITIVE"}


def test_a_schema_that_refers_to_another_subject_is_made_whole(stub: Stub) -> None:
    referring = {
        "type": "record",
        "name": "Envelope",
        "namespace": "shop",
        "fields": [{"name": "a", "type": ["null", "shared.Block"]}, {"name": "b", "type": "shared.Block"}],
    }
    stub.schemas[3] = {
        "schema": json.dumps(referring),
        "references": [{"name": "shared.Block", "subject": "shared", "version": 1}],
    }
    schema = ConfluentRegistry(stub.url).schema(3)
    assert fastavro.schema.fullname(fastavro.parse_schema(schema)) == "shop.Envelope"


def test_a_schema_that_is_not_avro_is_unknown(stub: Stub) -> None:
    stub.schemas[3] = {"schema": 'syntax = "proto3";', "schemaType": "PROTOBUF"}
    assert ConfluentRegistry(stub.url).schema(3) is None


@pytest.mark.parametrize("text", ["", "{", "\x00", '{"a": ' * 3_000, "[" * 100_000])
def test_a_text_that_is_no_json_is_no_avro(stub: Stub, text: str) -> None:
    stub.schemas[3] = {"schema": text}
    schema = ConfluentRegistry(stub.url).schema(3)
    with pytest.raises(ConfigurationError, match="reading Avro schema"):
        parse_schema(schema or {})


def test_a_schema_that_refers_to_itself_is_asked_for_once(stub: Stub) -> None:
    circle = {"name": "shared.Block", "subject": "shared", "version": 1}
    stub.schemas[3] = {"schema": json.dumps(ROW), "references": [circle]}
    block = {"subject": "shared", "version": 1, "id": 4, "schema": '"int"', "references": [circle]}
    for answer in (stub.schemas[3], block, block):
        stub.answers.append((200, json.dumps(answer).encode()))
    assert ConfluentRegistry(stub.url).schema(3) == ROW
    assert len(stub.requests) == 2


def test_a_schema_that_refers_to_what_is_not_there_is_no_avro(stub: Stub) -> None:
    there_is_none = {"name": "gone.Block", "subject": "gone", "version": 7}
    stub.answers += [
        (200, json.dumps({"schema": json.dumps(ROW), "references": [there_is_none]}).encode()),
        (404, b'{"error_code": 40401, "message": "Subject not found"}'),
    ]
    with pytest.raises(ConfigurationError, match="reading Avro schema"):
        parse_schema(ConfluentRegistry(stub.url).schema(3) or {})


def test_a_bare_schema_comes_as_a_mapping(stub: Stub) -> None:
    stub.schemas[3] = {"schema": '"string"'}
    assert ConfluentRegistry(stub.url).schema(3) == {"type": "string"}


def test_an_option_that_does_not_exist_is_named_without_its_value(stub: Stub) -> None:
    with pytest.raises(ConfigurationError, match=r"basic\.auth\.wrong") as refused:
        ConfluentRegistry(stub.url, {"basic.auth.wrong": "secret"})
    assert "secret" not in str(refused.value)
