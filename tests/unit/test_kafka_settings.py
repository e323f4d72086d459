from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import Consumer

from nurt.adapters.kafka.settings import RESERVED, KafkaSettings
from nurt.errors import ConfigurationError


def test_a_variable_is_filled_in_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER", "b1:9092")
    monkeypatch.setenv("SECRET", "s3cret")
    options = KafkaSettings("${BROKER},b2:9092", {"sasl.password": "x${SECRET}y$$"}).client_options({})
    assert options["bootstrap.servers"] == "b1:9092,b2:9092"
    assert options["sasl.password"] == "xs3crety$"


def test_a_file_stands_for_its_content_without_the_last_newline(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("with ${BRACES} kept\n")
    options = KafkaSettings("b:9092", {"sasl.password": f"file:{tmp_path / 'password'}"}).client_options({})
    assert options["sasl.password"] == "with ${BRACES} kept"


def test_a_missing_secret_is_named_by_its_option_and_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"option sasl\.password: the environment variable NOT_SET is not set"):
        KafkaSettings("b:9092", {"sasl.password": "${NOT_SET}"}).client_options({})
    with pytest.raises(ConfigurationError, match=r"option sasl\.password: the file .*absent cannot be read"):
        KafkaSettings("b:9092", {"sasl.password": f"file:{tmp_path / 'absent'}"}).client_options({})


@pytest.mark.parametrize("key", sorted(RESERVED))
def test_an_option_that_carries_a_promise_cannot_be_set(key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"option {key}: it cannot be set .*remove it"):
        KafkaSettings("b:9092", {key: "x"}).client_options({})


def test_the_users_options_go_over_our_own() -> None:
    options = KafkaSettings("b:9092", {"linger.ms": 50}).client_options({"linger.ms": 5, "retries": 3})
    assert (options["linger.ms"], options["retries"]) == (50, 3)


def test_a_refused_option_is_named_without_any_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    settings = KafkaSettings("b:9092", {"security.protocol": "${SECRET}"})
    with pytest.raises(ConfigurationError, match=r"opening a Kafka consumer: .*security\.protocol") as raised:
        settings.open(Consumer, "consumer", settings.client_options({"group.id": "g"}))
    assert "s3cret" not in str(raised.value)


def test_settings_that_are_shown_hold_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    settings = KafkaSettings("b:9092", {"sasl.password": "plain", "ssl.key.password": "${SECRET}"})
    settings.client_options({})
    assert "plain" not in repr(settings) and "s3cret" not in repr(settings)
