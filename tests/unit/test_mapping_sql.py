"""Expressions give a row's value from that row alone."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest

from nurt.mapping.sql.compile import FUNCTIONS, BadExpression, compile_expression
from nurt.mapping.sql.evaluate import evaluate, result_type, wanted
from nurt.mapping.sql.syntax import checked

ROWS = pl.DataFrame(
    {
        "a": ["  Ala ma,kota ", "b", "", None, "00012"],
        "n": [1, -7, 0, None, 12],
        "d": [Decimal("1.50"), Decimal("-2.25"), Decimal("0.00"), None, Decimal("12.00")],
        "f": [1.005, -0.5, 0.0, None, 2.675],
        "t": [datetime(2024, 5, month, 23, 30, tzinfo=UTC) if month != 4 else None for month in range(1, 6)],
        "s": ["06.05.2024", "01.02.2023", "31.12.1999", None, "29.02.2024"],
    },
    schema_overrides={"d": pl.Decimal(38, 2), "t": pl.Datetime("us", "UTC")},
)

EXAMPLES = {
    "abs": "ABS(n)",
    "cast": "CAST(n AS VARCHAR)",
    "ceil": "CEIL(f)",
    "ceiling": "CEILING(f)",
    "char_length": "CHAR_LENGTH(a)",
    "coalesce": "COALESCE(a, s, 'x')",
    "concat": "CONCAT(a, n)",
    "concat_ws": "CONCAT_WS('-', a, s)",
    "date_part": "DATE_PART('year', t)",
    "ends_with": "ENDS_WITH(a, 'b')",
    "extract": "EXTRACT(YEAR FROM t)",
    "floor": "FLOOR(f)",
    "greatest": "GREATEST(n, 3)",
    "if": "IF(n > 0, a, s)",
    "ifnull": "IFNULL(a, s)",
    "initcap": "INITCAP(a)",
    "least": "LEAST(n, 3)",
    "left": "LEFT(a, 3)",
    "length": "LENGTH(a)",
    "lower": "LOWER(a)",
    "lpad": "LPAD(a, 10, '0')",
    "ltrim": "LTRIM(a)",
    "mod": "MOD(n, 5)",
    "normalize": "NORMALIZE(a, NFKC)",
    "nullif": "NULLIF(n, 0)",
    "position": "POSITION('a' IN a)",
    "regexp_like": "REGEXP_LIKE(a, '^ +A')",
    "replace": "REPLACE(a, 'a', 'o')",
    "reverse": "REVERSE(a)",
    "right": "RIGHT(a, 3)",
    "round": "ROUND(f, 2)",
    "rpad": "RPAD(a, 10, ' ')",
    "rtrim": "RTRIM(a)",
    "sign": "SIGN(n)",
    "split_part": "SPLIT_PART(a, ',', 1)",
    "starts_with": "STARTS_WITH(a, 'b')",
    "strftime": "STRFTIME(t, '%Y-%m')",
    "strpos": "STRPOS(a, 'a')",
    "strptime": "STRPTIME(s, '%d.%m.%Y')",
    "substr": "SUBSTR(a, 1, 3)",
    "substring": "SUBSTRING(a, 2, 3)",
    "trim": "TRIM(a)",
    "try_cast": "TRY_CAST(a AS BIGINT)",
    "upper": "UPPER(a)",
}
OTHERS = (
    "CASE n WHEN 1 THEN 'x' WHEN 12 THEN 'y' END",
    "CASE WHEN n > 0 THEN d ELSE 0 END",
    "a || '-' || s",
    "a LIKE '%ko%'",
    "n IN (1, 12) AND a IS NOT NULL",
    "n BETWEEN 0 AND 5",
    "NOT (n = 1)",
    "d * n",
    "n % 5",
    "(n & 4) <> 0",
    "t + INTERVAL '1 day'",
    "a ~ 'b$'",
    "n::varchar",
    "TRIM(LEADING '0' FROM a)",
    "CAST(n * 1000000 AS TIMESTAMP)",
)


def test_every_function_of_the_table_has_an_example_here() -> None:
    assert set(EXAMPLES) == set(FUNCTIONS)


@pytest.mark.parametrize("text", [*EXAMPLES.values(), *OTHERS])
def test_a_value_does_not_depend_on_the_other_rows(text: str) -> None:
    expr = compile_expression(text).expr.alias("r")
    together = ROWS.select(expr)["r"]
    alone = [ROWS[row].select(expr)["r"] for row in range(ROWS.height)]
    assert len(together) == ROWS.height
    assert together.to_list() == [series[0] for series in alone]
    assert {series.dtype for series in alone} == {together.dtype}
    assert together.null_count() < ROWS.height


@pytest.mark.parametrize(
    "name", ["order", "group", "user", "select", "date", "Knt_NIP", "KntKarty$", "żółw", "over", "max"]
)
def test_a_name_alone_is_a_column_whatever_sql_thinks_of_it(name: str) -> None:
    expression = compile_expression(f" {name} ")
    assert expression.columns == {name}
    assert pl.DataFrame({name: [1]}).select(expression.expr).item() == 1


def test_quoted_names_are_columns_and_may_hold_anything_else() -> None:
    assert compile_expression('UPPER("e-mail.adres")').columns == {"e-mail.adres"}


@pytest.mark.parametrize("text", ["NULL", "true", "'PL'", "1.5", "7"])
def test_a_constant_names_no_column(text: str) -> None:
    assert compile_expression(text).columns == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "SUM(n)", "max(n)", "COUNT(*)", "FIRST(a)", "ROW_NUMBER() OVER (ORDER BY n)", "n OVER ()",
        "LAG(n) OVER (ORDER BY n)", "NOW()", "RANDOM()", "DATE(s)", "(SELECT 1)", "n IN (SELECT 1)",
        "EXISTS (SELECT 1)", "UNNEST(a)", "MD5(a)", "COLUMNS('a')", "*", "a, n", "a n", "a AS n", "t.a", '"^.*$"', "",
        "(", "'open", "a; n", "a;", "CASE WHEN", "STRPTIME(s)", "$1", "?", ":x", "@x", "a[1]", "(a, n)", "()", "-- a",
        "[a]", "n > ANY(n)", "n >= ALL (n)", "n = SOME (n)", "a LIKE ANY ('x')", '"sum"(n)', "`max`(n)", '"count"(n)',
        '"first"(a)', 'n - "max"(n)', 'ABS("Sum" (n))', '"ABS"(n)', "ſum(n)", "ABS(n) OVER ()",
        "ABS(n) FILTER (WHERE n > 1)", "LEAST(*)", "COALESCE(DISTINCT n)", "COALESCE(n ORDER BY n)",
        "COALESCE(n) IGNORE NULLS", "COALESCE(a AS n)", "f(x -> x)", "a -> 'b'", "a ->> 'b'", "n IN n", "n IN ()",
        "n IN (1, (SELECT 1))", "a 'b'", "'a' 'b'", "a COLLATE x", "ARRAY[n]", "t AT TIME ZONE 'UTC'",
        "current_date > t", "CAST(n AS INT[])", "CAST(n AS STRUCT<a INT>)", "CAST(a AS JSON)",
        "CAST(a AS DATE FORMAT 'x')", "INTERVAL '1 fortnight' + t", "t + INTERVAL '1i'", "a LIKE 'x' ESCAPE '!'",
        "1e3", "CEIL(n, 2)", "n BETWEEN SYMMETRIC 1 AND 2", "EXTRACT(x FROM t)", '"*"', "a.*", "x.ABS(n)", "SELECT a",
        "a UNION SELECT n",
        "REPLACE(a, s, '')",
    ],
)  # fmt: skip
def test_what_looks_beyond_one_row_or_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(BadExpression) as caught:
        compile_expression(text)
    assert str(caught.value)


def test_words_within_strings_quotes_and_comments_are_not_functions() -> None:
    assert compile_expression("a || 'sum(x) over '' (select)' || \"max(y)\" -- count(*)\n").columns == {"a", "max(y)"}


@pytest.mark.parametrize(
    "text",
    ["n IS NULL = TRUE", "a LIKE 'x' = TRUE", "n = 1 = NOT TRUE", "a IS DISTINCT FROM s AND n = 1"],
)
def test_operators_that_are_read_in_more_ways_than_one_need_parentheses(text: str) -> None:
    with pytest.raises(BadExpression, match="expected parentheses around one"):
        compile_expression(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a||'it''s \\n'  -- a comment", """"a" || 'it''s \\n'"""),
        ('"a""b" /* sum(n) */ = `c"d`', '"a""b" = "c""d"'),
        ("n::bigint", 'CAST("n" AS BIGINT)'),
        ("- -n", '- - "n"'),
        ("a not like '%x' and not n in (1,2)", """"a" NOT LIKE '%x' AND "n" NOT IN (1, 2)"""),
        ("cast(n as Decimal ( 18 , 4 ))", 'CAST("n" AS DECIMAL(18, 4))'),
        ("Upper(order)", 'UPPER("order")'),
        ("n = 1 is not true", '"n" = 1 IS NOT TRUE'),
    ],
)
def test_what_polars_is_given_is_written_from_the_tree(text: str, written: str) -> None:
    assert checked(text)[0] == written
    assert compile_expression(text).expr.meta.eq(pl.sql_expr(written))


def test_an_expression_may_be_long_and_not_endlessly_deep() -> None:
    long = compile_expression(" || ".join(["a"] * 300)).expr
    assert ROWS.select(long.str.len_chars())[1, 0] == 300
    assert compile_expression("(" * 20 + "n + 1" + ")" * 20).columns == {"n"}
    with pytest.raises(BadExpression):
        compile_expression("(" * 2000 + "n + 1" + ")" * 2000)


def test_all_rows_have_a_value_where_all_choose_alike() -> None:
    expression = compile_expression("NULLIF('', NULLIF('', a))")
    rows = pl.DataFrame({"a": ["x", "y", "z"]})
    assert evaluate(rows, [wanted("r", expression, pl.String())])[0]["r"].to_list() == [None] * 3


def test_an_operator_that_no_value_of_a_type_has_is_known_before_any_row_comes() -> None:
    assert result_type(compile_expression("n % 5").expr, ROWS.schema) == pl.Int64
    assert result_type(compile_expression("CASE WHEN n = 1 THEN d % 5 END").expr, ROWS.schema) is None


def test_a_mapping_of_columns_does_without_the_parser() -> None:
    code = (
        "import sys, nurt.cli; from nurt.mapping.sql.compile import compile_expression; compile_expression('email');"
        "print('sqlglot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("text", "rounded"),
    [
        ("ROUND(f * 1.23, 2)", True),
        ("round (f)", True),
        ("ROUND(f, 2) * 2", False),
        ("ROUND(f) + ROUND(n)", False),
        ("CONCAT(ROUND(f, 2), ')')", False),
        ("ROUND(CASE WHEN a = ')' THEN f END, 2)", True),
        ("f", False),
    ],
)
def test_only_an_outermost_round_makes_a_float_exact(text: str, rounded: bool) -> None:
    assert compile_expression(text).rounded is rounded
