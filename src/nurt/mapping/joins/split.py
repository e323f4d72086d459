"""Cut an expression into what its own row says alone and what combines rows.

What one row says alone may fail: it is evaluated where the row is translated, and refuses that row. What combines rows
may not fail, for there is no message to refuse: functions that can fail are not accepted there.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import polars as pl
from sqlglot import exp

from nurt.mapping.joins.types import Mixed
from nurt.mapping.plan import HIDDEN
from nurt.mapping.sql.compile import BadExpression, column, compile_expression
from nurt.mapping.sql.syntax import Writer, is_rounded, syntax_tree
from nurt.mapping.types import Expression
from nurt.mapping.yaml_lines import nearest
from nurt.model.entities import FieldType

_LOGIC = (exp.And, exp.Or, exp.Not, exp.Xor)
_PREDICATES = (
    *(*_LOGIC, exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Is, exp.In, exp.Between),
    *(exp.Like, exp.ILike, exp.RegexpLike, exp.RegexpILike, exp.NullSafeEQ, exp.NullSafeNEQ),
)
_PREDICATE_CALLS = frozenset(("starts_with", "ends_with", "regexp_like"))
_PATTERNS = (exp.Like, exp.ILike, exp.RegexpLike, exp.RegexpILike)
_QUOTIENTS = (exp.Div, exp.IntDiv, exp.Mod)
_STRUCTURE = (exp.If, exp.DataType, exp.Identifier)
_TEXT_TYPES = frozenset(("VARCHAR", "TEXT", "STRING", "CHAR", "CHARACTER", "CHARACTER VARYING", "CHAR VARYING"))


def names_others(text: str) -> bool:
    """Return whether an expression names a column of other rows: `name.column`. Raises BadExpression."""
    return "." in text and any(node.args.get("table") for node in syntax_tree(text).find_all(exp.Column))


def compile_mixed(text: str, names: Collection[str]) -> Expression:
    """Check and compile an expression that names columns of other rows.

    Args:
        names: of these rows.

    Raises BadExpression.
    """
    tree = syntax_tree(text)
    columns = [node for node in tree.find_all(exp.Column) if node.args.get("table")]
    for node in columns:
        if node.table not in names:
            raise BadExpression(f"unknown name {node.table!r} in {text!r} {nearest(node.table, names)}")
    _check_cannot_fail(tree, text)
    rounded = is_rounded(tree)
    cut = _Cut(text)
    written = Writer(text, names).write(cut.apart(tree, False))
    try:
        expr = pl.sql_expr(written)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise BadExpression(f"not an SQL expression: {text!r}: {str(error).splitlines()[0]}") from None
    parts = Mixed(cut.own, cut.types, frozenset((node.table, node.name) for node in columns))
    return Expression(text, expr, _columns_of(parts), rounded, parts)


def column_of(name: str, other: str) -> Expression:
    """Make the expression of one column of another row."""
    whole = f"{other}.{name}"
    return Expression(whole, pl.col(whole), frozenset(), False, Mixed({}, {}, frozenset(((other, name),))))


def as_mixed(expression: Expression, field_type: FieldType = FieldType.STR) -> Expression:
    """Let an expression that only the own row has a part in read a hidden field."""
    if expression.mixed is not None:
        return expression
    if not expression.columns:
        return replace(expression, mixed=Mixed({}, {}, frozenset()))
    name = HIDDEN + expression.text
    parts = Mixed({name: expression}, {name: field_type}, frozenset())
    return Expression(expression.text, pl.col(name), expression.columns, expression.rounded, parts)


def _columns_of(parts: Mixed) -> frozenset[str]:
    return frozenset().union(*(own.columns for own in parts.own.values()))


class _Cut:
    """A cut of one expression: own parts become columns named after them."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.own: dict[str, Expression] = {}
        self.types: dict[str, FieldType] = {}

    def apart(self, node: exp.Expr, condition: bool) -> exp.Expr:
        """Replace the largest parts of a tree that name no other row's column; return the tree.

        Args:
            condition: a truth value is expected here.
        """
        columns = list(node.find_all(exp.Column))
        if not columns:
            return node
        if all(one.args.get("table") is None for one in columns) and not isinstance(node, _STRUCTURE):
            return self._hidden(node, condition)
        if type(node) is exp.Anonymous:
            self._cut_arguments(node)
            return node
        for name, value in list(node.args.items()):
            asks = _asks_for_truth(node, name, condition)
            if isinstance(value, list):
                node.set(name, [self.apart(one, asks) if isinstance(one, exp.Expr) else one for one in value])
            elif isinstance(value, exp.Expr) and type(node) is not exp.Column:
                node.set(name, self.apart(value, asks))
        return node

    def _cut_arguments(self, node: exp.Anonymous) -> None:
        word, arguments = node.name.lower(), node.expressions
        kept = 1 if word == "normalize" else len(arguments)  # its form looks like a column
        cut = [self.apart(one, word == "if" and place == 0) for place, one in enumerate(arguments[:kept])]
        node.set("expressions", cut + arguments[kept:])

    def _hidden(self, node: exp.Expr, condition: bool) -> exp.Expr:
        if isinstance(node, exp.Paren):
            return exp.Paren(this=self._hidden(node.this, condition))
        is_column = type(node) is exp.Column
        expression = column(node.name) if is_column else compile_expression(Writer(self._text).write(node))
        name = HIDDEN + expression.text
        is_truth = condition or isinstance(node, _PREDICATES) or node.name.lower() in _PREDICATE_CALLS
        field_type = FieldType.BOOL if is_truth else FieldType.STR
        if self.types.setdefault(name, field_type) is not field_type:  # one text is asked for as both
            name += f" {field_type.value}"
            self.types[name] = field_type
        self.own[name] = expression
        made = exp.Column(this=exp.Identifier(this=name, quoted=True))
        if isinstance(node, exp.Cast) and not is_truth and node.args["to"].args["kind"] not in _TEXT_TYPES:
            return exp.TryCast(this=made, to=node.args["to"].copy())
        return made


def _asks_for_truth(node: exp.Expr, part: str, condition: bool) -> bool:
    """Say whether a part of a node must be a truth value."""
    if isinstance(node, _LOGIC):
        return True
    if isinstance(node, exp.If):  # a branch of CASE
        return part == "this" and (node.parent is None or node.parent.args.get("this") is None)
    return condition and isinstance(node, exp.Paren)


def _check_cannot_fail(tree: exp.Expr, text: str) -> None:
    """Refuse what can fail where rows are combined."""

    def bad(found: str, expected: str) -> BadExpression:
        return BadExpression(
            f"{found} in {text!r} (expected {expected}: what combines rows must not fail, for there is no message to "
            "refuse)"
        )

    for node in tree.find_all(exp.Expr):
        if not any(one.args.get("table") for one in node.find_all(exp.Column)):
            continue
        if type(node) is exp.Cast:
            raise bad("CAST", "TRY_CAST")
        if isinstance(node, _QUOTIENTS) and not _is_safe(node.args.get("expression")):
            raise bad("division by what rows say", "a number, or NULLIF(..., 0)")
        if isinstance(node, _PATTERNS) and not isinstance(node.args.get("expression"), exp.Literal):
            raise bad("a pattern out of rows", "a constant")
        if type(node) is not exp.Anonymous or not isinstance(node.this, str):
            continue
        word, arguments = node.this.lower(), node.expressions
        if word == "strptime":
            raise bad("STRPTIME", "the text itself, or TRY_CAST")
        if word == "mod" and len(arguments) == 2 and not _is_safe(arguments[1]):
            raise bad("division by what rows say", "a number, or NULLIF(..., 0)")
        if word == "regexp_like" and len(arguments) > 1 and not isinstance(arguments[1], exp.Literal):
            raise bad("a pattern out of rows", "a constant")


def _is_safe(divisor: object) -> bool:
    while isinstance(divisor, exp.Paren | exp.TryCast):
        divisor = divisor.this
    if isinstance(divisor, exp.Anonymous) and isinstance(divisor.this, str) and divisor.this.lower() == "nullif":
        return len(divisor.expressions) == 2 and divisor.expressions[1].name == "0"
    return isinstance(divisor, exp.Literal) and not divisor.is_string and float(divisor.name) != 0
