"""What an expression gives becomes the canonical field exactly, or its row alone is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from nurt.columnar.ids import Ids
from nurt.mapping.load import load_mapping
from nurt.model.refusal import Reason
from nurt.translate.general_path import METADATA, map_rows

IDS = Ids(b"0123456789abcdef")
FIELD = {"str": "order.number", "bool": "customer.email_verified", "ts": "order.placed_at", "day": "invoice.issued_on"}
FIELD["amount"] = "order.gross"
DAY, HOUR = 86_400_000_000, 3_600_000_000
MAY_6 = 19_849  # days since 1970-01-01
UTC_TIME = pl.Datetime("us", "UTC")


def convert(
    field_type: str,
    values: list[Any],
    dtype: pl.DataType | type[pl.DataType],
    sql: str = "v",
    zone: str = "Europe/Warsaw",
) -> list[Any]:
    """Map one column into a field of a type; give the values, and a Reason where a row was refused."""
    kind, field = FIELD[field_type].split(".")
    parent = "parent: {customer: id}, " if kind == "invoice" else ""
    text = f"systems: {{s: {{timezone: {zone}}}}}\ntopics: [{{match: t, system: s, entity: {kind}, key: id, {parent}"
    mapping = load_mapping(text + f'fields: {{{field}: "{sql}"}}}}]', "m").for_topic("t")
    assert mapping is not None
    n = len(values)
    columns = pl.DataFrame({"id": list(range(n)), "v": pl.Series(values, dtype=dtype)})
    frame, problems = map_rows(mapping, head(n), columns, IDS)
    out: list[Any] = [None] * n
    for key, value in zip(frame["key"].to_list(), frame[field].to_list(), strict=True):
        out[int(key)] = value
    for problem in problems:
        assert "v (" in problem.detail and field in problem.detail
        out[problem.row] = problem.reason
    return out


def head(n: int) -> pl.DataFrame:
    zeros = pl.Series([0] * n, dtype=pl.Int64)
    return pl.DataFrame({"op": zeros.cast(pl.Int8)} | dict.fromkeys(METADATA, zeros)).with_columns(
        pl.col("snapshot").cast(pl.Int8)
    )


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (["a", " a ", "", "  \t", None, "\u00a0", "żółw"], pl.String, ["a", " a ", None, None, None, "\u00a0", "żółw"]),
        ([1, -7, None], pl.Int64, ["1", "-7", None]),
        (
            [Decimal("12.00"), Decimal("1.50"), Decimal("-0.05"), Decimal("100.00")],
            pl.Decimal(38, 2),
            ["12", "1.5", "-0.05", "100"],
        ),
        ([Decimal("1200")], pl.Decimal(38, 0), ["1200"]),
        ([1.5, None], pl.Float64, [Reason.WRONG_TYPE, None]),
        ([True, None], pl.Boolean, [Reason.WRONG_TYPE, None]),
        ([date(2024, 5, 6), None], pl.Date, [Reason.WRONG_TYPE, None]),
        ([b"x", None], pl.Binary, [Reason.WRONG_TYPE, None]),
        ([["x"], None], pl.List(pl.String), [Reason.WRONG_TYPE, None]),
        ([None, None], pl.Null, [None, None]),
    ],
)
def test_text(values: list[Any], dtype: pl.DataType, expected: list[Any]) -> None:
    assert convert("str", values, dtype) == expected


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([True, False, None], pl.Boolean, [True, False, None]),
        ([1, 0, 2, -1, None], pl.Int64, [True, False, Reason.WRONG_TYPE, Reason.WRONG_TYPE, None]),
        ([Decimal(1), Decimal(0), Decimal(2)], pl.Decimal(38, 0), [True, False, Reason.WRONG_TYPE]),
        (["t", "TRUE", "Yes", "y", " 1 "], pl.String, [True] * 5),
        (["f", "False", "NO", "n", "0"], pl.String, [False] * 5),
        (["", None, "maybe", "tr"], pl.String, [None, None, Reason.WRONG_TYPE, Reason.WRONG_TYPE]),
        ([1.0, None], pl.Float64, [Reason.WRONG_TYPE, None]),
    ],
)
def test_booleans(values: list[Any], dtype: pl.DataType, expected: list[Any]) -> None:
    assert convert("bool", values, dtype) == expected


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([datetime(1970, 1, 2, 0, 0, 0, 1, tzinfo=UTC), None], UTC_TIME, [DAY + 1, None]),
        ([datetime(1970, 1, 2, 0, 0, 0, 1000)], pl.Datetime("ms"), [DAY + 1000]),
        ([datetime(1969, 12, 31, 23, 59, 59, 999_999)], pl.Datetime("ns"), [-1]),
        ([date(1970, 1, 2), date(1969, 12, 31)], pl.Date, [DAY, -DAY]),
        (
            ["1970-01-02T01:00:00Z", "1970-01-02 03:00:00+02:00", "1970-01-02T01:00:00.1234567Z"],
            pl.String,
            [DAY + HOUR, DAY + HOUR, DAY + HOUR + 123_456],
        ),
        (
            ["2024-05-06 02:00:00", "2024-01-06T01:00", "2024-05-06"],
            pl.String,
            [MAY_6 * DAY, (MAY_6 - 121) * DAY, MAY_6 * DAY - 2 * HOUR],
        ),
        (["", None, "yesterday", "0000-00-00 00:00:00", "infinity"], pl.String, [None, None, *[Reason.WRONG_TYPE] * 3]),
        ([1_700_000_000_000, None], pl.Int64, [Reason.WRONG_TYPE, None]),
    ],
)
def test_points_in_time(values: list[Any], dtype: pl.DataType, expected: list[Any]) -> None:
    assert convert("ts", values, dtype) == expected


def test_epochs_become_points_in_time_when_the_mapping_says_so() -> None:
    assert convert("ts", [86_400_000, None], pl.Int64, "CAST(v * 1000 AS TIMESTAMP)") == [DAY, None]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([date(2024, 5, 6), date(1969, 12, 31), None], pl.Date, [MAY_6, -1, None]),
        ([datetime(2024, 5, 5, 22, 0, tzinfo=UTC), datetime(2024, 5, 6, 21, 59, tzinfo=UTC)], UTC_TIME, [MAY_6, MAY_6]),
        ([datetime(2024, 5, 6, 23, 59)], pl.Datetime("us"), [MAY_6]),
        (["2024-05-06", "20240506", "2024-05-06 23:30:00", "2024-05-05T22:30:00Z"], pl.String, [MAY_6] * 4),
        (["", None, "06.05.2024", "2024-02-30"], pl.String, [None, None, Reason.WRONG_TYPE, Reason.WRONG_TYPE]),
        ([19_849, None], pl.Int64, [Reason.WRONG_TYPE, None]),
    ],
)
def test_days(values: list[Any], dtype: pl.DataType, expected: list[Any]) -> None:
    assert convert("day", values, dtype) == expected


def test_a_day_written_otherwise_is_read_by_its_format() -> None:
    assert convert("day", ["06.05.2024", None], pl.String, "STRPTIME(v, '%d.%m.%Y')", "America/New_York") == [
        MAY_6,
        None,
    ]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([5, -7, None], pl.Int64, [50_000, -70_000, None]),
        (
            [922_337_203_685_477, 922_337_203_685_478, -(2**63)],
            pl.Int64,
            [9_223_372_036_854_770_000, Reason.OUT_OF_RANGE, Reason.OUT_OF_RANGE],
        ),
        ([Decimal("19.99"), Decimal("-0.01"), None], pl.Decimal(38, 2), [199_900, -100, None]),
        (
            [Decimal("922337203685477.5807"), Decimal("922337203685477.5808")],
            pl.Decimal(38, 4),
            [2**63 - 1, Reason.OUT_OF_RANGE],
        ),
        ([Decimal("92233720368547758080"), Decimal("1")], pl.Decimal(38, 0), [Reason.OUT_OF_RANGE, 10_000]),
        (
            [Decimal("5.123400"), Decimal("5.123456"), Decimal("-5.1234"), Decimal("-5.12341")],
            pl.Decimal(38, 6),
            [51_234, Reason.OUT_OF_RANGE, -51_234, Reason.OUT_OF_RANGE],
        ),
        ([Decimal("0.1"), Decimal(10) ** -38], pl.Decimal(38, 38), [1000, Reason.OUT_OF_RANGE]),
        (
            ["19.99", " -0.0100000 ", "+5", "1e3", "1E-2", "0.00010", ""],
            pl.String,
            [199_900, -100, 50_000, 10_000_000, 100, 1, None],
        ),
        (["1,5", "zł 5", "0x10", "NaN", "Infinity", "1_000", "1e400", "1e-400"], pl.String, [Reason.WRONG_TYPE] * 8),
        (
            ["0.00001", "922337203685477.5807", "922337203685477.5808", "00000000000000000005"],
            pl.String,
            [Reason.WRONG_TYPE, 2**63 - 1, Reason.WRONG_TYPE, 50_000],
        ),
        ([19.99, None], pl.Float64, [Reason.WRONG_TYPE, None]),
        ([True], pl.Boolean, [Reason.WRONG_TYPE]),
    ],
)
def test_amounts(values: list[Any], dtype: pl.DataType, expected: list[Any]) -> None:
    assert convert("amount", values, dtype) == expected


def test_a_float_becomes_money_only_by_rounding_or_casting() -> None:
    floats = [19.99, 0.1 + 0.2, 1.005, -2.675, None]
    assert convert("amount", floats, pl.Float64, "ROUND(v, 4)") == [199_900, 3_000, 10_050, -26_750, None]
    assert convert("amount", floats, pl.Float64, "CAST(v AS DECIMAL(18,2))")[:2] == [199_900, 3_000]
    assert convert("amount", floats, pl.Float64, "v * 1") == [*[Reason.WRONG_TYPE] * 4, None]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e12, 1e300])
def test_a_float_too_large_to_be_exact_is_refused_even_when_rounded(value: float) -> None:
    assert convert("amount", [value, 1.5], pl.Float64, "ROUND(v, 2)") == [Reason.OUT_OF_RANGE, 15_000]


def test_minor_units_become_money_by_dividing_decimals() -> None:
    assert convert("amount", [1999, -1, None], pl.Int64, "CAST(v AS DECIMAL(18,2)) / 100") == [199_900, -100, None]
    assert convert("amount", [1999], pl.Int64, "v / 100") == [Reason.WRONG_TYPE]


def test_decimals_are_multiplied_at_the_larger_scale_and_rounded_half_to_even() -> None:
    cents = [Decimal("0.15"), Decimal("0.25"), Decimal("-0.15")]
    assert convert("amount", cents, pl.Decimal(38, 2), "v * CAST(0.5 AS DECIMAL(18,2))") == [800, 1200, -800]
    assert convert("amount", [Decimal("0.1"), None], pl.Decimal(38, 1), "v * 3 + v") == [4000, None]


def test_a_product_with_a_literal_fraction_is_a_float() -> None:
    assert convert("amount", [Decimal("10.00")], pl.Decimal(38, 2), "v * 1.23") == [Reason.WRONG_TYPE]
    assert convert("amount", [Decimal("10.01")], pl.Decimal(38, 2), "ROUND(v * 1.23, 2)") == [123_100]
