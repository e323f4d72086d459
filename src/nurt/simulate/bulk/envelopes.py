"""Write change events by the million: whole columns of one table's changes become Debezium envelopes at once.

A deletion is followed by its tombstone; a re-key is a deletion, its tombstone and a creation, with headers that name
the other key. Other messages have no headers, and no message has a transaction block (Debezium's default).
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from nurt.avro import compile_writer
from nurt.model.raw import Headers, RawBatch
from nurt.simulate.bulk.rows import CREATE, DELETE, UPDATE, Bools, Changes, Ints, Writes
from nurt.simulate.connector.columns import INT, LONG, MICRO_TIMESTAMP, TEXT, Column, Table, decimal
from nurt.simulate.connector.schemas import VERSION, SchemaBook, key_schema, value_schema

Values = dict[str, Any]
"""Column name -> polars series or expression; a column that is not named has its default or null."""
Columns = Callable[[Writes], Values]
"""Function from writes to the rows' values; the key column comes from the writes."""

START_S = 1_767_225_600  # 2026-01-01
DAYS = 60  # that a load spans, with any number of events
CHUNK_ROWS = 50_000
DELETES = REKEYS = 0.01
"""Shares of deletions, and of re-keys, among the changes of tables that have them."""

ORDERS = Table(
    "orders",
    ("id",),
    (
        Column("id", LONG, null=False),
        Column("customer_id", LONG),
        Column("number", TEXT),
        Column("status", TEXT, null=False),
        Column("currency", TEXT, null=False),
        Column("gross", decimal(14, 4)),
        Column("tax", decimal(14, 4)),
        Column("items", INT, null=False),
        Column("country", TEXT),
        Column("placed_at", MICRO_TIMESTAMP),
        Column("updated_at", MICRO_TIMESTAMP),
        Column("remark", TEXT),
    ),
)
ORDERS_MAPPING = r"""
systems:
  load: {country: PL, market: PL, currency: PLN, priority: 10, realm: default, timezone: Europe/Warsaw}
topics:
  - match: 'load\.public\.orders'
    system: load
    entity: order
    key: id
    parent: {customer: customer_id}
    fields:
      number: number
      currency: currency
      country: country
      gross: gross
      status: "CASE WHEN status = 'canceled' THEN 'cancelled' WHEN status = 'complete' THEN 'complete' ELSE 'open' END"
      placed_at: placed_at
"""
"""The mapping of `orders_load`'s only topic."""

_POLARS: dict[str, pl.DataType] = {
    "int": pl.Int64(),
    "long": pl.Int64(),
    "string": pl.String(),
    "boolean": pl.Boolean(),
    "bytes": pl.Int64(),  # decimals, unscaled
}
_BLOCK = pl.Struct({"id": pl.String(), "total_order": pl.Int64(), "data_collection_order": pl.Int64()})


@dataclass(slots=True)
class Topic:
    """Topic of one table's changes, written a frame at a time; the table has one key column, of whole numbers."""

    kind: str
    prefix: str
    schema: str
    table: Table
    book: SchemaBook
    partitions: int
    step_us: int  # between two events of the whole load
    offsets: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.name = f"{self.prefix}.{self.schema}.{self.table.name}"
        (self._key,) = self.table.key
        key, value = key_schema(self.name, self.table), value_schema(self.kind, self.name, self.table)
        self._key_header = b"\0" + self.book.register(f"{self.name}-key", key).to_bytes(4, "big")
        self._value_header = b"\0" + self.book.register(f"{self.name}-value", value).to_bytes(4, "big")
        self._write_key, self._write_value = compile_writer(key).write, compile_writer(value).write

    name: str = field(init=False)
    _key: str = field(init=False)
    _key_header: bytes = field(init=False)
    _value_header: bytes = field(init=False)
    _write_key: Callable[[pl.DataFrame], list[bytes]] = field(init=False)
    _write_value: Callable[[pl.DataFrame], list[bytes]] = field(init=False)

    def batch(self, numbers: Ints, after: Values, updated: Bools) -> RawBatch:
        """Write creations and updates without `before`, as PostgreSQL's default replica identity has them.

        The places in the whole load (`numbers`) give times and positions.
        """
        ops = np.where(updated, UPDATE, CREATE)
        keys = pl.select(after[self._key]).to_series().to_numpy()
        return self._batch(numbers, ops, keys, after, None, [None] * len(ops))

    def changes(self, changes: Changes, columns: Columns) -> RawBatch:
        """Write changes with the `before` that their connector gives: MariaDB sends the old row.

        PostgreSQL's (default replica identity): null in updates, in deletions the key and filler.
        """
        written = changes.envelopes()
        keys, key = written.keys(), self._key
        after = {**columns(written.after), key: pl.Series(written.after.keys)}
        if self.kind == "mariadb":
            before = {**columns(written.before), key: pl.Series(written.before.keys)}
        else:
            fillers = {column.name: column.filler() for column in self.table.columns}
            plain = {name: int(value) if isinstance(value, Decimal) else value for name, value in fillers.items()}
            types = {column.name: _polars_type(column) for column in self.table.columns}
            before = {**{name: pl.lit(plain[name], types[name]) for name in plain}, key: pl.Series(written.before.keys)}
        headers: list[Headers | None] = [None] * len(keys)
        others = written.other_keys()
        for place in np.flatnonzero(written.rekeyed).tolist():
            name = "__debezium.newkey" if written.ops[place] == DELETE else "__debezium.oldkey"
            headers[place] = [(name, json.dumps({key: int(others[place])}, separators=(",", ":")).encode())]
        return self._batch(written.after.numbers, written.ops, keys, after, before, headers)

    def _batch(
        self,
        numbers: Ints,
        ops: Ints,
        keys: Ints,
        after: Values,
        before: Values | None,
        headers: list[Headers | None],
    ) -> RawBatch:
        at_us = START_S * 1_000_000 + numbers * self.step_us
        none = pl.lit(None, self._row_type())
        deleted = ops == DELETE
        old = none
        if before is not None:
            shown = ops != CREATE if self.kind == "mariadb" else deleted
            old = pl.when(pl.Series(shown)).then(_struct(self._columns(before)))
        frame = pl.select(
            before=old,
            after=pl.when(pl.Series(~deleted)).then(_struct(self._columns(after))),
            source=self._source(numbers, at_us),
            transaction=pl.lit(None, _BLOCK),
            op=pick(ops, ("c", "u", "d")),
            ts_ms=pl.Series(at_us // 1000 + 250),
            ts_us=pl.Series(at_us + 250_137),
            ts_ns=pl.Series((at_us + 250_137) * 1000 + 77),
        )
        key_header, value_header = self._key_header, self._value_header
        bodies = self._write_key(pl.DataFrame({self._key: keys}))
        wire_keys: list[bytes | None] = [key_header + body for body in bodies]
        values: list[bytes | None] = [value_header + body for body in self._write_value(frame)]
        homes = [zlib.crc32(body) % self.partitions for body in bodies]
        which = np.repeat(np.arange(len(ops)), np.where(deleted, 2, 1))  # each deletion is followed by a tombstone
        places = which.tolist()
        if len(places) > len(ops):
            tombstones = np.r_[False, which[1:] == which[:-1]].tolist()
            wire_keys = [wire_keys[place] for place in places]
            values = [
                None if is_tombstone else values[place] for place, is_tombstone in zip(places, tombstones, strict=True)
            ]
            homes = [homes[place] for place in places]
            headers = [headers[place] for place in places]
        offsets = []
        for home in homes:
            offsets.append(self.offsets[home])
            self.offsets[home] += 1
        sent_ms = (at_us[which] // 1000 + 412).tolist()
        return RawBatch(self.name, homes, offsets, sent_ms, wire_keys, values, headers)

    def _columns(self, values: Values) -> Values:
        return {
            column.name: values[column.name] if column.name in values else pl.lit(column.default, _polars_type(column))
            for column in self.table.columns
        }

    def _row_type(self) -> pl.Struct:
        return pl.Struct({column.name: _polars_type(column) for column in self.table.columns})

    def _source(self, numbers: Ints, at_us: Ints) -> pl.Expr:
        mariadb = self.kind == "mariadb"
        log_us = at_us // 1_000_000 * 1_000_000 if mariadb else at_us
        common = {
            "version": pl.lit(VERSION),
            "connector": pl.lit(self.kind),
            "name": pl.lit(self.prefix),
            "ts_ms": pl.Series(log_us // 1000),
            "snapshot": pl.lit("false"),
            "db": pl.lit(self.schema if mariadb else "load"),
            "sequence": pl.lit(None, pl.String()),
            "ts_us": pl.Series(log_us),
            "ts_ns": pl.Series(log_us * 1000),
        }
        if mariadb:
            size = 400
            per_file = (1 << 30) // size
            fields: Values = {
                "table": pl.lit(self.table.name),
                "server_id": pl.lit(101),
                "gtid": pl.lit("0-101-") + pl.Series(numbers + 50).cast(pl.String()),
                "file": pl.lit("binlog.") + pl.Series(numbers // per_file + 1).cast(pl.String()).str.zfill(6),
                "pos": pl.Series(numbers % per_file * size + 346),
                "row": pl.lit(0),
                "thread": pl.lit(None, pl.Int64()),
                "query": pl.lit(None, pl.String()),
            }
        else:
            lsn = pl.Series(116_032_456 + numbers * 320)
            quoted = [pl.lit('["'), (lsn - 56).cast(pl.String()), pl.lit('","'), lsn.cast(pl.String()), pl.lit('"]')]
            common["sequence"] = pl.concat_str(quoted)
            fields = {
                "schema": pl.lit(self.schema),
                "table": pl.lit(self.table.name),
                "txId": pl.Series(numbers + 923),
                "lsn": lsn,
                **dict.fromkeys(("xmin", "origin_lsn"), pl.lit(None, pl.Int64())),
                "origin": pl.lit(None, pl.String()),
            }
        return _struct({**common, **fields})


def orders_load(
    events: int,
    book: SchemaBook,
    *,
    customers: int = 1_000_000,
    partitions: int = 8,
    seed: int = 1,
    chunk_rows: int = CHUNK_ROWS,
) -> Iterator[list[RawBatch]]:
    """Yield chunks of `chunk_rows` changes of one table of orders; 60% creates, 40% updates of recent ones."""
    topic = Topic("postgresql", "load", "public", ORDERS, book, partitions, DAYS * 86_400_000_000 // events)
    rng, zipf, there = np.random.default_rng(seed), Zipf(customers, 1.05), 0
    order_customer = np.zeros(events + 1, dtype=np.int64)
    for first in range(0, events, chunk_rows):
        numbers = np.arange(first, min(first + chunk_rows, events), dtype=np.int64)
        new = rng.random(len(numbers)) < 0.6
        new[0] |= there == 0
        created = np.cumsum(new) + there
        ids = np.where(new, created, np.maximum(1, created - rng.integers(0, 5000, len(numbers))))
        order_customer[ids[new]] = zipf.draw(rng, int(new.sum()))
        there = int(created[-1])
        gross = 100_000 + ids * 7919 % 5_000_000 * 100
        at_us = START_S * 1_000_000 + numbers * topic.step_us
        after = {
            "id": pl.Series(ids),
            "customer_id": pl.Series(order_customer[ids]),
            "status": pl.when(pl.Series(new)).then(pl.lit("new")).otherwise(pl.lit("complete")),
            "currency": pl.lit("PLN"),
            "gross": pl.Series(gross),
            "items": pl.Series(ids % 5 + 1),
            "country": pl.lit("PL"),
            "placed_at": pl.Series(at_us),
        }
        yield [topic.batch(numbers, after, ~new)]


class Zipf:
    """Zipf distribution of ids from 1 to n, the k-th most frequent with weight 1/k^s; hot ids are scattered."""

    def __init__(self, n: int, s: float) -> None:
        self._n = n
        weights = np.cumsum(1.0 / np.arange(1, n + 1, dtype=np.float64) ** s)
        self._bounds = weights / weights[-1]

    def draw(self, rng: np.random.Generator, count: int) -> Ints:
        """Draw ids, hot ones often."""
        ranks = np.searchsorted(self._bounds, rng.random(count)).astype(np.int64)
        return ranks * 7_368_787 % self._n + 1  # a prime: it scatters all ids


def iso_texts(seconds: Ints) -> pl.Series:
    """Write moments (s since 1970 UTC) in the form of MariaDB's `timestamp`."""
    unique, places = np.unique(seconds, return_inverse=True)
    texts = pl.Series(unique * 1_000_000).cast(pl.Datetime("us")).dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    return texts.gather(pl.Series(places))


def pick(numbers: Ints, texts: tuple[str, ...]) -> pl.Series:
    """Choose a text by number, modulo the count of texts."""
    return pl.Series(texts).gather(pl.Series(numbers % len(texts)))


def _struct(values: Values) -> pl.Expr:
    """Make a struct from a list, because a field may be called `schema`."""
    named = [pl.lit(value) if isinstance(value, pl.Series) else value for value in values.values()]
    return pl.struct([value.alias(name) for name, value in zip(values, named, strict=True)])


def _polars_type(column: Column) -> pl.DataType:
    avro = column.type.avro
    return _POLARS[avro if isinstance(avro, str) else avro["type"]]
