"""Find orders that documents and shipments name: by number, reference, match key, parent, document. Hot path; pure."""

from __future__ import annotations

import polars as pl

from nurt.state.table import OWNER
from nurt.stock.from_rows import DOCUMENT
from nurt.stock.matching.match_keys import split_refs

WHERE = ("component", "order_system")
_SAME = ["component", "text"]


def targets_of(
    heads: pl.DataFrame, orders: pl.DataFrame, ref: str, documents: pl.DataFrame | None, sales_documents: pl.DataFrame
) -> pl.DataFrame:
    """Find the orders that documents name: owner, order_ref, order (owner)."""
    columns = [OWNER, ref, "order"]
    borne = pl.concat([_borne(orders, name) for name in ("number", "reference")]).unique()
    named = heads.filter(pl.col(ref).is_not_null())
    found = []
    if named.height:
        split = named.select(OWNER, ref, *WHERE, split_refs(named[ref]).alias("text")).explode(
            "text", empty_as_null=False
        )
        found.append(_narrowed(split.join(borne, on=_SAME)).select(columns))
    keyed = heads.filter(pl.col(ref).is_null() & pl.col("match_key").is_not_null())
    if keyed.height:
        some = keyed.select(OWNER, ref, *WHERE, pl.col("match_key").alias("text"))
        found.append(_narrowed(some.join(_borne(orders, "match_key"), on=_SAME)).select(columns))
    if documents is not None:
        child = orders.select(pl.col("child").alias("id"), pl.col(OWNER).alias("order"))
        by_parent = heads.filter(pl.col("order").is_not_null()).select(OWNER, ref, pl.col("order").alias("id"))
        found.append(by_parent.join(child, on="id").select(columns))
        fulfil = heads.filter(pl.col("document_ref").is_not_null())
        if fulfil.height:
            numbers = sales_documents.filter((pl.col("part") == DOCUMENT) & pl.col("number").is_not_null()).select(
                "component", pl.col("number").alias("text"), pl.col(OWNER).alias("document")
            )
            split = fulfil.select(OWNER, ref, *WHERE, split_refs(fulfil["document_ref"]).alias("text")).explode(
                "text", empty_as_null=False
            )
            through = split.join(numbers, on=_SAME).join(documents.rename({OWNER: "document"}), on="document")
            found.append(through.select(columns))
    if not found:
        return pl.DataFrame(schema={OWNER: pl.Int64(), ref: pl.String(), "order": pl.Int64()})
    return pl.concat(found).unique(maintain_order=True)


def _borne(orders: pl.DataFrame, name: str) -> pl.DataFrame:
    some = orders.select(
        "component", pl.col(name).alias("text"), pl.col(OWNER).alias("order"), pl.col("system").alias("of")
    )
    return some.drop_nulls("text")


def _narrowed(found: pl.DataFrame) -> pl.DataFrame:
    return found.filter(pl.col("order_system").is_null() | (pl.col("order_system") == pl.col("of")))
