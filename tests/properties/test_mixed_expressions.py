"""An expression over several rows is cut between them, and still says what SQL says of the rows together."""

from __future__ import annotations

import json
from collections.abc import Callable

import duckdb
import polars as pl
from hypothesis import assume, given
from hypothesis import strategies as st

from nurt.errors import ConfigurationError
from nurt.mapping.convert import blank_to_null
from nurt.mapping.joins.compile import numbered, numbers_for
from nurt.mapping.joins.numbers import Numbers
from nurt.mapping.load import load_mapping
from nurt.mapping.plan import Step, plan_for
from nurt.mapping.sql.evaluate import evaluate

TEXTS = ["x", "y", "Xy", "12", "-3", "z1", "żó", "a'b"]
OWN, OTHER = ("a", "b"), ('j."c d"', "j.e")
OWN_TYPES: dict[str, pl.DataType] = {"id": pl.Int64(), "a": pl.String(), "b": pl.String()}
ROWS = st.lists(st.tuples(*[st.none() | st.sampled_from(TEXTS)] * 4), min_size=1, max_size=8)


ATOMS = st.sampled_from([*OWN, *OTHER, "'x'", "'12'"])


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> str:
    """Draw an expression with a text."""

    def some() -> str:
        return draw(ATOMS) if depth == 0 or draw(st.booleans()) else draw(expressions(depth - 1))

    def truth(levels: int = 1) -> str:
        form = draw(st.integers(0, 5 if levels else 2))
        if form == 0:
            return f"({some()} {draw(st.sampled_from(['=', '<>', '<']))} {some()})"
        if form == 1:
            more = ["IS NULL", "IS NOT NULL", "LIKE 'x%'", "IN ('x', '12')", "BETWEEN 'a' AND 'y'"]
            return f"({some()} {draw(st.sampled_from(more))})"
        if form == 2:
            return f"(TRY_CAST({some()} AS BIGINT) > 1)"
        if form == 3:
            return f"(NOT {truth(levels - 1)})"
        return f"({truth(levels - 1)} {draw(st.sampled_from(['AND', 'OR']))} {truth(levels - 1)})"

    made = (
        lambda: f"COALESCE({some()}, {some()})",
        lambda: f"CONCAT('-', {some()}, {some()})",  # never blank: a blank part is null
        lambda: f"({some()} || {some()})",
        lambda: f"NULLIF({some()}, {some()})",
        lambda: f"UPPER({some()})",
        lambda: f"LEFT({some()}, 1)",
        lambda: f"CASE WHEN {truth()} THEN {some()} ELSE {some()} END",
        lambda: f"CASE {some()} WHEN 'x' THEN {some()} WHEN {some()} THEN {some()} END",
        lambda: f"TRY_CAST(TRY_CAST({some()} AS BIGINT) + TRY_CAST({some()} AS BIGINT) AS VARCHAR)",
    )
    return draw(st.sampled_from(made))()


def in_rows(text: str, rows: list[tuple[str | None, ...]]) -> list[str | None]:
    """Evaluate an expression as nurt does: what one row says in that row, the rest where rows meet."""
    mapping = load_mapping(
        "systems: {s: {}}\ntopics:\n"
        f"  - {{match: t, system: s, entity: order, key: id, fields: {{number: {json.dumps(text)}}},\n"
        "     with: {j: {table: j, on: o, pivot: {name: n, value: v}}}}\n"
        "  - {match: j, system: s, entity: table, name: j, key: id, fields: {o: o, n: n, v: v}}\n",
        "m",
    )
    mapping = numbered(mapping, numbers_for(mapping, Numbers()))
    topic = mapping.for_topic("t")
    assert topic is not None and mapping.joins is not None
    ((order,),) = mapping.joins.levels
    own = pl.DataFrame([(1, *row[:2]) for row in rows], OWN_TYPES, orient="row")
    plan = plan_for(topic, tuple(own.schema.items()))
    assert plan.broken == ()
    said = made(own, plan.steps, lambda step: step.field or step.name)
    for name in said:
        if order.schema.get(name) == pl.Boolean:
            said[name] = said[name].cast(pl.Boolean)
    other = pl.DataFrame([row[2:] for row in rows], {"j.c d": pl.String(), "j.e": pl.String()}, orient="row")
    frame = pl.DataFrame([*(said[name].alias(name) for name in order.own), *other.get_columns()])
    if "number" in order.copied:
        return said["number"].to_list()
    return made(frame, order.plan("UTC").steps, lambda step: step.name)["number"].to_list()


def made(rows: pl.DataFrame, steps: tuple[Step, ...], name_of: Callable[[Step], str]) -> dict[str, pl.Series]:
    """Evaluate and convert."""
    results, failed = evaluate(rows, [step.wanted for step in steps])
    assert not failed, "what is drawn here cannot fail"
    values = {
        step.name: results[step.name]
        if step.value is None
        else results[step.name].to_frame().select(step.value)[step.name]
        for step in steps
    }
    blank_to_null(values)
    return {name_of(step): values[step.name] for step in steps}


def in_duckdb(text: str, rows: list[tuple[str | None, ...]]) -> list[str | None]:
    """Evaluate the same text over the rows together."""
    with duckdb.connect() as opened:
        opened.execute(
            'CREATE TABLE own (i BIGINT, a VARCHAR, b VARCHAR); CREATE TABLE j (i BIGINT, "c d" VARCHAR, e VARCHAR)'
        )
        for i, (a, b, c, e) in enumerate(rows):
            opened.execute("INSERT INTO own VALUES (?, ?, ?)", [i, a, b]).execute(
                "INSERT INTO j VALUES (?, ?, ?)", [i, c, e]
            )
        found = opened.execute(f"SELECT {text} FROM own JOIN j USING (i) ORDER BY own.i").fetchall()
    return [None if one is None or not one.strip() else one for (one,) in found]


@given(expressions(), ROWS)
def test_a_cut_expression_says_what_sql_says_of_the_rows_together(
    text: str, rows: list[tuple[str | None, ...]]
) -> None:
    assume("j." in text)
    try:
        mine = in_rows(text, rows)
    except ConfigurationError as refused:
        assert "cannot be evaluated over" in str(refused) or "at most 24 texts" in str(refused), str(refused)
        assume(False)
        return
    assert mine == in_duckdb(text, rows)
