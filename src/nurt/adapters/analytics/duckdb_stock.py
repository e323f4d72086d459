"""The history of stock in a DuckDB file: every published figure and every event."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl

from nurt.adapters.analytics.duckdb_tables import prepare_file, prepare_tables, share_file
from nurt.adapters.file_modes import PRIVATE, Sharing
from nurt.contracts.stock_messages import EVENT_COLUMNS
from nurt.errors import ConnectionFailed
from nurt.model.stock.published import StockBatch

_logger = logging.getLogger(__name__)

_FIGURES = ("available", "on_hand", "inbound", "held", "reserved", "buffer", "oversold")
LAYOUT = 1
"""Number that grows when tables change so that an older nurt must not write them; it must grow with the first new
column, because the code that wrote layout 1 until now inserts values by their place."""
LAYOUT_TABLE = "nurt_stock_layout"
TABLES: dict[str, dict[str, str]] = {
    "stock_history": {
        **dict.fromkeys(("realm", "sku", "channel", "market"), "VARCHAR"),
        "revision": "BIGINT",
        "as_of": "TIMESTAMP",
        **dict.fromkeys(_FIGURES, "DECIMAL(18,4)"),
    },
    "stock_events": {
        "id": "VARCHAR PRIMARY KEY",
        **dict.fromkeys(("kind", "realm", "sku", "channel", "market", "location"), "VARCHAR"),
        "crossed_at": "TIMESTAMP",
        "quantity": "DECIMAL(18,4)",
        "orders": "VARCHAR[]",
    },
}
"""Every table with its columns, in order."""

_VIEWS = {
    "stock_now": """
        SELECT * FROM stock_history
        QUALIFY row_number() OVER (PARTITION BY realm, sku, channel, market ORDER BY revision DESC) = 1"""
}


class DuckdbStockSink:
    """Sink that appends to one DuckDB file; implements `ports.sinks.StockSink`.

    With `hold` the sink has the file open until `close`.
    """

    _lock = threading.Lock()  # threads of one process take turns

    def __init__(self, path: Path, hold: bool = True, wait_s: float = 60.0, shared: Sharing = PRIVATE) -> None:
        """Open or create the file.

        Raises ConnectionFailed when another process keeps the file open for longer than `wait_s`.
        Raises StateTooNew when a later nurt laid out the tables.
        """
        self._path, self._hold, self._wait_s = path, hold, wait_s
        self._connection: duckdb.DuckDBPyConnection | None = None
        is_new = prepare_file(path, shared)
        with self._opened() as connection:
            prepare_tables(connection, path, TABLES, _VIEWS, LAYOUT, LAYOUT_TABLE)
        share_file(path, shared, is_new)

    def write(self, batch: StockBatch) -> None:
        """See ports.sinks.StockSink."""
        with self._opened() as connection:
            connection.begin()
            if batch.figures.height:
                rows = batch.figures.with_columns(
                    pl.lit(batch.revision, pl.Int64).alias("revision"),
                    pl.lit(batch.as_of_ms, pl.Int64).alias("as_of_ms"),
                )
                connection.register("incoming", rows.to_arrow())
                figures = ", ".join(f"({name} / 10000)::DECIMAL(18,4) AS {name}" for name in _FIGURES)
                connection.execute(
                    "INSERT INTO stock_history BY NAME SELECT realm, sku, channel, market, revision, "
                    f"make_timestamp(as_of_ms * 1000) AS as_of, {figures} FROM incoming"
                )
                connection.unregister("incoming")
            if batch.events:
                events = [{**event, "at": event["at_ms"]} for event in batch.events]
                connection.register("incoming", pl.DataFrame(events, schema=EVENT_COLUMNS).to_arrow())
                connection.execute(
                    "INSERT OR IGNORE INTO stock_events BY NAME SELECT id, kind, realm, sku, channel, market, "
                    'location, make_timestamp("at" * 1000) AS crossed_at, '
                    "(quantity / 10000)::DECIMAL(18,4) AS quantity, orders FROM incoming"
                )
                connection.unregister("incoming")
            connection.commit()

    def close(self) -> None:
        """See ports.sinks.StockSink."""
        if self._connection is not None:
            try:
                self._connection.close()
            except duckdb.Error as failed:
                _logger.warning("closing %s: %s", self._path, type(failed).__name__)
            self._connection = None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._lock:
            if self._connection is None:
                self._connection = self._connect()
            try:
                yield self._connection
            finally:
                if not self._hold:
                    self.close()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        until = time.monotonic() + self._wait_s
        while True:
            try:
                return duckdb.connect(str(self._path))
            except duckdb.IOException as failed:
                if "lock" not in str(failed) or time.monotonic() > until:
                    raise ConnectionFailed(
                        f"opening DuckDB file {self._path}: {failed} (a DuckDB file of this run); close it elsewhere"
                    ) from None
                time.sleep(0.1)
