"""Published profiles in a DuckDB file: flat tables and views that an analyst can query with SQL at once."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl

from nurt.adapters.analytics.duckdb_tables import SQL_TYPES, prepare_file, prepare_tables, share_file
from nurt.adapters.file_modes import PRIVATE, Sharing
from nurt.contracts.profile_tables import TABLES, newest, tables_of
from nurt.errors import ConnectionFailed
from nurt.model.published import PublishedBatch

LAYOUT = 2
"""Number that grows when tables change so that an older nurt must not write them: the code that wrote layout 1 inserts
values by their place."""

VIEWS: dict[str, str] = {
    "best_customers": """
        SELECT orders.currency,
               rank() OVER (PARTITION BY orders.currency ORDER BY orders.gross DESC) AS place,
               coalesce(nullif(concat_ws(' ', first_name, last_name), ''), company, email, profiles.id) AS customer,
               company, email, country,
               orders.order_count AS orders, orders.gross, orders.first_on AS first_order, orders.last_on AS last_order,
               orders.last_365_gross AS gross_last_365_days,
               profiles.account_count AS accounts, profiles.id
        FROM profiles JOIN (
            SELECT id, currency, sum(order_count)::BIGINT AS order_count, sum(gross)::DECIMAL(18,4) AS gross,
                   min(first_on) AS first_on, max(last_on) AS last_on,
                   sum(last_365_gross)::DECIMAL(18,4) AS last_365_gross
            FROM profile_orders GROUP BY id, currency
        ) AS orders ON orders.id = profiles.id
        WHERE profiles.state = 'live' AND orders.order_count > 0
        ORDER BY orders.currency, place, profiles.id""",
    "overdue_customers": """
        SELECT invoices.currency, invoices.overdue_amount, invoices.overdue_count AS overdue_invoices,
               coalesce(nullif(concat_ws(' ', first_name, last_name), ''), company, email, profiles.id) AS customer,
               company, tax_id, email, phone, profiles.as_of, profiles.id
        FROM profiles JOIN profile_invoices AS invoices ON invoices.id = profiles.id
        WHERE profiles.state = 'live' AND invoices.overdue_count > 0
        ORDER BY invoices.currency, invoices.overdue_amount DESC, profiles.id""",
    "reachable_customers": """
        SELECT consents.purpose, profiles.email, profiles.phone, first_name, last_name, language, country, market,
               consents.said_at AS granted_at, consents.system AS said_in, profiles.id
        FROM profiles JOIN profile_consents AS consents ON consents.id = profiles.id
        WHERE profiles.state = 'live' AND consents.granted
        ORDER BY consents.purpose, profiles.id""",
}
"""Views over live profiles, for a first look."""

_logger = logging.getLogger(__name__)


def sql_tables() -> dict[str, dict[str, str]]:
    """List the tables with the SQL types of their columns."""
    tables = {name: {column: SQL_TYPES[kind] for column, kind in columns.items()} for name, columns in TABLES.items()}
    return {**tables, "profile_erased": {"id": "VARCHAR", "revision": "BIGINT"}}


class DuckdbSink:
    """Sink of the newest revision of every profile in one DuckDB file; implements `ports.sinks.ProfileSink`.

    A batch is one transaction. DuckDB admits one process at a time: with `hold` the sink has the file open until
    `close`; without `hold`, the file is opened for each batch only, and a reader in between makes the sink wait.
    """

    def __init__(self, path: Path, hold: bool = True, wait_s: float = 60.0, shared: Sharing = PRIVATE) -> None:
        """Open or create the file.

        Raises ConnectionFailed when another process keeps the file open for longer than `wait_s`.
        Raises StateTooNew when a later nurt laid out the tables.
        """
        self._path, self._hold, self._wait_s = path, hold, wait_s
        self._connection: duckdb.DuckDBPyConnection | None = None
        is_new = prepare_file(path, shared)
        with self._opened() as connection:
            prepare_tables(connection, path, sql_tables(), VIEWS, LAYOUT)
        share_file(path, shared, is_new)

    def write(self, batch: PublishedBatch) -> None:
        """Store the batch durably before returning; an older or equal revision of an id changes nothing.

        A redirect keeps its row in `profiles` only. A tombstone leaves only id and revision in `profile_erased`, so an
        older message cannot bring the profile back.
        """
        if not len(batch):
            return
        incoming = newest(batch)
        with self._opened() as connection:
            connection.begin()
            try:
                self._fold(connection, incoming)
                connection.commit()
            except BaseException:
                with contextlib.suppress(duckdb.Error):
                    connection.rollback()
                raise

    def close(self) -> None:
        """Close the file; never raises."""
        if self._connection is not None:
            try:
                self._connection.close()
            except duckdb.Error as failed:
                _logger.warning("closing %s: %s", self._path, type(failed).__name__)
            self._connection = None

    def _fold(self, connection: duckdb.DuckDBPyConnection, incoming: pl.DataFrame) -> None:
        revisions = incoming.select("id", "revision")
        connection.register("incoming", revisions)
        stored = connection.execute(
            "SELECT id, revision AS stored, false AS erased FROM profiles SEMI JOIN incoming USING (id) UNION ALL "
            "SELECT id, revision AS stored, true AS erased FROM profile_erased SEMI JOIN incoming USING (id)"
        ).pl()
        connection.unregister("incoming")
        fresh = incoming.join(stored, on="id", how="left", maintain_order="left").filter(
            pl.col("stored").is_null() | (pl.col("revision") > pl.col("stored"))
        )
        for name, rows in (
            ("profile_erased", fresh.filter(pl.col("erased"))),
            *((name, fresh.filter(~pl.col("erased"))) for name in TABLES),
        ):
            if len(rows):
                connection.register("gone", rows.select("id"))
                connection.execute(f"DELETE FROM {name} WHERE id IN (SELECT id FROM gone)")
                connection.unregister("gone")
        dead = fresh.filter(pl.col("value").is_null()).select("id", "revision")
        tables = tables_of(fresh.filter(pl.col("value").is_not_null()))
        for name, rows in (("profile_erased", dead), *tables.items()):
            if len(rows):
                connection.register("fresh", rows)
                connection.execute(f"INSERT INTO {name} BY NAME SELECT * FROM fresh")
                connection.unregister("fresh")

    @contextlib.contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        if self._connection is None:
            self._connection = self._connect()
        try:
            yield self._connection
        finally:
            if not self._hold:
                self.close()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        until = time.monotonic() + self._wait_s
        has_reported = False
        while True:
            try:
                return duckdb.connect(str(self._path))
            except duckdb.IOException as failed:
                if "lock" not in str(failed):
                    raise ConnectionFailed(
                        f"opening DuckDB file {self._path}: {failed} (a DuckDB file); check path and disk"
                    ) from None
                if time.monotonic() > until:
                    raise ConnectionFailed(
                        f"opening DuckDB file {self._path}: another process has had it open for {self._wait_s:.0f} s "
                        "(one at a time); close it there"
                    ) from None
                if not has_reported:
                    _logger.warning("DuckDB file %s is open in another process; nurt waits for it", self._path)
                    has_reported = True
                time.sleep(0.1)
