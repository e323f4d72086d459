"""The number of the rules of normalisation grows when stored identifiers may follow others, and only then."""

from __future__ import annotations

from typing import Any

import pytest

from nurt.adapters.redis.normalisation import agree_on_rules
from nurt.columnar.ids import Ids
from nurt.model.keys import Keys
from nurt.normalise.context import FoldContext
from nurt.normalise.version import rules_digest
from tests.services.stack.redis_server import RedisServer

KEYS = Keys("t", 4)
IDS = Ids(bytes(16))


@pytest.fixture
def client(shared_redis: RedisServer) -> Any:
    with shared_redis.client() as client:
        client.flushall()
        yield client


def test_runs_with_the_same_rules_keep_the_number(client: Any) -> None:
    assert agree_on_rules(client, KEYS, "a", run=1, latest=0) == 1
    assert agree_on_rules(client, KEYS, "a", run=2, latest=1) == 1
    assert agree_on_rules(client, KEYS, "a", run=4, latest=2) == 1, "run 3 was refused before it held the state"


def test_other_rules_have_another_number(client: Any) -> None:
    assert agree_on_rules(client, KEYS, "a", run=1, latest=0) == 1
    assert agree_on_rules(client, KEYS, "b", run=2, latest=1) == 2
    assert agree_on_rules(client, KEYS, "a", run=3, latest=2) == 3


def test_a_version_without_a_number_that_ran_meanwhile_is_noticed(client: Any) -> None:
    assert agree_on_rules(client, KEYS, "a", run=5, latest=4) == 1, "and so is one that ran before"
    assert agree_on_rules(client, KEYS, "a", run=7, latest=6) == 2


def test_rules_are_those_of_the_mapping_and_of_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    def digest_of(country: str, step: str, ids: Ids = IDS, **others: Any) -> str:
        facts = {"country": {"shop": country}, "identifier_rules": {"card": (step,)}}
        return rules_digest(FoldContext(ids, **facts, **others))

    digest = digest_of("PL", "strip")
    assert digest == digest_of("PL", "strip", Ids(bytes(range(16))), realm={"shop": "x"}, priority={"shop": 1})
    assert digest != digest_of("DE", "strip")
    assert digest != digest_of("PL", "digits")
    monkeypatch.setattr("phonenumbers.__version__", "99.0.0")
    assert digest != digest_of("PL", "strip"), "a later library knows more ranges"
