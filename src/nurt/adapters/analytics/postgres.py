"""Profiles, stock or orders in PostgreSQL: COPY into staging tables, then one upsert a table, all in one transaction.

Readers see exactly the newest revision of every row of a family's table, and in the tables of its lists.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from nurt.adapters.secrets import secret
from nurt.delivery.mapping import DestinationMapping
from nurt.delivery.table_family import TableBatch, TableFamily
from nurt.errors import ConfigurationError
from nurt.model.delivery import CallFailure, CallResult

SQL_TYPES: Mapping[pl.DataType, str] = {
    pl.String(): "text",
    pl.Int64(): "bigint",
    pl.Date(): "date",
    pl.Boolean(): "boolean",
    pl.Datetime("us"): "timestamp",
    pl.Decimal(18, 4): "numeric(18,4)",
}
CONNECT_S = 10
TIMEOUT_S = 300.0
"""Time that one batch may take; then its connection is cut and the batch is tried again."""


class PostgresSink:
    """Sink of a family's tables in one schema; it adds columns that a later nurt brings.

    Implements delivery.ports.TableSink.
    """

    def __init__(self, mapping: DestinationMapping, family: TableFamily) -> None:
        try:
            import psycopg
        except ImportError:
            raise ConfigurationError(
                f"opening destination {mapping.name}: psycopg is not installed; `pip install 'nurt[postgres]'`"
            ) from None
        self._psycopg = psycopg
        self._family = family
        self._url = secret(f"destinations.{mapping.name}.url", mapping.options.get("url"))
        self._schema = str(mapping.options.get("schema", "nurt"))
        self._timeout_s = float(mapping.options.get("timeout_s", TIMEOUT_S))
        self._connection: Any = None
        self._lock = threading.Lock()

    def write(self, batch: TableBatch) -> CallResult:
        """See delivery.ports.TableSink."""
        psycopg = self._psycopg
        with self._lock:
            try:
                connection = self._connected()
                with self._watched(connection), connection.transaction(), connection.cursor() as cursor:
                    self._fold(cursor, batch)
                return CallResult()
            except (psycopg.errors.DataError, psycopg.errors.IntegrityError) as refused:
                return CallResult(failure=CallFailure.REFUSED, code=type(refused).__name__, words=str(refused)[:2000])
            except psycopg.Error as failed:
                self.close()
                code = failed.sqlstate or type(failed).__name__
                kind = CallFailure.UNAUTHORISED if str(code).startswith("28") else CallFailure.DOWN
                return CallResult(failure=kind, code=f"postgres_{code}")

    def _connected(self) -> Any:
        if self._connection is None:
            self._connection = self._psycopg.connect(self._url, autocommit=True, connect_timeout=CONNECT_S)
            connection = self._connection
            with self._watched(connection), connection.transaction(), connection.cursor() as cursor:
                self._prepare(cursor)
        return self._connection

    @contextlib.contextmanager
    def _watched(self, connection: Any) -> Iterator[None]:
        """Cut a connection whose server has not finished in time: PostgreSQL's protocol has no read timeout."""
        wire = socket.socket(fileno=os.dup(connection.fileno()))

        def cut() -> None:
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self._timeout_s, cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            wire.close()

    def _prepare(self, cursor: Any) -> None:
        """Create schema and tables, and add missing columns."""
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('nurt'))")
        cursor.execute(f'CREATE SCHEMA IF NOT EXISTS "{self._schema}"')
        for name, columns in self._family.tables.items():
            listed = ", ".join(f'"{column}" {SQL_TYPES[kind]}' for column, kind in columns.items())
            cursor.execute(f'CREATE TABLE IF NOT EXISTS "{self._schema}"."{name}" ({listed})')
            for column, kind in columns.items():
                cursor.execute(
                    f'ALTER TABLE "{self._schema}"."{name}" ADD COLUMN IF NOT EXISTS "{column}" {SQL_TYPES[kind]}'
                )
            unique = "UNIQUE" if name == self._family.name else ""
            cursor.execute(f'CREATE {unique} INDEX IF NOT EXISTS "{name}_id" ON "{self._schema}"."{name}" (id)')

    def _fold(self, cursor: Any, batch: TableBatch) -> None:
        main = self._family.name
        rows = {name: frame for name, frame in batch.flat.items() if frame.height or name == main}
        for name, frame in rows.items():
            cursor.execute(f'CREATE TEMP TABLE "new_{name}" (LIKE "{self._schema}"."{name}") ON COMMIT DROP')
            columns = ", ".join(f'"{column}"' for column in frame.columns)
            with cursor.copy(f'COPY "new_{name}" ({columns}) FROM STDIN (FORMAT csv)') as copy:
                copy.write(_csv(frame))
        schema = f'"{self._schema}"'
        cursor.execute(
            f'CREATE TEMP TABLE fresh ON COMMIT DROP AS SELECT id FROM "new_{main}" AS incoming '
            f'WHERE NOT EXISTS (SELECT FROM {schema}."{main}" AS stored '
            "WHERE stored.id = incoming.id AND stored.revision > incoming.revision)"
        )
        erased = [id_ for id_, _ in batch.erased]
        for name in self._family.tables:
            cursor.execute(
                f'DELETE FROM {schema}."{name}" WHERE id IN (SELECT id FROM fresh UNION ALL SELECT unnest(%s::text[]))',
                (erased,),
            )
        for name, frame in rows.items():
            columns = ", ".join(f'"{column}"' for column in frame.columns)
            cursor.execute(
                f'INSERT INTO {schema}."{name}" ({columns}) SELECT {columns} FROM "new_{name}" '
                "WHERE id IN (SELECT id FROM fresh)"
            )

    def close(self) -> None:
        """See delivery.ports.TableSink."""
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
            self._connection = None


def _csv(frame: pl.DataFrame) -> bytes:
    """Write rows as PostgreSQL's CSV: an empty cell is null, "" is empty text. PostgreSQL's texts cannot hold NUL."""
    texts = [name for name, kind in frame.schema.items() if kind == pl.String()]
    clean = frame.with_columns(pl.col(texts).str.replace_all("\x00", "", literal=True)) if texts else frame
    return clean.write_csv(include_header=False, quote_style="non_numeric", null_value="").encode()
