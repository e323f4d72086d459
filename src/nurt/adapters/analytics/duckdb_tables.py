"""Tables of a DuckDB file that outlives versions of nurt: created, extended by new columns, and written by name."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import duckdb
import polars as pl

from nurt.adapters.file_modes import PRIVATE, Sharing
from nurt.errors import StateTooNew

Tables = Mapping[str, Mapping[str, str]]
"""By table: name and SQL type of each column."""

SQL_TYPES: dict[pl.DataType, str] = {
    pl.String(): "VARCHAR",
    pl.Int64(): "BIGINT",
    pl.Date(): "DATE",
    pl.Boolean(): "BOOLEAN",
    pl.Datetime("us"): "TIMESTAMP",
    pl.Decimal(18, 4): "DECIMAL(18,4)",
}


def prepare_file(path: Path, shared: Sharing) -> bool:
    """Make the folder of a DuckDB file; return whether the file is new."""
    if not path.parent.exists():
        shared.make_folder(path.parent)
    return not path.exists()


def share_file(path: Path, shared: Sharing, is_new: bool) -> None:
    """Set who may read a DuckDB file and the log of its last changes.

    A file that was there before stays as it is unless the settings share it.
    """
    if is_new or shared != PRIVATE:
        for each in (path, path.with_name(f"{path.name}.wal")):
            shared.give_file(each)


def prepare_tables(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    tables: Tables,
    views: Mapping[str, str],
    layout: int,
    layout_table: str = "nurt_layout",
) -> None:
    """Create missing tables, columns and views, in one transaction.

    Args:
        path: of the file, for the error.
        layout: grows when an older nurt must not write the tables.
        layout_table: table in which the file keeps the layout's number.

    Raises StateTooNew when a later nurt laid out the tables.
    """
    connection.begin()
    try:
        version = _version(connection, layout_table)
        if version > layout:
            raise StateTooNew(
                f"opening DuckDB file {path}: its layout is {version} (at most {layout}); "
                "run the nurt that wrote it, or choose a new file and rebuild"
            )
        for name, columns in tables.items():
            _prepare_table(connection, name, columns)
        for name, query in views.items():
            connection.execute(f"CREATE OR REPLACE VIEW {name} AS {query}")
        if version < layout:
            connection.execute(f"INSERT INTO {layout_table} VALUES (?)", [layout])
        connection.commit()
    except BaseException:
        with contextlib.suppress(duckdb.Error):
            connection.rollback()
        raise


def _version(connection: duckdb.DuckDBPyConnection, layout_table: str) -> int:
    connection.execute(f"CREATE TABLE IF NOT EXISTS {layout_table} (version INTEGER)")
    found = connection.execute(f"SELECT max(version) FROM {layout_table}").fetchone()
    return int(found[0]) if found and found[0] is not None else 0


def _prepare_table(connection: duckdb.DuckDBPyConnection, name: str, columns: Mapping[str, str]) -> None:
    listed = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
    connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({listed})")
    there = {row[0] for row in connection.execute(f"SELECT name FROM pragma_table_info('{name}')").fetchall()}
    for column, kind in columns.items():
        if column not in there:
            connection.execute(f'ALTER TABLE {name} ADD COLUMN "{column}" {kind}')
