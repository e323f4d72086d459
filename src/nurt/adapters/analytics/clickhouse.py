"""Profiles, stock or orders in ClickHouse over HTTP: a ReplacingMergeTree, and views of its newest revisions.

A profile is one row with its lists as arrays, so an insert shows the whole profile or nothing; `profiles`,
`profile_orders` and so on are views over `profiles_stored FINAL`. `stock` and `orders` work in the same way.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence

import polars as pl

from nurt.adapters.http import HttpClient, Reply, failure_of
from nurt.adapters.secrets import secret
from nurt.delivery.mapping import DestinationMapping
from nurt.delivery.table_family import Columns, TableBatch, TableFamily
from nurt.model.delivery import CallFailure, CallResult

CLICKHOUSE_TYPES: Mapping[pl.DataType, str] = {
    pl.String(): "Nullable(String)",
    pl.Int64(): "Nullable(Int64)",
    pl.Date(): "Nullable(Date32)",
    pl.Boolean(): "Nullable(Bool)",
    pl.Datetime("us"): "Nullable(DateTime64(6))",
    pl.Decimal(18, 4): "Nullable(Decimal(18, 4))",
}
REFUSES_ROWS = frozenset({6, 27, 33, 41, 53, 69, 70, 117, 131, 321, 349, 407, 636})
"""Codes of errors that rows cause: values that cannot be parsed, converted or stored."""

ERASED_MAX = 4_000
"""Ids of one statement; a statement may have 256 KB."""

_ID = re.compile(r"[0-9a-f]{32}")
CODE_HEADER = "x-clickhouse-exception-code"


class ClickhouseSink:
    """Sink of a ClickHouse database; implements delivery.ports.TableSink. It adds columns that a later nurt brings."""

    def __init__(self, mapping: DestinationMapping, family: TableFamily) -> None:
        self._family = family
        options, where = mapping.options, f"destinations.{mapping.name}"
        headers = {}
        if "user" in options:
            headers["X-ClickHouse-User"] = secret(f"{where}.user", options["user"])
        if "password" in options:
            headers["X-ClickHouse-Key"] = secret(f"{where}.password", options["password"])
        self._database = str(options.get("database", "nurt"))
        self._http = HttpClient(
            secret(f"{where}.url", options.get("url")), headers=headers, timeout_s=float(options.get("timeout_s", 120))
        )
        self._prepared = False

    def write(self, batch: TableBatch) -> CallResult:
        """See delivery.ports.TableSink."""
        if not self._prepared:
            if (call_result := self._prepare()) is not None:
                return call_result
            self._prepared = True
        rows = batch.nested.with_columns(is_deleted=pl.lit(0, dtype=pl.UInt8))
        # an insert is one block, and a block is stored whole or not at all
        if rows.height and (call_result := self._insert(rows)) is not None:
            return call_result
        for at in range(0, len(batch.erased), ERASED_MAX):
            if (call_result := self._erase([id_ for id_, _ in batch.erased[at : at + ERASED_MAX]])) is not None:
                return call_result
        return CallResult()

    def _erase(self, ids: Sequence[str]) -> CallResult | None:
        """Delete rows of any revision: the last known revision may be older than the stored one.

        Source: ClickHouse, ReplacingMergeTree: of rows of one version, the last inserted row stays.
        """
        if not all(map(_ID.fullmatch, ids)):  # the statement is text
            return CallResult(failure=CallFailure.REFUSED, code="id_is_no_id")
        table, listed = self._stored, ", ".join(f"'{id_}'" for id_ in ids)
        query = (
            f"INSERT INTO {table} (id, revision, is_deleted) "
            f"SELECT id, max(revision), 1 FROM {table} WHERE id IN ({listed}) GROUP BY id"
        )
        return _answer(self._http.send("POST", "/", content=query.encode()))

    def _insert(self, rows: pl.DataFrame) -> CallResult | None:
        out = io.BytesIO()
        rows.with_columns(pl.col("revision").clip(lower_bound=0).cast(pl.UInt64)).write_parquet(out)
        columns = ", ".join(f"`{name}`" for name in rows.columns)
        query = f"INSERT INTO {self._stored} ({columns}) FORMAT Parquet"
        return _answer(self._http.send("POST", "/", content=out.getvalue(), params={"query": query}))

    @property
    def _stored(self) -> str:
        return f"{self._database}.{self._family.name}_stored"

    def _prepare(self) -> CallResult | None:
        database, family = self._database, self._family
        flat = {name: CLICKHOUSE_TYPES[kind] for name, kind in family.tables[family.name].items()}
        flat |= {"id": "String", "revision": "UInt64"}
        lists = {name: _array(family.items(table)) for name, table in family.lists().items()}
        columns = {**flat, **lists, "is_deleted": "UInt8"}
        listed = ", ".join(f"`{name}` {kind}" for name, kind in columns.items())
        statements = [
            f"CREATE DATABASE IF NOT EXISTS {database}",
            f"CREATE TABLE IF NOT EXISTS {self._stored} ({listed}) "
            "ENGINE = ReplacingMergeTree(revision, is_deleted) ORDER BY id",
        ]
        statements += [
            f"ALTER TABLE {self._stored} ADD COLUMN IF NOT EXISTS `{name}` {kind}" for name, kind in columns.items()
        ]
        newest = f"{self._stored} FINAL WHERE is_deleted = 0"
        shown = ", ".join(f"`{name}`" for name in flat)
        statements.append(f"CREATE OR REPLACE VIEW {database}.{family.name} AS SELECT {shown} FROM {newest}")
        for name, table in family.lists().items():
            statements.append(
                f"CREATE OR REPLACE VIEW {database}.{table} AS SELECT {_shown(family.tables[table])} FROM "
                f"(SELECT id, revision, `{name}` AS list_items FROM {newest}) "
                "ARRAY JOIN list_items AS list_item, arrayEnumerate(list_items) AS list_rank"
            )
        for statement in statements:
            call_result = _answer(self._http.send("POST", "/", content=statement.encode()))
            if call_result is not None:
                return (
                    CallResult(failure=CallFailure.DOWN, code=call_result.code)
                    if call_result.failure is CallFailure.REFUSED
                    else call_result
                )
        return None

    def close(self) -> None:
        """See delivery.ports.TableSink."""
        self._http.close()


def _array(items: Columns) -> str:
    fields = ", ".join(f"`{name}` {CLICKHOUSE_TYPES[kind]}" for name, kind in items.items())
    return f"Array(Tuple({fields}))"


def _shown(columns: Columns) -> str:
    parts = []
    for name in columns:
        if name in ("id", "revision"):
            parts.append(name)
        elif name == "rank":
            parts.append("toInt64(list_rank) AS rank")
        else:
            parts.append(f"tupleElement(list_item, '{name}') AS `{name}`")
    return ", ".join(parts)


def _answer(reply: Reply | CallResult) -> CallResult | None:
    """Return what an answer means; None: done."""
    if isinstance(reply, CallResult):
        return reply
    code = reply.headers.get(CODE_HEADER)
    if reply.status == 200 and code is None:
        return None
    if code is not None and code.isdigit() and int(code) in REFUSES_ROWS:
        return CallResult(failure=CallFailure.REFUSED, code=f"clickhouse_{code}", words=reply.text[:2000])
    if code in ("192", "193", "194", "516") or reply.status in (401, 403):
        return CallResult(failure=CallFailure.UNAUTHORISED, code=f"clickhouse_{code}")
    return failure_of(reply) or CallResult(failure=CallFailure.DOWN, code=f"clickhouse_{code or reply.status}")
