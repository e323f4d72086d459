"""Turn the result of an expression into a canonical field's type, exactly or not at all.

A conversion is a polars expression that is null where a result cannot become the field; a result that was not null and
became null is refused. Only text that may be a date-time is looked at in Python, once for each distinct value;
everything else stays in columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

import polars as pl

from nurt.model.entities import FieldType
from nurt.model.entity_frame import POLARS_TYPES
from nurt.model.refusal import Reason

AMOUNT_DECIMALS = 4
AMOUNT_UNIT = 10**AMOUNT_DECIMALS
INT64_MAX = 2**63 - 1
FLOAT_UNITS_MAX = 2**53 // AMOUNT_UNIT
"""The largest float whose ten-thousandths are still exact."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_TRUE, _FALSE = ("t", "true", "yes", "y", "1"), ("f", "false", "no", "n", "0")
_AMOUNT_TEXT = r"^\s*([+-]?)([0-9]{1,14})(?:\.([0-9]{1,4})0*)?\s*$"
_DIGITS_PER_PART = 14
BLANK = r"^[\x00-\x20]*$"
_DATE_WITH_OFFSET = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(Z|[+-][0-9]{2}:?[0-9]{2})")
"""Source: java.time.format.DateTimeFormatter.ISO_OFFSET_DATE, which `time.precision.mode=isostring` writes."""
_FIRST_VISIBLE = "!"  # U+0021


@dataclass(frozen=True, slots=True)
class Conversion:
    """Conversion of an expression's result to a field."""

    value: Callable[[pl.Expr], pl.Expr]
    reason: Reason = Reason.WRONG_TYPE  # reason of refusals
    detail: str = ""  # of refusals: types and what was expected, never a value
    never: bool = False  # the type cannot become the field's type: every value is refused
    as_it_is: bool = False  # the value itself is the result


def conversion(field_type: FieldType, dtype: pl.DataType, zone: str, rounded: bool) -> Conversion:
    """Choose how results of type `dtype` become a field; a type that cannot is refused where not null.

    `zone` is for texts without an offset and for the day of a point in time; `rounded` lets a float become money.
    """
    if dtype == pl.Null:
        return Conversion(lambda e: e.cast(POLARS_TYPES[field_type]))
    chosen = _CHOICES[field_type](dtype, zone, rounded)
    if chosen is not None:
        return chosen
    hint = "; write ROUND(..., 2) to make it exact" if field_type is FieldType.AMOUNT and dtype.is_float() else ""
    return Conversion(
        lambda _: pl.repeat(None, pl.len(), dtype=POLARS_TYPES[field_type]),
        Reason.WRONG_TYPE,
        f"{dtype} cannot become {field_type.value}{hint}",
        never=True,
    )


def plain_text(expr: pl.Expr, dtype: pl.DataType) -> pl.Expr | None:
    """Write whole numbers, decimals and texts as text, one way for each value; None for other types."""
    if dtype in (pl.String, pl.Enum, pl.Categorical):
        return expr.cast(pl.String)
    if dtype.is_integer():
        return expr.cast(pl.String)
    if isinstance(dtype, pl.Decimal):
        text = expr.cast(pl.String)
        return text.str.strip_chars_end("0").str.strip_chars_end(".") if dtype.scale else text
    return None


def blank_to_null(columns: dict[str, pl.Series]) -> None:
    """Turn empty text, and text of nothing but ASCII white space, into null, in every text column.

    Nearly no column has such a text, and one comparison of the first byte shows it.
    """
    for name, column in columns.items():
        if column.dtype == pl.String and (column < _FIRST_VISIBLE).any():
            columns[name] = column.set(column.str.contains(BLANK), None)


def refused(result: pl.Series, value: pl.Series) -> pl.Series | None:
    """Say which results became null by their conversion; None when none did. Blank text counts as null before."""
    if value.null_count() == result.null_count():
        return None
    lost = value.is_null() & result.is_not_null()
    return lost & ~result.str.contains(BLANK).fill_null(True) if result.dtype == pl.String else lost


def _to_text(dtype: pl.DataType, zone: str, rounded: bool) -> Conversion | None:
    if dtype == pl.String:
        return Conversion(lambda e: e, as_it_is=True)
    if plain_text(pl.lit(0), dtype) is None:
        return None
    return Conversion(lambda e: plain_text(e, dtype))  # type: ignore[arg-type, return-value]


def _to_bool(dtype: pl.DataType, zone: str, rounded: bool) -> Conversion | None:
    if dtype == pl.Boolean:
        return Conversion(lambda e: e, as_it_is=True)
    if dtype.is_integer() or dtype.is_decimal():
        return Conversion(
            lambda e: pl.when((e == 0) | (e == 1)).then(e == 1), Reason.WRONG_TYPE, f"{dtype} other than 0 and 1"
        )
    if dtype == pl.String:
        meaning = dict.fromkeys(_TRUE, True) | dict.fromkeys(_FALSE, False)
        return Conversion(
            lambda e: (
                e.str.strip_chars().str.to_lowercase().replace_strict(meaning, default=None, return_dtype=pl.Boolean)
            ),
            Reason.WRONG_TYPE,
            "text that is none of t, f, true, false, yes, no, y, n, 1, 0",
        )
    return None


def _to_ts(dtype: pl.DataType, zone: str, rounded: bool) -> Conversion | None:
    if isinstance(dtype, pl.Datetime):
        return Conversion(lambda e: e.dt.cast_time_unit("us").to_physical())
    if dtype == pl.Date:
        return Conversion(lambda e: e.cast(pl.Datetime("us")).to_physical())
    if dtype == pl.String:
        return _from_texts(lambda text: _ts_of_text(text, zone), "text that is no ISO 8601 date-time")
    return None


def _to_day(dtype: pl.DataType, zone: str, rounded: bool) -> Conversion | None:
    if dtype == pl.Date:
        return Conversion(lambda e: e.to_physical().cast(pl.Int64))
    if isinstance(dtype, pl.Datetime):
        aware = dtype.time_zone is not None
        return Conversion(
            lambda e: (e.dt.convert_time_zone(zone) if aware else e).dt.date().to_physical().cast(pl.Int64),
        )
    if dtype == pl.String:
        return _from_texts(lambda text: _day_of_text(text, zone), "text that is no ISO 8601 date")
    return None


def _from_texts(parse: Callable[[str], int | None], detail: str) -> Conversion:
    """Parse each distinct text once; white space alone is null, any other text that does not parse is refused."""

    def parse_all(texts: pl.Series) -> pl.Series:
        distinct = texts.drop_nulls().unique()
        found = {text: parse(text) for text in distinct.to_list()}
        return texts.replace_strict(found, default=None, return_dtype=pl.Int64)

    return Conversion(
        lambda e: e.map_batches(parse_all, return_dtype=pl.Int64),
        Reason.WRONG_TYPE,
        detail,
    )


def _ts_of_text(text: str, zone: str) -> int | None:
    text = text.strip()
    try:
        moment = datetime.fromisoformat(_with_a_time(text))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=ZoneInfo(zone))
        return (moment - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        return None


def _with_a_time(text: str) -> str:
    """Put midnight into a date with an offset, which `fromisoformat` does not read."""
    return f"{text[:10]}T00:00:00{text[10:]}" if _DATE_WITH_OFFSET.fullmatch(text) else text


def _day_of_text(text: str, zone: str) -> int | None:
    text = text.strip()
    if _DATE_WITH_OFFSET.fullmatch(text):
        text = text[:10]  # the date that is written
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment = moment.astimezone(ZoneInfo(zone))
        return moment.date().toordinal() - _EPOCH_DAY
    except (ValueError, OverflowError):
        return None


def _to_amount(dtype: pl.DataType, zone: str, rounded: bool) -> Conversion | None:
    if dtype.is_integer():
        units_max = INT64_MAX // AMOUNT_UNIT
        return Conversion(
            lambda e: pl.when(e.is_between(-units_max, units_max)).then(e).cast(pl.Int64) * AMOUNT_UNIT,
            Reason.OUT_OF_RANGE,
            f"a whole number beyond {units_max}",
        )
    if isinstance(dtype, pl.Decimal):
        return _from_decimal(dtype.scale)
    if dtype == pl.String:
        return Conversion(
            _amount_of_text,
            Reason.WRONG_TYPE,
            f"text that is no number with at most {AMOUNT_DECIMALS} decimals",
        )
    if dtype.is_float() and rounded:
        return Conversion(
            lambda e: (
                pl.when(e.is_finite() & (e.abs() <= FLOAT_UNITS_MAX)).then((e * AMOUNT_UNIT).round(0)).cast(pl.Int64)
            ),
            Reason.OUT_OF_RANGE,
            f"a float beyond {FLOAT_UNITS_MAX}, or no number",
        )
    return None


def _from_decimal(scale: int) -> Conversion:
    """Shift the decimal's digits to ten-thousandths; a digit that would be lost, or a sum past int64, is refused."""
    if scale <= AMOUNT_DECIMALS:
        factor = 10 ** (AMOUNT_DECIMALS - scale)

        def value(e: pl.Expr) -> pl.Expr:
            digits = e.to_physical().cast(pl.Int64, strict=False)
            return pl.when(digits.is_between(-(INT64_MAX // factor), INT64_MAX // factor)).then(digits * factor)
    else:
        divisor = pl.lit(10 ** (scale - AMOUNT_DECIMALS), dtype=pl.Int128)

        def value(e: pl.Expr) -> pl.Expr:
            digits = e.to_physical().cast(pl.Int128)
            quotient = digits // divisor
            return pl.when(quotient * divisor == digits).then(quotient.cast(pl.Int64, strict=False))

    return Conversion(
        value,
        Reason.OUT_OF_RANGE,
        f"a decimal with more than {AMOUNT_DECIMALS} decimals that are not zero, or beyond {INT64_MAX // AMOUNT_UNIT}",
    )


def _amount_of_text(e: pl.Expr) -> pl.Expr:
    """Read plain numbers in columns; the few with an exponent or very many digits one by one."""
    units = e.str.extract(_AMOUNT_TEXT, 2).cast(pl.Int64)
    decimals = e.str.extract(_AMOUNT_TEXT, 3).fill_null("").str.pad_end(AMOUNT_DECIMALS, "0").cast(pl.Int64)
    size = units * AMOUNT_UNIT + decimals
    plain = pl.when(e.str.contains(r"^\s*-")).then(-size).otherwise(size)
    rest = pl.when(units.is_null() & e.str.contains("[0-9]")).then(e)
    return pl.coalesce(plain, rest.map_batches(_amounts_one_by_one, return_dtype=pl.Int64))


def _amounts_one_by_one(texts: pl.Series) -> pl.Series:
    if texts.null_count() == len(texts):
        return pl.Series(texts.name, [None] * len(texts), dtype=pl.Int64)
    found = {text: _amount_of(text) for text in texts.drop_nulls().unique().to_list()}
    return texts.replace_strict(found, default=None, return_dtype=pl.Int64)


def _amount_of(text: str) -> int | None:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    if not number.is_finite() or "_" in text or number.adjusted() > _DIGITS_PER_PART:
        return None
    ratio = number.as_integer_ratio() if number.adjusted() > -40 else None
    if ratio is None or AMOUNT_UNIT % ratio[1]:
        return None if number else 0
    amount = ratio[0] * (AMOUNT_UNIT // ratio[1])
    return amount if abs(amount) <= INT64_MAX else None


_CHOICES: dict[FieldType, Callable[[pl.DataType, str, bool], Conversion | None]] = {
    FieldType.STR: _to_text,
    FieldType.BOOL: _to_bool,
    FieldType.TS: _to_ts,
    FieldType.DAY: _to_day,
    FieldType.AMOUNT: _to_amount,
}
