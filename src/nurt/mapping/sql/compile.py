"""Check and compile the SQL expressions of a mapping.

An expression must make a row's field from that row alone: other rows of the batch must not matter, else a replay in
other batches would make other profiles. So a table names the functions that look at one row and never change (no
aggregates, windows, subqueries, clocks, or formats guessed from the values). polars gets the text that is written from
the checked syntax tree, never the original text.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import polars as pl

from nurt.mapping.types import Expression

FUNCTIONS: dict[str, str] = {
    "abs": "ABS(x)",
    "cast": "CAST(x AS type): also x::type; a value that cannot be cast refuses its row",
    "ceil": "CEIL(x)",
    "ceiling": "CEILING(x): the same as CEIL",
    "char_length": "CHAR_LENGTH(text): the same as LENGTH",
    "coalesce": "COALESCE(a, b, ...): the first that is not null",
    "concat": "CONCAT(a, b, ...): joined, nulls skipped",
    "concat_ws": "CONCAT_WS(' ', a, b): joined with something between, nulls skipped",
    "date_part": "DATE_PART('year', x): in UTC",
    "ends_with": "ENDS_WITH(text, 'x')",
    "extract": "EXTRACT(YEAR FROM x): in UTC",
    "floor": "FLOOR(x)",
    "greatest": "GREATEST(a, b, ...)",
    "if": "IF(condition, a, b)",
    "ifnull": "IFNULL(a, b): b where a is null",
    "initcap": "INITCAP(text)",
    "least": "LEAST(a, b, ...)",
    "left": "LEFT(text, 3)",
    "length": "LENGTH(text): characters",
    "lower": "LOWER(text)",
    "lpad": "LPAD(text, 10, '0')",
    "ltrim": "LTRIM(text)",
    "mod": "MOD(x, 10)",
    "normalize": "NORMALIZE(text, NFKC)",
    "nullif": "NULLIF(a, b): null when they are equal",
    "position": "POSITION('x' IN text): from 1; 0 when it is not there",
    "regexp_like": "REGEXP_LIKE(text, 'pattern'): also text ~ 'pattern'",
    "replace": "REPLACE(text, 'a', 'b'): 'a' is a constant",
    "reverse": "REVERSE(text)",
    "right": "RIGHT(text, 3)",
    "round": "ROUND(x, 2): half to even",
    "rpad": "RPAD(text, 10, ' ')",
    "rtrim": "RTRIM(text)",
    "sign": "SIGN(x)",
    "split_part": "SPLIT_PART(text, ',', 1)",
    "starts_with": "STARTS_WITH(text, 'x')",
    "strftime": "STRFTIME(x, '%Y-%m'): in UTC",
    "strpos": "STRPOS(text, 'x'): from 1; 0 when it is not there",
    "strptime": "STRPTIME(text, '%d.%m.%Y'): a timestamp without zone",
    "substr": "SUBSTR(text, 1, 3): from 1",
    "substring": "SUBSTRING(text, 1, 3): the same as SUBSTR",
    "trim": "TRIM(text)",
    "try_cast": "TRY_CAST(x AS type): null where it cannot be cast",
    "upper": "UPPER(text)",
}
"""Functions that expressions may use, each with its form of call."""

NOT_FOR_ONE_ROW = {
    **dict.fromkeys(
        ["all", "any", "avg", "count", "first", "last", "max", "median", "min", "some", "stddev", "sum", "variance"],
        "an aggregate looks at other rows",
    ),
    **dict.fromkeys(["rank", "dense_rank", "row_number", "lag", "lead", "unnest"], "a window looks at other rows"),
    **dict.fromkeys(["now", "random", "current_timestamp"], "a replay must give the same"),
    **dict.fromkeys(("date", "timestamp"), "the format would be guessed; STRPTIME(x, '%Y-%m-%d') names it"),
}
"""Functions that are known and refused, each with the reason."""

_CONSTANTS = frozenset(("null", "true", "false"))
_PLAIN_NAME = re.compile(r"[^\W\d][\w$#]*")


class BadExpression(ValueError):
    """Refusal of an expression; the text says what was found and what was expected."""


def compile_expression(text: str, names: Collection[str] = ()) -> Expression:
    """Check and compile one expression; a name alone is a column, even if it is a word of SQL.

    Args:
        names: of other rows, whose columns may be used, as `name.column`.

    Raises BadExpression.
    """
    text = text.strip()
    if _PLAIN_NAME.fullmatch(text) and text.lower() not in _CONSTANTS:
        return column(text)
    if names and "." in text:
        from nurt.mapping.joins.split import compile_mixed, names_others

        if names_others(text):
            return compile_mixed(text, names)
    from nurt.mapping.sql.syntax import checked  # sqlglot is 10 MB, and a mapping may name columns only

    written, rounded = checked(text)
    try:
        expr = pl.sql_expr(written)
        names = frozenset(expr.meta.root_names())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).split("\n", 1)[0].split(" (found", 1)[0]
        raise BadExpression(f"not an SQL expression: {text!r}: {reason}") from None
    return Expression(text, expr, names, rounded)


def column(name: str) -> Expression:
    """Make the expression of one column."""
    return Expression(name, pl.col(name), frozenset((name,)), False)
