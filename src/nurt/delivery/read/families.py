"""The table families that analytics stores keep, and how published messages become batches of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from nurt.contracts import schemas
from nurt.contracts.avro_columns import decode_columns
from nurt.contracts.profile_tables import RENAMED, TABLES, decode, tables_from
from nurt.delivery.journal import Message
from nurt.delivery.read.bodies import BodyConverter, WriterSchemas
from nurt.delivery.read.contracts import CONTRACTS, kind_of
from nurt.delivery.table_family import Columns, TableBatch, TableFamily
from nurt.model.delivery import PROFILES

KEYS: Columns = {"id": pl.String(), "revision": pl.Int64()}


def _tables(of: str, prefix: str) -> dict[str, Columns]:
    """Read the tables of a contract: its plain fields, and one table for each list of records."""
    main, lists = dict(KEYS), {}
    for field in schemas.load(CONTRACTS[of])["fields"]:
        item = field["type"].get("items") if isinstance(field["type"], dict) else None
        if isinstance(item, dict):
            lists[prefix + field["name"]] = {**KEYS, **{one["name"]: _column(one["type"]) for one in item["fields"]}}
        else:
            main[field["name"]] = _column(field["type"])
    return {of: main, **lists}


def _column(written: object) -> pl.DataType:
    kind = kind_of(written)
    assert kind is not None, "contracts of figures and orders hold plain fields and lists of records"
    return pl.Datetime("us") if isinstance(kind, pl.Datetime) else kind


FAMILIES: Mapping[str, TableFamily] = {
    PROFILES: TableFamily(PROFILES, "profile", TABLES, "profile_"),
    "stock": TableFamily("stock", "figure", _tables("stock", "stock_"), "stock_"),
    "orders": TableFamily("orders", "order", _tables("orders", "order_"), "order_"),
}
"""By the word of `of`. A contract's later fields become columns by themselves."""


def tables_of(upserts: Sequence[Message], erased: Sequence[tuple[str, int]]) -> TableBatch:
    """Decode profiles into the tables of analytics stores: flat tables, and a nested one under the same names."""
    family = FAMILIES[PROFILES]
    nested = decode([message.body for message in upserts if message.body is not None])
    flat = tables_from(nested)
    return TableBatch(flat, flat["profiles"].join(_lists(family, nested), on="id", how="left"), list(erased))


class ContractTables:
    """Decoder of stock figures, or orders, into the tables of analytics stores.

    Args:
        writers: the schemas that messages were written by; None: today's contract.
    """

    def __init__(self, of: str, writers: WriterSchemas | None) -> None:
        self._of = of
        self._bodies = BodyConverter(CONTRACTS[of], writers)

    def __call__(self, upserts: Sequence[Message], erased: Sequence[tuple[str, int]]) -> TableBatch:
        """Make a batch of messages with bodies, and of erased ids."""
        family = FAMILIES[self._of]
        bodies = [self._bodies.body(one.body) for one in upserts if one.body is not None]
        rows = decode_columns(bodies, CONTRACTS[self._of])
        rows = rows.with_columns(id=pl.Series([one.subject for one in upserts], dtype=pl.String))
        main = rows.select(_plain(pl.col(name), kind).alias(name) for name, kind in family.tables[self._of].items())
        nested = main.join(_lists(family, rows), on="id", how="left", maintain_order="left")
        flat = {self._of: main}
        for name, table in family.lists().items():
            entries = nested.select("id", "revision", name).filter(pl.col(name).list.len() > 0)
            flat[table] = entries.explode(name, empty_as_null=True).unnest(name).select(list(family.tables[table]))
        return TableBatch(flat, nested, list(erased))


def _lists(family: TableFamily, nested: pl.DataFrame) -> pl.DataFrame:
    """Give the structs of all lists the names and types of their tables."""
    lists = family.lists()
    return nested.select("id", *(_renamed(family, name, table).alias(name) for name, table in lists.items()))


def _renamed(family: TableFamily, name: str, table: str) -> pl.Expr:
    names = {new: old for old, new in RENAMED.get(table, {}).items()}
    fields = [
        _plain(pl.element().struct.field(names.get(column, column)), kind).alias(column)
        for column, kind in family.items(table).items()
    ]
    return pl.col(name).list.eval(pl.struct(fields))


def _plain(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """Give a column its type; moments are UTC without saying so, an amount too large for its type becomes null."""
    return (column.dt.replace_time_zone(None) if isinstance(kind, pl.Datetime) else column).cast(kind, strict=False)
