"""Read a source's own order out of `source` blocks: up to four integers a change, a column at a time.

Positions are compared per row of a table and never across sources. A part that is missing or unreadable is null,
which leaves the decision to the message's offset; it never costs the message.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from nurt.core.avro.memory import load_byte
from nurt.core.packing import text_buffers

POSITION_COLUMNS = ("p0", "p1", "p2", "p3")

Parts = tuple[pl.Series, pl.Series, pl.Series, pl.Series]

_NULL = pl.Series([None], dtype=pl.Int64)


class Family(StrEnum):
    """Connectors that order their changes in one way."""

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
    """Say whose `source` block has these fields."""
    for family, telling in _TELLING:
        if telling.issubset(source_fields):
            return family
    return Family.UNKNOWN


def read_positions(family: Family, fields: Mapping[str, pl.Series], rows: int) -> Parts:
    """Turn position fields into the columns p0 to p3 (Int64), in the same order.

    Args:
        family: whose fields these are.
        fields: by name, those of `POSITION_FIELDS[family]` that the schema has; texts String, numbers Int64.
        rows: length of every field.
    Source: Debezium `source.sequence`, `source.lsn` | `file`, `pos`, `row` | `commit_lsn`, `change_lsn`,
        `event_serial_no`.
    """
    if family is Family.POSTGRESQL:
        return _postgresql(fields, rows)
    if family is Family.MYSQL:
        return _mysql(fields, rows)
    if family is Family.SQLSERVER:
        return _sqlserver(fields, rows)
    return _null(rows), _null(rows), _null(rows), _null(rows)


def _postgresql(fields: Mapping[str, pl.Series], rows: int) -> Parts:
    first, second = _null(rows), _null(rows)
    sequence = _text(fields, "sequence")
    if sequence is not None and rows:
        offsets, body = text_buffers(sequence)
        numbers = np.zeros((2, rows), dtype=np.int64)
        known = np.zeros((2, rows), dtype=np.bool_)
        _scan_sequences(offsets, body, numbers, known)
        first, second = _series(numbers[0], known[0]), _series(numbers[1], known[1])
    lsn = _number(fields, "lsn")
    if lsn is not None and second.null_count():
        second = pl.select(pl.coalesce(second, lsn)).to_series()
    return first, second, _zero(rows), _zero(rows)


def _mysql(fields: Mapping[str, pl.Series], rows: int) -> Parts:
    file, number = _text(fields, "file"), _null(rows)
    if file is not None and rows:
        offsets, body = text_buffers(file)
        numbers = np.zeros(rows, dtype=np.int64)
        known = np.zeros(rows, dtype=np.bool_)
        _scan_suffixes(offsets, body, numbers, known)
        number = _series(numbers, known)
    position, row = _number(fields, "pos"), _number(fields, "row")
    return number, _null(rows) if position is None else position, _null(rows) if row is None else row, _zero(rows)


def _sqlserver(fields: Mapping[str, pl.Series], rows: int) -> Parts:
    commit, commit_slot = _lsn(_text(fields, "commit_lsn"), rows)
    change, change_slot = _lsn(_text(fields, "change_lsn"), rows)
    serial = _number(fields, "event_serial_no")
    within = _null(rows)
    if serial is not None:
        fits = serial.is_between(0, (1 << 32) - 1)
        within = pl.select(pl.when(fits).then(change_slot * (1 << 32) + serial)).to_series()
    return commit, commit_slot, change, within


def _lsn(column: pl.Series | None, rows: int) -> tuple[pl.Series, pl.Series]:
    """Split LSNs such as 00000027:00000ac0:0007 into (log file << 32 | block) and slot."""
    if column is None or not rows:
        return _null(rows), _null(rows)
    offsets, body = text_buffers(column)
    numbers = np.zeros((2, rows), dtype=np.int64)
    known = np.zeros(rows, dtype=np.bool_)
    _scan_lsns(offsets, body, numbers, known)
    return _series(numbers[0], known), _series(numbers[1], known)


def _text(fields: Mapping[str, pl.Series], name: str) -> pl.Series | None:
    column = fields.get(name)
    return column if column is not None and column.dtype == pl.String else None


def _number(fields: Mapping[str, pl.Series], name: str) -> pl.Series | None:
    """Give an integer field; digits in a text are read too, for converters that write numbers as texts."""
    column = fields.get(name)
    if column is None or column.dtype == pl.Int64:
        return column
    return column.cast(pl.Int64, strict=False) if column.dtype == pl.String else None


def _series(numbers: npt.NDArray[np.int64], known: npt.NDArray[np.bool_]) -> pl.Series:
    series = pl.Series(numbers)
    return series if known.all() else series.set(pl.Series(~known), None)


def _null(rows: int) -> pl.Series:
    return _NULL.new_from_index(0, rows)


def _zero(rows: int) -> pl.Series:
    return pl.Series(np.zeros(rows, dtype=np.int64))


@numba.njit(nogil=True, cache=True)
def _digits(body, at, end):  # type: ignore[no-untyped-def]
    """Read decimal digits from `at`; return their number, how many there are, and where they end.

    More than 18 digits, which could leave int64, count as none.
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
def _past_spaces(body, at, end):  # type: ignore[no-untyped-def]
    while at < end and load_byte(body, at) == 32:
        at += 1
    return at


@numba.njit(nogil=True, cache=True)
def _is_null(body, at):  # type: ignore[no-untyped-def]
    n, u, first, second = (
        load_byte(body, at),
        load_byte(body, at + 1),
        load_byte(body, at + 2),
        load_byte(body, at + 3),
    )
    return n == 110 and u == 117 and first == 108 and second == 108


@numba.njit(nogil=True, cache=True)
def _scan_sequences(offsets, body, numbers, known):  # type: ignore[no-untyped-def]
    """Read JSON texts like [null,"116032456"]; a text of any other form has no part."""
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
def _scan_suffixes(offsets, body, numbers, known):  # type: ignore[no-untyped-def]
    """Read the number behind the last dot of a log file's name, as in binlog.000123."""
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
def _scan_lsns(offsets, body, numbers, known):  # type: ignore[no-untyped-def]
    """Read three hexadecimal parts divided by colons; the first two share an int64."""
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
