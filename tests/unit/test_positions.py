"""Positions are read exactly, and what is missing or odd is null, never a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given

from nurt.columnar.series import text_buffers
from nurt.debezium import positions
from nurt.debezium.positions import Family, Positions, family_of


@dataclass
class Column:
    """A field that polars holds."""

    series: pl.Series

    @property
    def is_integer(self) -> bool:
        return self.series.dtype == pl.Int64

    @property
    def is_text(self) -> bool:
        return self.series.dtype == pl.String

    def known(self) -> Any:
        return self.series.is_not_null().to_numpy() if self.series.null_count() else None

    def numbers(self) -> Any:
        return self.series.fill_null(0).to_numpy()

    def texts(self) -> Any:
        return text_buffers(self.series)


def read_positions(family: Family, fields: dict[str, pl.Series], rows: int) -> Positions:
    return positions.read_positions(family, {name: Column(series) for name, series in fields.items()}, rows)


def lists(found: Positions) -> list[tuple[Any, ...]]:
    by_row = [found.of(row) for row in range(found.numbers.shape[1])]
    assert by_row == list(zip(*(part.to_list() for part in found.series()), strict=True))
    return by_row


def postgresql(*pairs: tuple[str | None, int | None]) -> list[tuple[Any, ...]]:
    fields = {
        "sequence": pl.Series([text for text, _ in pairs], dtype=pl.String),
        "lsn": pl.Series([lsn for _, lsn in pairs], dtype=pl.Int64),
    }
    return lists(read_positions(Family.POSTGRESQL, fields, len(pairs)))


@given(st.lists(st.tuples(st.none() | st.integers(0, 10**18 - 1), st.none() | st.integers(0, 10**18 - 1))))
def test_every_sequence_is_read(pairs: list[tuple[int | None, int | None]]) -> None:
    texts = [",".join("null" if part is None else f'"{part}"' for part in pair) for pair in pairs]
    assert postgresql(*((f"[{text}]", None) for text in texts)) == [(first, second, 0, 0) for first, second in pairs]


@pytest.mark.parametrize(
    "text", [None, "", "x", "[]", '["1"]', '["1","2"', '["1","2"]x', '["1" "2"]', '["1","a"]', '["1",nulx]', "[1.5,2]"]
)
def test_a_sequence_of_another_form_leaves_the_lsn(text: str | None) -> None:
    assert postgresql((text, 9), ('["1","2"]', 9)) == [(None, 9, 0, 0), (1, 2, 0, 0)]


def test_numbers_beyond_int64_are_unknown() -> None:
    assert postgresql(('["99999999999999999999","2"]', None)) == [(None, None, 0, 0)]


@pytest.mark.parametrize(
    ("file", "number"),
    [("binlog.000123", 123), ("mysql-bin.1", 1), ("a.b.7", 7), ("binlog", None), ("binlog.", None), ("b.1x", None)],
)
def test_a_log_file_has_the_number_behind_its_last_dot(file: str, number: int | None) -> None:
    fields = {"file": pl.Series([file]), "pos": pl.Series([4]), "row": pl.Series([2])}
    assert lists(read_positions(Family.MYSQL, fields, 1)) == [(number, 4, 2, 0)]


def sqlserver(commit: str | None, change: str | None, serial: int | None) -> tuple[Any, ...]:
    fields = {
        "commit_lsn": pl.Series([commit], dtype=pl.String),
        "change_lsn": pl.Series([change], dtype=pl.String),
        "event_serial_no": pl.Series([serial], dtype=pl.Int64),
    }
    return lists(read_positions(Family.SQLSERVER, fields, 1))[0]


def test_sql_server_orders_by_commit_then_change_then_serial() -> None:
    found = sqlserver("00000027:00000ac0:0007", "00000027:00000AC0:0002", 3)
    assert found == (0x27 << 32 | 0xAC0, 7, 0x27 << 32 | 0xAC0, 2 << 32 | 3)
    assert sqlserver("00000027:00000ac0:0007", None, None) == (0x27 << 32 | 0xAC0, 7, None, None)
    assert sqlserver(None, "x", -1) == (None, None, None, None)


@pytest.mark.parametrize("lsn", ["", "1:2", "1:2:3:4", "g:1:1", "1::1", "fffffffff:1:1", "ffffffff:1:1", "1:1:12345"])
def test_an_odd_lsn_is_unknown(lsn: str) -> None:
    assert sqlserver(lsn, lsn, 1) == (None, None, None, None)


def test_the_order_of_parts_is_the_order_of_the_log() -> None:
    later = [
        sqlserver("00000027:00000ac0:0007", "00000027:00000ac0:0002", 1),
        sqlserver("00000027:00000ac0:0007", "00000027:00000ac0:0002", 2),
        sqlserver("00000027:00000ac0:0007", "00000027:00000ac0:0003", 1),
        sqlserver("00000027:00000ac0:0008", "00000027:00000000:0001", 1),
        sqlserver("00000028:00000000:0001", "00000027:00000000:0001", 1),
    ]
    assert later == sorted(later)


@pytest.mark.parametrize(
    ("fields", "family"),
    [
        ({"lsn", "sequence", "txId"}, Family.POSTGRESQL),
        ({"file", "pos", "row", "gtid"}, Family.MYSQL),
        ({"commit_lsn", "change_lsn"}, Family.SQLSERVER),
        ({"scn"}, Family.UNKNOWN),
        (set(), Family.UNKNOWN),
    ],
)
def test_families_are_told_by_their_fields(fields: set[str], family: Family) -> None:
    assert family_of(fields) is family


@pytest.mark.parametrize("family", Family)
def test_no_fields_and_no_rows_have_no_position(family: Family) -> None:
    assert lists(read_positions(family, {}, 0)) == []
    (row,) = lists(read_positions(family, {}, 1))
    assert all(part in (None, 0) for part in row)


def test_numbers_that_a_converter_wrote_as_texts_are_read() -> None:
    fields = {"file": pl.Series(["b.1"]), "pos": pl.Series(["77"]), "row": pl.Series([1.5])}
    assert lists(read_positions(Family.MYSQL, fields, 1)) == [(1, 77, None, 0)]
