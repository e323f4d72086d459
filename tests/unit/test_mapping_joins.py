"""Joins in the mapping file: expressions are cut between rows, mistakes have lines, numbers only grow."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from nurt.errors import ConfigurationError
from nurt.mapping import load
from nurt.mapping.joins.compile import numbered, numbers_for
from nurt.mapping.joins.graph import levels_of
from nurt.mapping.joins.numbers import Numbers, decode
from nurt.mapping.joins.plan import Assembled, value_of
from nurt.mapping.load import Mapping, load_mapping
from nurt.mapping.plan import plan_for
from nurt.mapping.sql.compile import BadExpression, compile_expression
from nurt.mapping.sql.evaluate import evaluate
from nurt.model.entities import FieldType
from nurt.model.table_kinds import NARROW_MAX, TABLES_MAX

SHOP = """
systems: {shop: {}, erp: {}}
topics:
  - {match: shop.meta, system: shop, entity: table, name: order_meta, key: id,
     fields: {order: order_id, name: k, value: v}}
  - {match: erp.towar, system: erp, entity: table, name: towar, key: id,
     fields: {sku: kod, price: cena}, types: {price: amount}}
  - match: shop.orders
    system: shop
    key: id
    entity: order
    parent: {customer: meta._customer_user}
    with:
      meta: {table: order_meta, on: order, pivot: {name: name, value: value}, first: [key]}
      product: {table: towar, system: erp, by: meta.sku}
    fields: {number: 'COALESCE(meta._order_number, id)', gross: product.price, status: status}
"""


def compiled(text: str = SHOP) -> Mapping:
    mapping = load_mapping(text, "m.yaml")
    return numbered(mapping, numbers_for(mapping, Numbers()))


def assembled(mapping: Mapping) -> list[Assembled]:
    assert mapping.joins is not None
    return [one for level in mapping.joins.levels for one in level]


# -- expressions


@pytest.mark.parametrize(
    ("text", "own", "joined"),
    [
        ("meta.a", {}, {"meta.a"}),
        ("COALESCE(meta.a, id)", {"#id": "id"}, {"meta.a"}),
        (
            'COALESCE(meta."wp:odd name", UPPER(a || b))',
            {'#UPPER("a" || "b")': 'UPPER("a" || "b")'},
            {"meta.wp:odd name"},
        ),
        (
            "CASE WHEN a = 'x' AND meta.y = '1' THEN meta.a ELSE (b) END",
            {"#\"a\" = 'x'": "", "#b": ""},
            {"meta.y", "meta.a"},
        ),
        ("CASE WHEN is_guest THEN meta.a END", {"#is_guest": ""}, {"meta.a"}),
        ("meta.a || '-' || id", {"#id": ""}, {"meta.a"}),
        ("NORMALIZE(meta.a, NFKC)", {}, {"meta.a"}),
        ("meta.a / NULLIF(meta.b, 0)", {}, {"meta.a", "meta.b"}),
        ("TRY_CAST(meta.a AS INT) + CAST(id AS INT)", {'#CAST("id" AS INT)': ""}, {"meta.a"}),
        ("IF(meta.f = 'y', flag, flag)", {"#flag": ""}, {"meta.f"}),
    ],
)
def test_an_expression_is_cut_between_rows(text: str, own: dict[str, str], joined: set[str]) -> None:
    parts = compile_expression(text, ("meta", "billing")).mixed
    assert parts is not None
    assert set(parts.own) == set(own)
    assert {f"{name}.{column}" for name, column in parts.joined} == joined


def test_a_condition_is_cut_as_a_truth_value_and_a_cast_is_made_again() -> None:
    parts = compile_expression("CASE WHEN a = 1 OR flag THEN meta.x ELSE CAST(b AS INT) + 1 END", ("meta",)).mixed
    assert parts is not None
    assert parts.types == {'#"a" = 1 OR "flag"': FieldType.BOOL, '#CAST("b" AS INT) + 1': FieldType.STR}
    both = compile_expression("CASE WHEN flag THEN meta.x ELSE flag END", ("meta",))
    assert both.mixed is not None
    assert both.mixed.types == {"#flag": FieldType.BOOL, "#flag str": FieldType.STR}
    cast = compile_expression("CAST(b AS INT) + TRY_CAST(meta.x AS INT)", ("meta",))
    (hidden,) = cast.mixed.own if cast.mixed is not None else ()
    found = pl.DataFrame({hidden: ["2", "3"], "meta.x": ["40", "no"]}).select(cast.expr.alias("sum"))
    assert found["sum"].to_list() == [42, None]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("CAST(meta.a AS INT)", "CAST in"),
        ("meta.a::INT", "CAST in"),
        ("meta.a / b", "division"),
        ("MOD(meta.a, meta.b)", "division"),
        ("meta.a LIKE b", "a pattern"),
        ("REGEXP_LIKE('a', meta.b)", "a pattern"),
        ("STRPTIME(meta.d, '%Y')", "STRPTIME"),
        ("mta.a", "did you mean 'meta'"),
        ("a.b.c", "unknown name"),
        ("COUNT(meta.a)", "an aggregate looks at other rows"),
        ("meta.*", "several columns"),
    ],
)
def test_what_combines_rows_cannot_fail(text: str, found: str) -> None:
    with pytest.raises(BadExpression, match=found):
        compile_expression(text, ("meta", "billing"))


def test_without_with_a_dot_is_refused_as_before() -> None:
    with pytest.raises(ConfigurationError, match=r"m.yaml:15: .*a dot in 'product.price'"):
        load_mapping(
            SHOP.replace("    with:\n", "").replace("      meta:", "    x:").replace("      product:", "    y:"),
            "m.yaml",
        )


# -- between entries


@pytest.mark.parametrize(
    ("was", "now", "line", "said"),
    [
        ("table: towar", "table: towr", 15, "no table 'towr' of system 'erp' (expected towar); did you mean 'towar'?"),
        ("table: towar, system: erp", "table: order", 15, "'order' is mapped as order (expected `entity: table`)"),
        ("product.price", "product.prize", 16, "unknown field of towar (expected one of sku, price)"),
        ("on: order", "on: [order, name]", 14, "on: 2 fields (expected 1, as our key"),
        ("by: meta.sku", "by: [meta.sku, id]", 15, "by: 2 parts (expected 1, as the key in line 6)"),
        ("by: meta.sku", "by: meto.sku", 15, "unknown name 'meto'"),
        ("by: meta.sku", "by: product.sku", 15, "uses what is looked up itself"),
        ("_order_number, id)", "_order_number) * 2 + id", 16, "write TRY_CAST(x AS DECIMAL(18,4)) for a number"),
        ("first: [key]", "first: [pos desc]", 14, "unknown field 'pos' of order_meta"),
        ("first: [key]", "first: [key, name]", 14, "behind `key`"),
        ("{name: name", "{nam: name", 14, "`name` is missing"),
        ("system: erp, by: meta.sku", "on: sku, by: id", 15, "both `on` and `by`"),
        ("system: erp, by: meta.sku", "system: erp", 15, "neither `on` nor `by`"),
        ("on: order, pivot", "system: erp, on: order, pivot", 14, "rows of our own system"),
        ("system: erp, by", "system: erp, first: [sku], by", 15, "a key names one row"),
        ("key: id\n    entity: order", "key: meta.id\n    entity: order", 8, "key: 'meta.id' is another row's"),
        (
            "fields: {sku: kod, price: cena}",
            "with: {o: {table: towar, by: kod}}, fields: {sku: kod, price: o.price}",
            6,
            "a circle: towar (line 6) -> towar",
        ),
        ("name: towar, ", "", 6, "`name` is missing"),
        ("price: cena", "Price: cena", 6, "field 'Price' (expected small letters"),
        ("price: amount", "price: money", 7, "'money' (expected one of str, bool, ts, day, amount)"),
        ("price: amount", "prize: amount", 7, "unknown field 'prize'"),
        ("meta: {table: order_meta", "meta: {table: [order_meta, towar]", 14, "no table 'towar' of system 'shop'"),
        ("name: order_meta", "name: order", 8, "system 'shop' has an entity 'order' in line 4 already"),
    ],
)
def test_a_mistake_is_named_with_its_line(was: str, now: str, line: int, said: str) -> None:
    assert was in SHOP
    with pytest.raises(ConfigurationError) as refused:
        load_mapping(SHOP.replace(was, now), "m.yaml")
    assert any(text.startswith(f"m.yaml:{line}: ") and said in text for text in str(refused.value).split("\n  ")[1:]), (
        str(refused.value)
    )


def test_levels_stand_above_what_they_use() -> None:
    chain = """
systems: {s: {}}
topics:
  - {match: a, system: s, entity: table, name: tel, key: id, with: {adr: {table: adr, by: a_id}},
     fields: {kh: adr.kh, tel: no}}
  - {match: b, system: s, entity: table, name: adr, key: id, fields: {kh: kh_id}}
  - match: c
    system: s
    entity: customer
    key: id
    with: {tel: {table: tel, on: kh, first: [key]}}
    fields: {phone: tel.tel}
"""
    assert levels_of(load_mapping(chain, "m")) == {("s", "tel"): 1, ("s", "adr"): 0, ("s", "customer"): 2}
    tel, customer = assembled(compiled(chain))
    assert (tel.level, customer.level) == (1, 2)
    assert tel.result is not None and tel.kind == tel.result.kind != tel.base.kind
    assert customer.result is None and customer.uses[0].tables == (tel.result,)


def test_circles_are_named_through_all_their_tables() -> None:
    circle = """
systems: {s: {}}
topics:
  - {match: a, system: s, entity: table, name: a, key: id, with: {x: {table: b, by: id}}, fields: {v: x.v}}
  - {match: b, system: s, entity: table, name: b, key: id, with: {x: {table: c, by: id}}, fields: {v: x.v}}
  - {match: c, system: s, entity: table, name: c, key: id, with: {x: {table: a, by: id}}, fields: {v: x.v}}
"""
    with pytest.raises(ConfigurationError, match=r"a circle: a \(line 4\) -> b \(line 5\) -> c \(line 6\) -> a"):
        load_mapping(circle, "m")


def test_tables_of_another_file_are_found(tmp_path: Path) -> None:
    lines = SHOP.splitlines(keepends=True)
    shop, erp = tmp_path / "shop.yaml", tmp_path / "erp.yaml"
    shop.write_text("".join(lines[:5] + lines[7:]).replace("erp: {}", "other: {}"))
    erp.write_text("systems: {erp: {}}\ntopics:\n" + "".join(lines[5:7]))
    assert load.read_mapping([shop, erp]).systems.keys() == {"shop", "other", "erp"}
    with pytest.raises(ConfigurationError, match="no table 'towar' of system 'erp'"):
        load.read_mapping([shop])


# -- what is evaluated, and where


def test_what_the_own_row_says_is_a_field_of_its_base() -> None:
    mapping = compiled()
    topic = mapping.for_topic("shop.orders")
    (order,) = assembled(mapping)
    assert topic is not None and topic.kind == order.base.kind
    assert {topic.titles[slot]: one.text for slot, one in topic.fields.items()} == {"status": "status", "#id": "id"}
    assert order.copied == {"status": "status"} and order.own == ("#id",)
    assert topic.parents == () and topic.columns == {"id", "status"}


def test_joined_columns_become_fields() -> None:
    (order,) = assembled(compiled())
    plan = order.plan("UTC")
    rows = pl.DataFrame(
        {
            "#id": ["1", "2"],
            "meta._order_number": ["A1", None],
            "meta._customer_user": ["7", None],
            "meta.sku": ["s", "t"],
            "product.price": [770_000, None],
        }
    )
    frame = rows.with_columns(value_of(FieldType.AMOUNT, pl.col("product.price")).alias("product.price"))
    assert dict(frame.schema) == order.schema
    found, failed = evaluate(frame, [step.wanted for step in plan.steps])
    assert not failed and found["number"].to_list() == ["A1", "2"]
    (gross,) = [step for step in plan.steps if step.name == "gross"]
    assert found["gross"].to_frame().select(gross.value)["gross"].to_list() == [770_000, None]
    ((parent, text),) = plan.parents
    parts, _ = evaluate(frame, text.parts)
    assert parent.kind == "customer"
    assert pl.DataFrame(list(parts.values())).select(text.text)["key"].to_list() == ["7", None]


def test_own_parts_are_texts_whatever_their_type() -> None:
    topic = compiled(SHOP.replace("COALESCE(meta._order_number, id)", "COALESCE(meta.n, day, flag, price)")).for_topic(
        "shop.orders"
    )
    assert topic is not None
    types = {
        "id": pl.Int64(),
        "status": pl.String(),
        "day": pl.Date(),
        "flag": pl.Boolean(),
        "price": pl.Decimal(10, 2),
    }
    plan = plan_for(topic, tuple(types.items()))
    assert plan.broken == ()
    rows = pl.DataFrame(
        {"id": [1], "status": ["x"], "day": [date(2024, 5, 6)], "flag": [True], "price": [Decimal("7.50")]}, types
    )
    values = rows.select(step.wanted.expr for step in plan.steps)
    made = {
        step.field: values.select(pl.col(step.name) if step.value is None else step.value).item() for step in plan.steps
    }
    assert made == {"status": "x", "#day": "2024-05-06", "#flag": "true", "#price": "7.5"}


# -- numbers


def test_numbers_only_grow() -> None:
    first = numbers_for(load_mapping(SHOP, "m"), Numbers())
    assert decode(first.encode()) == first
    less = SHOP.replace("fields: {sku: kod, price: cena}, types: {price: amount}", "fields: {price: cena}")
    less = less.replace("gross: product.price, ", "")
    second = numbers_for(load_mapping(less, "m"), first)
    number = second.tables["erp\x1ftowar"]
    assert second.columns[number] == {"sku\x1fstr": "c0", "price\x1famount": "n0", "price\x1fstr": "c1"}
    assert numbers_for(load_mapping(SHOP, "m"), second) == second


def test_a_use_that_reads_more_has_another_number() -> None:
    first = numbers_for(load_mapping(SHOP, "m"), Numbers())
    more = load_mapping(SHOP.replace("status: status", "status: meta._status"), "m")
    second = numbers_for(more, first)
    assert set(first.uses.items()) < set(second.uses.items()) and len(second.uses) == len(first.uses) + 1


def test_a_table_that_outgrows_its_width_gets_another_number() -> None:
    def table(fields: int) -> Mapping:
        text = ", ".join(f"f{one}: a" for one in range(fields))
        return load_mapping(
            "systems: {s: {}}\ntopics:\n  - {match: t, system: s, entity: table, name: t, key: id, "
            f"fields: {{{text}}}}}",
            "m",
        )

    narrow = numbers_for(table(8), Numbers())
    assert narrow.tables == {"s\x1ft": 0}
    wide = numbers_for(table(9), narrow)
    assert wide.tables == {"s\x1ft": NARROW_MAX} and set(wide.columns) == {0, NARROW_MAX}
    assert numbers_for(table(8), wide) == wide
    with pytest.raises(ConfigurationError, match="at most 24 texts"):
        table(25)


def test_no_more_tables_than_numbers() -> None:
    numbers = Numbers()
    for one in range(TABLES_MAX):
        numbers = numbers.with_table(f"s\x1ft{one}", {"a": FieldType.STR})
    assert sorted(numbers.tables.values()) == list(range(TABLES_MAX))
    with pytest.raises(ConfigurationError, match="at most 127 tables"):
        numbers.with_table("s\x1fmore", {"a": FieldType.STR})
