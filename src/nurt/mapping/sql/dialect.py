"""Dialect of expressions for sqlglot: the words and operators that polars reads, parsed into a syntax tree.

Calls stay calls of a name and types stay words; sqlglot must translate nothing. Import this module late: sqlglot is 10
MB.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlglot import exp
from sqlglot import parser as parsing
from sqlglot import tokens as lexing
from sqlglot.dialects.dialect import Dialect
from sqlglot.tokenizer_core import Token, TokenType

TYPES = frozenset(
    {"VARCHAR", "TEXT", "STRING", "CHAR", "CHARACTER", "CLOB", "UUID", "CHARACTER VARYING", "CHAR VARYING"}
    | {"BYTEA", "BYTES", "BINARY", "BLOB", "VARBINARY", "BOOLEAN", "BOOL", "DATE", "TIME", "DATETIME", "TIMESTAMP"}
    | {"TINYINT", "SMALLINT", "MEDIUMINT", "INT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER"}
    | {"UBIGINT", "UHUGEINT", "UINT", *(f"{sign}INT{n}" for sign in ("", "U") for n in (1, 2, 4, 8, 16, 32, 64))}
    | {"INT128", "INTERVAL", "DECIMAL", "NUMERIC", "DEC", "BIGDECIMAL", "REAL", "DOUBLE", "DOUBLE PRECISION", "FLOAT"}
    | {"FLOAT4", "FLOAT8"}
    | {f"{word} UNSIGNED" for word in ("TINYINT", "SMALLINT", "MEDIUMINT", "INT", "INTEGER", "BIGINT")}
)
"""Types that a value may be cast to; each looks at the value alone."""

WORDS_BEFORE_TEXT = frozenset(("DATE", "TIME", "DATETIME", "TIMESTAMP", "INTERVAL"))
"""Words that make a constant of the text after them."""

_KEYWORDS = frozenset(
    {"AND", "AS", "BETWEEN", "CASE", "DISTINCT", "ELSE", "END", "FALSE", "FOR", "FROM", "ILIKE", "IN", "IS"}
    | {"LIKE", "NOT", "NULL", "OR", "REGEXP", "RLIKE", "THEN", "TRUE", "WHEN", "XOR"}
    | {"CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "CURRENT_USER"}
)
_SIGNS = frozenset(("==", "::", "||", ">=", "<=", "<>", "!=", "<=>", "~~", "~~*", "~*", "/*+"))


class _Tokenizer(lexing.Tokenizer):
    IDENTIFIERS: ClassVar = ['"', "`"]
    HEX_STRINGS: ClassVar = [("x'", "'"), ("X'", "'")]
    VAR_SINGLE_TOKENS: ClassVar = {"$", "#", "@"}
    COMMANDS: ClassVar = set()
    KEYWORDS: ClassVar = {
        **{word: token for word, token in lexing.Tokenizer.KEYWORDS.items() if word in _KEYWORDS or word in _SIGNS},
        "//": TokenType.DIV,
        "~": TokenType.RLIKE,
    }


class _Parser(parsing.Parser):
    FUNCTIONS: ClassVar = {}
    FUNCTION_PARSERS: ClassVar = {
        **{
            name: parsing.Parser.FUNCTION_PARSERS[name]
            for name in ("CAST", "TRY_CAST", "EXTRACT", "POSITION", "SUBSTRING", "TRIM")
        },
        "SUBSTR": parsing.Parser.FUNCTION_PARSERS["SUBSTRING"],
    }
    NO_PAREN_FUNCTION_PARSERS: ClassVar = {"CASE": parsing.Parser.NO_PAREN_FUNCTION_PARSERS["CASE"]}
    PLACEHOLDER_PARSERS: ClassVar = {}
    LAMBDAS: ClassVar = {}
    COLUMN_OPERATORS: ClassVar = {
        token: parsing.Parser.COLUMN_OPERATORS[token] for token in (TokenType.DOT, TokenType.DCOLON)
    }
    BITWISE: ClassVar = {
        TokenType.AMP: exp.BitwiseAnd,
        TokenType.PIPE: exp.BitwiseOr,
        TokenType.XOR: exp.Xor,
    }
    FACTOR: ClassVar = {
        TokenType.DIV: exp.IntDiv,
        TokenType.DPIPE: exp.DPipe,
        TokenType.MOD: exp.Mod,
        TokenType.SLASH: exp.Div,
        TokenType.STAR: exp.Mul,
    }
    RANGE_PARSERS: ClassVar = {
        token: parsing.Parser.RANGE_PARSERS[token]
        for token in (
            *(TokenType.BETWEEN, TokenType.ILIKE, TokenType.IN, TokenType.IRLIKE, TokenType.IS, TokenType.LIKE),
            TokenType.RLIKE,
        )
    }
    UNARY_PARSERS: ClassVar = {
        TokenType.PLUS: lambda self: self._parse_plus(),
        TokenType.NOT: parsing.Parser.UNARY_PARSERS[TokenType.NOT],
        TokenType.DASH: parsing.Parser.UNARY_PARSERS[TokenType.DASH],
    }
    IS_PREDICATE_PRECEDENCE = parsing.IsPredicatePrecedence.LOW

    def _parse_plus(self) -> exp.Expr | None:
        """Read a plus sign; polars reads it as `0 +`, except before a number."""
        operand = self._parse_unary()
        if operand is None or (isinstance(operand, exp.Literal) and not operand.is_string):
            return operand
        return exp.Paren(this=exp.Add(this=exp.Literal.number(0), expression=operand))

    def _parse_type(self, parse_interval: bool = True, fallback_to_identifier: bool = False) -> exp.Expr | None:
        word = self._curr.text.upper()
        if self._next.token_type == TokenType.STRING and word in WORDS_BEFORE_TEXT and self._is_word(self._curr):
            self._advance(2)
            text = exp.Literal.string(self._prev.text)
            return self._parse_column_ops(exp.Introducer(this=word, expression=text))
        return super()._parse_type(False, fallback_to_identifier)

    def _parse_types(self, check_func: bool = False, *_args: Any, **_kwargs: Any) -> exp.Expr | None:
        """Read the type of a cast: one word or two, and its numbers."""
        if check_func or not self._is_word(self._curr):
            return None
        two = f"{self._curr.text} {self._next.text}".upper()
        words = two if two in TYPES and self._is_word(self._next) else self._curr.text.upper()
        if words not in TYPES:
            self.raise_error(f"Unknown type {words}")
        self._advance(1 + words.count(" "))
        numbers = self._parse_wrapped_csv(self._parse_primary) if self._match(TokenType.L_PAREN, advance=False) else []
        return exp.DataType(this=exp.DType.USERDEFINED, kind=words, expressions=numbers)

    def _build_predicate(
        self, klass: Any, this: exp.Expr | None, expression: exp.Expr | None, *_args: Any, **_kwargs: Any
    ) -> exp.Expr:
        """Make a comparison as it was written: no parentheses are added."""
        return self.expression(klass(this=this, expression=expression))

    @staticmethod
    def _is_word(token: Token) -> bool:
        return token.token_type == TokenType.VAR


class _Expressions(Dialect):
    Tokenizer = _Tokenizer
    Parser = _Parser


_DIALECT = _Expressions()
__all__ = ["TYPES", "WORDS_BEFORE_TEXT", "Token", "TokenType", "parse", "tokens_of"]


def tokens_of(text: str) -> list[Token]:
    """Split an expression into tokens. Raises sqlglot.errors.TokenError."""
    return _DIALECT.tokenize(text)


def parse(tokens: list[Token], text: str) -> exp.Expr | None:
    """Parse the tokens of one expression. Raises sqlglot.errors.ParseError."""
    return next(iter(_DIALECT.parser().parse_into(exp.Expr, tokens, text)), None)
