"""Changes of positions, when holds of documents or kits change. Hot path; pure."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from nurt.columnar.ids import Ids
from nurt.model.units import Millis
from nurt.state.table import OWNER
from nurt.stock.from_rows import KIT_PART, sku_ids
from nurt.stock.holds import BOOKING, HOLD, HOLDS, KIT
from nurt.stock.matching.documents import DOCUMENT_HOLDS

KEY = [name for name in HOLDS.columns if name != "quantity"]
DELTAS: dict[str, pl.DataType] = {"shelf": pl.Binary(), **HOLDS.columns}


def no_deltas() -> pl.DataFrame:
    """Make deltas without rows."""
    return pl.DataFrame(schema=DELTAS)


def deltas_of_holds(old: pl.DataFrame, new: pl.DataFrame, sales_documents: Sequence[bytes], ids: Ids) -> pl.DataFrame:
    """Subtract the old holds of documents and add the new ones: DELTAS, without unchanged holds.

    Args:
        old, new: DOCUMENT_HOLDS and owner, an index into `sales_documents`.
    """
    both = pl.concat([old.with_columns(-pl.col("quantity")), new.select(old.columns)])
    both = both.filter(pl.col("part").is_in([HOLD, BOOKING]))
    if not both.height:
        return no_deltas()
    same = [OWNER, *(name for name in DOCUMENT_HOLDS.columns if name != "quantity")]
    both = both.group_by(same, maintain_order=True).agg(pl.col("quantity").sum()).filter(pl.col("quantity") != 0)
    of = pl.Series(list(sales_documents), dtype=pl.Binary).gather(both[OWNER])
    both = both.with_columns(
        pl.when(pl.col("part") == BOOKING).then(pl.lit(of)).alias("paper"), pl.lit(None, pl.String).alias("of")
    )
    summed = both.group_by(KEY, maintain_order=True).agg(pl.col("quantity").sum())
    summed = summed.filter(pl.col("quantity") != 0)
    return summed.with_columns(sku_ids(ids, summed["sku"]).alias("shelf")).select(list(DELTAS))


def deltas_of_kits(old: pl.DataFrame, new: pl.DataFrame, ids: Ids) -> pl.DataFrame:
    """Tell the positions of parts which kits use them: DELTAS.

    Args:
        old, new: POSITIONS of the same skus, before and after.
    """
    both = [
        frame.filter((pl.col("part") == KIT_PART) & pl.col("of").is_not_null()).with_columns(
            (pl.col("quantity").fill_null(0) * sign).alias("quantity")
        )
        for sign, frame in ((-1, old), (1, new))
    ]
    if not both[0].height and not both[1].height:
        return no_deltas()
    parts = pl.concat([frame.select("sku", "of", "quantity") for frame in both])
    parts = parts.group_by("sku", "of", maintain_order=True).agg(pl.col("quantity").sum())
    parts = parts.filter(pl.col("quantity") != 0).select(
        pl.lit(KIT, pl.Int64).alias("part"), pl.col("of").alias("sku"), pl.col("sku").alias("of"), "quantity"
    )
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in HOLDS.columns.items() if name not in parts.columns]
    return parts.with_columns(sku_ids(ids, parts["sku"]).alias("shelf"), *missing).select(list(DELTAS))


def apply_deltas(holds: pl.DataFrame, deltas: pl.DataFrame, as_of_ms: Millis) -> pl.DataFrame:
    """Add deltas to holds (both HOLDS and owner); remove holds of zero, and bookings that have ended.

    A booking whose grace is over is removed whether its delta adds or subtracts, so its later end subtracts nothing.
    """
    columns = [OWNER, *HOLDS.columns]
    both = pl.concat([holds.select(columns), deltas.select(columns)])
    both = both.filter((pl.col("part") != BOOKING) | (pl.col("due_ms") > as_of_ms))
    summed = both.group_by([OWNER, *KEY], maintain_order=True).agg(pl.col("quantity").sum())
    return summed.filter(pl.col("quantity") != 0).select(columns).sort(OWNER, "part", maintain_order=True)
