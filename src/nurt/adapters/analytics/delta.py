"""Profiles, stock or orders in a Delta Lake table: one row each, lists as arrays of structs; a batch is a commit."""

from __future__ import annotations

import threading
from typing import Any

import polars as pl

from nurt.adapters.secrets import secret
from nurt.delivery.mapping import DestinationMapping
from nurt.delivery.table_family import TableBatch, TableFamily
from nurt.errors import ConfigurationError
from nurt.model.delivery import CallFailure, CallResult

COMPACT_COMMITS = 50
"""Commits after which small files are joined."""


class DeltaSink:
    """Sink of a Delta Lake table; implements delivery.ports.TableSink. It adds columns that a later nurt brings."""

    def __init__(self, mapping: DestinationMapping, family: TableFamily) -> None:
        try:
            import deltalake
        except ImportError:
            raise ConfigurationError(
                f"opening destination {mapping.name}: deltalake is not installed; `pip install 'nurt[delta]'`"
            ) from None
        self._library: Any = deltalake
        where = f"destinations.{mapping.name}"
        self._path = family.placed(secret(f"{where}.path", mapping.options.get("path")))
        written = mapping.options.get("storage_options") or {}
        self._storage = {str(name): secret(f"{where}.storage_options.{name}", value) for name, value in written.items()}
        self._commits = 0
        self._lock = threading.Lock()

    def write(self, batch: TableBatch) -> CallResult:
        """See delivery.ports.TableSink."""
        with self._lock:
            try:
                self._merge(batch)
                self._commits += 1
                if self._commits % COMPACT_COMMITS == 0:
                    self._table().optimize.compact()
                return CallResult()
            except self._library.exceptions.SchemaMismatchError as refused:
                return CallResult(failure=CallFailure.REFUSED, code="delta_schema_mismatch", words=str(refused)[:2000])
            except (self._library.exceptions.DeltaError, OSError) as failed:
                return CallResult(failure=CallFailure.DOWN, code=f"delta_{type(failed).__name__}")

    def _table(self) -> Any:
        return self._library.DeltaTable(self._path, storage_options=self._storage or None)

    def _merge(self, batch: TableBatch) -> None:
        # erased ids have no realm; all other rows have one
        rows = pl.concat([batch.nested, batch.erased_rows()], how="diagonal").to_arrow(
            compat_level=pl.CompatLevel.oldest()
        )
        if not self._library.DeltaTable.is_deltatable(self._path, self._storage or None):
            self._library.write_deltalake(
                self._path, rows.slice(0, 0), mode="ignore", storage_options=self._storage or None
            )
        merge = self._table().merge(
            rows, "stored.id = told.id", source_alias="told", target_alias="stored", merge_schema=True
        )
        # of any revision: the last known revision may be older than the stored one
        merge = merge.when_matched_delete("told.realm IS NULL")
        merge = merge.when_matched_update_all("told.revision >= stored.revision")
        merge.when_not_matched_insert_all("told.realm IS NOT NULL").execute()

    def close(self) -> None:
        """See delivery.ports.TableSink."""
