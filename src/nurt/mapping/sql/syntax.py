"""Check the syntax tree of an expression and write it out for polars.

Only what is named here passes: kinds of nodes, their parts, functions, operators, types. polars gets the text that is
written here, never the parsed text, so two parsers cannot read one text in two ways. Parentheses stay as they were; an
expression whose operators sqlglot and polars would bind differently is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError

from nurt.mapping.sql.compile import FUNCTIONS, NOT_FOR_ONE_ROW, BadExpression
from nurt.mapping.sql.dialect import WORDS_BEFORE_TEXT, Token, TokenType, parse, tokens_of
from nurt.mapping.yaml_lines import meant

_BINARY: dict[type[exp.Expr], tuple[str, int]] = {
    exp.Mul: ("*", 40),
    exp.Div: ("/", 40),
    exp.IntDiv: ("//", 40),
    exp.Mod: ("%", 40),
    exp.DPipe: ("||", 40),
    exp.Add: ("+", 30),
    exp.Sub: ("-", 30),
    exp.Xor: ("XOR", 24),
    exp.BitwiseAnd: ("&", 23),
    exp.BitwiseOr: ("|", 21),
    exp.EQ: ("=", 20),
    exp.NEQ: ("<>", 20),
    exp.LT: ("<", 20),
    exp.LTE: ("<=", 20),
    exp.GT: (">", 20),
    exp.GTE: (">=", 20),
    exp.RegexpILike: ("~*", 20),
    exp.And: ("AND", 10),
    exp.Or: ("OR", 5),
}
"""Operators with two sides: how polars writes each and how tightly polars binds it (larger: tighter)."""

_SAME, _NEGATIVE, _IS, _NOT, _ATOM = 20, 40, 17, 15, 100
_LOOSE: dict[type[exp.Expr], int] = {
    exp.Like: 19,
    exp.ILike: 19,
    exp.RegexpLike: 19,
    exp.In: 20,
    exp.Between: 20,
    exp.Is: _IS,
    exp.Not: _NOT,
}
_RANKS: dict[type[exp.Expr], int] = {
    **{kind: rank for kind, (_, rank) in _BINARY.items()},
    **_LOOSE,
    exp.Neg: _NEGATIVE,
    exp.NullSafeEQ: 0,  # polars' parser takes all that follows IS DISTINCT FROM for its right side
    exp.NullSafeNEQ: 0,
}
_PARTS = frozenset(
    {"MILLENNIUM", "MILLENNIA", "CENTURY", "CENTURIES", "C", "DECADE", "DECADES", "ISOYEAR", "YEAR", "YEARS", "Y"}
    | {"QUARTER", "QUARTERS", "MONTH", "MONTHS", "MON", "MONS", "ISOWEEK", "WEEK", "WEEKS", "DAYOFYEAR", "DOY"}
    | {"DAYOFWEEK", "DOW", "ISODOW", "DAY", "DAYS", "DAYOFMONTH", "D", "HOUR", "HOURS", "H"}
    | {"MINUTE", "MINUTES", "MINS", "MIN", "M", "SECOND", "SECONDS", "SEC", "SECS", "S", "MILLISECOND", "MILLISECONDS"}
    | {"MS", "MICROSECOND", "MICROSECONDS", "US", "NANOSECOND", "NANOSECONDS", "NS", "TIMEZONE", "TIME", "EPOCH"}
)
_SPAN = re.compile(  # polars panics on other texts
    r"\s*\+?(\d{1,9} *(ns|us|ms|s|m|h|d|w|mo|q|y|(nanosecond|microsecond|millisecond|sec|second|min|minute|hour|day"
    r"|week|mon|month|quarter|year)s?)(?![a-z])[ ,]*)+",
    re.IGNORECASE,
)
_NAME = re.compile(r"[^\W\d][\w$#@]*")
_NUMBER = re.compile(r"\d+|(\d+\.\d*|\.\d+)([eE][+-]?\d+)?")
_HEX = re.compile(r"([0-9a-fA-F]{2})*")
_ONE_ARGUMENT = frozenset(("ceil", "ceiling", "floor"))
DEPTH_MAX, CASTS_MAX = 400, 16
"""Levels of an expression, and casts within casts: polars' stack ends some thousand levels down, and the time that it
takes over casts of casts doubles with each."""
_FORMS = frozenset(("NFC", "NFD", "NFKC", "NFKD"))
_FORBIDDEN = {
    "over": "a window looks at other rows",
    "select": "a subquery looks at other rows",
    "exists": "a subquery looks at other rows",
    "filter": "an aggregate looks at other rows",
}


def checked(text: str) -> tuple[str, bool]:
    """Check an expression; return the text for polars, and whether the whole is one call of ROUND.

    Raises BadExpression.
    """
    tree = syntax_tree(text)
    try:
        return Writer(text).write(tree), is_rounded(tree)
    except RecursionError:
        raise _too_deep(text) from None


def syntax_tree(text: str) -> exp.Expr:
    """Parse an expression whose nodes nobody has checked. Raises BadExpression."""
    try:
        tokens = tokens_of(text)
        tree = _parsed(tokens, text)
        _check_depth(tree)
    except SqlglotError as error:
        raise BadExpression(f"not an SQL expression: {text!r}: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise _too_deep(text) from None
    if tree is None:
        raise BadExpression(f"not an SQL expression: {text!r}: something is missing")
    return tree


def is_rounded(tree: exp.Expr) -> bool:
    """Return whether the whole of an expression is one call of ROUND."""
    return type(tree) is exp.Anonymous and tree.name.lower() == "round"


def _too_deep(text: str) -> BadExpression:
    return BadExpression(f"an expression that is nested too deeply: {text[:40]!r}... (expected fewer levels)")


def _parsed(tokens: list[Token], text: str) -> exp.Expr | None:
    if any(token.token_type == TokenType.SEMICOLON for token in tokens):
        raise BadExpression(f"a semicolon in {text!r} (expected one expression)")
    try:
        return parse(tokens, text)
    except ParseError as error:
        for token in tokens:
            word = token.text.lower()
            if token.token_type == TokenType.VAR and word in _FORBIDDEN:
                raise BadExpression(_beyond_the_row(word, _FORBIDDEN[word], text)) from None
        first = error.errors[0] if error.errors else {}
        reason = first.get("description") or "it ends too early"
        if reason.startswith("Required keyword"):
            reason = "something is missing"
        raise BadExpression(f"not an SQL expression: {text!r}: {reason} (near {first.get('highlight')!r})") from None


def _check_depth(tree: exp.Expr | None) -> None:
    """Raise RecursionError for a tree that is too deep; a chain of operators is a deep one."""
    left = [] if tree is None else [(tree, 1, 0)]
    while left:
        node, depth, casts = left.pop()
        casts += isinstance(node, exp.Cast)
        if depth > DEPTH_MAX or casts > CASTS_MAX:
            raise RecursionError
        left += [(child, depth + 1, casts) for child in node.iter_expressions()]


def _beyond_the_row(word: str, why: str, text: str) -> str:
    return f"{word.upper()} in {text!r} (expected an expression over one row: {why})"


class Writer:
    """Writer of one expression; a kind of node without a method is refused.

    Args:
        text: of the whole expression, for complaints.
        names: of other rows, whose columns may be named as `name.column`.
    """

    def __init__(self, text: str, names: Collection[str] = ()) -> None:
        self._text, self._names = text, names

    def write(self, node: object) -> str:
        """Write a node and its parts."""
        if node is None:
            raise BadExpression(f"not an SQL expression: {self._text!r}: something is missing")
        kind = type(node)
        if kind not in _NODES or not isinstance(node, exp.Expr):
            raise self._refusal(node)
        self._check_parts(node)
        return _NODES[kind][0](self, node)

    def _check_parts(self, node: exp.Expr) -> None:
        kind = type(node)
        more = [name for name, value in node.args.items() if value and name not in _NODES[kind][1]]
        if more:
            raise self._bad(f"{kind.__name__.upper()} with {', '.join(more)}", "what docs/mapping.md lists")

    def _refusal(self, node: object) -> BadExpression:
        if isinstance(node, exp.Alias):
            return self._bad("an alias", "one expression; an operator or a quote may be missing")
        if isinstance(node, exp.Star):
            return BadExpression(f"several columns from {self._text!r} (expected one)")
        if isinstance(node, exp.Dot):
            return self._bad("a dot", "the column's name alone; a name with a dot in double quotes")
        if isinstance(node, exp.CurrentDate | exp.CurrentTime | exp.CurrentTimestamp | exp.CurrentUser):
            return self._bad(type(node).__name__, "an expression over one row: a replay must give the same")
        return self._bad(type(node).__name__.upper(), "what docs/mapping.md lists")

    def _bad(self, found: str, expected: str) -> BadExpression:
        return BadExpression(f"{found} in {self._text!r} (expected {expected})")

    def _operand(self, node: object, rank: int, right: bool = False) -> str:
        """Write one side of an operator; sqlglot must have bound it as polars does."""
        own = _RANKS.get(type(node), _ATOM)  # type: ignore[arg-type] # any type may be asked for
        if own < rank or (right and own == rank):
            raise self._bad("operators side by side that are read in more ways than one", "parentheses around one")
        return self.write(node)

    def _column(self, node: exp.Expr) -> str:
        if not isinstance(node.this, exp.Identifier):
            raise self._refusal(node.this)
        name = node.this.name
        if node.args.get("table"):
            if node.args["table"].name not in self._names:
                raise self._bad("a dot", "the column's name alone; a name with a dot in double quotes")
            name = f"{node.args['table'].name}.{name}"
            return '"' + name.replace('"', '""') + '"'
        if not node.this.args.get("quoted") and not _NAME.fullmatch(name):
            raise self._bad(f"{name!r}", "a column's name; one with other signs in double quotes")
        if name == "*" or (name.startswith("^") and name.endswith("$")):
            raise BadExpression(f"several columns from {self._text!r} (expected one)")
        return '"' + name.replace('"', '""') + '"'

    def _literal(self, node: exp.Expr) -> str:
        if node.args.get("is_string"):
            return "'" + node.name.replace("'", "''") + "'"
        if not _NUMBER.fullmatch(node.name):
            raise self._bad(f"a number {node.name!r}", "digits, with a dot at most")
        return node.name

    def _hex(self, node: exp.Expr) -> str:
        if not _HEX.fullmatch(node.name):
            raise self._bad(f"bytes {node.name!r}", "two hexadecimal digits for each byte")
        return f"X'{node.name}'"

    def _constant(self, node: exp.Expr) -> str:
        """Write a constant whose kind is before its text: DATE '2024-05-06'."""
        word, text = node.args.get("this"), node.args.get("expression")
        if word not in WORDS_BEFORE_TEXT or type(text) is not exp.Literal:
            raise self._bad("a constant with a cast", "parentheses around the constant")
        if word == "INTERVAL" and not _SPAN.fullmatch(text.name):
            raise self._bad(f"INTERVAL {text.name!r}", "whole numbers with units, as INTERVAL '1 day'")
        return f"{word} {self._literal(text)}"

    def _binary(self, node: exp.Expr) -> str:
        written: list[str] = []
        while True:  # and not by recursion: chains of || and OR may be long
            sign, rank = _BINARY[type(node)]
            written.append(f" {sign} {self._operand(node.args.get('expression'), rank, right=True)}")
            left = node.args["this"]
            if type(left) not in _BINARY or _BINARY[type(left)][1] < rank:
                written.append(self._operand(left, rank))
                return "".join(reversed(written))
            self._check_parts(left)
            node = left

    def _not_distinct(self, node: exp.Expr) -> str:
        left, right = (self._operand(node.args.get(side), _SAME, True) for side in ("this", "expression"))
        return f"{left} {'<=>' if type(node) is exp.NullSafeEQ else 'IS DISTINCT FROM'} {right}"

    def _matches(self, node: exp.Expr, negated: bool = False) -> str:
        word = {exp.Like: "LIKE", exp.ILike: "ILIKE", exp.RegexpLike: "RLIKE"}[type(node)]  # type: ignore[index]
        if negated or node.args.get("negate"):
            word = f"NOT {word}"
        pattern = self._operand(node.args.get("expression"), _SAME, right=True)
        return f"{self._operand(node.this, _SAME)} {word} {pattern}"

    def _in(self, node: exp.Expr, negated: bool = False) -> str:
        if not node.expressions:
            raise self._bad("IN without a list", "IN (a, b, ...)")
        return f"{self._operand(node.this, _SAME)} {'NOT ' * negated}IN ({self._list(node.expressions)})"

    def _between(self, node: exp.Expr, negated: bool = False) -> str:
        low, high = (self._operand(node.args.get(end), _SAME, right=True) for end in ("low", "high"))
        return f"{self._operand(node.this, _SAME)} {'NOT ' * negated}BETWEEN {low} AND {high}"

    def _is(self, node: exp.Expr, negated: bool = False) -> str:
        what = node.args.get("expression")
        if type(what) not in (exp.Null, exp.Boolean):
            raise self._bad("IS without NULL, TRUE or FALSE", "IS [NOT] NULL, TRUE or FALSE")
        negated = negated or bool(node.args.get("negate"))
        return f"{self._operand(node.this, _IS)} IS {'NOT ' * negated}{self.write(what)}"

    def _negation(self, node: exp.Expr) -> str:
        inner = node.this
        if type(inner) in _NEGATED and not inner.args.get("negate"):
            self._check_parts(inner)
            return _NEGATED[type(inner)](self, inner, True)
        return f"NOT {self._operand(inner, _NOT)}"

    def _negative(self, node: exp.Expr) -> str:
        return f"- {self._operand(node.this, _NEGATIVE)}"  # the space: two signs would begin a comment

    def _case(self, node: exp.Expr) -> str:
        what, default = node.args.get("this"), node.args.get("default")
        written = ["CASE"] if what is None else ["CASE", self.write(what)]
        for branch in node.args.get("ifs") or ():
            written += ["WHEN", self.write(branch.args.get("this")), "THEN", self.write(branch.args.get("true"))]
        if default is not None:
            written += ["ELSE", self.write(default)]
        if len(written) < 4:
            raise self._bad("CASE without WHEN", "CASE WHEN condition THEN value END")
        return " ".join([*written, "END"])

    def _cast(self, node: exp.Expr) -> str:
        to = node.args["to"]
        if type(to) is not exp.DataType:
            raise self._bad("a cast to more than a type", "a type as VARCHAR")
        numbers = [self.write(number) for number in to.expressions]
        if len(numbers) > 2 or not all(number.isdigit() for number in numbers):
            raise self._bad("a type with something else than numbers", "a type as DECIMAL(18,4)")
        size = f"({', '.join(numbers)})" * bool(numbers)
        word = "TRY_CAST" if type(node) is exp.TryCast else "CAST"
        return f"{word}({self.write(node.this)} AS {to.args['kind']}{size})"

    def _extract(self, node: exp.Expr) -> str:
        part = node.this.name.upper()
        if part not in _PARTS:
            raise self._bad(f"EXTRACT of {part!r}", "a part as YEAR")
        return f"EXTRACT({part} FROM {self.write(node.args.get('expression'))})"

    def _position(self, node: exp.Expr) -> str:
        return f"POSITION({self._operand(node.args.get('substr'), _SAME, right=True)} IN {self.write(node.this)})"

    def _substring(self, node: exp.Expr) -> str:
        parts = [node.args.get(name) for name in ("this", "start", "length")]
        return f"SUBSTRING({self._list([part for part in parts if part is not None])})"

    def _trim(self, node: exp.Expr) -> str:
        where, what = node.args.get("position") or "", node.args.get("expression")
        if where not in ("", "LEADING", "TRAILING", "BOTH"):
            raise self._bad(f"TRIM({where}", "LEADING, TRAILING or BOTH")
        named = "" if what is None else f"{self.write(what)} FROM "
        return f"TRIM({where} {named}{self.write(node.this)})"

    def _call(self, node: exp.Expr) -> str:
        name = node.args["this"]
        if not isinstance(name, str):
            raise self._bad(f"a quoted name {node.name!r} that is called", "a function's name without quotes")
        word = name.lower()
        if word in NOT_FOR_ONE_ROW:
            raise BadExpression(_beyond_the_row(name, NOT_FOR_ONE_ROW[word], self._text))
        if word not in FUNCTIONS or not word.isascii():
            raise BadExpression(
                f"unknown function {name!r} in {self._text!r} (expected one that docs/mapping.md lists)"
                + meant(word, FUNCTIONS)
            )
        arguments = node.expressions
        if word in _ONE_ARGUMENT and len(arguments) != 1:
            raise self._bad(f"{name.upper()} of {len(arguments)} values", "one")
        if word == "replace" and len(arguments) > 1 and arguments[1].find(exp.Column) is not None:
            # polars replaces one row at a time then, and refuses batches: by chance, as the rows beside it have nulls
            raise self._bad("REPLACE of what a column holds", "a constant to look for, as REPLACE(text, 'a', 'b')")
        if word == "normalize" and len(arguments) == 2:
            return f"NORMALIZE({self.write(arguments[0])}, {self._form(arguments[1])})"
        return f"{word.upper()}({self._list(arguments)})"

    def _form(self, node: exp.Expr) -> str:
        form = node.name.upper()
        if type(node) is not exp.Column or form not in _FORMS:
            raise self._bad(f"NORMALIZE to {node.name!r}", "NFC, NFD, NFKC or NFKD")
        return form

    def _list(self, nodes: list[exp.Expr]) -> str:
        return ", ".join(self.write(node) for node in nodes)


_Write = Callable[[Writer, exp.Expr], str]
_TWO = frozenset(("this", "expression"))
_NEGATED = {
    exp.Like: Writer._matches,
    exp.ILike: Writer._matches,
    exp.RegexpLike: Writer._matches,
    exp.In: Writer._in,
    exp.Between: Writer._between,
    exp.Is: Writer._is,
}
_NODES: dict[type, tuple[_Write, frozenset[str]]] = {
    **dict.fromkeys(_BINARY, (Writer._binary, _TWO)),
    exp.Column: (Writer._column, frozenset(("this", "table"))),
    exp.Literal: (Writer._literal, frozenset(("this", "is_string"))),
    exp.HexString: (Writer._hex, frozenset(("this",))),
    exp.Introducer: (Writer._constant, _TWO),
    exp.Null: (lambda _writer, _node: "NULL", frozenset()),
    exp.Boolean: (lambda _writer, node: "TRUE" if node.this else "FALSE", frozenset(("this",))),
    exp.Paren: (lambda writer, node: f"({writer.write(node.this)})", frozenset(("this",))),
    exp.NullSafeEQ: (Writer._not_distinct, _TWO),
    exp.NullSafeNEQ: (Writer._not_distinct, _TWO),
    exp.Like: (Writer._matches, _TWO | {"negate"}),
    exp.ILike: (Writer._matches, _TWO | {"negate"}),
    exp.RegexpLike: (Writer._matches, _TWO),
    exp.In: (Writer._in, frozenset(("this", "expressions"))),
    exp.Between: (Writer._between, frozenset(("this", "low", "high"))),
    exp.Is: (Writer._is, _TWO | {"negate"}),
    exp.Not: (Writer._negation, frozenset(("this",))),
    exp.Neg: (Writer._negative, frozenset(("this",))),
    exp.Case: (Writer._case, frozenset(("this", "ifs", "default"))),
    exp.Cast: (Writer._cast, frozenset(("this", "to"))),
    exp.TryCast: (Writer._cast, frozenset(("this", "to", "safe"))),
    exp.Extract: (Writer._extract, _TWO),
    exp.StrPosition: (Writer._position, frozenset(("this", "substr"))),
    exp.Substring: (Writer._substring, frozenset(("this", "start", "length"))),
    exp.Trim: (Writer._trim, _TWO | {"position"}),
    exp.Anonymous: (Writer._call, frozenset(("this", "expressions"))),
}
"""Kinds of nodes that may be in an expression: the method that writes each, and the parts that it may have."""
