"""Convert raw Avro columns to the meaning that their writer declared: instants, dates, exact decimals, texts.

The declared meaning is the schema's `connect.name`, else its Avro logical type. The result is what mapping expressions
read: Int64, String, Boolean, Float64, Decimal(38, s), Datetime("us", UTC), Date, and Int64 microseconds for a time of
day. A value without meaning in its type (infinity, a year that no datetime holds, NaN) is null. A text that cannot be
read as the time that its writer declared is null, and marked: its message is refused. An unsigned 64-bit integer above
2^63 - 1 has already wrapped to a negative number in the connector's default mode.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import polars as pl

from nurt.avro import ColumnType
from nurt.columnar.types import Bools
from nurt.debezium.conventions import Conventions, Placeholders
from nurt.debezium.decimals import decimals_of, variable_decimals_of
from nurt.debezium.timestamps import INSTANT, SAID, WALL, dates_of, instants_of, parse_dates, parse_instants


@dataclass(frozen=True, slots=True)
class DecodedColumn:
    """One column with its meaning; arrays have the column's length, None stands for all False.

    Attributes:
        column: typed, in the same order.
        unavailable: where the source did not send the value; null in `column`.
        unfit: where the type cannot hold the value; null in `column`.
        unread: where the value cannot be read as what the writer declared; null in `column`.
    """

    column: pl.Series
    unavailable: Bools | None = None
    unfit: Bools | None = None
    unread: Bools | None = None


Raw = tuple[pl.Series, ...]
Converter = Callable[[Raw, ColumnType, Conventions], DecodedColumn]
"""(columns as read, the writer's type, the system's conventions) -> meaning."""


class Form(StrEnum):
    """Form of a column whose meaning compiled loops know too."""

    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    DAY = "day"  # days since 1970
    READING = "reading"  # of a wall clock, counted as if it were UTC
    INSTANT = "instant"  # counted since 1970 UTC
    ZONED = "zoned"  # text of an instant
    DECIMAL = "decimal"  # unscaled big-endian bytes
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Meaning:
    """Meaning of a column of one Avro type: how it is read.

    Attributes:
        parts: for a record that means one value: paths below the column's own that are read instead of the column.
        dtype: type of the result.
        convert: makes the result from the column or its parts.
        form: the column's form, for loops over the raw column.
        unit: a READING's or INSTANT's units per second, a DECIMAL's scale, what an offset means in a ZONED text.
    """

    parts: tuple[str, ...]
    dtype: pl.DataType
    convert: Converter
    form: Form = Form.OTHER
    unit: int = 0


def meaning_of(type_: ColumnType) -> Meaning | None:
    """Return how a column is read; None when no column type can hold it (arrays, maps, geometries)."""
    by_name = _BY_CONNECT_NAME.get(type_.connect_name or "")
    if by_name is not None and type_.avro in by_name[0]:
        return by_name[1](type_)
    by_logical = _BY_LOGICAL.get(type_.logical or "")
    if by_logical is not None and type_.avro in by_logical[0]:
        return by_logical[1](type_)
    plain = _PLAIN.get(type_.avro)
    return plain(type_) if plain is not None else None


def _plain(dtype: pl.DataType, form: Form = Form.OTHER) -> Callable[[ColumnType], Meaning]:
    meaning = Meaning((), dtype, lambda raw, _type, _told: DecodedColumn(raw[0].cast(dtype)), form)
    return lambda _type: meaning


def _converted(
    dtype: pl.DataType, convert: Callable[[pl.Series, str], pl.Series], form: Form = Form.OTHER, unit: int = 0
) -> Callable[[ColumnType], Meaning]:
    meaning = Meaning((), dtype, lambda raw, _type, told: DecodedColumn(convert(raw[0], told.zone)), form, unit)
    return lambda _type: meaning


def _parsed(
    dtype: pl.DataType,
    parse: Callable[[pl.Series, str], tuple[pl.Series, Bools | None]],
    form: Form = Form.OTHER,
    unit: int = 0,
) -> Callable[[ColumnType], Meaning]:
    """Make the meaning of texts that say a time; a text that cannot be read may be a placeholder."""

    def convert(raw: Raw, _type: ColumnType, told: Conventions) -> DecodedColumn:
        column, unread = parse(raw[0], told.zone)
        if unread is None or (unavailable := told.placeholders.marked(raw[0])) is None:
            return DecodedColumn(column, unread=unread)
        hidden = unavailable.to_numpy()
        return DecodedColumn(column, hidden, unread=unread & ~hidden)

    meaning = Meaning((), dtype, convert, form, unit)
    return lambda _type: meaning


def _text(raw: Raw, _type: ColumnType, told: Conventions) -> DecodedColumn:
    column = raw[0]
    unavailable = told.placeholders.marked(column)
    if unavailable is None:
        return DecodedColumn(column)
    return DecodedColumn(column.set(unavailable, None), unavailable.to_numpy())


def _bytes(raw: Raw, _type: ColumnType, told: Conventions) -> DecodedColumn:
    column, unavailable = _unavailable_bytes(raw[0], told.placeholders)
    return DecodedColumn(column, unavailable)


def _unavailable_bytes(column: pl.Series, placeholders: Placeholders) -> tuple[pl.Series, Bools | None]:
    unavailable = placeholders.marked(column)
    if unavailable is None:
        return column, None
    return column.to_frame().select(pl.when(~unavailable).then(pl.first())).to_series(), unavailable.to_numpy()


def _floats(raw: Raw, _type: ColumnType, _told: Conventions) -> DecodedColumn:
    column = raw[0].cast(pl.Float64)
    strange = column.is_not_nan() & column.is_finite()
    return DecodedColumn(column if strange.all() else column.set(~strange, None))


def _decimal(raw: Raw, type_: ColumnType, told: Conventions) -> DecodedColumn:
    column, unfit = decimals_of(raw[0], scale_of(type_) or 0)
    return _without_unavailable(raw[0], column, unfit, told)


def _variable_decimal(raw: Raw, _type: ColumnType, told: Conventions) -> DecodedColumn:
    column, unfit = variable_decimals_of(raw[0], raw[1])
    return _without_unavailable(raw[1], column, unfit, told)


def _without_unavailable(raw: pl.Series, column: pl.Series, unfit: Bools, told: Conventions) -> DecodedColumn:
    """Look for placeholders among numbers that do not fit: a short one may be a number, and is taken for one."""
    if not unfit.any():
        return DecodedColumn(column)
    _, unavailable = _unavailable_bytes(raw, told.placeholders)
    unavailable = None if unavailable is None else unavailable & unfit
    return DecodedColumn(column, unavailable, unfit if unavailable is None else unfit & ~unavailable)


def _bits(raw: Raw, _type: ColumnType, told: Conventions) -> DecodedColumn:
    """Read little-endian bits as an integer; columns of more than 63 bits do not fit where a higher one is set."""
    column, unavailable = _unavailable_bytes(raw[0], told.placeholders)
    numbers = [None if bits is None else int.from_bytes(bits, "little") for bits in column]
    fits = [number if number is None or number < 1 << 63 else None for number in numbers]
    unfit = np.array([a is not b for a, b in zip(numbers, fits, strict=True)], dtype=np.bool_)
    return DecodedColumn(pl.Series(column.name, fits, dtype=pl.Int64), unavailable, unfit if unfit.any() else None)


def scale_of(type_: ColumnType) -> int | None:
    """Return a decimal's scale: Avro's own, else the one among Connect's parameters; None: nobody says it.

    Source: Avro "Decimal": a scale that is not there is 0; org.apache.kafka.connect.data.Decimal, parameter `scale`.
    """
    said = str(type_.connect_parameters.get("scale", ""))
    return type_.scale or (int(said) if _SCALE.fullmatch(said) else type_.scale)


def _decimal_meaning(type_: ColumnType) -> Meaning | None:
    scale = scale_of(type_)
    if scale is None:
        return None
    return Meaning((), pl.Decimal(38, scale if 0 <= scale <= 38 else 18), _decimal, Form.DECIMAL, scale)


def _naive(units_per_second: int) -> Callable[[ColumnType], Meaning]:
    return _converted(
        INSTANT, lambda column, zone: instants_of(column, units_per_second, zone), Form.READING, units_per_second
    )


def _instant(units_per_second: int) -> Callable[[ColumnType], Meaning]:
    return _converted(
        INSTANT, lambda column, _zone: instants_of(column, units_per_second, None), Form.INSTANT, units_per_second
    )


_INTS, _TEXTS = frozenset({"int", "long"}), frozenset({"string", "enum"})
_INT64, _STRING = pl.Int64(), pl.String()
_MS, _US, _NS = 1_000, 1_000_000, 1_000_000_000

_days = _converted(pl.Date(), lambda column, _zone: dates_of(column), Form.DAY)
_times_of_ms = _converted(_INT64, lambda column, _zone: column * 1_000)
_times_of_us = _plain(_INT64, Form.INTEGER)
_times_of_ns = _converted(_INT64, lambda column, _zone: column // 1_000)
_texts = lambda _type: Meaning((), _STRING, _text, Form.TEXT)  # noqa: E731
_zoned = _parsed(INSTANT, lambda column, zone: parse_instants(column, zone, SAID), Form.ZONED, SAID)
_walled = _parsed(INSTANT, lambda column, zone: parse_instants(column, zone, WALL), Form.ZONED, WALL)
_dated = _parsed(pl.Date(), lambda column, _zone: parse_dates(column))
_SCALE = re.compile(r"-?[0-9]{1,9}")

_Table = dict[str, tuple[frozenset[str], Callable[[ColumnType], Meaning | None]]]

_BY_CONNECT_NAME: _Table = {
    "io.debezium.time.Date": (_INTS, _days),
    "io.debezium.time.Timestamp": (_INTS, _naive(_MS)),
    "io.debezium.time.MicroTimestamp": (_INTS, _naive(_US)),
    "io.debezium.time.NanoTimestamp": (_INTS, _naive(_NS)),
    "io.debezium.time.Time": (_INTS, _times_of_ms),
    "io.debezium.time.MicroTime": (_INTS, _times_of_us),
    "io.debezium.time.NanoTime": (_INTS, _times_of_ns),
    "io.debezium.time.ZonedTimestamp": (_TEXTS, _zoned),
    "io.debezium.time.IsoTimestamp": (_TEXTS, _walled),
    "io.debezium.time.IsoDate": (_TEXTS, _dated),
    "org.apache.kafka.connect.data.Date": (_INTS, _days),
    "org.apache.kafka.connect.data.Timestamp": (_INTS, _naive(_MS)),
    "org.apache.kafka.connect.data.Time": (_INTS, _times_of_ms),
    "org.apache.kafka.connect.data.Decimal": (frozenset({"bytes", "fixed"}), _decimal_meaning),
    "io.debezium.data.VariableScaleDecimal": (
        frozenset({"record"}),
        lambda _type: Meaning(("scale", "value"), pl.Decimal(38, 18), _variable_decimal),
    ),
    "io.debezium.data.Bits": (frozenset({"bytes", "fixed"}), lambda _type: Meaning((), _INT64, _bits)),
}
"""connect.name -> (Avro types, meaning). Names that are not here mean what their Avro type says: Json, Uuid, Xml,
Enum, EnumSet, ZonedTime, IsoTime, Interval and Ltree are texts, Year and MicroDuration integers."""

_BY_LOGICAL: _Table = {
    "decimal": (frozenset({"bytes", "fixed"}), _decimal_meaning),
    "date": (_INTS, _days),
    "timestamp-millis": (_INTS, _instant(_MS)),
    "timestamp-micros": (_INTS, _instant(_US)),
    "timestamp-nanos": (_INTS, _instant(_NS)),
    "local-timestamp-millis": (_INTS, _naive(_MS)),
    "local-timestamp-micros": (_INTS, _naive(_US)),
    "local-timestamp-nanos": (_INTS, _naive(_NS)),
    "time-millis": (_INTS, _times_of_ms),
    "time-micros": (_INTS, _times_of_us),
}

_PLAIN: dict[str, Callable[[ColumnType], Meaning | None]] = {
    "boolean": _plain(pl.Boolean(), Form.BOOLEAN),
    "int": _plain(_INT64, Form.INTEGER),
    "long": _plain(_INT64, Form.INTEGER),
    "float": lambda _type: Meaning((), pl.Float64(), _floats),
    "double": lambda _type: Meaning((), pl.Float64(), _floats),
    "string": _texts,
    "enum": _texts,
    "bytes": lambda _type: Meaning((), pl.Binary(), _bytes),
    "fixed": lambda _type: Meaning((), pl.Binary(), _bytes),
    "null": _plain(pl.Null()),
}
