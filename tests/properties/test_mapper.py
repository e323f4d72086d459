"""Rows are mapped one by one in effect, though a batch at a time in fact; a plain Python mapper is the oracle."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nurt.columnar.ids import Ids
from nurt.mapping.load import TopicMapping, load_mapping
from nurt.mapping.plan import faults
from nurt.model.entities import ENTITIES
from nurt.model.entity_frame import DELETE, LEFT_OUT, UNAVAILABLE_PARENT_BIT, UPSERT, entity_columns
from nurt.model.refusal import Reason
from nurt.translate.general_path import METADATA, Problem, map_rows
from tests.hypothesis_profiles import examples

IDS = Ids(b"0123456789abcdef")
MAPPING = load_mapping(
    """
systems: {s: {}}
topics:
  - match: orders
    system: s
    entity: order
    key: [tenant, id]
    parent: {customer: {sql: "NULLIF(customer_id, 0)"}}
    where: deleted_at IS NULL
    fields:
      number: CONCAT(tenant, '-', id)
      email: email
      phone: CAST(points AS VARCHAR)
      first_name: CAST(CAST(points AS BIGINT) + 1 AS VARCHAR)   # fails where points is no number
      gross: total
      market: "'PL'"
  - match: customers
    system: s
    entity: customer
    name: member
    key: id
    fields: {email: email, company: note}
    identifiers: {email: mail2, card: [card1, card2]}
  - match: invoices
    system: s
    entity: invoice
    key: id
    parent: {order: [tenant, order_id], member: member_id}
    fields: {number: id, amount: total}
""",
    "m",
)
SCHEMA = {
    "tenant": pl.String(),
    "id": pl.Int64(),
    "customer_id": pl.Int64(),
    "deleted_at": pl.String(),
    "email": pl.String(),
    "points": pl.String(),
    "total": pl.Decimal(38, 6),
}


def mapping_of(topic: str) -> TopicMapping:
    found = MAPPING.for_topic(topic)
    assert found is not None
    return found


@dataclass
class Row:
    values: dict[str, Any]
    op: int
    unavailable: set[str]


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


rows_strategy = st.lists(
    st.builds(
        Row,
        st.fixed_dictionaries(
            {
                "tenant": st.sampled_from(["pl", "de", "a\x1fb", None, ""]),
                "id": maybe(st.integers(0, 9)),
                "customer_id": maybe(st.integers(0, 3)),
                "deleted_at": maybe(st.just("2024-01-01")),
                "email": maybe(st.sampled_from(["a@b.pl", "", "  ", "ż"])),
                "points": maybe(st.sampled_from(["1", "41", "x", "", "99999999999999999999"])),
                "total": maybe(st.sampled_from([Decimal("1.5"), Decimal("-2.123456"), Decimal("1e20"), Decimal("0")])),
            }
        ),
        st.sampled_from([UPSERT, UPSERT, UPSERT, DELETE]),
        st.sets(st.sampled_from(["email", "points", "customer_id"]), max_size=2),
    ),
    max_size=12,
)


def head_of(ops: list[int]) -> pl.DataFrame:
    counted = pl.Series(range(len(ops)), dtype=pl.Int64)
    parts = {"op": pl.Series(ops, dtype=pl.Int8)} | dict.fromkeys(METADATA, counted)
    return pl.DataFrame(parts | {"snapshot": pl.Series([0] * len(ops), dtype=pl.Int8)})


def run(topic: str, rows: list[Row], schema: dict[str, pl.DataType] = SCHEMA) -> tuple[pl.DataFrame, list[Problem]]:
    columns = (
        pl.DataFrame([row.values for row in rows], schema=schema, orient="row") if rows else pl.DataFrame(schema=schema)
    )
    unavailable = {}
    for name in schema:
        flags = [name in row.unavailable for row in rows]
        columns = columns.with_columns(pl.when(~pl.Series(flags, dtype=pl.Boolean)).then(pl.col(name)).alias(name))
        unavailable[name] = pl.Series(flags, dtype=pl.Boolean)
    return map_rows(mapping_of(topic), head_of([row.op for row in rows]), columns, IDS, unavailable)


def expected(row: Row) -> dict[str, Any] | Reason:
    """Map one row of `orders` the slow way."""
    v = {name: None if name in row.unavailable else value for name, value in row.values.items()}
    if "\x1f" in (v["tenant"] or ""):
        return Reason.WRONG_TYPE
    if v["tenant"] is None or v["id"] is None:
        return Reason.NO_KEY
    key = f"{v['tenant']}\x1f{v['id']}"
    out: dict[str, Any] = {"key": key, "row": IDS.one(f"s\x1forder\x1f{key}"), "unavailable": 0, "op": DELETE}
    out |= dict.fromkeys([*ENTITIES["order"].fields, "parent", "parent_kind", "parent_entity", "parent_key"])
    if row.op != DELETE and v["deleted_at"] is not None:
        out["op"] = LEFT_OUT
    if out["op"] == LEFT_OUT or row.op == DELETE:
        return out
    fields = list(ENTITIES["order"].fields)
    for column, names in {"email": ["email"], "points": ["phone", "first_name"]}.items():
        if column in row.unavailable:
            out["unavailable"] |= sum(1 << fields.index(name) for name in names)
    if "customer_id" in row.unavailable:
        out["unavailable"] |= 1 << UNAVAILABLE_PARENT_BIT
    out["op"] = UPSERT
    out["number"] = f"{v['tenant']}-{v['id']}"
    out["market"] = "PL"
    out["email"] = v["email"] if (v["email"] or "").strip() else None
    out["phone"] = v["points"] if (v["points"] or "").strip() else None
    if v["points"] is not None:
        if not v["points"].isdecimal() or int(v["points"]) >= 2**63:
            return Reason.MAPPING_FAILED
        out["first_name"] = str(int(v["points"]) + 1)
    if v["total"] is not None:
        amount = v["total"] * 10_000
        if amount != int(amount) or abs(amount) >= 2**63:
            return Reason.OUT_OF_RANGE
        out["gross"] = int(amount)
    if v["customer_id"]:
        out["parent_kind"], out["parent_entity"], out["parent_key"] = "customer", "customer", str(v["customer_id"])
        out["parent"] = IDS.one(f"s\x1fcustomer\x1f{v['customer_id']}")
    return out


@given(rows_strategy)
@settings(max_examples=examples(200), deadline=None)
def test_a_batch_is_mapped_as_its_rows_are_one_by_one(rows: list[Row]) -> None:
    frame, problems = run("orders", rows)
    found: dict[int, Any] = {problem.row: problem.reason for problem in problems}
    for row in frame.to_dicts():
        assert row["offset"] not in found
        found[row["offset"]] = row
    assert sorted(found) == list(range(len(rows)))
    for number, row in enumerate(rows):
        wanted = expected(row)
        got = found[number]
        if isinstance(wanted, dict):
            assert isinstance(got, dict), got
            got = {name: got[name] for name in wanted}
        assert got == wanted


@given(rows_strategy)
@settings(max_examples=examples(50), deadline=None)
def test_the_frame_has_the_entitys_columns_whatever_came_in(rows: list[Row]) -> None:
    frame, problems = run("orders", rows)
    assert dict(frame.schema) == entity_columns("order")
    assert frame["offset"].to_list() == sorted(frame["offset"].to_list())
    assert [problem.row for problem in problems] == sorted({problem.row for problem in problems})
    assert set(frame["system"].to_list()) <= {"s"} and set(frame["entity"].to_list()) <= {"order"}


@given(rows_strategy)
@settings(max_examples=examples(50), deadline=None)
def test_a_problem_names_columns_and_types_but_no_values(rows: list[Row]) -> None:
    _, problems = run("orders", rows)
    for problem in problems:
        for value in ("99999", "123456", "2024", "ż", "a@b"):
            assert value not in problem.detail


def upsert(schema: dict[str, pl.DataType], topic: str, **values: Any) -> dict[str, Any]:
    frame, problems = run(topic, [Row({**dict.fromkeys(schema), **values}, UPSERT, set())], schema)
    assert not problems
    return frame.to_dicts()[0]


CUSTOMERS = {"id": pl.Int64(), **dict.fromkeys(["email", "note", "mail2", "card1", "card2"], pl.String())}
INVOICES = {
    "id": pl.Int64(),
    "tenant": pl.String(),
    "order_id": pl.Int64(),
    "member_id": pl.Int64(),
    "total": pl.Int64(),
}


def test_extra_identifiers_are_pairs_and_lose_the_separators() -> None:
    row = upsert(CUSTOMERS, "customers", id=1, mail2="x@y.pl", card1="a\x1eb\x1fc", card2="d")
    assert row["identifiers"] == "email\x1fx@y.pl\x1ecard\x1fabc\x1ecard\x1fd"
    assert (row["entity"], row["row"]) == ("member", IDS.one("s\x1fmember\x1f1"))
    assert upsert(CUSTOMERS, "customers", id=1, card1=" ")["identifiers"] is None


def test_identifiers_are_held_when_one_of_their_columns_did_not_come() -> None:
    rows = [Row(dict.fromkeys(CUSTOMERS, "x") | {"id": 1}, UPSERT, {"card1", "note"})]
    frame, _ = run("customers", rows, CUSTOMERS)
    fields = list(ENTITIES["customer"].fields)
    assert frame["unavailable"].to_list() == [1 << len(fields) | 1 << fields.index("company")]
    assert list(entity_columns("customer")).index("identifiers") - list(entity_columns("customer")).index(
        "email"
    ) == len(fields)


def test_the_first_parent_that_is_not_null_counts() -> None:
    both = upsert(INVOICES, "invoices", id=1, tenant="pl", order_id=7, member_id=8)
    assert (both["parent_kind"], both["parent_entity"], both["parent_key"]) == ("order", "order", "pl\x1f7")
    assert both["parent"] == IDS.one("s\x1forder\x1fpl\x1f7")
    one = upsert(INVOICES, "invoices", id=1, tenant="pl", member_id=8)
    assert (one["parent_kind"], one["parent_entity"], one["parent_key"]) == ("customer", "member", "8")
    assert one["parent"] == IDS.one("s\x1fmember\x1f8")
    none = upsert(INVOICES, "invoices", id=1, tenant="pl")
    assert [none[name] for name in ("parent", "parent_kind", "parent_entity", "parent_key")] == [None] * 4


def test_a_rekey_names_the_row_that_a_delete_became() -> None:
    columns = pl.DataFrame({name: pl.Series([None] * 3, dtype=dtype) for name, dtype in CUSTOMERS.items()})
    columns = columns.with_columns(pl.Series("id", [5, 6, 7]))
    moved = pl.DataFrame({"id": [6, None, 9]})
    head = head_of([DELETE, DELETE, UPSERT])
    frame, problems = map_rows(mapping_of("customers"), head, columns, IDS, None, moved)
    assert not problems
    assert frame["moved_to"].to_list() == [IDS.one("s\x1fmember\x1f6"), None, None]


@pytest.mark.parametrize(
    ("dtype", "value", "text"),
    [
        (pl.Int64, 7, "7"),
        (pl.UInt32, 7, "7"),
        (pl.String, " 07 ", " 07 "),
        (pl.Decimal(38, 0), Decimal("70"), "70"),
        (pl.Decimal(38, 2), Decimal("7.00"), "7"),
        (pl.Float64, 7.0, "7"),
        (pl.Binary, b"\x00\xff", "00ff"),
        (pl.Boolean, True, "true"),
    ],
)
def test_a_key_is_the_same_text_in_every_type_that_can_hold_it(dtype: Any, value: Any, text: str) -> None:
    columns = pl.DataFrame({**{name: [None] for name in CUSTOMERS}, "id": pl.Series([value], dtype=dtype)})
    frame, problems = map_rows(mapping_of("customers"), head_of([UPSERT]), columns, IDS)
    assert not problems
    assert frame["key"].to_list() == [text]


def test_a_float_that_is_no_whole_number_is_no_key() -> None:
    columns = pl.DataFrame({**{name: [None] * 2 for name in CUSTOMERS}, "id": [7.5, 8.0]})
    frame, problems = map_rows(mapping_of("customers"), head_of([UPSERT] * 2), columns, IDS)
    assert frame["key"].to_list() == ["8"]
    assert [(p.row, p.reason, p.detail) for p in problems] == [(0, Reason.WRONG_TYPE, "key: no key in id (Float64)")]


def test_a_column_that_the_schema_lacks_refuses_upserts_and_lets_deletes_pass() -> None:
    columns = pl.DataFrame({"id": [1, 2], "email": ["a", "b"]})
    frame, problems = map_rows(mapping_of("customers"), head_of([UPSERT, DELETE]), columns, IDS)
    assert frame["key"].to_list() == ["2"] and frame["op"].to_list() == [DELETE]
    assert [(p.row, p.reason) for p in problems] == [(0, Reason.MAPPING_FAILED)]
    assert "field company: column note is not among" in problems[0].detail
    assert "identifier email: column mail2 is not among" in problems[0].detail


def test_a_missing_key_column_refuses_every_row() -> None:
    frame, problems = map_rows(
        mapping_of("customers"), head_of([UPSERT, DELETE]), pl.DataFrame({"email": ["a", "b"]}), IDS
    )
    assert frame.is_empty() and dict(frame.schema) == entity_columns("customer")
    assert [p.reason for p in problems] == [Reason.MAPPING_FAILED] * 2


@pytest.mark.parametrize(
    "sql", ["v", "COALESCE(v, w)", "UPPER(v)", "CASE WHEN v IS NULL THEN w END", "CONCAT(v, w)", "v || w"]
)
def test_an_optional_column_that_the_schema_lacks_is_null(sql: str) -> None:
    topic = f"{{match: t, system: s, entity: product, key: id, fields: {{sku: '{sql}'}}, optional: v}}"
    text = f"systems: {{s: {{}}}}\ntopics: [{topic}]"
    mapping = load_mapping(text, "m").for_topic("t")
    assert mapping is not None
    with_it = pl.DataFrame({"id": [1], "v": pl.Series([None], dtype=pl.String), "w": ["w"]})
    frame, problems = map_rows(mapping, head_of([UPSERT]), with_it, IDS)
    lacking, more_problems = map_rows(mapping, head_of([UPSERT]), with_it.drop("v"), IDS)
    assert not problems and not more_problems
    assert lacking.equals(frame)


def test_what_a_schema_cannot_give_is_known_before_any_row_comes() -> None:
    assert faults(mapping_of("customers"), CUSTOMERS) == []
    found = faults(
        mapping_of("orders"), {**SCHEMA, "tenant": pl.List(pl.Int64()), "total": pl.Float64(), "points": pl.Int64()}
    )
    assert [fault.partition(":")[0] for fault in found] == ["key", "field gross"]
    lacking = faults(mapping_of("invoices"), {"id": pl.Int64()})
    assert [fault.partition(":")[0] for fault in lacking] == ["parent order", "parent member", "field amount"]


def test_one_bad_row_among_thousands_is_the_only_one_refused() -> None:
    n = 5000
    rows = [Row({"tenant": "pl", "id": i, "customer_id": 1, "points": "5"}, UPSERT, set()) for i in range(n)]
    rows[1234].values["points"] = "five"
    frame, problems = run("orders", rows)
    assert [(p.row, p.reason) for p in problems] == [(1234, Reason.MAPPING_FAILED)]
    assert frame.height == n - 1 and frame["first_name"].unique().to_list() == ["6"]
