"""Describe a source database's column in Debezium's Avro, and write its values.

A row holds plain Python values (int, str, bool, Decimal, date, datetime); a column's type knows the Avro schema that
Debezium's converters make of the SQL type, and the bytes of a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

Row = dict[str, Any]
Key = tuple[Any, ...]
Avro = str | dict[str, Any]

UNAVAILABLE = "__debezium_unavailable_value"
"""Placeholder for an unchanged out-of-line (TOAST) value. Source: Debezium `unavailable.value.placeholder`."""

_EPOCH_DAY = date(1970, 1, 1)
_EPOCH_NAIVE = datetime(1970, 1, 1)  # naive on purpose: the local time of the database, read as if it were UTC
_MICROSECOND = timedelta(microseconds=1)


def _varint(zigzag: int) -> bytes:
    out = bytearray()
    while zigzag > 127:
        out.append(zigzag & 127 | 128)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


_SHORT = [_varint(zigzag) for zigzag in range(16384)]


def encode_long(number: int) -> bytes:
    """Write an Avro int or long: zigzag, then base-128 varint."""
    zigzag = number << 1 if number >= 0 else (-number << 1) - 1
    return _SHORT[zigzag] if zigzag < 16384 else _varint(zigzag)


def encode_bytes(value: bytes) -> bytes:
    """Write Avro bytes: the length, then the bytes."""
    return encode_long(len(value)) + value


def encode_text(text: str) -> bytes:
    """Write an Avro string: the length of its UTF-8, then the UTF-8."""
    raw = text.encode()
    return encode_long(len(raw)) + raw


def _encode_boolean(value: bool) -> bytes:
    return b"\x01" if value else b"\x00"


def _unscaled(number: int) -> bytes:
    """Write an integer like Java's BigInteger.toByteArray: the fewest bytes of two's complement."""
    bits = number.bit_length() if number >= 0 else (number + 1).bit_length()
    return number.to_bytes(bits // 8 + 1, "big", signed=True)


@dataclass(frozen=True, slots=True)
class ColumnType:
    """Debezium's form of one SQL type.

    `filler` is the value of a NOT NULL column in the `before` of a delete under REPLICA IDENTITY DEFAULT.
    """

    avro: Avro
    encode: Callable[[Any], bytes]
    filler: Any


def _named(base: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": base, "connect.version": 1, **more, "connect.name": name}


INT = ColumnType("int", encode_long, 0)
LONG = ColumnType("long", encode_long, 0)
INT16 = ColumnType({"type": "int", "connect.type": "int16"}, encode_long, 0)
BOOLEAN = ColumnType("boolean", _encode_boolean, False)
TEXT = ColumnType("string", encode_text, "")
DATE = ColumnType(
    _named("int", "io.debezium.time.Date"), lambda value: encode_long((value - _EPOCH_DAY).days), _EPOCH_DAY
)
TIMESTAMP = ColumnType(
    _named("long", "io.debezium.time.Timestamp"),
    lambda value: encode_long((value - _EPOCH_NAIVE) // _MICROSECOND // 1000),
    _EPOCH_NAIVE,
)
MICRO_TIMESTAMP = ColumnType(
    _named("long", "io.debezium.time.MicroTimestamp"),
    lambda value: encode_long((value - _EPOCH_NAIVE) // _MICROSECOND),
    _EPOCH_NAIVE,
)


def zoned_timestamp(fraction_digits: int) -> ColumnType:
    """Make the type of a timestamp with time zone: an ISO string in UTC (MariaDB 0 fraction digits, PostgreSQL 6)."""
    timespec = "microseconds" if fraction_digits else "seconds"

    def encode(value: datetime) -> bytes:
        return encode_text(value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=timespec) + "Z")

    return ColumnType(_named("string", "io.debezium.time.ZonedTimestamp"), encode, datetime(1970, 1, 1, tzinfo=UTC))


def decimal(precision: int, scale: int) -> ColumnType:
    """Make the type of numeric(p, s): two's complement bytes of the unscaled number.

    Source: Debezium `decimal.handling.mode=precise`. A row's value must fit the scale.
    """

    bound = 10**precision

    def encode(value: Decimal) -> bytes:
        number = int(value.scaleb(scale))
        assert -bound < number < bound and number == value.scaleb(scale), f"no numeric({precision},{scale})"
        return encode_bytes(_unscaled(number))

    avro = {
        "type": "bytes",
        "scale": scale,
        "precision": precision,
        "connect.version": 1,
        "connect.parameters": {"scale": str(scale), "connect.decimal.precision": str(precision)},
        "connect.name": "org.apache.kafka.connect.data.Decimal",
        "logicalType": "decimal",
    }
    return ColumnType(avro, encode, Decimal(0))


def _encode_variable_decimal(value: Decimal) -> bytes:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int), "NaN and infinity have no scale"
    scale = max(0, -exponent)
    return encode_long(scale) + encode_bytes(_unscaled(int(value.scaleb(scale))))


VARIABLE_DECIMAL = ColumnType(
    {
        "type": "record",
        "name": "VariableScaleDecimal",
        "namespace": "io.debezium.data",
        "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}],
        "connect.doc": "Variable scaled decimal",
        "connect.version": 1,
        "connect.name": "io.debezium.data.VariableScaleDecimal",
    },
    _encode_variable_decimal,
    Decimal(0),
)


def enumeration(*allowed: str) -> ColumnType:
    """Make the type of an SQL enum."""
    parameters = {"allowed": ",".join(allowed)}
    avro = _named("string", "io.debezium.data.Enum", **{"connect.parameters": parameters})
    return ColumnType(avro, encode_text, allowed[0])


def value_set(*allowed: str) -> ColumnType:
    """Make the type of MySQL's set: its members joined by commas."""
    parameters = {"allowed": ",".join(allowed)}
    avro = _named("string", "io.debezium.data.EnumSet", **{"connect.parameters": parameters})
    return ColumnType(avro, encode_text, "")


@dataclass(frozen=True, slots=True)
class Column:
    """Column of a source table. `default` is an int, str or bool; an update may leave a `toast` column out."""

    name: str
    type: ColumnType
    null: bool = True
    default: Any = None
    toast: bool = False

    def avro_field(self) -> dict[str, Any]:
        """Return the field of the row's record, as Confluent's converter writes it."""
        avro = self.type.avro
        if self.default is not None:
            plain: dict[str, Any] = {"type": avro} if isinstance(avro, str) else dict(avro)
            name = plain.pop("connect.name", None)
            avro = {**plain, "connect.default": self.default, **({"connect.name": name} if name else {})}
            kind: Any = [avro, "null"] if self.null else avro
            return {"name": self.name, "type": kind, "default": self.default}
        if self.null:
            return {"name": self.name, "type": ["null", avro], "default": None}
        return {"name": self.name, "type": avro}

    def encoder(self) -> Callable[[Any], bytes]:
        """Return the function that writes one value of this column, null included."""
        encode = self.type.encode
        if not self.null:
            return encode
        null, some = (b"\x02", b"\x00") if self.default is not None else (b"\x00", b"\x02")
        return lambda value: null if value is None else some + encode(value)

    def filler(self) -> Any:
        """Return this column's filler in a delete. Source: corpus, REPLICA IDENTITY DEFAULT."""
        if self.default is not None:
            return self.default
        return None if self.null else self.type.filler


@dataclass(frozen=True, slots=True)
class Table:
    """Source table; `key` names its primary key, in order."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    def key_of(self, row: Mapping[str, Any]) -> Key:
        """Return the row's primary key."""
        return tuple(row[name] for name in self.key)

    def complete(self, values: Mapping[str, Any]) -> Row:
        """Return a whole row: the values given, else the defaults.

        Raises KeyError for a column that the table does not have.
        """
        row = {column.name: column.default for column in self.columns}
        for name, value in values.items():
            if name not in row:
                raise KeyError(f"{self.name}.{name}")
            row[name] = value
        return row


def seconds(at_us: int) -> datetime:
    """Return a moment (us since 1970 UTC) as a timestamp without fraction, as MariaDB's `timestamp` holds it."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC)


def moment(at_us: int) -> datetime:
    """Return a moment (us since 1970 UTC) as a timestamp with time zone."""
    return datetime.fromtimestamp(0, UTC) + at_us * _MICROSECOND
