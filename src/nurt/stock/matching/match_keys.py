"""Match keys of sales documents: numbers that documents bear, and numbers that they name. Hot path.

An order bears its number, reference and match key, and its own id; a document its number; documents name
each other's numbers. Documents that share a match key may belong together. The kind is part of a key, so an ERP's
number never equals a shop's.
"""

from __future__ import annotations

import polars as pl

from nurt.columnar.ids import Ids
from nurt.state.table import OWNER
from nurt.stock.from_rows import DOCUMENT, DOCUMENT_LINE, ORDER, SHIPMENT

MATCH_KEY_COLUMNS = (
    *("part", "child", "number", "reference", "match_key", "order_ref", "document_ref", "order"),
    "sales_channel",
)
"""Columns of a sales document from which its match keys are made."""

SEPARATORS = r"[,;|\s]+"


def split_refs(refs: pl.Series) -> pl.Series:
    """Split texts of several numbers into lists of numbers."""
    return pl.select(pl.lit(refs).str.replace_all(SEPARATORS, " ").str.strip_chars().str.split(" ")).to_series()


def match_keys_of(sales_documents: pl.DataFrame, ids: Ids) -> pl.DataFrame:
    """List the match keys of documents: columns owner, match key (16 bytes), bears; without repeats.

    Args:
        sales_documents: owner and MATCH_KEY_COLUMNS.
    """
    order, document, shipment = (sales_documents.filter(pl.col("part") == part) for part in (ORDER, DOCUMENT, SHIPMENT))
    named = (
        sales_documents.filter(pl.col("part") == DOCUMENT_LINE) if len(document) < len(sales_documents) else document
    )
    texts = [
        _texts(order, "number", "o", True),
        _texts(order, "reference", "o", True),
        _texts(order, "match_key", "k", True),
        *(_texts(_of_channel(order, name), name, "r", True) for name in ("number", "reference")),
    ]
    if document.height or shipment.height or named.height:
        texts += [
            _texts(document, "number", "d", True),
            _texts(document, "match_key", "k", False),
            *(_texts(_split(frame, "order_ref"), "order_ref", "o", False) for frame in (document, named, shipment)),
            _texts(_split(shipment, "document_ref"), "document_ref", "d", False),
        ]
    found = pl.concat(texts)
    found = found.with_columns(ids.of(found["text"]).alias("token")).select(OWNER, "token", "bears")
    own = order.select(OWNER, pl.col("child").alias("token"), pl.lit(True).alias("bears"))
    parent = shipment.filter(pl.col("order").is_not_null()).select(
        OWNER, pl.col("order").alias("token"), pl.lit(False).alias("bears")
    )
    return pl.concat([found, own, parent]).unique([OWNER, "token"], maintain_order=True)


def order_match_key(ids: Ids, number: str) -> bytes:
    """Return the match key of an order's number or reference, of whatever channel."""
    return ids.one(f"o\x1f{number}")


def ledger_match_keys(ids: Ids, channels: pl.Series, numbers: pl.Series) -> pl.Series:
    """Return the match keys of orders of channels, equal to the client's `ledger_token`."""
    return ids.of(pl.select(pl.concat_str([pl.lit("r"), channels, numbers], separator="\x1f")).to_series())


def _of_channel(orders: pl.DataFrame, name: str) -> pl.DataFrame:
    return orders.with_columns((pl.col("sales_channel") + pl.lit("\x1f") + pl.col(name)).alias(name))


def _texts(frame: pl.DataFrame, column: str, kind: str, bears: bool) -> pl.DataFrame:
    return frame.filter(pl.col(column).is_not_null()).select(
        OWNER, (pl.lit(f"{kind}\x1f") + pl.col(column)).alias("text"), pl.lit(bears).alias("bears")
    )


def _split(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    some = frame.filter(pl.col(column).is_not_null())
    if not some.height:
        return some
    parts = some.with_columns(split_refs(some[column]).alias(column)).explode(column, empty_as_null=False)
    return parts.filter(pl.col(column) != "")
