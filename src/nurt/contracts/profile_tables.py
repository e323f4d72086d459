"""Published profiles as flat tables, for every analytics sink.

One row a profile in `profiles`, and a table for each of its lists. Each row carries the profile's id and revision, so
that `JOIN ... USING (id, revision)` is exact even where tables are replaced one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from nurt.contracts import schemas
from nurt.contracts.avro_columns import decode_columns
from nurt.model.published import PublishedBatch

MONEY = pl.Decimal(18, 4)
TEXT, COUNT, DAY, TIME, FLAG = pl.String(), pl.Int64(), pl.Date(), pl.Datetime("us"), pl.Boolean()
Columns = dict[str, pl.DataType]

CHOSEN = (
    "email",
    "phone",
    "first_name",
    "last_name",
    "company",
    "tax_id",
    "loyalty_card",
    "birth_date",
    "gender",
    "language",
    "country",
    "market",
)
"""Fields of the contract that hold a value with its provenance; the tables hold the value."""

_WINDOWS: Columns = {
    name: kind
    for days in (30, 90, 365)
    for name, kind in ((f"last_{days}_count", COUNT), (f"last_{days}_gross", MONEY))
}

TABLES: dict[str, Columns] = {
    "profiles": {
        "id": TEXT,
        "revision": COUNT,
        "state": TEXT,
        "redirect_to": TEXT,
        "realm": TEXT,
        "as_of": DAY,
        **{name: DAY if name == "birth_date" else TEXT for name in CHOSEN},
        "account_count": COUNT,
        "order_count": COUNT,
        "cancelled_count": COUNT,
        "returned_count": COUNT,
        "open_count": COUNT,
        "last_30_count": COUNT,
        "last_90_count": COUNT,
        "last_365_count": COUNT,
        "first_order_on": DAY,
        "last_order_on": DAY,
        "gross_currency": TEXT,  # null unless all orders are in one currency; then gross is null, too
        "gross": MONEY,
        "open_invoice_count": COUNT,
        "overdue_invoice_count": COUNT,
        "last_interaction_on": DAY,
        **dict.fromkeys(("given_back", "net", "paid", "open_amount"), MONEY),  # null where gross is null
    },
    "profile_identifiers": {"id": TEXT, "revision": COUNT, "kind": TEXT, "value": TEXT},
    "profile_addresses": {
        "id": TEXT,
        "revision": COUNT,
        "system": TEXT,
        "source_row": TEXT,
        **dict.fromkeys(("kind", "name", "company", "street", "city", "region", "postcode", "country", "phone"), TEXT),
        "address_count": COUNT,
    },
    "profile_accounts": {"id": TEXT, "revision": COUNT, "account": TEXT, "system": TEXT, "entity": TEXT, "key": TEXT},
    "profile_orders": {
        "id": TEXT,
        "revision": COUNT,
        "currency": TEXT,
        "market": TEXT,
        "order_count": COUNT,
        "gross": MONEY,
        "average": MONEY,
        "first_on": DAY,
        "last_on": DAY,
        "cancelled_count": COUNT,
        "returned_count": COUNT,
        "open_count": COUNT,
        **_WINDOWS,
        **dict.fromkeys(("given_back", "net", "paid", "open_amount"), MONEY),
    },
    "profile_products": {"id": TEXT, "revision": COUNT, "rank": COUNT, "sku": TEXT, "quantity": MONEY},
    "profile_categories": {"id": TEXT, "revision": COUNT, "rank": COUNT, "category": TEXT, "quantity": MONEY},
    "profile_invoices": {
        "id": TEXT,
        "revision": COUNT,
        "currency": TEXT,
        "open_count": COUNT,
        "open_amount": MONEY,
        "overdue_count": COUNT,
        "overdue_amount": MONEY,
    },
    "profile_consents": {
        "id": TEXT,
        "revision": COUNT,
        "purpose": TEXT,
        "granted": FLAG,
        "said_at": TIME,  # UTC
        "system": TEXT,
        "source_row": TEXT,
    },
}
"""Every table with its columns, in order."""

RENAMED = {
    "profile_orders": {
        "count": "order_count",
        "cancelled": "cancelled_count",
        "returned": "returned_count",
        "open": "open_count",
    },
    "profile_addresses": {"row": "source_row", "count": "address_count"},
    "profile_consents": {"row": "source_row", "at": "said_at"},
}
"""Other names for fields of the contract whose name is a word of SQL."""


def newest(batch: PublishedBatch) -> pl.DataFrame:
    """Keep the largest revision of each id: columns id (hex), revision, value (Avro body; null: tombstone)."""
    frame = pl.DataFrame(
        {"id": batch.ids, "revision": batch.revisions, "value": batch.values},
        schema={"id": pl.Binary, "revision": pl.Int64, "value": pl.Binary},
    )
    return newest_of(frame.with_columns(pl.col("id").bin.encode("hex")))


def newest_of(frame: pl.DataFrame) -> pl.DataFrame:
    """Keep each id's row with the largest revision; among equal ones the first, because they are repeats."""
    return frame.sort("revision", descending=True, maintain_order=True).unique("id", keep="first", maintain_order=True)


def tables_of(published: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Decode the result of `newest`, without tombstones, into `TABLES`.

    A redirect keeps its row in `profiles` and nothing else. Id and revision are the published ones.
    """
    return tables_from(decode(published["value"].to_list()).with_columns(published["id"], published["revision"]))


def tables_from(nested: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Flatten the result of `decode` into `TABLES`."""
    live = nested.filter(pl.col("state") == "live")
    tables = {name: _children(name, live) for name in TABLES if name != "profiles"}
    return {"profiles": _profiles(nested, tables), **tables}


def empty(name: str) -> pl.DataFrame:
    """Make the table `name` without rows."""
    return pl.DataFrame(schema=TABLES[name])


def decode(bodies: Sequence[bytes]) -> pl.DataFrame:
    """Decode Avro bodies of published profiles into one nested frame, a row each.

    Raises NotOfContract when a body is not of the contract.
    """
    return decode_columns(bodies, schemas.PROFILE_VALUE).with_columns(pl.col("state").cast(pl.String))


_MONEYS = ("gross", "given_back", "net", "paid", "open_amount")
"""Sums of orders that a profile has when all of them are in one currency."""


def _profiles(nested: pl.DataFrame, tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    counts = [name for name in TABLES["profiles"] if name in TABLES["profile_orders"] and name.endswith("_count")]
    orders = (
        tables["profile_orders"]
        .group_by("id")
        .agg(
            pl.col(counts).sum(),
            pl.col("first_on").min().alias("first_order_on"),
            pl.col("last_on").max().alias("last_order_on"),
            pl.col("currency").n_unique().alias("currencies"),
            pl.col("currency").first().alias("gross_currency"),
            *(pl.when(pl.col(name).null_count() == 0).then(pl.col(name).sum()).alias(name) for name in _MONEYS),
        )
    )
    invoices = (
        tables["profile_invoices"]
        .group_by("id")
        .agg(
            pl.col("open_count").sum().alias("open_invoice_count"),
            pl.col("overdue_count").sum().alias("overdue_invoice_count"),
        )
    )
    values = [pl.col(name).struct.field("value").alias(name) for name in CHOSEN]
    rows = nested.with_columns(*values, account_count=pl.col("accounts").list.len())
    rows = rows.drop("orders", "invoices").join(orders, on="id", how="left").join(invoices, on="id", how="left")
    single = pl.col("currencies") == 1
    return _shaped(
        "profiles",
        rows.with_columns(
            pl.col(*counts, "open_invoice_count", "overdue_invoice_count").fill_null(0),
            pl.col("birth_date").str.to_date("%Y-%m-%d", strict=False),
            *(pl.when(single).then(name).alias(name) for name in ("gross_currency", *_MONEYS)),
        ),
    )


def _children(name: str, live: pl.DataFrame) -> pl.DataFrame:
    columns, field = TABLES[name], name.removeprefix("profile_")
    lengths = live[field].list.len().to_numpy()
    parents = np.repeat(np.arange(len(live)), lengths)
    items = pl.Series(live[field].to_arrow().flatten(), dtype=live[field].dtype.inner)  # type: ignore[attr-defined]
    rows = items.struct.unnest().rename(RENAMED.get(name, {}))
    rows = rows.with_columns(live["id"].gather(parents), live["revision"].gather(parents))
    if "rank" in columns:
        rows = rows.with_columns(rank=np.arange(len(parents)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1)
    if "said_at" in columns:
        rows = rows.with_columns(pl.col("said_at").dt.replace_time_zone(None))
    return _shaped(name, rows)


def _shaped(name: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Put columns into the table's order and types; an amount too large for its type becomes null."""
    return rows.select(pl.col(column).cast(kind, strict=False) for column, kind in TABLES[name].items())
