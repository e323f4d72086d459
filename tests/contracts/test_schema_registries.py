"""What every schema registry does, over files and over a real one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nurt.adapters.files.schema_registry import FolderRegistry
from nurt.adapters.kafka.schema_registry import ConfluentRegistry
from nurt.contracts import schemas
from nurt.errors import ConfigurationError
from nurt.ports.registry import SchemaRegistry

Open = Callable[[], SchemaRegistry]


@pytest.fixture(params=["folder", pytest.param("confluent", marks=pytest.mark.services)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    if request.param == "folder":
        yield lambda: FolderRegistry(tmp_path)
    else:
        url = request.getfixturevalue("registry_url")
        yield lambda: ConfluentRegistry(url, seconds_max=30)


@pytest.fixture
def subject() -> str:
    return f"t-{uuid.uuid4().hex}-value"


def row(*names: str, **defaults: Any) -> dict[str, Any]:
    fields = [{"name": name, "type": "long"} for name in names]
    fields += [{"name": name, "type": "long", "default": value} for name, value in defaults.items()]
    return {"type": "record", "name": f"R{uuid.uuid4().hex}" if not names else "Row", "fields": fields}


def test_what_was_registered_is_found_by_its_id_from_elsewhere(opened: Open, subject: str) -> None:
    schema_id = opened().register(subject, row("id"))
    assert opened().schema(schema_id) == row("id")


def test_the_same_schema_keeps_its_id(opened: Open, subject: str) -> None:
    first = opened().register(subject, row("id"))
    assert opened().register(subject, row("id")) == first


def test_an_id_registered_by_another_while_open_is_found(opened: Open, subject: str) -> None:
    waiting = opened()
    assert waiting.schema(987_654_321) is None
    schema_id = opened().register(subject, row("id"))
    assert waiting.schema(schema_id) == row("id")


def test_a_field_with_a_default_may_be_added(opened: Open, subject: str) -> None:
    first = opened().register(subject, row("id"))
    second = opened().register(subject, row("id", more=0))
    assert first != second
    assert opened().schema(first) == row("id")


def test_a_field_without_a_default_may_not_be_added(opened: Open, subject: str) -> None:
    opened().register(subject, row("id"))
    with pytest.raises(ConfigurationError, match=subject):
        opened().register(subject, row("id", "more"))


def test_the_published_contracts_can_be_registered(opened: Open, subject: str) -> None:
    for name in schemas.names():
        schema_id = opened().register(f"{subject}-{name}", schemas.load(name))
        held = opened().schema(schema_id)
        assert held is not None
        assert held["type"] == schemas.load(name)["type"]
