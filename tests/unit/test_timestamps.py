"""Instants agree with Python's datetime and zoneinfo, and what they cannot hold is null."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given, settings

from nurt.debezium.timestamps import dates_of, instants_of, parse_dates, parse_instants

EPOCH = datetime(1970, 1, 1)
ZONES = ["Europe/Warsaw", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns", "UTC"]
readings = st.datetimes(datetime(1900, 1, 2), datetime(2099, 12, 30))


def near_changes() -> st.SearchStrategy[datetime]:
    """Readings in the nights of a change of the clock in Europe, America and Australia."""
    nights = [datetime(2024, 3, 31), datetime(2024, 10, 27), datetime(2024, 3, 10), datetime(2024, 11, 3)]
    nights += [datetime(2024, 4, 7), datetime(2024, 10, 6), datetime(1945, 4, 2)]
    return st.builds(lambda night, s: night + timedelta(seconds=s), st.sampled_from(nights), st.integers(-3600, 14400))


@given(st.lists(readings | near_changes(), min_size=1), st.sampled_from(ZONES))
@settings(deadline=None)
def test_a_wall_clocks_reading_is_what_zoneinfo_says(moments: list[datetime], zone: str) -> None:
    moments = [moment.replace(microsecond=moment.microsecond // 1000 * 1000) for moment in moments]
    counts = pl.Series([(moment - EPOCH) // timedelta(milliseconds=1) for moment in moments])
    expected = [moment.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC) for moment in moments]
    assert instants_of(counts, 1_000, zone).to_list() == expected


def test_a_reading_that_never_was_counts_from_before_the_change_and_one_that_was_twice_is_the_first() -> None:
    readings = pl.Series([datetime(2024, 3, 31, 2, 30), datetime(2024, 10, 27, 2, 30)]).cast(pl.Int64)
    assert instants_of(readings, 1_000_000, "Europe/Warsaw").to_list() == [
        datetime(2024, 3, 31, 1, 30, tzinfo=UTC),
        datetime(2024, 10, 27, 0, 30, tzinfo=UTC),
    ]


@pytest.mark.parametrize("units", [1_000, 1_000_000, 1_000_000_000])
def test_counts_outside_the_years_1_to_9999_are_null(units: int) -> None:
    extremes = pl.Series([-(2**63), 2**63 - 1, 0, None])
    found = instants_of(extremes, units, None).to_list()
    assert found[2:] == [datetime(1970, 1, 1, tzinfo=UTC), None]
    if units < 1_000_000_000:  # nanoseconds do not reach that far
        assert found[:2] == [None, None]


def test_the_first_and_last_moments_are_held() -> None:
    counts = [(datetime(1, 1, 1) - EPOCH) // timedelta(microseconds=1)]
    counts.append((datetime(9999, 12, 31, 23, 59, 59, 999999) - EPOCH) // timedelta(microseconds=1))
    found = instants_of(pl.Series(counts), 1_000_000, None).to_list()
    assert found == [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]
    beyond = pl.Series([counts[0] - 1, counts[1] + 1])
    assert instants_of(beyond, 1_000_000, None).to_list() == [None, None]


def test_nanoseconds_before_1970_are_cut_towards_the_past() -> None:
    found = instants_of(pl.Series([-1]), 1_000_000_000, None).to_list()
    assert found == [datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]


@given(st.lists(st.dates(), min_size=1))
def test_every_date_is_held(days: list[date]) -> None:
    assert dates_of(pl.Series([(day - date(1970, 1, 1)).days for day in days])).to_list() == days


def test_days_outside_the_years_1_to_9999_are_null() -> None:
    assert dates_of(pl.Series([-719_163, 2_932_897, -(2**63), 2**63 - 1, None])).to_list() == [None] * 5


@given(st.lists(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)), min_size=1), st.integers(-1439, 1439))
def test_iso_texts_are_what_datetime_says(moments: list[datetime], minutes: int) -> None:
    minutes = max(-1080, min(1080, minutes))
    sign, apart = ("-" if minutes < 0 else "+"), abs(minutes)
    texts = [f"{moment.isoformat()}{sign}{apart // 60:02}:{apart % 60:02}" for moment in moments]
    expected = [(moment - timedelta(minutes=minutes)).replace(tzinfo=UTC) for moment in moments]
    assert parse_instants(pl.Series(texts))[0].to_list() == expected


@given(st.lists(st.text(alphabet="0123456789-T:.Z+ [x", max_size=32)))
def test_no_text_is_too_odd(texts: list[str]) -> None:
    for text, found in zip(texts, parse_instants(pl.Series(texts, dtype=pl.String))[0], strict=True):
        assert found is None or text.startswith(("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-06T09:08:09.1234567+02:00", datetime(2024, 5, 6, 7, 8, 9, 123456)),
        ("2024-05-06 09:08:09Z", datetime(2024, 5, 6, 9, 8, 9)),
        ("2024-05-06T09:08Z", datetime(2024, 5, 6, 9, 8)),
        ("2024-05-06T09:08:09+0200", datetime(2024, 5, 6, 7, 8, 9)),
        ("2024-05-06T09:08:09+02", datetime(2024, 5, 6, 7, 8, 9)),
        ("2024-05-06T09:08:09+02:00[Europe/Warsaw]", datetime(2024, 5, 6, 7, 8, 9)),
        ("1915-01-01T00:00:00+01:24:00", datetime(1914, 12, 31, 22, 36)),
        # without offset: the system's clock
        ("2024-05-06T09:08:09", datetime(2024, 5, 6, 7, 8, 9)),
        ("2024-05-06", datetime(2024, 5, 5, 22)),
    ],
)
def test_the_ways_of_writing_an_instant(text: str, expected: datetime) -> None:
    assert parse_instants(pl.Series([text]), "Europe/Warsaw")[0].to_list() == [expected.replace(tzinfo=UTC)]


@pytest.mark.parametrize(
    "text",
    [
        *("infinity", "-infinity", "0000-01-01T00:00:00Z", "-0044-03-15T00:00:00Z", "0044-03-15T00:00:00Z BC"),
        *("10000-01-01T00:00:00Z", "+10000-01-01T00:00:00Z", "2024-02-30T00:00:00Z", "2024-13-01T00:00:00Z"),
        *("2024-01-01T24:00:00Z", "2024-01-01T00:60:00Z", "2024-01-01T00:00:60Z", "2024-01-01T00:00:00.Z"),
        *("2024-01-01T00:00:00+19:00", "2024-01-01T00:00:00-", "2024-01-01T00:00:00[", "", " ", "2024-01-01x"),
    ],
)
def test_what_is_no_instant_is_null_beside_ones_that_are(text: str) -> None:
    good = "2024-05-06T09:08:09Z"
    assert parse_instants(pl.Series([good, text, None, good]))[0].is_not_null().to_list() == [True, False, False, True]


def test_dates_are_read_from_texts() -> None:
    assert parse_dates(pl.Series(["2024-05-06", "2024-05-06T23:00:00", "x", None]))[0].to_list() == [
        date(2024, 5, 6),
        date(2024, 5, 6),
        None,
        None,
    ]
