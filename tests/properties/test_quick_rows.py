"""The quick way of whole upserts says of every row what the mapper says, and leaves to it what it cannot say."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from polars.testing import assert_frame_equal

from nurt.mapping.load import load_mapping
from nurt.model.entity_frame import Translated
from nurt.simulate.bulk.shop import mixed_load
from nurt.simulate.connector.schemas import SchemaBook
from nurt.translate import items
from nurt.translate.translator import Translator
from tests.envelopes import IDS, Topic, connect, decimal, unscaled
from tests.hypothesis_profiles import examples

PLACEHOLDER, OWN = "__debezium_unavailable_value", "\t_toasted_"


def optional(type_: Any) -> list[Any]:
    return ["null", type_]


COLUMNS: dict[str, Any] = {
    "id": optional("long"),
    "line": "string",
    "owner": optional("long"),
    "code": optional("string"),
    "note": optional("string"),
    "number": "long",
    "flag": optional("int"),
    "yes": optional("boolean"),
    "money": optional(decimal(2)),
    "fine": optional(decimal(6)),
    "whole": optional("long"),
    "day": optional(connect("int", "io.debezium.time.Date")),
    "read": optional(connect("long", "io.debezium.time.MicroTimestamp")),
    "nanos": optional(connect("long", "io.debezium.time.NanoTimestamp")),
    "zoned": optional(connect("string", "io.debezium.time.ZonedTimestamp")),
    "iso": optional(connect("string", "io.debezium.time.IsoTimestamp")),
    "iso_day": optional(connect("string", "io.debezium.time.IsoDate")),
    "ratio": optional("double"),
}
texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", " ", "\t\n ", " x", "\x1f", "a\x1fb", PLACEHOLDER, PLACEHOLDER[:-1], "zażółć gęślą jaźń"]),
    st.sampled_from([OWN, OWN[:-1], f'["{OWN}"]', f'{{"{OWN}":"{OWN}"}}', f'{{"{PLACEHOLDER}": "{PLACEHOLDER}"}}']),
)
longs = st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1))
numbers = st.one_of(st.integers(-(10**6), 10**6), st.integers(-(2**70), 2**70), st.sampled_from([2**63, -(2**63)]))
moments = st.one_of(st.integers(-(10**17), 10**17), longs)
rows = st.fixed_dictionaries(
    {
        "id": st.one_of(st.none(), longs),
        "line": texts,
        "owner": st.one_of(st.none(), longs),
        "code": st.one_of(st.none(), texts),
        "note": st.one_of(st.none(), texts),
        "number": longs,
        "flag": st.one_of(st.none(), st.integers(-1, 2)),
        "yes": st.one_of(st.none(), st.booleans()),
        "money": st.one_of(st.none(), numbers.map(unscaled), st.just(PLACEHOLDER.encode())),
        "fine": st.one_of(st.none(), st.integers(-(10**9), 10**9).map(lambda n: unscaled(n * 50))),
        "whole": st.one_of(st.none(), longs),
        "day": st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1), st.integers(0, 20_000)),
        "read": st.one_of(st.none(), moments),
        "nanos": st.one_of(st.none(), moments),
        "zoned": st.one_of(
            st.none(),
            st.datetimes().map(lambda at: at.isoformat() + "Z"),
            st.datetimes().map(lambda at: at.isoformat()),
            st.sampled_from(["", "infinity", "2026-02-30T00:00:00Z", PLACEHOLDER]),
        ),
        "iso": st.one_of(
            st.none(),
            st.datetimes().map(lambda at: at.isoformat() + "Z"),
            st.sampled_from(["2026-09-01T00:30:00+05:00", "infinity", "+10000-01-01T00:00:00Z", "today", "", OWN]),
        ),
        "iso_day": st.one_of(
            st.none(), st.dates().map(lambda day: f"{day}Z"), st.sampled_from(["0000-00-00", "17.5.1988", PLACEHOLDER])
        ),
        "ratio": st.one_of(st.none(), st.floats(width=32)),
    }
)
PARENTLESS = """
    entity: customer
    key: id
    fields:
      email: code
      email_verified: flag
      phone: number
      phone_verified: yes
      first_name: UPPER(note)
      company: CASE WHEN flag = 1 THEN note END
      birth_date: iso_day
      created_at: zoned
      updated_at: read
"""
SWITCHED = """
    entity: order
    key: [id, line]
    parent: {customer: owner}
    where: flag = 1
    fields: {number: line, gross: money, placed_at: iso, status: "'open'", email: code}
"""
FLAGGED = """
    entity: order_line
    key: line
    parent: {order: [id, line]}
    where: yes
    fields: {sku: note, quantity: whole, returned_quantity: fine, gross: "ROUND(ratio, 2)"}
"""
COMPUTED = """
    entity: consent
    key: {sql: "COALESCE(id, number)"}
    parent: {customer: {sql: "NULLIF(owner, 0)"}}
    optional: [lacking]
    fields: {purpose: "'newsletter'", granted: flag = 1, channel: lacking, at: zoned}
"""
STRANGE = """
    entity: shipment
    key: money
    parent: {order: ratio}
    fields: {number: code, shipped_at: zoned, delivered_at: nanos, carrier: note}
"""
INVOICED = """
    entity: invoice
    key: id
    parent: {order: owner}
    fields: {number: code, issued_on: day, due_on: iso_day}
"""
TABLED = """
    entity: table
    name: rows
    key: [id, line]
    where: number > 0
    types: {yes: bool, flag: bool, money: amount, fine: amount, day: day, read: ts, z: ts}
    fields: {owner: owner, code: code, yes: yes, flag: flag, money: money, fine: fine, day: day, read: read, z: zoned}
"""
JOINED = """
    entity: order
    key: id
    parent: {customer: owner}
    with: {meta: {table: meta, on: o, first: [key]}}
    fields:
      number: COALESCE(meta.v, code, money, fine, day, yes, read, ratio)
      gross: money
      status: CASE WHEN yes THEN meta.v WHEN number > 1 THEN UPPER(note) ELSE flag END
      placed_at: zoned
  - {match: other, system: s, entity: table, name: meta, key: id, fields: {o: o, v: v}}
"""
TWOFOLD = """
    key: id
    into:
      - {entity: invoice, parent: {order: owner}, fields: {number: code, issued_on: day}}
      - {entity: product, where: flag = 1, fields: {sku: code, name: note}}
"""
SNAPSHOTS = ["false", "true", "last", "first_in_data_collection", "incremental", None]
MAPPINGS = {
    name: globals()[name]
    for name in ("PARENTLESS", "SWITCHED", "FLAGGED", "COMPUTED", "STRANGE", "INVOICED", "TWOFOLD", "TABLED", "JOINED")
}


def assert_same(quick: Translated, slow: Translated) -> None:
    assert [one.kind for one in quick.entities] == [one.kind for one in slow.entities]
    for mine, other in zip(quick.entities, slow.entities, strict=True):
        assert_frame_equal(mine.frame, other.frame)
    assert sorted(map(repr, quick.refused)) == sorted(map(repr, slow.refused))
    assert (quick.truncated, quick.not_ours) == (slow.truncated, slow.not_ours)


@pytest.mark.parametrize("mapping", MAPPINGS.values(), ids=MAPPINGS)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Warsaw"])
@given(st.data())
@settings(
    max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
def test_quick_rows_are_what_the_mapper_says(mapping: str, zone: str, data: st.DataObject) -> None:
    topic = Topic(COLUMNS, key=("id", "line"), kind="mysql")
    usual = data.draw(st.lists(rows, min_size=1, max_size=3))
    for _ in range(data.draw(st.integers(1, 12))):
        row = data.draw(st.one_of(st.sampled_from(usual), rows))
        partition = data.draw(st.integers(0, 2))
        if data.draw(st.integers(0, 9)) == 0:
            topic.delete(row, partition=partition, key=None)
        else:
            op = data.draw(st.sampled_from("curuc"))
            topic.upsert(op, partition=partition, key=b"", row=row, snapshot=data.draw(st.sampled_from(SNAPSHOTS)))
    if data.draw(st.booleans()):
        topic.raw(b"", (topic.batch.values[0] or b"")[:-1])
    with pytest.MonkeyPatch.context() as patch:
        quick, slow = (topic.translator(mapping, zone, placeholders=[OWN]) for _ in range(2))
        patch.setattr(items, "fast_rows", lambda *_: None)
        said = [slow.translate(topic.batch), slow.translate(topic.batch)]
    assert_same(quick.translate(topic.batch), said[0])
    assert_same(quick.translate(topic.batch), said[1])


def test_the_demo_is_mapped_quickly_and_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    mapping = load_mapping((files("nurt") / "presets" / "demo.yaml").read_text(encoding="utf-8"), "demo")
    book = SchemaBook()
    quick = Translator(mapping, book, IDS)
    chunks = list(mixed_load(2_000, book, customers=300, chunk_rows=500))
    said = [quick.translate(batch) for chunk in chunks for batch in chunk]
    for one in (one for table in quick._tables.values() for one in table._items):
        assert all(way is not None for way in one._fast.values())
    monkeypatch.setattr(items, "fast_rows", lambda *_: None)
    slow = Translator(mapping, book, IDS)
    for mine, batch in zip(said, (batch for chunk in chunks for batch in chunk), strict=True):
        assert_same(mine, slow.translate(batch))
