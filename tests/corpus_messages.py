"""The captured messages of tests/corpus as raw batches, and a mapping of their tables."""

from __future__ import annotations

import base64
import json
from collections import abc
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from nurt.columnar.ids import Ids
from nurt.mapping.load import Mapping, load_mapping
from nurt.model.entity_frame import Translated
from nurt.model.raw import Headers, RawBatch
from nurt.translate.translator import Translator
from tests.naive_translator import NaiveTable

CORPUS = Path(__file__).parent / "corpus"
FOLDERS = ("postgres", "mariadb", "postgres_outbox_router", "sqlserver_synthetic")
IDS = Ids(bytes(range(16)))

MAPPING = """
systems:
  pg: {country: PL, market: PL, currency: PLN, timezone: UTC}
  my: {country: PL, market: PL, currency: PLN, timezone: Europe/Warsaw}
  erp: {country: PL, currency: PLN, timezone: Europe/Warsaw}
topics:
  - match: pg\\.shop\\.customers
    system: pg
    entity: customer
    key: id
    fields:
      email: email
      first_name: first_name
      last_name: last_name
      tax_id: vat_id
      phone: phone
      company: note
      birth_date: birth_date
      created_at: created_at
      updated_at: updated_at
  - match: pg\\.shop\\.orders
    system: pg
    entity: order
    key: order_id
    parent: {customer: customer_id}
    fields: {status: status, gross: total, currency: currency, placed_at: placed_at}
  - match: pg\\.shop\\.composite
    system: pg
    entity: product
    name: composite
    key: [tenant, id]
    fields: {name: v}
  - match: my\\.magento\\.customer_entity
    system: my
    entity: customer
    key: entity_id
    fields:
      email: email
      first_name: firstname
      last_name: latin
      tax_id: taxvat
      gender: gender
      birth_date: dob
      created_at: created_at
      updated_at: precise
  - match: my\\.magento\\.sales_order
    system: my
    entity: order
    key: entity_id
    parent: {customer: customer_id}
    optional: [customer_email, email]
    fields:
      number: increment_id
      email: COALESCE(customer_email, email)
      status: state
      gross: grand_total
      currency: base_currency_code
      placed_at: created_at
  - match: erp\\.ERPXL_DEMO\\.CDN\\.KntKarty
    system: erp
    entity: customer
    name: contractor
    key: Knt_GIDNumer
    fields:
      company: Knt_Nazwa1
      tax_id: Knt_NIP
      email: Knt_EMail
      birth_date: DataUr
      created_at: DataUtw
      updated_at: DataMod
"""


class Schemas:
    """Schemas by id; implements the reading half of ports.registry.SchemaRegistry."""

    def __init__(self, schemas: abc.Mapping[int, Any]) -> None:
        self.schemas = dict(schemas)

    def schema(self, schema_id: int, archive: str = "") -> dict[str, Any] | None:
        return self.schemas.get(schema_id)

    def register(self, subject: str, schema: abc.Mapping[str, Any]) -> int:
        new = max(self.schemas, default=0) + 1
        self.schemas[new] = dict(schema)
        return new


@lru_cache(maxsize=8)
def schemas(folder: str) -> dict[int, Any]:
    found = json.loads((CORPUS / folder / "schemas.json").read_text())
    return {int(key): json.loads(text) if isinstance(text, str) else text for key, text in found.items()}


def lines(folder: str) -> list[dict[str, Any]]:
    text = (CORPUS / folder / "messages.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def batches(folder: str) -> dict[str, RawBatch]:
    """One batch a topic."""
    found: dict[str, RawBatch] = {}
    for line in lines(folder):
        batch = found.setdefault(line["topic"], RawBatch(line["topic"], [], [], [], [], [], []))
        batch.partitions.append(line.get("partition", 0))
        batch.offsets.append(line.get("offset", len(batch.offsets)))
        batch.timestamps_ms.append(line.get("timestamp", 0))
        batch.keys.append(_bytes(line["key_b64"]))
        batch.values.append(_bytes(line["value_b64"]))
        headers: Headers = [(name, _bytes(text)) for name, text in line.get("headers_b64", [])]
        batch.headers.append(headers or None)
    return found


def translator(folder: str, mapping: str = MAPPING) -> Translator:
    return Translator(_mapping(mapping), Schemas(schemas(folder)), IDS)


@lru_cache(maxsize=16)
def _mapping(text: str) -> Mapping:
    return load_mapping(text, "corpus.yaml")


def select(batch: RawBatch, rows: Iterable[int]) -> RawBatch:
    """Some messages of a batch, in the order given."""
    picked = list(rows)

    def of(values: Sequence[Any]) -> list[Any]:
        return [values[row] for row in picked]

    return RawBatch(
        batch.topic,
        of(batch.partitions),
        of(batch.offsets),
        of(batch.timestamps_ms),
        of(batch.keys),
        of(batch.values),
        of(batch.headers),
    )


def with_value(batch: RawBatch, row: int, value: bytes | None) -> RawBatch:
    values = list(batch.values)
    values[row] = value
    return replace(batch, values=values)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


TABLES = {
    "pg.shop.customers": NaiveTable(
        "pg",
        "customer",
        ("id",),
        {
            "email": "email",
            "first_name": "first_name",
            "last_name": "last_name",
            "tax_id": "vat_id",
            "phone": "phone",
            "company": "note",
            "birth_date": "birth_date",
            "created_at": "created_at",
            "updated_at": "updated_at",
        },
    ),
    "pg.shop.orders": NaiveTable(
        "pg",
        "order",
        ("order_id",),
        {"status": "status", "gross": "total", "currency": "currency", "placed_at": "placed_at"},
        parent=("customer", "customer_id"),
    ),
    "pg.shop.composite": NaiveTable("pg", "product", ("tenant", "id"), {"name": "v"}, name="composite"),
    "my.magento.customer_entity": NaiveTable(
        "my",
        "customer",
        ("entity_id",),
        {
            "email": "email",
            "first_name": "firstname",
            "last_name": "latin",
            "tax_id": "taxvat",
            "gender": "gender",
            "birth_date": "dob",
            "created_at": "created_at",
            "updated_at": "precise",
        },
        zone="Europe/Warsaw",
    ),
    "my.magento.sales_order": NaiveTable(
        "my",
        "order",
        ("entity_id",),
        {
            "number": "increment_id",
            "email": lambda row: row.get("customer_email") or row.get("email"),
            "status": "state",
            "gross": "grand_total",
            "currency": "base_currency_code",
            "placed_at": "created_at",
        },
        zone="Europe/Warsaw",
        parent=("customer", "customer_id"),
    ),
    "erp.ERPXL_DEMO.CDN.KntKarty": NaiveTable(
        "erp",
        "customer",
        ("Knt_GIDNumer",),
        {
            "company": "Knt_Nazwa1",
            "tax_id": "Knt_NIP",
            "email": "Knt_EMail",
            "birth_date": "DataUr",
            "created_at": "DataUtw",
            "updated_at": "DataMod",
        },
        name="contractor",
        zone="Europe/Warsaw",
    ),
}
"""The same mapping for the oracle."""


def outcomes(batch: RawBatch, translated: Translated) -> list[tuple[str, Any]]:
    """What became of each message, in order, in the words of the oracle; what is counted has no place of its own."""
    rows = {(p, o): i for i, (p, o) in enumerate(zip(batch.partitions, batch.offsets, strict=True))}
    assert len(rows) == len(batch), "each message of a batch has its own offset"
    found: list[tuple[str, Any]] = [("not_ours", None)] * len(batch)
    for entity in translated.entities:
        for row in entity.frame.iter_rows(named=True):
            row.pop("identifiers", None)
            found[rows[row["partition"], row["offset"]]] = ("row", row)
    for truncate in translated.truncated:
        said = (truncate.source_epoch, truncate.position)
        found[rows[truncate.partition, truncate.offset]] = ("truncated", said)
    for refused in translated.refused:
        found[rows[refused.partition, refused.offset]] = ("refused", refused.reason.value)
    return found


def accounted(translated: Translated) -> int:
    """How many messages ended somewhere."""
    rows = sum(entity.frame.height for entity in translated.entities if entity.counts)
    truncates = {(one.partition, one.offset) for one in translated.truncated}
    return rows + len(truncates) + len(translated.refused) + sum(translated.not_ours.values())
