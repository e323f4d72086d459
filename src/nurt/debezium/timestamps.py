"""Turn the many ways a source writes time into instants: microseconds since 1970 UTC, or null.

A value that no calendar holds (infinity, years before 1 or after 9999, 30 February) is null: a profile cannot use it,
and the message and its neighbours must not be lost. A text that cannot be read is another thing, and is told apart.
"""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np
import polars as pl

from nurt.columnar.memory import load_byte
from nurt.columnar.series import text_buffers
from nurt.columnar.types import Bools, Bytes, Int8s, Int64s

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
FIRST_DAY, LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31
FIRST_US, LAST_US = FIRST_DAY * DAY_US, (LAST_DAY + 1) * DAY_US - 1
INSTANT = pl.Datetime("us", "UTC")
_INFINITE_NS = np.array([2**63 - 1, -(2**63), -29_575_808_000, 22_375_808_000])
"""Nanoseconds that stand for PostgreSQL's infinity: the last two are it, wrapped around in 64 bits.

Source: io.debezium.connector.postgresql.PostgresValueConverter; tests/fixtures/times has what Debezium 3.5.0 writes.
"""

SAID, WALL, DATE = 0, 1, 2
"""What an offset in a text means: what it says; nothing when it is Z; nothing."""

_TABLE_FIRST_DAY, _TABLE_LAST_DAY = -36_525, 47_847  # 1870-01-01 and 2101-01-01; the zone rules of polars end in 2099


def instants_of(numbers: pl.Series, units_per_second: int, timezone: str | None) -> pl.Series:
    """Turn integer counts since 1970 into Datetime("us", UTC); finer digits are cut towards the past.

    Args:
        numbers: Int64.
        units_per_second: 1,000 for milliseconds, 1,000,000 or 1,000,000,000.
        timezone: None when the counts are instants; else they are readings of a wall clock in this zone, counted as
            UTC. A reading that occurs twice is taken as the first; a reading that never occurs is taken with the offset
            before the clock was put forward.
    Source: io.debezium.time.Timestamp, MicroTimestamp, NanoTimestamp: the readings of columns without time zone.
    """
    micros, outside = micros_of(numbers.fill_null(0).to_numpy(), units_per_second, timezone)
    missing = numbers.is_null().to_numpy() if outside is None else numbers.is_null().to_numpy() | outside
    column = pl.Series(numbers.name, micros)
    return (column.set(pl.Series(missing), None) if missing.any() else column).cast(INSTANT)


def micros_of(numbers: Int64s, units_per_second: int, timezone: str | None) -> tuple[Int64s, Bools | None]:
    """Do what `instants_of` does in arrays; return microseconds, and where there is no such instant (None: nowhere)."""
    if units_per_second <= SECOND_US:
        factor = SECOND_US // units_per_second
        outside = (numbers < FIRST_US // factor) | (numbers > LAST_US // factor)
        micros = numbers if factor == 1 else numbers * factor
    else:
        micros = numbers // (units_per_second // SECOND_US)
        outside = (micros < FIRST_US) | (micros > LAST_US) | np.isin(numbers, _INFINITE_NS)
    if timezone is not None and timezone != "UTC":
        micros = _utc_of(np.where(outside, 0, micros), timezone)
    return micros, outside if outside.any() else None


def dates_of(days: pl.Series) -> pl.Series:
    """Turn days since 1970 (Int64) into Date; days outside the years 1 to 9999 are null."""
    inside = days.is_between(FIRST_DAY, LAST_DAY)
    return (days if inside.all() else days.set(~inside, None)).cast(pl.Int32).cast(pl.Date)


def parse_instants(texts: pl.Series, timezone: str | None = None, clock: int = SAID) -> tuple[pl.Series, Bools | None]:
    """Read ISO 8601 texts into Datetime("us", UTC); return them, and which texts cannot be read (None: none).

    Any count of fractional digits, an offset of hours and minutes or Z, a blank for the T and a region in brackets
    are read. A text without offset is a reading in `timezone` (None: UTC). Null without being unread are texts of
    what no calendar holds, and blank ones.

    Args:
        clock: SAID; WALL: a Z means nothing, the text is a reading in `timezone`; or DATE: any offset means nothing.
    Source: io.debezium.time.ZonedTimestamp; IsoTimestamp, which puts a Z behind what a wall clock showed.
    """
    if not len(texts):
        return pl.Series(texts.name, [], dtype=INSTANT), None
    micros, missing, unread = parse_micros(*text_buffers(texts), timezone, clock)
    column = pl.Series(texts.name, micros)
    if missing is not None:
        column = column.set(pl.Series(missing), None)
    if unread is not None:
        unread &= texts.is_not_null().to_numpy()
    return column.cast(INSTANT), unread


def parse_micros(
    offsets: Int64s, body: Bytes, timezone: str | None, clock: int = SAID
) -> tuple[Int64s, Bools | None, Bools | None]:
    """Do what `parse_instants` does in arrays.

    Returns microseconds; where there is no instant (None: nowhere); where, among these, the text cannot be read.
    """
    rows = len(offsets) - 1
    micros = np.zeros(rows, dtype=np.int64)
    read = np.zeros(rows, dtype=np.int8)
    _parse(offsets, body, clock, micros, read)
    unread = read == _NOTHING
    missing = unread | (read == _BEYOND) | (micros < FIRST_US) | (micros > LAST_US)  # its zone is applied later
    if timezone is not None and timezone != "UTC" and (local := read == _LOCAL).any():
        micros = np.where(local, _utc_of(np.where(missing, 0, micros), timezone), micros)
    if not missing.any():
        return micros, None, None
    return micros, missing, unread if unread.any() else None


def parse_dates(texts: pl.Series) -> tuple[pl.Series, Bools | None]:
    """Read ISO dates, with or without a time and an offset behind them, into Date: the date that is written.

    Returns them, and which texts cannot be read (None: none).

    Source: io.debezium.time.IsoDate, which puts a Z behind the date.
    """
    instants, unread = parse_instants(texts, None, DATE)
    return instants.dt.date() if len(texts) else pl.Series(texts.name, [], dtype=pl.Date), unread


def _utc_of(readings: Int64s, timezone: str) -> Int64s:
    """Turn a wall clock's readings into instants, both in microseconds."""
    from_readings, corrections = _corrections(timezone)
    utc: Int64s = readings - corrections[np.searchsorted(from_readings, readings, side="right")]
    return utc


@lru_cache(maxsize=256)
def _corrections(timezone: str) -> tuple[Int64s, Int64s]:
    """Tabulate a zone: what to subtract from readings, and from which reading each value (but the first) is valid.

    At a change from offset a to b at instant u, readings up to u + max(a, b) are still the old offset's: so a clock put
    forward has the old offset in the gap, and a clock put back has the first of the two.
    """
    days = np.arange(_TABLE_FIRST_DAY, _TABLE_LAST_DAY + 1, dtype=np.int64) * DAY_US
    daily = _offsets_at(days, timezone)
    starts, corrections = [], [int(daily[0])]
    for day in np.flatnonzero(np.diff(daily)):
        for minute in _changes(days[day], DAY_US, 60 * SECOND_US, timezone):
            for second in _changes(minute - 60 * SECOND_US, 60 * SECOND_US, SECOND_US, timezone):
                before, after = _offsets_at(np.array([second - 1, second]), timezone).tolist()
                starts.append(second + max(before, after))
                corrections.append(after)
    return np.array(starts, dtype=np.int64), np.array(corrections, dtype=np.int64)


def _changes(start_us: int, length_us: int, step_us: int, timezone: str) -> list[int]:
    """List the steps after `start_us` at which a zone's offset differs from the step before."""
    steps = np.arange(start_us, start_us + length_us + step_us, step_us, dtype=np.int64)
    return [int(steps[at + 1]) for at in np.flatnonzero(np.diff(_offsets_at(steps, timezone)))]


def _offsets_at(instants_us: Int64s, timezone: str) -> Int64s:
    """Return a zone's offset from UTC in microseconds at each instant."""
    local = pl.Series(instants_us).cast(INSTANT).dt.convert_time_zone(timezone).dt.replace_time_zone(None)
    return local.cast(pl.Datetime("us")).to_physical().to_numpy() - instants_us


_NOTHING, _INSTANT, _LOCAL, _BEYOND = 0, 1, 2, 3
_YEAR_DIGITS_MAX = 10
_INFINITY: Bytes = np.frombuffer(b"infinity", dtype=np.uint8)


@numba.njit(nogil=True, cache=True)
def _number(body, at, end, width):  # type: ignore[no-untyped-def]
    """Read exactly `width` digits.

    body     (b,)    uint8  texts
    at, end  scalar  int64  index of the first digit, and where the text ends
    width    scalar  int64  digits
    Returns the number (int64), or -1: they are not there.
    """
    if at + width > end:
        return np.int64(-1)
    number = np.int64(0)
    for k in range(width):
        digit = np.int64(load_byte(body, at + k)) - 48
        if digit < 0 or digit > 9:
            return np.int64(-1)
        number = number * 10 + digit
    return number


@numba.njit(nogil=True, cache=True)
def _is(body: Bytes, at: int, end: int, byte: int) -> bool:
    """Say whether a text of `body`, (b,) uint8, that ends at index `end` has a byte at index `at`, and this one."""
    return at < end and np.int64(load_byte(body, at)) == byte


@numba.njit(nogil=True, cache=True)
def _days_from_civil(year, month, day):  # type: ignore[no-untyped-def]
    """Count days since 1970-01-01 in the proleptic Gregorian calendar; month and day count from 1.

    Source: Howard Hinnant, days_from_civil.
    """
    year -= month <= 2
    era = year // 400
    in_era = year - era * 400
    in_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + in_era * 365 + in_era // 4 - in_era // 100 + in_year - 719468


@numba.njit(nogil=True, cache=True)
def _days_in(year: int, month: int) -> int:
    """Count the days of a month (1 to 12) in the proleptic Gregorian calendar."""
    if month == 2:
        return 29 if (year % 4 == 0 and year % 100 != 0) or year % 400 == 0 else 28
    return 30 if month in (4, 6, 9, 11) else 31


@numba.njit(nogil=True, cache=True)
def _says_infinity(body: Bytes, at: int, end: int) -> bool:
    """Say whether the text of `body`, (b,) uint8, from index `at` to `end` is infinity, with or without a sign."""
    if _is(body, at, end, 45) or _is(body, at, end, 43):
        at += 1
    if end - at != len(_INFINITY):
        return False
    letters = 0
    while letters < len(_INFINITY) and load_byte(body, at + letters) | 32 == np.int64(_INFINITY[letters]):
        letters += 1
    return letters == len(_INFINITY)


@numba.njit(nogil=True, cache=True)
def _parse(offsets: Int64s, body: Bytes, clock: int, micros: Int64s, read: Int8s) -> None:
    """Read ISO 8601 texts.

    offsets  (n+1,)  int64  text i is body[offsets[i]:offsets[i+1]]
    body     (b,)    uint8  texts
    clock    scalar  int64  SAID, WALL or DATE: see there
    micros   (n,)    int64  written: microseconds since 1970 UTC, or the clock's reading counted so; 0 before
    read     (n,)    int8   written: _INSTANT; _LOCAL where no offset is said, or means nothing; _BEYOND for what no
                            calendar holds, and for a blank text; _NOTHING before, and where not read
    """
    for row in range(read.shape[0]):
        at, end = offsets[row], offsets[row + 1]
        while at < end and load_byte(body, at) <= 32:
            at += 1
        while at < end and load_byte(body, end - 1) <= 32:
            end -= 1
        if at == end or _says_infinity(body, at, end):
            read[row] = _BEYOND
            continue
        beyond = False
        if end - at > 3 and _is(body, end - 2, end, 66) and _is(body, end - 1, end, 67):  # before Christ
            beyond = True
            end -= 2
            while at < end and load_byte(body, end - 1) <= 32:
                end -= 1
        before = _is(body, at, end, 45)
        at += 1 if before or _is(body, at, end, 43) else 0
        width = 0
        while width < _YEAR_DIGITS_MAX and _number(body, at + width, end, 1) >= 0:
            width += 1
        if width < 4:
            continue
        year = _number(body, at, end, width)
        at += width
        month, day = _number(body, at + 1, end, 2), _number(body, at + 4, end, 2)
        if not (_is(body, at, end, 45) and _is(body, at + 3, end, 45)):
            continue
        if month < 0 or month > 12 or day < 0 or day > 31:
            continue
        at += 6
        beyond = beyond or before or year < 1 or year > 9999 or month < 1 or day < 1 or day > _days_in(year, month)
        value = np.int64(0)
        if not beyond:
            value = _days_from_civil(year, month, day) * DAY_US
        if _is(body, at, end, 84) or _is(body, at, end, 116) or _is(body, at, end, 32):  # T, t or blank
            hour, minute = _number(body, at + 1, end, 2), _number(body, at + 4, end, 2)
            if hour < 0 or hour > 23 or minute < 0 or minute > 59 or not _is(body, at + 3, end, 58):
                continue
            at += 6
            second, fraction = np.int64(0), np.int64(0)
            if _is(body, at, end, 58):
                second = _number(body, at + 1, end, 2)
                if second < 0 or second > 59:
                    continue
                at += 3
                if _is(body, at, end, 46) or _is(body, at, end, 44):  # . or ,
                    at += 1
                    scale = np.int64(SECOND_US // 10)
                    first = at
                    while at < end:
                        digit = np.int64(load_byte(body, at)) - 48
                        if digit < 0 or digit > 9:
                            break
                        fraction += digit * scale
                        scale //= 10
                        at += 1
                    if at == first:
                        continue
            value += ((hour * 60 + minute) * 60 + second) * SECOND_US + fraction
        if at == end:
            micros[row], read[row] = value, _BEYOND if beyond else _LOCAL
            continue
        found = _INSTANT
        if _is(body, at, end, 90) or _is(body, at, end, 122):  # Z or z
            at += 1
            if clock != SAID:
                found = _LOCAL
        else:
            east = _is(body, at, end, 43)
            if not east and not _is(body, at, end, 45):
                continue
            hours = _number(body, at + 1, end, 2)
            at += 3
            at += 1 if _is(body, at, end, 58) else 0
            minutes, seconds = np.int64(0), np.int64(0)
            if at < end and not _is(body, at, end, 91):
                minutes = _number(body, at, end, 2)
                at += 2
                if _is(body, at, end, 58):
                    seconds = _number(body, at + 1, end, 2)
                    at += 3
            if hours < 0 or hours > 18 or minutes < 0 or minutes > 59 or seconds < 0 or seconds > 59:
                continue
            shift = ((hours * 60 + minutes) * 60 + seconds) * SECOND_US
            if clock == DATE:
                found = _LOCAL
            else:
                value = value - shift if east else value + shift
        if at == end or (_is(body, at, end, 91) and _is(body, end - 1, end, 93)):  # [Europe/Warsaw]
            micros[row], read[row] = value, _BEYOND if beyond else found
