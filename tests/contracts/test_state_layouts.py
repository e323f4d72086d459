"""A start goes on with state that it can read, and with no other; whoever wrote it, and whoever starts beside it."""

from __future__ import annotations

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
from redis import Redis

from nurt.adapters.redis.layouts import agree
from nurt.contracts import schemas
from nurt.contracts.schemas import first_layouts
from nurt.errors import ConfigurationError, StateTooNew
from nurt.model.keys import Keys
from nurt.state.layout_changes import digest, listed
from nurt.state.layouts import LAYOUTS
from tests.services.stack.redis_server import RedisServer

KEYS = Keys("t", 4)
LINE = "4 shards, secret a"
FIRST = first_layouts()
NOW = {
    **listed(LAYOUTS),
    "profile_bodies": {f"version {one}": [one, "contract"] for one in range(2, schemas.PROFILE_VERSION + 1)},
}


def with_column(table: str, column: str, before: dict[str, Any] = FIRST) -> dict[str, Any]:
    later = copy.deepcopy(before)
    later[table][column] = [len(later[table]), "text"]
    return later


LATER = with_column("row.customer", "nickname")


@pytest.fixture
def client(shared_redis: RedisServer) -> Any:
    with shared_redis.client() as client:
        client.flushall()
        yield client


def first_agree(client: Any, keys: Keys, fingerprint: str) -> None:
    """Do what a start did when layouts were not recorded."""
    name = keys.named("config")
    client.setnx(name, fingerprint)
    if (held := client.get(name).decode()) != fingerprint:
        raise ConfigurationError(f"it was written under {held} (this run: {fingerprint})")


def recorded(client: Any) -> Any:
    return orjson.loads(client.get(b"t:layouts"))["tables"]


def test_a_start_records_the_layouts_of_new_state(client: Any) -> None:
    agree(client, KEYS, LINE)
    assert recorded(client) == NOW
    agree(client, KEYS, LINE)
    assert recorded(client) == NOW


def test_state_without_a_record_has_the_first_layouts_and_is_gone_on_with(client: Any) -> None:
    first_agree(client, KEYS, LINE)
    agree(client, KEYS, LINE, FIRST)
    assert recorded(client) == FIRST


def test_state_without_a_record_is_refused_by_who_has_lost_one_of_its_columns(client: Any) -> None:
    first_agree(client, KEYS, LINE)
    lost = copy.deepcopy(FIRST)
    del lost["sums"]["open"]
    with pytest.raises(StateTooNew, match=r"sums\.open bit 8 count -> absent"):
        agree(client, KEYS, LINE, lost)
    assert client.get(b"t:layouts") is None


def test_while_nothing_was_added_a_version_that_recorded_nothing_can_be_gone_back_to(client: Any) -> None:
    agree(client, KEYS, LINE, FIRST)
    first_agree(client, KEYS, LINE)
    agree(client, KEYS, LINE, FIRST)


def test_columns_that_are_added_are_recorded_and_older_code_refuses_from_then_on(client: Any) -> None:
    agree(client, KEYS, LINE, FIRST)
    agree(client, KEYS, LINE, LATER)
    agree(client, KEYS, LINE, LATER)
    with pytest.raises(StateTooNew, match=r"row\.customer\.nickname bit 39 text -> absent.*run the version of nurt"):
        agree(client, KEYS, LINE, FIRST)
    with pytest.raises(ConfigurationError, match="layouts of a later version"):
        first_agree(client, KEYS, LINE)
    assert recorded(client) == LATER


def test_columns_are_added_to_state_of_a_version_that_recorded_nothing(client: Any) -> None:
    first_agree(client, KEYS, LINE)
    agree(client, KEYS, LINE, LATER)
    with pytest.raises(ConfigurationError, match=digest(LATER)):
        first_agree(client, KEYS, LINE)


def test_a_new_table_is_a_later_version_too(client: Any) -> None:
    agree(client, KEYS, LINE, {**FIRST, "vouchers": {"id": [0, "bytes"]}})
    with pytest.raises(StateTooNew, match=r"vouchers\.id bit 0 bytes -> absent"):
        agree(client, KEYS, LINE, FIRST)


@pytest.mark.parametrize(
    ("place", "named"), [([1, "text"], "bit 1 bytes -> bit 1 text"), ([2, "bytes"], "bit 1 bytes -> bit 2 bytes")]
)
def test_a_column_that_was_moved_or_retyped_is_refused(client: Any, place: list[Any], named: str) -> None:
    agree(client, KEYS, LINE)
    other = copy.deepcopy(NOW)
    other["members"]["id"] = place
    with pytest.raises(StateTooNew, match=f"members.id {named}"):
        agree(client, KEYS, LINE, other)
    assert recorded(client) == NOW


def test_versions_that_each_added_something_else_refuse_each_other(client: Any) -> None:
    agree(client, KEYS, LINE, LATER)
    with pytest.raises(StateTooNew, match="nickname"):
        agree(client, KEYS, LINE, with_column("row.customer", "title"))


def test_many_columns_are_counted_and_not_listed(client: Any) -> None:
    agree(client, KEYS, LINE)
    without = {table: columns for table, columns in NOW.items() if table != "papers"}
    with pytest.raises(StateTooNew, match=f"papers.system bit 3 text -> absent.* and {len(NOW['papers']) - 5} more"):
        agree(client, KEYS, LINE, without)


def test_state_of_another_secret_is_refused_whatever_its_layouts(client: Any) -> None:
    agree(client, KEYS, LINE, LATER)
    for layouts in (FIRST, LATER):
        with pytest.raises(ConfigurationError, match=r"under 4 shards, secret a \(this run: 4 shards, secret b;"):
            agree(client, KEYS, "4 shards, secret b", layouts)


def test_another_prefix_has_layouts_of_its_own(client: Any) -> None:
    agree(client, KEYS, LINE, LATER)
    agree(client, Keys("u", 4), LINE, FIRST)


def test_a_record_that_is_lost_is_made_anew_by_who_wrote_it_and_by_nobody_else(client: Any) -> None:
    agree(client, KEYS, LINE, LATER)
    client.delete(b"t:layouts")
    with pytest.raises(StateTooNew, match="t:layouts is gone"):
        agree(client, KEYS, LINE, FIRST)
    agree(client, KEYS, LINE, LATER)
    assert recorded(client) == LATER


def test_a_line_that_is_lost_does_not_let_older_code_in(client: Any) -> None:
    agree(client, KEYS, LINE, LATER)
    client.delete(b"t:config")
    first_agree(client, KEYS, LINE)  # it cannot know
    with pytest.raises(StateTooNew, match="nickname"):
        agree(client, KEYS, LINE, FIRST)
    agree(client, KEYS, LINE, LATER)
    with pytest.raises(ConfigurationError):
        first_agree(client, KEYS, LINE)


def test_a_record_of_another_encoding_is_refused(client: Any) -> None:
    client.set(b"t:layouts", json.dumps({"version": 2, "tables": {}}))
    with pytest.raises(StateTooNew, match="its values have encoding 2"):
        agree(client, KEYS, LINE)


class Meddled:
    """A client before whose first transaction another start is through."""

    def __init__(self, client: Redis, other: Any) -> None:
        self._client, self._other = client, other

    def pipeline(self) -> Any:
        pipe = self._client.pipeline()
        multi = pipe.multi

        def meddle() -> None:
            other, self._other = self._other, None
            if other is not None:
                other()
            multi()

        pipe.multi = meddle  # type: ignore[method-assign]
        return pipe


def test_of_two_starts_at_once_the_older_one_hears_of_the_newer_one(client: Any) -> None:
    agree(client, KEYS, LINE, FIRST)
    client.delete(b"t:layouts")  # so that both have something to write
    with pytest.raises(StateTooNew, match="nickname"):
        agree(Meddled(client, lambda: agree(client, KEYS, LINE, LATER)), KEYS, LINE, FIRST)
    assert recorded(client) == LATER


def test_of_two_starts_at_once_the_newer_one_goes_on_from_the_older_one(client: Any) -> None:
    agree(Meddled(client, lambda: agree(client, KEYS, LINE, FIRST)), KEYS, LINE, LATER)
    assert recorded(client) == LATER
    with pytest.raises(ConfigurationError):
        first_agree(client, KEYS, LINE)


def test_many_starts_at_once_end_with_the_layouts_of_the_newest(client: Any, shared_redis: RedisServer) -> None:
    versions = [FIRST]
    for number in range(5):
        versions.append(with_column("row.customer", f"more_{number}", versions[-1]))

    def start(version: dict[str, Any]) -> None:
        with shared_redis.client() as own:
            try:
                agree(own, KEYS, LINE, version)
            except StateTooNew:
                assert version != versions[-1]

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(start, versions))
    assert recorded(client) == versions[-1]
    assert client.get(b"t:config").decode().endswith(digest(versions[-1]))


def test_a_version_that_does_not_know_the_contract_of_stored_profiles_is_refused(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agree(client, KEYS, LINE)
    version = schemas.PROFILE_VERSION + 1
    with monkeypatch.context() as later:
        later.setattr(schemas, "PROFILE_VERSION", version)
        agree(client, KEYS, LINE)
        agree(client, KEYS, LINE)
    with pytest.raises(StateTooNew, match=rf"profile_bodies\.version {version} bit {version} contract -> absent"):
        agree(client, KEYS, LINE)
    with pytest.raises(ConfigurationError):
        first_agree(client, KEYS, LINE)
