from __future__ import annotations

import io
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import fastavro
import pytest

from nurt.contracts import schemas
from nurt.errors import ConfigurationError

CHOSEN = ("email", "phone", "first_name", "last_name", "company", "tax_id", "loyalty_card", "birth_date", "gender")


def fields_of_records(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, list):
        for branch in schema:
            yield from fields_of_records(branch)
    elif isinstance(schema, dict):
        if schema.get("type") == "record":
            for field in schema["fields"]:
                yield f"{schema['name']}.{field['name']}", field
                yield from fields_of_records(field["type"])
        elif schema.get("type") == "array":
            yield from fields_of_records(schema["items"])
        elif isinstance(schema.get("type"), dict | list):
            yield from fields_of_records(schema["type"])


@pytest.mark.parametrize("name", schemas.names())
def test_every_field_of_every_record_has_a_default_and_a_doc(name: str) -> None:
    lacking = [where for where, field in fields_of_records(schemas.load(name)) if {"default", "doc"} - set(field)]
    assert lacking == []


def test_the_profile_contract_has_the_fields_that_the_product_promises() -> None:
    named = [field["name"] for field in schemas.load(schemas.PROFILE_VALUE)["fields"]]
    assert named[:6] == ["id", "revision", "state", "redirect_to", "realm", "as_of"]
    assert named[6:15] == list(CHOSEN)
    assert named[15:] == [
        "language",
        "country",
        "market",
        "identifiers",
        "addresses",
        "accounts",
        "orders",
        "products",
        "categories",
        "invoices",
        "consents",
        "last_interaction_on",
    ]


def test_a_profile_made_of_defaults_alone_can_be_written_and_read() -> None:
    schema = fastavro.parse_schema(schemas.load(schemas.PROFILE_VALUE))
    body = io.BytesIO()
    fastavro.schemaless_writer(body, schema, {})
    body.seek(0)
    profile = fastavro.schemaless_reader(body, schema, None)
    assert profile["state"] == "live"
    assert profile["orders"] == []


def test_money_is_an_exact_decimal_of_four_places() -> None:
    schema = fastavro.parse_schema(schemas.load(schemas.PROFILE_VALUE))
    body = io.BytesIO()
    owed = Decimal("12345678901234.5678")
    fastavro.schemaless_writer(body, schema, {"invoices": [{"open_amount": owed, "overdue_amount": -owed}]})
    body.seek(0)
    (read,) = fastavro.schemaless_reader(body, schema, None)["invoices"]
    assert (read["open_amount"], read["overdue_amount"]) == (owed, -owed)


def test_the_key_contract_is_a_string() -> None:
    assert schemas.load(schemas.PROFILE_KEY) == {"type": "string"}


def test_an_unknown_contract_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(ConfigurationError, match=r"nurt\.profiles-value\.v1"):
        schemas.load("nurt.profiles-value.v999")
