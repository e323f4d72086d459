"""Read a source's own order out of `source` blocks: up to four integers a change, a column at a time.

Positions are compared per row of a table and never across sources. A missing or unreadable part is null: then the
message's offset decides, and the message is not lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numba
import numpy as np
import polars as pl

from nurt.columnar.memory import load_byte
from nurt.columnar.series import text_series
from nurt.columnar.types import Bools, Bytes, Int64s

POSITION_COLUMNS = ("p0", "p1", "p2", "p3")

Parts = tuple[pl.Series, pl.Series, pl.Series, pl.Series]


class Family(StrEnum):
    """Family of connectors that order their changes in one way."""

    POSTGRESQL = "postgresql"
    MYSQL = "mysql"  # MariaDB too
    SQLSERVER = "sqlserver"
    UNKNOWN = "unknown"


POSITION_FIELDS: dict[Family, tuple[str, ...]] = {
    Family.POSTGRESQL: ("sequence", "lsn"),
    Family.MYSQL: ("file", "pos", "row"),
    Family.SQLSERVER: ("commit_lsn", "change_lsn", "event_serial_no"),
    Family.UNKNOWN: (),
}
"""Fields of the `source` block that make a position."""

_TELLING: tuple[tuple[Family, frozenset[str]], ...] = (
    (Family.POSTGRESQL, frozenset({"lsn"})),
    (Family.MYSQL, frozenset({"file", "pos"})),
    (Family.SQLSERVER, frozenset({"commit_lsn"})),
)
"""Fields that only one family's `source` block has."""


def family_of(source_fields: Collection[str]) -> Family:
    """Return the family whose `source` block has these fields."""
    for family, telling in _TELLING:
        if telling.issubset(source_fields):
            return family
    return Family.UNKNOWN


def server_numbers(family: Family, servers: Int64s | None, rows: int) -> Int64s:
    """Number the servers within whose positions events can be compared: family and MySQL's `server_id`; 0: unknown."""
    number = _FAMILY_NUMBERS.get(family, 0)
    if family is Family.MYSQL:
        if servers is None:
            return np.zeros(rows, dtype=np.int64)
        return np.where(servers > 0, number + ((servers & _SERVER_IDS) << 2), 0)
    return np.full(rows, number, dtype=np.int64)


_FAMILY_NUMBERS = {Family.POSTGRESQL: 1, Family.MYSQL: 2, Family.SQLSERVER: 3}
_SERVER_IDS = (1 << 28) - 1


class Field(Protocol):
    """Position field of a batch, as it was read."""

    @property
    def is_integer(self) -> bool:
        """Say whether it has numbers."""
        ...

    @property
    def is_text(self) -> bool:
        """Say whether it has texts."""
        ...

    def known(self) -> Bools | None:
        """Say where a value is there; None: everywhere."""
        ...

    def numbers(self) -> Int64s:
        """Return numbers."""
        ...

    def texts(self) -> tuple[Int64s, Bytes]:
        """Return offsets and joined bytes; a missing text has length 0."""
        ...


@dataclass(frozen=True, slots=True)
class Positions:
    """Positions of rows; both arrays have the shape (4, rows). A number that is not known has no meaning."""

    numbers: Int64s
    known: Bools

    def take(self, rows: Int64s) -> Positions:
        """Choose rows, by index."""
        return Positions(self.numbers[:, rows], self.known[:, rows])

    def of(self, row: int) -> tuple[int | None, int | None, int | None, int | None]:
        """Return one row's position."""
        p0, p1, p2, p3 = (int(self.numbers[part, row]) if self.known[part, row] else None for part in range(4))
        return p0, p1, p2, p3

    def series(self) -> Parts:
        """Return p0 to p3 as polars series."""
        p0, p1, p2, p3 = (_series(self.numbers[part], self.known[part]) for part in range(4))
        return p0, p1, p2, p3


def read_positions(family: Family, fields: Mapping[str, Field], rows: int) -> Positions:
    """Turn position fields into p0 to p3, in the same order.

    Args:
        family: the connectors that write these fields.
        fields: by name, those of `POSITION_FIELDS[family]` that the schema has.
        rows: length of every field.
    Source: Debezium `source.sequence`, `source.lsn` | `file`, `pos`, `row` | `commit_lsn`, `change_lsn`,
            `event_serial_no`.
    """
    found = Positions(np.zeros((4, rows), dtype=np.int64), np.zeros((4, rows), dtype=np.bool_))
    if rows and family in _READERS:
        _READERS[family](fields, found.numbers, found.known)
    return found


def _postgresql(fields: Mapping[str, Field], numbers: Int64s, known: Bools) -> None:
    sequence, lsn = _text(fields, "sequence"), _number(fields, "lsn")
    if sequence is not None:
        offsets, body = sequence.texts()
        _scan_sequences(offsets, body, numbers[:2], known[:2])
    if lsn is not None and not known[1].all():
        values, there = lsn
        numbers[1] = np.where(known[1], numbers[1], values)
        known[1] |= there
    known[2:] = True


def _mysql(fields: Mapping[str, Field], numbers: Int64s, known: Bools) -> None:
    file = _text(fields, "file")
    if file is not None:
        offsets, body = file.texts()
        _scan_suffixes(offsets, body, numbers[0], known[0])
    for part, name in ((1, "pos"), (2, "row")):
        if (field := _number(fields, name)) is not None:
            numbers[part], known[part] = field
    known[3] = True


def _sqlserver(fields: Mapping[str, Field], numbers: Int64s, known: Bools) -> None:
    for part, name in ((0, "commit_lsn"), (2, "change_lsn")):
        lsn = _text(fields, name)
        if lsn is not None:
            offsets, body = lsn.texts()
            _scan_lsns(offsets, body, numbers[part : part + 2], known[part])
    known[1] = known[0]
    if (serial := _number(fields, "event_serial_no")) is not None:
        values, there = serial
        known[3] = known[2] & there & (values >= 0) & (values < 1 << 32)
        numbers[3] = np.where(known[3], (numbers[3] << 32) + values, 0)
    else:
        numbers[3] = 0


_READERS: dict[Family, Callable[[Mapping[str, Field], Int64s, Bools], None]] = {
    Family.POSTGRESQL: _postgresql,
    Family.MYSQL: _mysql,
    Family.SQLSERVER: _sqlserver,
}


def _text(fields: Mapping[str, Field], name: str) -> Field | None:
    """Return a field of texts."""
    field = fields.get(name)
    return field if field is not None and field.is_text else None


def _number(fields: Mapping[str, Field], name: str) -> tuple[Int64s, Bools] | None:
    """Return an integer field, 0 where unknown; digits in a text are read too, for converters that write texts."""
    field = fields.get(name)
    if field is None:
        return None
    if field.is_text:
        offsets, body = field.texts()
        everywhere = np.ones(len(offsets) - 1, dtype=np.bool_)
        column = text_series("", offsets, body, everywhere, pl.String()).cast(pl.Int64, strict=False)
        return column.fill_null(0).to_numpy(), column.is_not_null().to_numpy()
    if not field.is_integer:
        return None
    known = field.known()
    if known is None:
        return field.numbers(), np.ones(len(field.numbers()), dtype=np.bool_)
    return np.where(known, field.numbers(), 0), known


def _series(numbers: Int64s, known: Bools) -> pl.Series:
    series = pl.Series(numbers)
    return series if known.all() else series.set(pl.Series(~known), None)


@numba.njit(nogil=True, cache=True)
def _digits(body, at, end):  # type: ignore[no-untyped-def]
    """Read decimal digits from `at` on.

    body     (b,)    uint8  texts
    at, end  scalar  int64  index where they begin, and where the text ends
    Returns their number (int64), how many there are, and the index where they end. More than 18 digits, which could
    leave int64, count as none.
    """
    number = np.int64(0)
    start = at
    while at < end:
        digit = np.int64(load_byte(body, at)) - 48
        if digit < 0 or digit > 9:
            break
        if at - start < 18:
            number = number * 10 + digit
        at += 1
    count = at - start
    return number, (count if count <= 18 else 0), at


@numba.njit(nogil=True, cache=True)
def _past_spaces(body: Bytes, at: int, end: int) -> int:
    """Pass over blanks of `body`, (b,) uint8, from index `at` on, before `end`; returns the index behind them."""
    while at < end and load_byte(body, at) == 32:
        at += 1
    return at


@numba.njit(nogil=True, cache=True)
def _is_null(body: Bytes, at: int) -> bool:
    """Say whether the four bytes of `body`, (b,) uint8, from `at` on are "null"; the caller has checked bounds."""
    n, u, first, second = (
        load_byte(body, at),
        load_byte(body, at + 1),
        load_byte(body, at + 2),
        load_byte(body, at + 3),
    )
    return n == 110 and u == 117 and first == 108 and second == 108


@numba.njit(nogil=True, cache=True)
def _scan_sequences(offsets: Int64s, body: Bytes, numbers: Int64s, known: Bools) -> None:
    """Read JSON texts like [null,"116032456"]; a text of any other form has no part.

    offsets  (n+1,)  int64  text i is body[offsets[i]:offsets[i+1]]
    body     (b,)    uint8  texts
    numbers  (2, n)  int64  written: log sequence numbers; where not known, a number means nothing
    known    (2, n)  bool   written: the part is there; False before
    """
    for row in range(known.shape[1]):
        end = offsets[row + 1]
        at = _past_spaces(body, offsets[row], end)
        if at >= end or load_byte(body, at) != 91:  # [
            continue
        at += 1
        good = True
        for part in range(2):
            at = _past_spaces(body, at, end)
            if at + 4 <= end and _is_null(body, at):
                at += 4
            else:
                quoted = at < end and load_byte(body, at) == 34
                if quoted:
                    at += 1
                number, count, at = _digits(body, at, end)
                if quoted:
                    if at < end and load_byte(body, at) == 34:
                        at += 1
                    else:
                        count = 0
                if count:
                    numbers[part, row] = number
                    known[part, row] = True
                else:
                    good = False
                    break
            at = _past_spaces(body, at, end)
            if at >= end or load_byte(body, at) != (44 if part == 0 else 93):  # , or ]
                good = False
                break
            at += 1
        if not good or at != end:
            known[0, row] = False
            known[1, row] = False


@numba.njit(nogil=True, cache=True)
def _scan_suffixes(offsets: Int64s, body: Bytes, numbers: Int64s, known: Bools) -> None:
    """Read the number behind the last dot of a log file's name, as in binlog.000123.

    offsets  (n+1,)  int64  name i is body[offsets[i]:offsets[i+1]]
    body     (b,)    uint8  names
    numbers  (n,)    int64  written where known: the file's number
    known    (n,)    bool   written: the name has a number; False before
    """
    for row in range(known.shape[0]):
        start, end = offsets[row], offsets[row + 1]
        at = end
        while at > start and load_byte(body, at - 1) != 46:
            at -= 1
        if at == start:
            continue
        number, count, stop = _digits(body, at, end)
        if count and stop == end:
            numbers[row] = number
            known[row] = True


@numba.njit(nogil=True, cache=True)
def _scan_lsns(offsets: Int64s, body: Bytes, numbers: Int64s, known: Bools) -> None:
    """Read three hexadecimal parts divided by colons; the first two share an int64.

    offsets  (n+1,)  int64  text i is body[offsets[i]:offsets[i+1]]
    body     (b,)    uint8  texts like 00000027:00000ac0:0002
    numbers  (2, n)  int64  written where known: the first part times 2^32 and the second; the third
    known    (n,)    bool   written: all three are there, and the first is below 2^31; False before
    """
    for row in range(known.shape[0]):
        end = offsets[row + 1]
        at = offsets[row]
        parts = np.zeros(3, dtype=np.int64)
        part, digits, good = 0, 0, at < end
        while at < end:
            byte = load_byte(body, at)
            value = -1
            if 48 <= byte <= 57:
                value = byte - 48
            elif 97 <= byte <= 102:
                value = byte - 87
            elif 65 <= byte <= 70:
                value = byte - 55
            if value >= 0:
                digits += 1
                if digits > (8 if part < 2 else 4):
                    good = False
                    break
                parts[part] = parts[part] * 16 + value
            elif byte == 58 and digits and part < 2:
                part += 1
                digits = 0
            else:
                good = False
                break
            at += 1
        if good and part == 2 and digits and parts[0] < (1 << 31):
            numbers[0, row] = (parts[0] << 32) | parts[1]
            numbers[1, row] = parts[2]
            known[row] = True
