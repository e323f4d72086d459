"""Profiles, stock or orders in an Apache Iceberg table of any catalog that pyiceberg speaks: a batch is one commit.

A batch rewrites the files that hold its rows (copy on write), so use large batches: `linger_ms` of some seconds.
"""

from __future__ import annotations

import threading
from typing import Any

import polars as pl

from nurt.adapters.secrets import secret
from nurt.delivery.mapping import DestinationMapping
from nurt.delivery.table_family import TableBatch, TableFamily
from nurt.errors import ConfigurationError
from nurt.model.delivery import CallFailure, CallResult

CATALOG = "nurt"
TABLE = "nurt.{of}"


class IcebergSink:
    """Sink of an Iceberg table, one writer a table; implements delivery.ports.TableSink. It adds new columns."""

    def __init__(self, mapping: DestinationMapping, family: TableFamily) -> None:
        try:
            import pyiceberg.catalog
            import pyiceberg.exceptions
            import pyiceberg.expressions
        except ImportError:
            raise ConfigurationError(
                f"opening destination {mapping.name}: pyiceberg is not installed; `pip install 'nurt[iceberg]'`"
            ) from None
        self._library: Any = pyiceberg
        where = f"destinations.{mapping.name}"
        written = mapping.options.get("catalog") or {}
        if not isinstance(written, dict):
            raise ConfigurationError(
                f"reading {where}.catalog: it is no section; write `catalog: {{type: ..., uri: ...}}`"
            )
        self._properties = {str(name): secret(f"{where}.catalog.{name}", str(value)) for name, value in written.items()}
        self._name = family.placed(str(mapping.options.get("table", TABLE)))
        self._open: Any = None
        self._lock = threading.Lock()

    def write(self, batch: TableBatch) -> CallResult:
        """See delivery.ports.TableSink."""
        with self._lock:
            try:
                self._replace(batch)
                return CallResult()
            except self._library.exceptions.CommitFailedException:
                self._open = None
                return CallResult(failure=CallFailure.DOWN, code="iceberg_commit_conflict", wait_s=0.1)
            except Exception as failed:  # catalogs raise the errors of their transport
                self._open = None
                return CallResult(failure=CallFailure.DOWN, code=f"iceberg_{type(failed).__name__}")

    def _replace(self, batch: TableBatch) -> None:
        rows = batch.nested.to_arrow(compat_level=pl.CompatLevel.oldest())
        table = self._table(rows.schema)
        ids = [*batch.nested["id"].to_list(), *(id_ for id_, _ in batch.erased)]
        if not ids:
            return
        among = self._library.expressions.In("id", ids)
        stored = dict(
            pl.from_arrow(table.scan(row_filter=among, selected_fields=("id", "revision")).to_arrow()).rows()  # type: ignore[union-attr]
        )
        revisions = dict(batch.nested.select("id", "revision").rows())
        fresh = [id_ for id_, revision in revisions.items() if revision >= stored.get(id_, -1)]
        rows = batch.nested.filter(pl.col("id").is_in(fresh)).to_arrow(compat_level=pl.CompatLevel.oldest())
        removed = [id_ for id_ in (*fresh, *(id_ for id_, _ in batch.erased)) if id_ in stored]
        with table.transaction() as change:
            if removed:
                change.delete(self._library.expressions.In("id", removed))
            if rows.num_rows:
                change.append(rows)

    def _table(self, schema: Any) -> Any:
        if self._open is None:
            catalog = self._library.catalog.load_catalog(CATALOG, **self._properties)
            catalog.create_namespace_if_not_exists(self._name.rpartition(".")[0])
            table = catalog.create_table_if_not_exists(self._name, schema=schema)
            with table.update_schema() as update:
                update.union_by_name(schema)
            self._open = table
        return self._open

    def close(self) -> None:
        """See delivery.ports.TableSink."""
