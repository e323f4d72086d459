"""Tables that an older nurt wrote take new columns and new tables; what is newer than this nurt is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from nurt.adapters.analytics import duckdb_stock as stock_duckdb
from nurt.adapters.analytics.duckdb import DuckdbSink
from nurt.adapters.analytics.duckdb_stock import DuckdbStockSink
from nurt.adapters.analytics.parquet import ParquetSink
from nurt.contracts import profile_tables
from nurt.errors import StateTooNew
from nurt.ports.sinks import ProfileSink
from tests.contracts.published import batch, rich
from tests.contracts.test_stock_sinks import published

OLD = [rich(number, 1) for number in range(20)]
NEW = [rich(number, 2) for number in range(5)]


@pytest.fixture(params=["duckdb", "parquet"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def opened(kind: str, path: Path) -> ProfileSink:
    return DuckdbSink(path) if kind == "duckdb" else ParquetSink(path, buckets=3)


def rows(kind: str, path: Path, table: str, columns: str) -> list[Any]:
    if kind == "duckdb":
        with duckdb.connect(str(path), read_only=True) as connection:
            return connection.execute(f"SELECT {columns} FROM {table} ORDER BY id").fetchall()
    files = f"read_parquet('{path}/{table}/*.parquet', union_by_name = true)"
    return duckdb.sql(f"SELECT {columns} FROM {files} ORDER BY id").fetchall()


@pytest.fixture
def next_columns(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a later nurt have a column more, in the middle of `profiles`, and a table more."""
    tables = profile_tables.TABLES
    columns = list(tables["profiles"].items())
    columns.insert(9, ("nickname", pl.String()))
    monkeypatch.setitem(tables, "profiles", dict(columns))
    monkeypatch.setitem(tables, "profile_friends", {"id": pl.String(), "revision": pl.Int64(), "friend": pl.String()})
    flat = profile_tables._profiles
    monkeypatch.setattr(
        profile_tables, "_profiles", lambda nested, tables: flat(nested.with_columns(nickname=pl.lit("nick")), tables)
    )
    children = profile_tables._children
    friends = profile_tables.empty("profile_friends")
    monkeypatch.setattr(
        profile_tables, "_children", lambda name, live: friends if name == "profile_friends" else children(name, live)
    )
    yield


def test_a_new_column_goes_into_tables_that_are_there(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / "profiles"
    sink = opened(kind, path)
    sink.write(batch(*OLD))
    sink.close()
    request.getfixturevalue("next_columns")
    sink = opened(kind, path)
    sink.write(batch(*NEW))
    sink.close()
    expected = [
        (one["id"], one["revision"], one["email"]["value"], one["as_of"], "nick" if one["revision"] == 2 else None)
        for one in sorted([*NEW, *OLD[5:]], key=lambda one: one["id"])
    ]
    assert rows(kind, path, "profiles", "id, revision, email, as_of, nickname") == expected
    assert rows(kind, path, "profile_friends", "id, friend") == []


def test_a_column_that_only_a_later_nurt_knows_is_left_empty(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / "profiles"
    with pytest.MonkeyPatch.context() as later:
        columns = dict(profile_tables.TABLES["profiles"], nickname=pl.String())
        later.setitem(profile_tables.TABLES, "profiles", columns)
        flat = profile_tables._profiles
        later.setattr(
            profile_tables,
            "_profiles",
            lambda nested, tables: flat(nested.with_columns(nickname=pl.lit("nick")), tables),
        )
        sink = opened(kind, path)
        sink.write(batch(*OLD))
        sink.close()
    sink = opened(kind, path)
    sink.write(batch(*NEW))
    sink.close()
    found = dict(rows(kind, path, "profiles", "id, nickname"))
    assert [found[one["id"]] for one in OLD] == [None] * 5 + ["nick"] * 15


def test_views_show_a_new_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stock.duckdb"
    batches = published()
    sink = DuckdbStockSink(path)
    for one in batches:
        sink.write(one)
    sink.close()
    tables = {name: dict(columns) for name, columns in stock_duckdb.TABLES.items()}
    tables["stock_history"]["colour"] = tables["stock_events"]["colour"] = "VARCHAR"
    monkeypatch.setattr(stock_duckdb, "TABLES", tables)
    sink = DuckdbStockSink(path)
    for one in batches:
        sink.write(replace(one, revision=one.revision + 1_000))
    sink.close()
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute("SELECT sku, available, colour FROM stock_now").fetchall() == [
            ("A", Decimal(1), None)
        ]
        assert connection.execute("SELECT kind, colour FROM stock_events").fetchall() == [("low_stock", None)]


def test_a_stock_file_of_a_later_nurt_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "stock.duckdb"
    DuckdbStockSink(path).close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO nurt_stock_layout VALUES (99)")
    with pytest.raises(StateTooNew, match=r"its layout is 99 \(at most 1\); run the nurt that wrote it"):
        DuckdbStockSink(path)


def test_a_file_of_an_older_layout_is_marked_with_the_one_that_is_written_now(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "profiles"
    opened(kind, path).close()
    module = f"nurt.adapters.analytics.{kind}"
    with monkeypatch.context() as later:
        later.setattr(f"{module}.LAYOUT", 3)
        opened(kind, path).close()
        opened(kind, path).close()
    with pytest.raises(StateTooNew, match="its layout is 3"):
        opened(kind, path)
