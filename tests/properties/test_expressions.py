"""An expression that passes gives what polars gives for its text, and to each row the same whatever rows are beside it.

Texts are drawn in two ways: well-formed ones of what docs/mapping.md allows, with and without the parentheses that
they need; and hostile ones, of all functions that polars' SQL has and of signs in any order.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nurt.mapping.sql.compile import FUNCTIONS, BadExpression, compile_expression
from nurt.mapping.sql.evaluate import FAILURES, evaluate, result_type, wanted

SCHEMA: dict[str, pl.DataType] = {
    "a": pl.String(),
    "b c": pl.String(),
    "n": pl.Int64(),
    "m": pl.Int64(),
    "d": pl.Decimal(38, 2),
    "f": pl.Float64(),
    "t": pl.Datetime("us", "UTC"),
    "day": pl.Date(),
    "yes": pl.Boolean(),
    "raw": pl.Binary(),
    "sum": pl.Int64(),
}
TEXTS = ["", " ", "a", "Ala ma kota", "x'y", 'x"y', "x\\y", "100%", "a_b", "żółw ſK", "12", "-3", "1.5", "06.05.2024"]
TEXTS += ["2024-05-06", "2024-05-06 10:00:00", "true", "a,b,,c", "--", "/* */", "\\'", "''", "`", ";", "\n", "ÀÉ"]


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "a": maybe(st.sampled_from(TEXTS)),
    "b c": maybe(st.sampled_from(TEXTS)),
    "n": maybe(st.integers(-9, 12)),
    "m": maybe(st.integers(-3, 4)),
    "d": maybe(st.sampled_from([Decimal(text) for text in ("0", "1.50", "-2.25", "12")])),
    "f": maybe(st.sampled_from([0.0, -0.5, 1.005, 2.675, 1e9, float("nan")])),
    "t": maybe(st.sampled_from([datetime(2024, 2, 29, 23, 30, tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC)])),
    "day": maybe(st.sampled_from([date(2024, 5, 6), date(1999, 12, 31)])),
    "yes": maybe(st.booleans()),
    "raw": maybe(st.sampled_from([b"", b"\x00\xff"])),
    "sum": maybe(st.integers(-9, 12)),
}
ROWS = st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=6).map(
    lambda rows: pl.DataFrame(rows, schema=SCHEMA, orient="row")
)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def columns(*names: str) -> st.SearchStrategy[str]:
    return st.sampled_from(names)


TEXT_ATOMS = (
    columns("a", '"b c"', "`b c`", '"a"') | st.sampled_from(TEXTS).map(quoted) | st.text(max_size=3).map(quoted)
)
NUMBER_ATOMS = columns("n", "m", "d", "f", '"sum"') | st.sampled_from(["0", "1", "2", "12", "1.5", ".5", "2.", "1.5e2"])
TRUTH_ATOMS = columns("yes", "TRUE", "false", "NULL")
TIME_ATOMS = columns(
    "t", "t", "CAST(n * 1000000 AS TIMESTAMP)", "STRPTIME(a, '%Y-%m-%d')", "TIMESTAMP '2024-05-06 10:00:00'"
)
SPACE = st.sampled_from([" ", "  ", "\n", " /* sum( */ ", " -- max(\n "])


def call(name: str, *arguments: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    cases = st.sampled_from([name, name.lower(), name.title()])
    return st.tuples(cases, *arguments).map(lambda parts: f"{parts[0]}({', '.join(parts[1:])})")


def joined(*parts: st.SearchStrategy[str] | str) -> st.SearchStrategy[str]:
    drawn = [st.just(part) if isinstance(part, str) else part for part in parts]
    return st.tuples(SPACE, *drawn).map(lambda found: found[0].join(found[1:]))


def signs(*these: str) -> st.SearchStrategy[str]:
    return st.sampled_from(these)


def kinds(inside: bool) -> tuple[st.SearchStrategy[str], ...]:
    """Return strategies of texts, numbers, truths and times; `inside` puts every part into parentheses."""

    def part(strategy: st.SearchStrategy[str], atoms: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return atoms | strategy.map("({})".format) if inside else strategy

    text: st.SearchStrategy[str] = st.deferred(lambda: TEXT_ATOMS | texts)
    number: st.SearchStrategy[str] = st.deferred(lambda: NUMBER_ATOMS | numbers)
    truth: st.SearchStrategy[str] = st.deferred(lambda: TRUTH_ATOMS | truths)
    x, i, is_, at = part(text, TEXT_ATOMS), part(number, NUMBER_ATOMS), part(truth, TRUTH_ATOMS), TIME_ATOMS
    small = st.sampled_from(["0", "1", "2", "-1", "m"])
    pattern = st.sampled_from(["'%a%'", "'A_a%'", "'100%'", "'x\\y'", "''", "'a'"])
    regex = st.sampled_from(["'^a'", "'[[:alpha:]]+'", "'b$'", "'\\d'"])
    texts = st.one_of(
        joined(x, "||", x),
        *(call(name, x) for name in ("TRIM", "LTRIM", "RTRIM", "UPPER", "LOWER", "INITCAP", "REVERSE", "NORMALIZE")),
        *(call(name, x, small) for name in ("LEFT", "RIGHT", "SUBSTR", "LPAD")),
        call("SUBSTRING", x, small, st.sampled_from(["0", "2", "n"])),
        call("REPLACE", x, st.sampled_from(["'a'", "'.'", "UPPER('a')"]), st.sampled_from(["''", "'$1'"])),
        call("SPLIT_PART", x, st.just("','"), small),
        call("COALESCE", x, x, x),
        call("NULLIF", x, x),
        call("CONCAT", x, i, x),
        call("CONCAT_WS", st.just("' '"), x, x),
        call("IF", is_, x, x),
        call("STRFTIME", at, st.just("'%Y-%m'")),
        joined("TRIM(LEADING '0' FROM", x, ")"),
        joined("CAST(", i | is_ | x | at, "AS", signs("VARCHAR", "text", "Char(3)"), ")"),
        joined("CASE WHEN", is_, "THEN", x, "WHEN", is_, "THEN", x, "ELSE", x, "END"),
        joined("CASE", x, "WHEN", x, "THEN", x, "END"),
    )
    numbers = st.one_of(
        joined(i, signs("+", "-", "*", "/", "%", "&", "|", "//"), i),
        joined(signs("-", "+"), i),
        *(call(name, i) for name in ("ABS", "CEIL", "CEILING", "FLOOR", "SIGN", "ROUND")),
        *(call(name, x) for name in ("LENGTH", "CHAR_LENGTH")),
        call("MOD", i, i),
        call("ROUND", i, st.sampled_from(["0", "2"])),
        call("GREATEST", i, i),
        call("LEAST", i, i),
        call("IFNULL", i, i),
        call("STRPOS", x, x),
        joined("POSITION(", x, "IN", x, ")"),
        joined("EXTRACT(", signs("YEAR", "month", "dow", "EPOCH"), "FROM", at, ")"),
        call("DATE_PART", st.just("'day'"), at),
        joined(signs("TRY_CAST(", "CAST("), x | i, "AS", signs("BIGINT", "DOUBLE", "decimal(18,4)", "INT"), ")"),
        joined(columns("n", "a", "f"), "::", signs("bigint", "double precision", "numeric(10)")),
        joined("CASE WHEN", is_, "THEN", i, "ELSE", i, "END"),
    )
    truths = st.one_of(
        joined(x, signs("=", "<>", "!=", "<", "<=", ">", ">="), x),
        joined(i, signs("=", "==", "<>", "<", "<=", ">", ">="), i),
        joined(is_, signs("AND", "OR", "and", "XOR"), is_),
        joined("NOT", is_),
        joined(x, signs("LIKE", "NOT LIKE", "ilike", "NOT ILIKE", "~~"), pattern),
        joined(x, signs("~", "!~", "~*", "RLIKE", "NOT REGEXP"), regex),
        call("REGEXP_LIKE", x, regex),
        call("STARTS_WITH", x, x),
        call("ENDS_WITH", x, x),
        joined(i, signs("IN", "NOT IN"), "(", signs("1", "n"), ",", signs("-2", "NULL"), ")"),
        joined(x, signs("IN", "NOT IN"), "('a', 'b',", x, ")"),
        joined(i, signs("BETWEEN", "NOT BETWEEN"), i, "AND", i),
        joined(x | i | is_, signs("IS NULL", "IS NOT NULL")),
        joined(is_, signs("IS TRUE", "IS NOT TRUE", "IS FALSE", "IS NOT FALSE")),
        joined(at, signs("<", ">="), at),
        joined("day", signs("=", "<"), "DATE '2024-05-06'"),
        joined("raw =", signs("x'00ff'", "X''")),
        joined(i, signs("<=>", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"), i),
    )
    times = joined(at, signs("+", "-"), "INTERVAL", signs("'1 day'", "'1 month 2 days'", "'90 minutes'"))
    return texts, numbers, truths, times


LOOSE = st.one_of(*kinds(False))
TIGHT = st.one_of(*kinds(True))


def outcome(rows: pl.DataFrame, expr: pl.Expr) -> pl.Series | None:
    try:
        return rows.select(expr.alias("r"))["r"]
    except FAILURES:
        return None


def by_polars(text: str) -> pl.Expr | None:
    try:
        return pl.sql_expr(text)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None


def assert_same(ours: pl.Series | None, theirs: pl.Series | None) -> None:
    if theirs is None or ours is None:
        assert ours is theirs
        return
    assert ours.dtype == theirs.dtype
    assert ours.equals(theirs, null_equal=True), (ours.to_list(), theirs.to_list())


@given(TIGHT, ROWS)
def test_what_is_allowed_passes_and_gives_what_polars_gives(text: str, rows: pl.DataFrame) -> None:
    theirs = by_polars(text)
    assume(theirs is not None)
    assert theirs is not None
    assert_same(outcome(rows, compile_expression(text).expr), outcome(rows, theirs))


@given(LOOSE, ROWS)
def test_operators_without_parentheses_bind_as_in_polars_or_are_refused(text: str, rows: pl.DataFrame) -> None:
    theirs = by_polars(text)
    assume(theirs is not None)
    assert theirs is not None
    try:
        ours = compile_expression(text).expr
    except BadExpression as refused:
        assert "expected parentheses" in str(refused)
        return
    assert_same(outcome(rows, ours), outcome(rows, theirs))


OTHER_FUNCTIONS = (
    *("avg", "corr", "count", "covar_pop", "covar_samp", "first", "first_value", "last", "last_value", "max", "median"),
    *("min", "quantile_cont", "quantile_disc", "stddev", "string_agg", "sum", "total", "variance", "array_agg"),
    *("any", "all", "some", "unnest", "lag", "lead", "rank", "dense_rank", "row_number", "columns", "exists", "now"),
    *("random", "uuid", "current_date", "current_timestamp", "date", "time", "timestamp", "string_to_array", "pi"),
    *("bit_and", "bit_count", "array_get", "to_json", "ſum", "ﬁrst", "ＭＡＸ", "mın", "COUNT", "Max"),
)
NAMES = st.sampled_from([*OTHER_FUNCTIONS, *FUNCTIONS])
CALLED = st.tuples(NAMES, st.sampled_from(["{}", '"{}"', "`{}`", "[{}]", "'{}'", "{}/**/", "x.{}", '"{}" '])).map(
    lambda found: found[1].format(found[0])
)
AROUND = (
    *(
        "{} OVER ()",
        "{} OVER (ORDER BY n)",
        "{} FILTER (WHERE yes)",
        "({})",
        "(SELECT {})",
        "{}[1]",
        "{} -- x",
        "n - {}",
    ),
    *(
        "{} /* y */",
        "{} AS z",
        "n > ANY({})",
        "n IN (SELECT {})",
        "NOT {}",
        "{} IGNORE NULLS",
        "/* {} */ n",
        "({}, {})",
    ),
    *("{}::BIGINT", "COALESCE({}, 0)", "CASE WHEN {} THEN n END", "{{# # #}} {}"),
)
HOSTILE: st.SearchStrategy[str] = st.recursive(
    st.sampled_from(
        ["n", "m", "a", "yes", "d", "*", "1", "'a'", '"^.*$"', '"*"', "NULL", "DISTINCT n", "ALL n", "a.*"]
    ),
    lambda inner: st.one_of(
        st.tuples(CALLED, st.lists(inner, max_size=3)).map(lambda found: f"{found[0]}({', '.join(found[1])})"),
        st.tuples(
            inner,
            st.sampled_from(
                ["-", "+", "=", ">", "||", "AND", "IN", "->", "::", "<", "LIKE", ",", ";", "= ANY", "> ALL"]
            ),
            inner,
        ).map(" ".join),
        st.tuples(
            inner,
            st.sampled_from(AROUND),
        ).map(lambda found: found[1].format(found[0], found[0])),
    ),
    max_leaves=6,
)
PIECES = (
    *(
        "n",
        "m",
        "a",
        "yes",
        "sum",
        "max",
        "first",
        "over",
        "select",
        "any",
        "1",
        "0",
        "(",
        ")",
        "(",
        ")",
        ",",
        "'",
        "'",
    ),
    *('"', "`", "-", "--", "/*", "*/", ";", ".", "*", "::", "[", "]", "=", ">", "{#", "#}", "\\"),
)
SOUP = st.tuples(st.sampled_from(["", " "]), st.lists(st.sampled_from(PIECES), max_size=12)).map(
    lambda found: found[0].join(found[1])
)


@given(HOSTILE | SOUP | LOOSE | st.text(max_size=12), ROWS)
def test_no_row_of_an_accepted_expression_depends_on_the_rows_beside_it(text: str, rows: pl.DataFrame) -> None:
    try:
        expression = compile_expression(text)
    except BadExpression as refused:
        assert str(refused)
        return
    dtype = result_type(expression.expr, pl.Schema(SCHEMA))
    assume(dtype is not None)
    assert dtype is not None
    each = wanted("r", expression, dtype)
    found, failed = evaluate(rows, [each])
    assert found["r"].len() == rows.height
    for row in range(rows.height):
        alone, alone_failed = evaluate(rows[row], [each])
        assert (row in failed.get("r", [])) == bool(alone_failed)
        assert found["r"][row : row + 1].equals(alone["r"], null_equal=True), (text, row)


@pytest.mark.parametrize("name", ["sum", "max", "min", "first", "last", "count", "median", "Max", "ANY", "all"])
@pytest.mark.parametrize("quote", ['"{}"(n)', "`{}`(n)", 'n - "{}"(n)', "n > {}(n)", "n = {} (n)", "ABS(`{}`(n))"])
def test_no_spelling_of_an_aggregate_passes(name: str, quote: str) -> None:
    with pytest.raises(BadExpression):
        compile_expression(quote.format(name))
